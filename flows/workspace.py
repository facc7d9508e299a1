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

from tasks.config import DOMAIN_NAME
from tasks.errors import BadInput, Fault
from tasks.files import write_text
from tasks.provenance import PACKAGE_ROOT, code_digest, library_versions
from tasks.workspace import Workspace

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
    write_text(workspace.params, yaml.safe_dump(params, sort_keys=False, default_flow_style=None, allow_unicode=True))
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
        content = {"stage": stage, "sha256": code_digest(f"tasks.{stage}"), "libraries": library_versions()}
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
    return checkout if checkout.exists() else PACKAGE_ROOT / "tasks" / "templates" / "dvc.yaml"


def domain_name(path: Path) -> str:
    """A name for a target from its folder's: lower case, digits and dashes.

    Raises:
        BadInput: Nothing usable is left of it.
    """
    name = re.sub(r"[^a-z0-9]+", "-", path.resolve().name.lower()).strip("-")[:63].rstrip("-")
    if name == "source":
        return "target"
    if not DOMAIN_NAME.fullmatch(name):
        raise BadInput(f"cannot make a target name of the folder {str(path)!r}; rename it to letters, digits or dashes")
    return name


def import_images(origin: Path, destination: Path) -> None:
    """Copy the tree ``origin`` to ``destination``; the copy appears whole or not at all.

    What cannot be copied safely (links that leave ``origin``, pipes, names that are not UTF-8,
    unreadable files) is not followed, and is listed in refused.jsonl with the reason.

    Raises:
        BadInput: ``origin`` is not a folder, holds nothing, or lies inside the destination.
    """
    if not origin.is_dir():
        kind = "is not a folder" if origin.exists() else "does not exist"
        raise BadInput(f"{origin} {kind}; expected a folder of images")
    if destination.resolve().is_relative_to(origin.resolve()):
        raise BadInput(f"the workspace lies inside {origin}, which it would copy into itself; choose another --workspace")
    partial = destination.with_name(f".importing-{destination.name}")
    shutil.rmtree(partial, ignore_errors=True)
    refused = _copy_tree(origin, partial)
    if not any(path.is_file() for path in partial.rglob("*")) and not refused:
        shutil.rmtree(partial, ignore_errors=True)
        raise BadInput(f"{origin} holds no files; expected images")
    _append_refused(destination.parent if destination.name in ("images", "holdout") else partial, refused)
    if destination.exists():
        raise Fault(f"{destination} exists; a workspace takes its images in once")
    destination.parent.mkdir(parents=True, exist_ok=True)
    os.replace(partial, destination)


def _copy_tree(origin: Path, destination: Path) -> list[dict[str, str]]:
    refused: list[dict[str, str]] = []
    boundary = origin.resolve()
    destination.mkdir(parents=True)
    for folder, folders, files in os.walk(origin, followlinks=False):
        here = Path(folder)
        linked = [name for name in folders if (here / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in linked and _is_utf8(name) and not name.startswith("."))
        for name in sorted(folders):
            (destination / (here / name).relative_to(origin)).mkdir(exist_ok=True)
        for name in sorted([*files, *linked]):
            path = here / name
            reason = _refusal(path, boundary)
            relative = path.relative_to(origin)
            if reason is None:
                try:
                    shutil.copyfile(path, destination / relative)
                except PermissionError:
                    reason = "cannot be read: permission denied"
            if reason is not None:
                refused.append({"path": _printable(relative), "reason": reason})
    return refused


def _refusal(path: Path, boundary: Path) -> str | None:
    if not _is_utf8(path.name):
        return "its name is not UTF-8; rename it"
    if path.is_symlink():
        resolved = path.resolve()
        if not resolved.is_relative_to(boundary):
            return "a link that leaves the folder; copy the image itself"
        if resolved.is_dir():
            return "a link to a folder; copy the images themselves"
    if not path.exists():
        return "a link to nothing"
    if not path.is_file():
        return "not a regular file"
    return None


def _append_refused(folder: Path, refused: Sequence[dict[str, str]]) -> None:
    if not refused:
        return
    path = folder / "refused.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, before + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in refused))


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: Path) -> str:
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _is_code(dependency: str) -> bool:
    return dependency.startswith(CODE_FOLDERS) or dependency == DEPENDENCY_LOCK


def _write_if_changed(path: Path, text: str) -> None:
    # An unchanged file keeps its time stamp, so DVC does not hash it again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def _run(command: list[str], folder: Path) -> None:
    from flows.stage import child_environment

    done = subprocess.run(command, cwd=folder, env=child_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise Fault(f"`{' '.join(command)}` failed in {folder}: {(done.stderr or done.stdout).strip()}")


