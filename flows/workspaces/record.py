"""Commits to git what acclimate made: exactly those paths, and nothing that somebody else put or staged there.

A record that fails stops nothing. It is logged with the next step, and the next record takes all of it. A file that git alone
can bring back is never recorded as removed or damaged.
"""

import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAMLError

from deploy.registry import status
from deploy.settings import read_section
from flows.workspaces.marker import MARKER, is_checkout
from flows.workspaces.programs import identity
from tasks.config.sections.operation import ReleaseParams
from tasks.config.yaml_file import parse_yaml
from tasks.environment import child_environment
from tasks.errors import AcclimateError, BadInput
from tasks.records.ledger import read_ledger
from tasks.workspace import DOMAIN_NAME, Workspace

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0
"""For one git command; hooks of the user's may hang."""
TRIES = 4
RETRY_DELAY_S = 0.4
QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": ":",
    "GIT_PAGER": "cat",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "LC_ALL": "C",
}
"""Nobody is there to answer, and a file name is no pattern."""

ALWAYS = (
    MARKER, "params.yaml", "dvc.yaml", "dvc.lock", ".gitattributes", ".gitignore", ".dvcignore", ".dvc/config", ".dvc/.gitignore",
    "data/.gitignore", "data/classes.json", "data/weights.json", "arrivals.jsonl", "arrivals.jsonl.damaged",
)  # fmt: skip
OF_DOMAIN = ("data/{}.dvc",)
OF_TARGET = ("targets/{}.yaml", "registry/{}/champion.json", "registry/{}/history.jsonl")
LABELS_OF_TARGET = ("answers/{}.csv", "ledger/{}.jsonl")
"""They only ever grow, and git alone brings them back."""
OF_VERSION = ("version.json", "model.onnx.dvc", ".gitignore")
ONLY_IN_GIT = re.compile(
    r"(?:ledger/[^/]+\.jsonl|answers/[^/]+\.csv|arrivals\.jsonl|registry/[^/]+/(?:champion\.json|history\.jsonl)"
    r"|registry/[^/]+/versions/[0-9]+/version\.json)"
)
"""Acclimate removes none of these: one that is gone was lost, and git must keep it."""


def record_by_policy(workspace: Workspace, *, message: str) -> bool:
    """:func:`record` as ``release.record`` of params.yaml says: everything, or labels alone, which git alone brings back."""
    try:
        policy = read_section(workspace, "release", ReleaseParams).record
    except AcclimateError:
        policy = "none"
    return record(workspace, message=message, only_labels=policy != "commit")


def record(workspace: Workspace, *, message: str, only_labels: bool = False, within: str = "") -> bool:
    """Commit what acclimate made and has changed since the last record; whether there was a commit.

    Raises nothing: a fault is logged with the next step. The project's checkout keeps no run in git.

    Args:
        workspace: Where.
        message: The commit's message.
        only_labels: Leave out all but answers and ledgers.
        within: Leave out all paths that do not begin like this.
    """
    if is_checkout(workspace):
        return False
    try:
        for attempt in range(TRIES):
            try:
                return _commit(workspace, message, only_labels=only_labels, within=within)
            except _GitFailed as failure:
                if attempt == TRIES - 1 or not failure.may_pass:
                    raise
                time.sleep(RETRY_DELAY_S * 2**attempt)
    except Exception as failure:  # whatever it is: a record must not keep a model from service
        log.warning(
            "not recorded in git: %s. Nothing is lost, and the next record takes it along. %s",
            message,
            failure,
        )
    return False


def unrecorded(workspace: Workspace, *, only_labels: bool = False) -> list[str]:
    """Paths that :func:`record` would commit now, relative to the workspace; empty where git cannot be asked."""
    if is_checkout(workspace):
        return []
    try:
        return [path for path, _ in _changed(workspace, only_labels=only_labels)]
    except (_GitFailed, OSError, ValueError):
        return []


def owned(workspace: Workspace, *, only_labels: bool = False) -> set[str]:
    """Every path that acclimate writes and git keeps, relative to the workspace, whether or not it is there."""
    targets = _targets(workspace)
    found = {pattern.format(target) for pattern in LABELS_OF_TARGET for target in targets}
    found |= {
        path.relative_to(workspace.root).as_posix()
        for target in targets
        for path in (workspace.root / "answers" / "unsent").glob(f"{target}-*.csv")
    }
    if only_labels:
        return found
    found |= {*ALWAYS, *_outputs(workspace, targets)}
    found |= {pattern.format(domain) for pattern in OF_DOMAIN for domain in ("source", *targets)}
    found |= {pattern.format(target) for pattern in OF_TARGET for target in targets}
    for target in targets:
        versions = workspace.registry(target) / "versions"
        numbers = [path.name for path in versions.glob("*") if path.name.isdecimal()]
        found |= {f"registry/{target}/versions/{number}/{name}" for number in numbers for name in OF_VERSION}
    return found


# --- what is acclimate's -----------------------------------------------------------------------


def _targets(workspace: Workspace) -> list[str]:
    """Targets of params.yaml, and those that have left it and whose registry is still there."""
    registered = [path.parent.name for path in (workspace.root / "registry").glob("*/champion.json")]
    named = _mapping(workspace.params).get("targets")
    listed = [name for name in named if isinstance(name, str)] if isinstance(named, list) else []
    return sorted({name for name in (*registered, *listed) if DOMAIN_NAME.fullmatch(name)})


def _outputs(workspace: Workspace, targets: Sequence[str]) -> Iterator[str]:
    """Outputs of dvc.yaml that git keeps, the .gitignore files beside the others, and each stage's code."""
    values = {"domain": ["source", *targets], "target": list(targets)}
    stages = _mapping(workspace.dvc_yaml).get("stages")
    for name, stage in (stages if isinstance(stages, dict) else {}).items():
        yield f"code/{name}.json"
        keys = list(stage.get("matrix", {}))
        items = values.get(keys[0], []) if keys else [""]
        for out in stage.get("outs", []):
            pattern, options = next(iter(out.items())) if isinstance(out, dict) else (out, {})
            for item in items:
                path = pattern.replace(f"${{item.{keys[0]}}}", item) if keys else pattern
                kept_in_git = options.get("cache") is False
                yield path if kept_in_git else (Path(path).parent / ".gitignore").as_posix()


def _mapping(path: Path) -> Mapping[str, object]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


# --- git ---------------------------------------------------------------------------------------


class _GitFailed(Exception):
    """A git command failed; the message has what it said and the next step."""

    def __init__(self, message: str, *, may_pass: bool) -> None:
        super().__init__(message)
        self.may_pass = may_pass


def _commit(workspace: Workspace, message: str, *, only_labels: bool, within: str) -> bool:
    changed = [row for row in _changed(workspace, only_labels=only_labels) if row[0].startswith(within)]
    if not changed:
        return False
    new = [path for path, state in changed if state == "??"]
    if new:  # known to git, yet not staged: a commit that fails leaves nothing in the user's next one
        _git(workspace, "add", "--intent-to-add", *FROM_STDIN, paths=new)
    paths = [path for path, _ in changed]
    _git(workspace, "commit", "--quiet", "--message", message, "--only", *FROM_STDIN, paths=paths)
    return True


FROM_STDIN = ("--pathspec-from-file=-", "--pathspec-file-nul")


def _changed(workspace: Workspace, *, only_labels: bool) -> list[tuple[str, str]]:
    """Owned paths that differ from the last commit, with git's two letters; what git ignores is left out."""
    mine = owned(workspace, only_labels=only_labels)
    prefix = _git(workspace, "rev-parse", "--show-prefix").rstrip("\n")
    said = _git(
        workspace, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", "."
    )
    rows = [(row[3:].removeprefix(prefix), row[:2]) for row in said.split("\0") if row]
    found = [
        (path, state) for path, state in rows if path in mine and not _is_behind_a_link(workspace.root, path)
    ]
    return [(path, state) for path, state in found if not path.startswith(_damaged(workspace, found))]


def _damaged(workspace: Workspace, changed: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """How the paths begin that git must keep as it has them, since they are lost or damaged here: it brings them back."""
    lost = [path for path, state in changed if "D" in state and ONLY_IN_GIT.fullmatch(path)]
    changed_in = {tuple(path.split("/")[:2]) for path, state in changed if {*state} & {*"MD"}}
    damaged = {f"registry/{path.split('/')[1]}/" for path in lost if path.startswith("registry/")}
    if any(folder == "registry" for folder, *_ in changed_in):
        damaged |= {f"registry/{name}/" for name, row in status(workspace).items() if row.problem}
    for folder, name in (parts for parts in changed_in if len(parts) == 2 and parts[0] == "ledger"):
        try:
            read_ledger(workspace.root / folder / name)
        except (BadInput, OSError):
            damaged.add(f"{folder}/{name}")
    return (*lost, *damaged)


def _is_behind_a_link(root: Path, path: str) -> bool:
    return any((root / folder).is_symlink() for folder in list(Path(path).parents)[:-1])


@dataclass(frozen=True)
class _Said:
    returncode: int
    stdout: str
    stderr: str


def _git(workspace: Workspace, *arguments: str, paths: Sequence[str] = ()) -> str:
    """The output of a git command; ``paths`` go to its stdin.

    Raises:
        _GitFailed: It failed, or did not end in time; then it was ended with all that it had started.
    """
    said = _run(workspace, arguments, "\0".join(paths))
    if said.returncode == 0:
        return said.stdout
    words = (said.stderr or said.stdout).strip()[-600:] or "it said nothing"
    lock = "index.lock" in words
    step = (
        "If no git is at work, remove that file."
        if lock
        else f"Try it yourself: `git -C {workspace.root} {arguments[0]}`."
    )
    raise _GitFailed(
        f"`git {arguments[0]}` failed in {workspace.root}: {words}. {step}",
        may_pass=lock or "cannot lock ref" in words,
    )


def _run(workspace: Workspace, arguments: Sequence[str], stdin: str) -> _Said:
    process = subprocess.Popen(
        ["git", *arguments],
        cwd=workspace.root,
        env={**child_environment(workspace.root), **QUIET, **identity(workspace.root)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, encoding="utf-8", errors="surrogateescape",
        start_new_session=True,  # so that hooks end with it
    )  # fmt: skip
    try:
        stdout, stderr = process.communicate(stdin, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        _end(process)
        raise _GitFailed(
            f"`git {arguments[0]}` did not end within {TIMEOUT_S:.0f} s in {workspace.root}; does a hook of"
            " the repository wait for something? It was ended.",
            may_pass=False,
        ) from None
    except BaseException:
        _end(process)
        raise
    return _Said(process.returncode, stdout, stderr)


def _end(process: "subprocess.Popen[str]") -> None:
    """End git and its hooks: first so that git removes its lock files, then for certain."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=3)
    for pipe in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if pipe:
                pipe.close()
