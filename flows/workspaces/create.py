"""Making a workspace: files that a run expects, git and DVC state, a copy of the user's images."""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from tasks.domains.image.reader import REFUSED, FoundFile, list_files, list_folders
from tasks.errors import BadInput, Fault
from tasks.files import write_text
from tasks.provenance import PACKAGE_ROOT, code_digest, library_versions
from tasks.workspace import DOMAIN_NAME, Workspace

log = logging.getLogger(__name__)

CODE_FOLDERS = ("tasks/", "deploy/", "flows/")
DEPENDENCY_LOCK = "requirements.lock"
GITIGNORE = "/.acclimate/\n/landing/\n/result.json\n"
DVC_CONFIG = """\
[core]
    remote = local
    analytics = false
    check_update = false
[cache]
    type = "reflink,hardlink,copy"
['remote "local"']
    url = ../.acclimate/remote
"""


def create_workspace(root: Path, *, params: dict) -> Workspace:
    """A new workspace at ``root`` with its own git and DVC state and ``params`` as params.yaml.

    Raises:
        BadInput: ``root`` holds something that is not a workspace.
    """
    workspace = Workspace(root.resolve())
    if root.exists() and any(root.iterdir()) and not workspace.params.exists():
        raise BadInput(f"{root} is not empty and not a workspace; name a new folder with --workspace")
    root.mkdir(parents=True, exist_ok=True)
    write_text(
        workspace.params, yaml.safe_dump(params, sort_keys=False, default_flow_style=None, allow_unicode=True)
    )
    write_text(root / ".gitignore", GITIGNORE)
    if not (root / ".git").exists():
        _run(["git", "init", "--quiet", "--initial-branch", "main"], root)
    if not (root / ".dvc").exists():
        _run([sys.executable, "-m", "dvc", "init", "--quiet"], root)
    write_text(root / ".dvc" / "config", DVC_CONFIG)
    refresh_generated(workspace)
    return workspace


def refresh_generated(workspace: Workspace) -> None:
    """Write dvc.yaml and code/<stage>.json anew where they changed; the checkout keeps its own.

    Outside the checkout a stage's modules lie elsewhere, so the digest of what it imports, and the
    versions of the libraries that decide results, stand in as its code dependency.
    """
    if is_checkout(workspace):
        return
    pipeline = yaml.safe_load(pipeline_template().read_text(encoding="utf-8"))
    for stage, definition in pipeline["stages"].items():
        code = f"code/{stage}.json"
        definition["deps"] = [d for d in definition["deps"] if not _is_code(d)] + [code]
        content = {
            "stage": stage,
            "sha256": code_digest(f"tasks.stages.{stage}"),
            "libraries": library_versions(),
        }
        _write_if_changed(workspace.root / code, json.dumps(content, indent=2) + "\n")
    text = "# Generated from acclimate's own dvc.yaml; edit params.yaml instead.\n" + yaml.safe_dump(
        pipeline, sort_keys=False, width=200
    )
    _write_if_changed(workspace.dvc_yaml, text)


def is_checkout(workspace: Workspace) -> bool:
    """Whether the workspace is the project's own checkout, whose dvc.yaml names the modules themselves."""
    return workspace.root.resolve() == PACKAGE_ROOT.resolve()


def pipeline_template() -> Path:
    """The project's dvc.yaml: in the checkout, or as packaged in a wheel."""
    checkout = PACKAGE_ROOT / "dvc.yaml"
    return checkout if checkout.exists() else PACKAGE_ROOT / "tasks" / "config" / "templates" / "dvc.yaml"


def domain_name(path: Path) -> str:
    """A name for a target from its folder's: lower case, digits and dashes.

    Raises:
        BadInput: Nothing usable is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().name.lower()).strip("-")[:63].rstrip("-")
    if name == "source":
        return "target"
    if not DOMAIN_NAME.fullmatch(name):
        raise BadInput(
            f"cannot make a target name of the folder {str(path)!r}; rename it to letters, digits or dashes"
        )
    return name


def import_images(origin: Path, destination: Path) -> list[FoundFile]:
    """Copy the tree ``origin`` to ``destination``; the copy appears whole or not at all.

    What cannot be copied safely (links that leave ``origin``, pipes, names that are not UTF-8,
    unreadable files) is not followed.

    Returns:
        What was not copied, with the reason; paths relative to ``origin``.

    Raises:
        BadInput: ``origin`` is not a folder, holds nothing, or the copy would lie inside it.
    """
    if not origin.is_dir():
        kind = "is not a folder" if origin.exists() else "does not exist"
        raise BadInput(f"{origin} {kind}; expected a folder of images")
    if destination.resolve().is_relative_to(origin.resolve()):
        raise BadInput(
            f"the workspace lies inside {origin}, which would be copied into itself; choose another --workspace"
        )
    found = list_files(origin)
    if not found:
        raise BadInput(f"{origin} holds no files; expected images")
    partial = destination.with_name(f".importing-{destination.name}")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in list_folders(origin):  # an empty class folder is told by the manifest
        (partial / folder).mkdir(parents=True)
    refused = [file for file in found if not _copied(file, origin, partial)]
    destination.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, destination)
    return [FoundFile(file.path, file.reason or "cannot be read: permission denied") for file in refused]


def note_refused(folder: Path, refused: Sequence[FoundFile], *, inside: str = "") -> None:
    """Add ``refused`` to the list that the manifest of the domain at ``folder`` reads.

    Args:
        folder: ``data/<domain>``, or a waiting batch.
        refused: As :func:`import_images` returns it.
        inside: Where below ``folder`` the paths start.
    """
    if not refused:
        return
    path = folder / REFUSED
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    rows = [{"path": (Path(inside) / file.path).as_posix(), "reason": file.reason} for file in refused]
    write_text(path, before + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _copied(file: FoundFile, origin: Path, destination: Path) -> bool:
    if file.reason is not None:
        return False
    place = destination / file.path
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copyfile(origin / file.path, place)
    except PermissionError:
        return False
    return True


def _is_code(dependency: str) -> bool:
    return dependency.startswith(CODE_FOLDERS) or dependency == DEPENDENCY_LOCK


def _write_if_changed(path: Path, text: str) -> None:
    # An unchanged file keeps its time stamp, so DVC does not hash it again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _run(command: list[str], folder: Path) -> None:
    from flows.runs.child import child_environment

    done = subprocess.run(
        command, cwd=folder, env=child_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Fault(f"`{' '.join(command)}` failed in {folder}: {(done.stderr or done.stdout).strip()}")
