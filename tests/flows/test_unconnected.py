"""README says that telemetry is off: no command tries to leave the machine, or leaves a file outside its workspace."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tasks.workspace import Workspace
from tests.docs.test_names import commands
from tests.support.tiny import CHECKOUT, Pair
from tests.support.unconnected import needs_namespaces, run_alone

pytestmark = needs_namespaces
ALL_WELL = {"serve": 200, "label": 2, "rollback": 3, "gate-audit": 2}
"""Statuses other than 0: no labels, no champion before the first, and a hold-out that is too small to be replayed."""


def test_every_command_works_without_a_network_tries_to_reach_none_and_leaves_nothing_outside_its_workspace(
    workspace_copy: Workspace, pair: Pair, tmp_path: Path
):
    # A batch that arrives starts no run before all is over.
    text = (
        workspace_copy.params.read_text()
        .replace("debounce_s: 5", "debounce_s: 900")
        .replace("settle_s: 30", "settle_s: 900")
    )
    workspace_copy.params.write_text(
        text.replace("source_validation: 0.2", "source_validation: 0.25")
    )  # every stage runs

    done, alone = run_alone(
        tmp_path / "alone", sys.executable, "-m", "tests.support.every_command", workspace_copy.root, pair.source, pair.target,
        pair.holdout, PYTHONPATH=str(CHECKOUT),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[0])
    assert set(counts) == set(commands())
    assert {name: status for name, (status, _) in counts.items() if status} == ALL_WELL, done.stderr
    assert {name: packets for name, (_, packets) in counts.items() if packets} == {}
    assert alone.left() == []
    assert done.stdout.splitlines()[1:] == []


def test_a_packet_that_finds_no_way_out_is_counted(tmp_path: Path):
    code = (
        "import socket, contextlib; from tests.support.unconnected import attempts; print(attempts());"
        "f = lambda *a: contextlib.suppress(OSError).__enter__() or None\n"
        "for ask in (lambda: socket.getaddrinfo('example.org', 80), lambda: socket.create_connection(('192.0.2.1', 80), 1)):\n"
        "    with contextlib.suppress(OSError): ask()\n"
        "    print(attempts())"
    )

    done, _ = run_alone(tmp_path, sys.executable, "-c", code, PYTHONPATH=str(CHECKOUT))

    before, asked, connected = map(int, done.stdout.split())
    assert before < asked < connected, done.stderr


def test_nothing_of_acclimate_is_left_when_it_is_uninstalled(tmp_path: Path):
    """A wheel in an environment of its own, which sees the libraries of this one."""
    place = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n")
    pip = [sys.executable, "-m", "pip", f"--python={place / 'bin' / 'python'}"]
    before = listing(place)

    subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", CHECKOUT], check=True
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [place / "bin" / "acclimate", "doctor", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    python, libraries_found, *_ = json.loads(done.stdout)
    assert str(place) in python["found"]
    assert libraries_found["level"] == "ok"
    assert (site / "flows" / "__pycache__").is_dir()
    subprocess.run([*pip, "uninstall", "--quiet", "--yes", "acclimate"], check=True)

    assert listing(place) == before


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
