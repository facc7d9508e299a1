"""Making a workspace: the files that a run expects, and its git and DVC state."""

import json
import logging
import os
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml

from flows.workspaces.editing import lay_over, read_yaml, to_text
from flows.workspaces.marker import GENERATED, being_made, check_place, is_checkout, is_workspace
from flows.workspaces.programs import dvc, git
from tasks.config.yaml_file import parse_yaml
from tasks.errors import BadInput, Fault, reason_of
from tasks.files import write_bytes, write_text
from tasks.provenance import PACKAGE_ROOT, code_digest, library_versions
from tasks.workspace import DOMAIN_NAME, Workspace

CODE_FOLDERS = ("tasks/", "deploy/", "flows/")
DEPENDENCY_LOCK = "requirements.lock"
PARAMS_TEMPLATE = PACKAGE_ROOT / "tasks" / "config" / "templates" / "params.yaml"
SAYS_NOTHING = re.compile(
    r"(all|raw|new|unlabelled|unlabeled|labelled|labeled|target)?[ _-]?(images?|imgs?|pictures?|pics?|photos?|frames?|data|dataset|files?"
    r"|jpe?gs?|pngs?|dcim|target|input|train|training|val|valid|validation|test|testing|holdout)[0-9]*",
    re.IGNORECASE,
)
"""Names of folders that every dataset has."""
NOT_FOR_DVC = (
    "/.acclimate/", "/landing/", "/data/*/**/*.dvc", "/data/*/**/dvc.yaml", "/data/*/**/dvc.lock",
)  # fmt: skip
"""A dvc.yaml in what somebody handed in is no pipeline of the workspace, and `dvc repro` must not run it."""
AS_IT_IS = "* -text"
"""No line end is ever changed: by bytes, ledgers and results are known."""
NOT_IN_GIT = ("/.acclimate/", "/landing/", "/result.json")
log = logging.getLogger(__name__)

DVC_CONFIG = """\
[core]
    remote = local
    analytics = false
    check_update = false
    autostage = false
[cache]
    dir = cache
    type = "reflink,hardlink,copy"
['remote "local"']
    url = ../.acclimate/remote
"""


def create_workspace(root: Path, *, params: dict) -> Workspace:
    """The workspace at ``root`` with ``params`` as its settings, made if it is not there.

    Raises:
        BadInput: ``root`` holds something that is not a workspace; nothing was written.
    """
    workspace = check_place(root)
    settle(workspace, params)
    return workspace


def settle(workspace: Workspace, params: dict) -> None:
    """Give the workspace ``params`` as its settings; a new one gets its own git and DVC state as well.

    In a params.yaml that is there, comments and order stay, and so does all else of the workspace. The caller has
    locked it.

    Raises:
        BadInput: The folder holds something that is not a workspace; nothing was written.
    """
    if is_workspace(workspace):
        _settle_params(workspace, params)
        return
    with being_made(workspace):
        # A repository of its own, also inside a larger one: runs commit to it, and not between the commits of its users.
        git(workspace, "init", "--quiet", "--initial-branch", "main")
        dvc(workspace, "init", "--force")
        write_text(workspace.root / ".dvc" / "config", DVC_CONFIG)
        _settle_params(workspace, params)
        refresh_generated(workspace)


def _settle_params(workspace: Workspace, params: dict) -> None:
    start = workspace.params if workspace.params.exists() else PARAMS_TEMPLATE
    before = start.read_text(encoding="utf-8")
    writer, content = read_yaml(before)
    lay_over(content, params)
    text = to_text(writer, content)
    if start == PARAMS_TEMPLATE or text != before:
        write_text(workspace.params, text)


def refresh_generated(workspace: Workspace) -> None:
    """Write dvc.yaml, code/<stage>.json and lines of .gitignore and .dvcignore where they are missing or old.

    The checkout keeps its own dvc.yaml. Elsewhere the modules of a stage are not in the workspace, so the
    digest of what it imports stands in as its code dependency, with the versions of the libraries that
    decide results.
    """
    _add_lines(workspace.root / ".gitignore", NOT_IN_GIT)
    _add_lines(workspace.root / ".dvcignore", NOT_FOR_DVC)
    if is_checkout(workspace):
        return
    _add_lines(workspace.root / ".gitattributes", (AS_IT_IS,))
    _keep_own_list_out(workspace)
    pipeline = parse_yaml(pipeline_template().read_text(encoding="utf-8"))
    for stage, definition in pipeline["stages"].items():
        code = f"code/{stage}.json"
        definition["deps"] = [d for d in definition["deps"] if not _is_code(d)] + [code]
        content = {
            "stage": stage,
            "sha256": code_digest(f"tasks.stages.{stage}"),
            "libraries": library_versions(),
        }
        write_if_changed(workspace.root / code, json.dumps(content, indent=2) + "\n")
    if workspace.dvc_yaml.exists() and not workspace.dvc_yaml.read_bytes().startswith(GENERATED.encode()):
        aside = set_aside(workspace, workspace.dvc_yaml)
        log.warning("%s is not the generated one; it is kept in %s", workspace.dvc_yaml, aside)
    text = f"{GENERATED}; edit params.yaml instead.\n" + yaml.safe_dump(pipeline, sort_keys=False, width=200)
    write_if_changed(workspace.dvc_yaml, text)


def _keep_own_list_out(workspace: Workspace) -> None:
    """Have a repository of the workspace's own ignore nothing by a list of its user's home, in commands that they type as well."""
    config = workspace.root / ".git" / "config"
    if (
        config.is_file()
        and "excludesfile" not in config.read_text(encoding="utf-8", errors="replace").lower()
    ):
        git(workspace, "config", "--local", "core.excludesFile", os.devnull)


def pipeline_template() -> Path:
    """The project's dvc.yaml: in the checkout, or as packaged in a wheel."""
    checkout = PACKAGE_ROOT / "dvc.yaml"
    return checkout if checkout.exists() else PACKAGE_ROOT / "tasks" / "config" / "templates" / "dvc.yaml"


def domain_name(path: Path, *, source: Path) -> str:
    """A name for a target from the folder that its examples come in: lower case, digits and dashes.

    It is the last folder of ``path`` that is not on the way to ``source`` as well, and whose name says something about the place:
    ``north`` for ``north/images``.

    Raises:
        BadInput: Nothing usable is left of it.
    """
    target, other = path.resolve(), source.resolve()
    target = target.with_suffix("") if target.is_file() else target
    shared = os.path.commonpath([target, other.parent])
    own = target.relative_to(shared).parts or target.parts[-1:]
    telling = [part for part in own if not SAYS_NOTHING.fullmatch(part)]
    name = re.sub(r"[^a-z0-9]+", "-", (telling or own)[-1].lower()).strip("-")[:63].rstrip("-")
    if name == "source":
        return "target"
    if not DOMAIN_NAME.fullmatch(name):
        raise BadInput(
            f"cannot make a target name of the folder {str(path)!r}; name the target with --name, in lower-case letters, digits"
            " and dashes"
        )
    return name


def set_aside(workspace: Workspace, path: Path) -> Path:
    """Move ``path``, a part of the workspace, to .acclimate/replaced/ and say where it is now; nothing is deleted.

    Raises:
        Fault: It cannot be moved.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    aside = workspace.private / "replaced" / stamp / path.relative_to(workspace.root)
    try:
        aside.parent.mkdir(parents=True)
        os.replace(path, aside)
    except OSError as error:
        raise Fault(
            f"{path} gives way to something new, and cannot be moved to {aside}: {reason_of(error)}."
            " Nothing was replaced; move it away yourself and repeat the command."
        ) from error
    return aside


def _add_lines(path: Path, wanted: Sequence[str]) -> None:
    """Add to a list of what is to be ignored the lines that are missing; the user's stay."""
    before = path.read_bytes() if path.exists() else b""
    missing = [line for line in wanted if line.encode() not in before.splitlines()]
    if missing:
        end = b"" if before.endswith(b"\n") or not before else b"\n"
        write_bytes(path, before + end + "".join(f"{line}\n" for line in missing).encode())


def _is_code(dependency: str) -> bool:
    return dependency.startswith(CODE_FOLDERS) or dependency == DEPENDENCY_LOCK


def write_if_changed(path: Path, text: str) -> None:
    """Write ``text`` to ``path``; an unchanged file keeps its time stamp, so that DVC does not hash it again."""
    if not path.exists() or path.read_bytes() != text.encode():
        write_text(path, text)
