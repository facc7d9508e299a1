"""The state of a workspace: settings, rights, git and DVC state, locks, data, weights. Nothing is written."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from flows.doctor.finding import Finding
from flows.runs.lock import is_held, taken_by
from flows.runs.prepare import (
    check_data,
    check_registry_is_here,
    check_settings,
    check_weights,
    read_params,
)
from flows.runs.repair import is_whole
from flows.workspaces.marker import MARKER, is_checkout
from flows.workspaces.programs import git
from flows.workspaces.push import push_standing, remote_of
from flows.workspaces.record import owned, unrecorded
from flows.workspaces.rights import describe, not_writable
from tasks.config.params import Params
from tasks.errors import AcclimateError, BadInput, Fault
from tasks.workspace import Workspace

UNFINISHED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
"""Files of git's, during which it commits no single paths."""
FOLLOWED = "commit.gpgsign|core.hookspath|core.autocrlf|core.fsmonitor"
"""Settings of a repository that a record follows."""


def settings(workspace: Workspace) -> Iterator[Finding]:
    """params.yaml, the settings of each target, and the weights that they name."""
    params = read_params(workspace)
    yield Finding(
        "settings", "ok", f"{workspace.params.name}: {len(params.targets)} targets, preset and losses agree"
    )
    for target in params.targets:
        try:
            check_settings(workspace, target)
        except AcclimateError as error:
            yield Finding("settings", "wrong", str(error))
    if check_weights(params, root=workspace.root):
        yield Finding("weights", "ok", f"{params.model.weights} fits {params.model.backbone}")


def data(workspace: Workspace, params: Params) -> Iterator[Finding]:
    """Whether the data of every domain and the registry of every target is on this machine."""
    checks = [
        *((check_data, name) for name in params.domains),
        *((check_registry_is_here, name) for name in params.targets),
    ]
    for check, name in checks:
        try:
            check(workspace, name)
        except BadInput as error:
            yield Finding("data", "wrong", str(error))


def rights(workspace: Workspace) -> Iterator[Finding]:
    """Whether this user may write what a run writes."""
    refused = not_writable(workspace)
    if refused:
        yield Finding("rights", "wrong", describe(workspace, refused))
    else:
        yield Finding("rights", "ok", f"you may write everywhere in {workspace.root}")


def locks(workspace: Workspace) -> Iterator[Finding]:
    """Who is at work, and whether anything runs by itself."""
    owner = taken_by(workspace)
    if owner:
        yield Finding("locks", "note", f"the workspace is in use by {owner}", "Other runs wait for it.")
    else:
        yield Finding("locks", "ok", "nobody is at work in the workspace")
    if is_held(workspace.private / "up"):
        yield Finding("service", "ok", "`acclimate up` serves the workspace")
    else:
        yield Finding("service", "note", "no `acclimate up` serves the workspace: nothing is done on time, or by itself", "Start it, if this should change.")  # fmt: skip


def git_state(workspace: Workspace) -> Iterator[Finding]:
    """The git repository: whether records get into it."""
    if is_checkout(workspace):
        yield Finding("git state", "ok", "the checkout keeps no run in git")
        return
    try:
        folder = Path(git(workspace, "rev-parse", "--absolute-git-dir").strip())
    except Fault as fault:
        yield _unusable(workspace, fault)
        return
    findings = [
        *_unfinished(folder),
        *_lock_files(folder),
        *_hooks(workspace),
        *_followed(workspace),
        *_ignored(workspace),
    ]
    yield from findings
    if waiting := unrecorded(workspace):
        more = f" and {len(waiting) - 3} more" if len(waiting) > 3 else ""
        yield Finding("git state", "note", f"not recorded yet: {', '.join(waiting[:3])}{more}", "The next run, promotion or label records them.")  # fmt: skip
    elif not findings:
        yield Finding("git state", "ok", "everything is recorded")


def _unusable(workspace: Workspace, fault: Fault) -> Finding:
    said = str(fault)
    if "dubious ownership" in said:
        advice = f"If you trust it: `git config --global --add safe.directory {workspace.root}`."
        return Finding(
            "git state", "wrong", f"git works in no repository of another user: {workspace.root}", advice
        )
    if "not a git repository" in said:
        return Finding("git state", "wrong", f"{workspace.root} is in no git repository: nothing is recorded", "`git init` makes one.")  # fmt: skip
    return Finding("git state", "wrong", said)


def _unfinished(folder: Path) -> Iterator[Finding]:
    for name in UNFINISHED:
        if (folder / name).exists():
            word = name.split("_")[0].split("-")[0].lower()
            yield Finding("git state", "wrong", f"a {word} is unfinished ({folder / name}): git takes no record until it ends", "Finish it, or abort it with `--abort`.")  # fmt: skip


def _lock_files(folder: Path) -> Iterator[Finding]:
    for lock in (folder / "index.lock", folder / "HEAD.lock", folder / "config.lock"):
        if not lock.exists():
            continue
        minutes = max(0, int(time.time() - lock.stat().st_mtime)) // 60
        at_work = any(
            (process.info["name"] or "").startswith("git") for process in psutil.process_iter(["name"])
        )
        if at_work:
            yield Finding("git state", "note", f"{lock} is there for {minutes} min, and a git is at work", "Wait for it to end.")  # fmt: skip
        else:
            yield Finding("git state", "wrong", f"{lock} was left by a git that was killed, {minutes} min ago: nothing is recorded", "Remove that file.")  # fmt: skip


def _hooks(workspace: Workspace) -> Iterator[Finding]:
    folder = workspace.root / git(workspace, "rev-parse", "--git-path", "hooks").strip()
    names = ("pre-commit", "prepare-commit-msg", "commit-msg", "post-commit", "reference-transaction")
    if active := [name for name in names if os.access(folder / name, os.X_OK)]:
        yield Finding("git state", "note", f"{', '.join(active)} in {folder} run with every record", "A hook that fails keeps it from git; the result stays, and the next record takes it along.")  # fmt: skip


def _followed(workspace: Workspace) -> Iterator[Finding]:
    try:
        said = git(workspace, "config", "--local", "--get-regexp", f"^({FOLLOWED})$")
    except Fault:  # there are none
        return
    lines = [line.replace(" ", " = ", 1) for line in said.splitlines()]
    yield Finding("git state", "note", f"the repository's own settings are followed: {'; '.join(lines)}", "If records fail by them, unset them: `git config --unset NAME`.")  # fmt: skip


def _ignored(workspace: Workspace) -> Iterator[Finding]:
    """Files that acclimate keeps in git and an ignore pattern keeps out."""
    mine = sorted(path for path in owned(workspace) if (workspace.root / path).exists())
    try:
        said = git(workspace, "check-ignore", "--verbose", "--", *mine)
    except Fault:  # none is
        return
    rows = [line.partition("\t") for line in said.splitlines()]
    named = ", ".join(path for _, _, path in rows[:3])
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    pattern = rows[0][0]
    yield Finding("git state", "wrong", f"git ignores {named}{more} by {pattern}: they are never recorded", "Take that pattern out.")  # fmt: skip


def dvc_state(workspace: Workspace) -> Iterator[Finding]:
    """DVC: its files, its remote, and what only this disk has."""
    if not (workspace.root / ".dvc").is_dir():
        advice = "Run `dvc init` in it, or restore .dvc/ from git."
        yield Finding("DVC", "wrong", f"{workspace.root} has no .dvc/, so that no run can start", advice)
        return
    if workspace.dvc_lock.exists() and not is_whole(workspace.dvc_lock):
        yield Finding(
            "DVC", "note", f"{workspace.dvc_lock} is torn", "The next run restores the last good one."
        )
    if remote := remote_of(workspace):
        yield Finding("DVC", "ok", f"the remote is {remote.url}")
    if standing := push_standing(workspace):
        yield Finding("DVC", "note", standing)


def marker(workspace: Workspace) -> Iterator[Finding]:
    """Which workspace it is."""
    what = "the project's checkout" if is_checkout(workspace) else "a workspace"
    yield Finding(
        "workspace", "ok", f"{workspace.root} is {what}{'' if is_checkout(workspace) else f' ({MARKER})'}"
    )
