"""A command on a machine without a network, whose attempts to reach one are counted, and with an empty home.

Attempts are counted by the kernel: packets for which there was no route, questions for a name among them.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = """
set -e
ip link set lo up
mount --bind "$0/resolv.conf" /etc/resolv.conf
mount -t tmpfs none /var/tmp
mount -t tmpfs none /var/cache
status=0; "$@" || status=$?
find /var/tmp /var/cache -mindepth 1
exit $status
"""
needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "ip"))), reason="needs namespaces of its own"
)


@dataclass(frozen=True)
class Alone:
    """The folders that a command found empty."""

    home: Path
    temporary: Path

    def left(self) -> list[str]:
        """Everything that lies in them now."""
        return [str(path) for folder in (self.home, self.temporary) for path in sorted(folder.rglob("*"))]


def run_alone(
    place: Path, *command: str | Path, **variables: str
) -> tuple[subprocess.CompletedProcess[str], Alone]:
    """Run ``command`` without a network, with an empty home, and empty /var/tmp and /var/cache, whose files it lists at the end."""
    alone = Alone(place / "home", place / "tmp")
    for folder in (alone.home, alone.temporary):
        folder.mkdir(parents=True)
    (place / "resolv.conf").write_text("nameserver 192.0.2.53\noptions timeout:1 attempts:1\n")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("XDG_", "PREFECT_")) and name not in SILENT
    }
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", SCRIPT, place, *command],
        env=kept | {"HOME": str(alone.home), "TMPDIR": str(alone.temporary)} | variables,
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    return done, alone


SILENT = (
    "CI", "TF_BUILD", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "DO_NOT_TRACK", "DVC_NO_ANALYTICS",
    "GX_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY", "PYTEST_CURRENT_TEST", "PYTEST_XDIST_WORKER",
)  # fmt: skip
"""Variables by which libraries keep silent anyway."""


def attempts() -> int:
    """Packets that found no route out of this machine since it began."""
    rows = [
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    ]
    of_4 = int(dict(zip(*rows, strict=True))["OutNoRoutes"])
    rows = [line.split() for line in Path("/proc/net/snmp6").read_text().splitlines()]
    return of_4 + int(dict(rows)["Ip6OutNoRoutes"])
