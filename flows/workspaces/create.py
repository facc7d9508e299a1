"""Making a workspace: the files that a run expects, and its git and DVC state."""

import json
import re
from pathlib import Path

import yaml

from flows.workspaces.programs import dvc, git
from tasks.errors import BadInput
from tasks.files import write_text
from tasks.provenance import PACKAGE_ROOT, code_digest, library_versions
from tasks.workspace import DOMAIN_NAME, Workspace

CODE_FOLDERS = ("tasks/", "deploy/", "flows/")
DEPENDENCY_LOCK = "requirements.lock"
NOT_IN_GIT = ("/.acclimate/", "/landing/", "/result.json")
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
    if not (root / ".git").exists():
        git(workspace, "init", "--quiet", "--initial-branch", "main")
    if not (root / ".dvc").exists():
        dvc(workspace, "init", "--quiet")
    write_text(root / ".dvc" / "config", DVC_CONFIG)
    refresh_generated(workspace)
    return workspace


def refresh_generated(workspace: Workspace) -> None:
    """Write dvc.yaml, code/<stage>.json and lines of .gitignore where they are missing or old.

    The checkout keeps its own dvc.yaml. Elsewhere the modules of a stage are not in the workspace, so the
    digest of what it imports stands in as its code dependency, with the versions of the libraries that
    decide results.
    """
    _ignore_private_files(workspace)
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


def _ignore_private_files(workspace: Workspace) -> None:
    """Add to .gitignore what git must not keep; the user's lines stay."""
    path = workspace.root / ".gitignore"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    missing = [line for line in NOT_IN_GIT if line not in lines]
    if missing:
        write_text(path, "".join(f"{line}\n" for line in [*lines, *missing]))


def _is_code(dependency: str) -> bool:
    return dependency.startswith(CODE_FOLDERS) or dependency == DEPENDENCY_LOCK


def _write_if_changed(path: Path, text: str) -> None:
    # An unchanged file keeps its time stamp, so DVC does not hash it again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
