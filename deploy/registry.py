"""Model versions of a target: immutable folders, aliases, an append-only history.

    registry/<target>/versions/<n>/model.onnx     the bytes; DVC has them, git sees model.onnx.dvc
    registry/<target>/versions/<n>/version.json   what they are, and which verdicts spoke of them
    registry/<target>/history.jsonl               every publish, judge, promote and rollback
    registry/<target>/champion.json               the pointer that servers and the gate read

The history decides, and champion.json is what replaying it gives. An action writes its history
entry first; a kill before the pointer follows leaves the old champion in service, and the next
action on the target (the rerun, for one) moves the pointer before it does anything else.

Promotions form a stack and a rollback takes the top off, so rolling back twice goes back two
promotions and never forth to the version that was just taken out. The challenger is not stored:
it is the newest version that never was champion. Publishing therefore leaves champion.json
alone, and with it the gate that depends on it.

Servers import this module for reading; it needs the standard library and ``tasks``.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.errors import BadInput, Fault, Refused
from tasks.files import fsync_folder, read_json, write_bytes, write_json
from tasks.workspace import DOMAIN_NAME, Workspace

log = logging.getLogger(__name__)

MODEL = "model.onnx"
_VERSION = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True)
class Champion:
    """The version of a target that is in service."""

    target: str
    version: int
    model_sha256: str
    checkpoint_sha256: str


# Reading: what servers, the Triton exporter and `acclimate status` use.


def registered_targets(workspace: Workspace) -> list[str]:
    """Names of the targets that have a registry, sorted."""
    folders = (workspace.root / "registry").glob("*/champion.json")
    return sorted(path.parent.name for path in folders if DOMAIN_NAME.fullmatch(path.parent.name))


def read_champion(workspace: Workspace, target: str) -> Champion | None:
    """The champion that the pointer file names, or None before the first promotion.

    Raises:
        BadInput: The target has no registry, or its pointer file is damaged.
    """
    path = workspace.champion(target)
    if not path.is_file():
        raise BadInput(_unknown_target(workspace, target))
    pointer = read_json(path)
    try:
        if pointer["champion"] is None:
            return None
        return Champion(
            target, int(pointer["champion"]), pointer["model_sha256"], pointer["checkpoint_sha256"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{_name(workspace, path)} does not name a champion. Promote or roll back {target} to rewrite it"
            " from its history, or restore it from git."
        ) from error


def champion_bytes(workspace: Workspace, champion: Champion) -> bytes:
    """The ONNX bytes of the champion, proven to be the ones that were judged.

    Raises:
        BadInput: They are not on this machine; the message holds the command that fetches them.
        Refused: They are not the bytes that were promoted.
    """
    return _verified_bytes(workspace, champion.target, champion.version, champion.model_sha256)


def model_path(workspace: Workspace, target: str, version: int) -> Path:
    """Where the bytes of a version lie, when they are on this machine."""
    return _version_folder(workspace, target, version) / MODEL


def read_version(workspace: Workspace, target: str, version: int) -> dict[str, Any]:
    """The content of a version's version.json.

    Raises:
        BadInput: There is no such version; the message names those there are.
    """
    known = _versions(workspace, target)
    if version not in known:
        listed = ", ".join(map(str, known)) or "none: `acclimate run` publishes"
        raise BadInput(f"target {target} has no version {version}; published versions: {listed}.")
    return read_json(_version_folder(workspace, target, version) / "version.json")


def status(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """For every registered target: aliases, and its versions, newest first.

    Each version: ``version``, ``created_at``, ``candidate``, ``verdict`` (the latest about it),
    ``model_sha256`` and ``here`` (whether its bytes are on this machine).
    """
    return {target: _target_status(workspace, target) for target in registered_targets(workspace)}


def _target_status(workspace: Workspace, target: str) -> dict[str, Any]:
    history = _read_history(workspace, target)
    pointer = read_json(workspace.champion(target))
    rows = []
    for version in reversed(_versions(workspace, target)):
        record = read_version(workspace, target, version)
        rows.append(
            {
                "version": version,
                "created_at": record["created_at"],
                "candidate": record["candidate"],
                "verdict": _latest_verdicts(record, history)["gate"]["verdict"],
                "model_sha256": record["model_sha256"],
                "here": model_path(workspace, target, version).is_file(),
            }
        )
    return {
        "champion": pointer.get("champion"),
        "previous": pointer.get("previous"),
        "challenger": _challenger(workspace, target, history),
        "versions": rows,
    }


# Acting: each of these holds the target's lock, and can be killed and run again.


def create_registry(workspace: Workspace, target: str) -> None:
    """Make the registry of ``target``, with no champion; nothing changes if it is there."""
    _check_name(target)
    with _locked(workspace, target):
        _settle(workspace, target)


def publish(
    workspace: Workspace,
    target: str,
    *,
    data_verdict: Path,
    gate_verdict: Path,
    probe_verdict: Path,
    model: Path,
    by: str,
    reason: str,
    at: str | None = None,
) -> int:
    """Record ``model`` as a version of ``target``, if three verdicts speak of its very bytes.

    Bytes that are published already keep their version; verdicts that are new about them are
    added to the history, and the latest decides about promotion.

    Args:
        model: The exported ONNX file, with ``export.json`` beside it.
        at: ISO 8601 time of the action; now when None.

    Returns:
        The version, from 1.

    Raises:
        Refused: A verdict speaks of other bytes or data, or did not pass; every reason is named.
        BadInput: A file is missing or is not what it should be.
    """
    # The rest of this module serves readers, which need not load onnxruntime for it.
    from deploy.evidence import gather

    _check_name(target)
    at = at or _now()
    evidence = gather(target, data=data_verdict, gate=gate_verdict, probe=probe_verdict, model=model)
    with _locked(workspace, target):
        history = _settle(workspace, target)
        version = _find_version(workspace, target, evidence.record["model_sha256"])
        if version is None:
            version = max(_versions(workspace, target), default=0) + 1
            record = {"version": version, "created_at": at, "git_commit": _git_commit(workspace.root)}
            record |= {"by": by, "reason": reason} | evidence.record
            _write_version(workspace, target, version, evidence.content, record)
        verdicts = evidence.record["verdicts"]
        known = [entry["verdicts"] for entry in _entries(history, version, "publish", "judge")]
        if known[-1:] != [verdicts]:
            action = "judge" if known else "publish"
            entry = _entry(at, action, version, by, reason) | {"verdicts": verdicts}
            _append_history(workspace, target, entry)
            log.info("%s %s version %d: %s", action, target, version, verdicts["gate"]["verdict"])
        return version


def promote(
    workspace: Workspace,
    target: str,
    version: int,
    *,
    by: str,
    reason: str,
    force: bool = False,
    allow_provisional: bool = False,
    at: str | None = None,
) -> None:
    """Make ``version`` the champion of ``target``; nothing changes if it is.

    A verdict ``promote`` suffices. ``provisional`` needs ``allow_provisional``; ``hold`` passes
    only for source-only where nothing is in service yet, since source-only is what ships when
    nothing beats it. All else needs ``force``, with a name and a reason that the history keeps.

    Raises:
        Refused: The verdict does not allow it, or the bytes are not the ones that were judged.
        BadInput: No such target or version, no name or reason for a forced one, or no bytes here.
    """
    if force and not (by.strip() and reason.strip()):
        raise BadInput(
            "a forced promotion needs --by (who decides) and --reason (why): the history keeps both."
        )
    _require_target(workspace, target)
    with _locked(workspace, target):
        history = _settle(workspace, target)
        record = read_version(workspace, target, version)
        stack = _promotions(history)
        if stack[-1:] == [version]:
            return
        gate = _latest_verdicts(record, history)["gate"]
        objection = _objection(
            target, version, gate, has_champion=bool(stack), allow_provisional=allow_provisional
        )
        if objection and not force:
            raise Refused(objection)
        _verified_bytes(workspace, target, version, record["model_sha256"])
        entry = _entry(at, "promote", version, by, reason)
        entry |= {"verdict": gate["verdict"], "forced": bool(objection)}
        _append_history(workspace, target, entry)
        _settle(workspace, target)
        log.info("%s: version %d is champion (%s)", target, version, gate["verdict"])


def rollback(workspace: Workspace, target: str, *, by: str, reason: str, at: str | None = None) -> int:
    """Put the previous champion back in service, and return its version.

    Raises:
        Refused: There is no previous champion, or its bytes are not the ones that were judged.
        BadInput: No such target, or the bytes are not on this machine.
    """
    _require_target(workspace, target)
    with _locked(workspace, target):
        pointer_before = _read_or_none(workspace.champion(target))
        history = _settle(workspace, target)
        stack = _promotions(history)
        interrupted = pointer_before != _read_or_none(workspace.champion(target))
        if interrupted and history and history[-1]["action"] == "rollback":
            log.info("%s: finished an interrupted rollback to version %d", target, stack[-1])
            return stack[-1]
        if len(stack) < 2:
            now = f"version {stack[0]} is the first champion" if stack else "nothing was promoted yet"
            raise Refused(
                f"target {target} has no previous champion: {now}. `acclimate status` lists its versions."
            )
        record = read_version(workspace, target, stack[-2])
        _verified_bytes(workspace, target, stack[-2], record["model_sha256"])
        entry = _entry(at, "rollback", stack[-2], by, reason) | {"from": stack[-1]}
        _append_history(workspace, target, entry)
        _settle(workspace, target)
        log.info("%s: rolled back from version %d to %d", target, stack[-1], stack[-2])
        return stack[-2]


def _objection(
    target: str, version: int, gate: dict[str, Any], *, has_champion: bool, allow_provisional: bool
) -> str | None:
    """Why the gate's verdict does not allow this promotion; None when it does."""
    verdict = gate["verdict"]
    if verdict == "promote" or (verdict == "provisional" and allow_provisional):
        return None
    if verdict == "hold" and not has_champion and _is_source_only(gate["candidate"]):
        return None
    reasons = "; ".join(gate["reasons"]) or "no reasons given"
    advice = "To promote it anyway: --force with --by and --reason."
    if verdict == "provisional":
        advice = (
            "Label some of to_label.csv and hand it in with `acclimate label`, or allow provisional verdicts. "
            + advice
        )
    return f"version {version} of {target} has the verdict {verdict} ({reasons}). {advice}"


def _is_source_only(candidate: str) -> bool:
    return candidate == "source_only" or candidate.startswith("source_only-")


# Versions on disk


def _version_folder(workspace: Workspace, target: str, version: int) -> Path:
    return workspace.registry(target) / "versions" / str(version)


def _versions(workspace: Workspace, target: str) -> list[int]:
    folder = workspace.registry(target) / "versions"
    return sorted(int(path.name) for path in folder.glob("*") if _VERSION.fullmatch(path.name))


def _find_version(workspace: Workspace, target: str, model_sha256: str) -> int | None:
    for version in _versions(workspace, target):
        if read_version(workspace, target, version)["model_sha256"] == model_sha256:
            return version
    return None


def _write_version(
    workspace: Workspace, target: str, version: int, content: bytes, record: dict[str, Any]
) -> None:
    folder = _version_folder(workspace, target, version)
    # DVC tracks the file before the rename: a version is never there without its pointer. The
    # name is fixed so that a killed publish leaves one folder, which the next one clears.
    staging = folder.parent / f".writing-{version}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _fill_version(workspace.root, staging, content, record)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    staging.rename(folder)
    fsync_folder(folder.parent)


def _fill_version(root: Path, folder: Path, content: bytes, record: dict[str, Any]) -> None:
    write_bytes(folder / MODEL, content)
    _dvc_add(root, folder / MODEL)
    # DVC moved the bytes into its cache and linked or copied them back.
    if hashlib.sha256((folder / MODEL).read_bytes()).hexdigest() != record["model_sha256"]:
        raise Fault(
            f"{folder / MODEL} changed while it was written; check the disk and publish again.",
            retryable=True,
        )
    write_json(folder / "version.json", record)


def _dvc_add(root: Path, path: Path) -> None:
    command = [sys.executable, "-m", "dvc", "add", path.relative_to(root).as_posix()]
    result = subprocess.run(
        command,
        cwd=root,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode == 0:
        return
    if "not inside of a DVC repository" in result.stderr:
        raise BadInput(
            f"{root} is no DVC repository, so versions cannot be kept. Run `git init` and `dvc init` in it,"
            " or make a workspace with `acclimate init`."
        )
    last = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    raise Fault(
        f"`dvc add {command[-1]}` failed in {root}: {last}. Nothing was published; run again.", retryable=True
    )


def _verified_bytes(workspace: Workspace, target: str, version: int, sha256: str) -> bytes:
    path = model_path(workspace, target, version)
    name = _name(workspace, path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise BadInput(
            f"version {version} of {target} is not on this machine: {name} is missing. Fetch it with"
            f" `dvc pull {name}.dvc` in the workspace."
        ) from error
    except OSError as error:
        raise BadInput(
            f"cannot read {name}: {error.strerror or error}. Fix the permissions, or `dvc checkout --force {name}.dvc`."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Refused(
            f"version {version} of {target} must not serve: {name} has the sha256 {found}, but {sha256} was"
            f" judged and promoted. Restore it with `dvc checkout --force {name}.dvc`."
        )
    return content


def _git_commit(root: Path) -> str | None:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None


# History and pointer


def _history_path(workspace: Workspace, target: str) -> Path:
    return workspace.registry(target) / "history.jsonl"


def _read_history(workspace: Workspace, target: str) -> list[dict[str, Any]]:
    path = _history_path(workspace, target)
    if not path.is_file():
        return []
    entries = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            entry = json.loads(line)
            entries.append(entry | {"action": entry["action"], "version": int(entry["version"])})
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{_name(workspace, path)}, line {number} is no history entry: {line[:80]!r}. Restore the file from git."
            ) from error
    return entries


def _append_history(workspace: Workspace, target: str, entry: dict[str, Any]) -> None:
    path = _history_path(workspace, target)
    # Whole-file replacement: a kill or a full disk in the middle of a plain append leaves half a line.
    before = path.read_bytes() if path.is_file() else b""
    line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    write_bytes(path, before + line.encode("utf-8") + b"\n")


def _entry(at: str | None, action: str, version: int, by: str, reason: str) -> dict[str, Any]:
    return {"at": at or _now(), "action": action, "version": version, "by": by, "reason": reason}


def _entries(history: Sequence[dict[str, Any]], version: int, *actions: str) -> list[dict[str, Any]]:
    return [entry for entry in history if entry["version"] == version and entry["action"] in actions]


def _latest_verdicts(record: dict[str, Any], history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last verdicts about a version; those of its record when a publish was killed before its entry."""
    judged = _entries(history, record["version"], "publish", "judge")
    return judged[-1]["verdicts"] if judged else record["verdicts"]


def _promotions(history: Sequence[dict[str, Any]]) -> list[int]:
    """The champions a rollback can go back through, the one in service last."""
    stack: list[int] = []
    for entry in history:
        if entry["action"] == "promote":
            stack.append(entry["version"])
        elif entry["action"] == "rollback":
            del stack[-1:]
    return stack


def _challenger(workspace: Workspace, target: str, history: Sequence[dict[str, Any]]) -> int | None:
    newest = max(_versions(workspace, target), default=None)
    return newest if newest is not None and not _entries(history, newest, "promote") else None


def _settle(workspace: Workspace, target: str) -> list[dict[str, Any]]:
    """Make champion.json say what the history says, and return the history."""
    history = _read_history(workspace, target)
    pointer = _pointer(workspace, target, _promotions(history))
    if _read_or_none(workspace.champion(target)) != pointer:
        write_json(workspace.champion(target), pointer)
    return history


def _pointer(workspace: Workspace, target: str, stack: Sequence[int]) -> dict[str, Any]:
    champion = stack[-1] if stack else None
    record = read_version(workspace, target, champion) if champion else {}
    path = _name(workspace, model_path(workspace, target, champion)) if champion else None
    return {
        "schema_version": 1,
        "champion": champion,
        "previous": stack[-2] if len(stack) > 1 else None,
        "model_sha256": record.get("model_sha256"),
        "checkpoint_sha256": record.get("checkpoint_sha256"),
        "path": path,
    }


def _read_or_none(path: Path) -> Any:
    try:
        return read_json(path)
    except BadInput:
        return None


def _check_name(target: str) -> None:
    if not DOMAIN_NAME.fullmatch(target) or target == "source":
        raise BadInput(
            f"target name {target!r} must be lower-case letters, digits and dashes, and not `source`."
        )


def _require_target(workspace: Workspace, target: str) -> None:
    if target not in registered_targets(workspace):
        raise BadInput(_unknown_target(workspace, target))


def _unknown_target(workspace: Workspace, target: str) -> str:
    known = ", ".join(registered_targets(workspace)) or "none yet: `acclimate run` makes them"
    return f"unknown target {target!r}; registered targets: {known}."


def _name(workspace: Workspace, path: Path) -> str:
    return path.relative_to(workspace.root).as_posix()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def _locked(workspace: Workspace, target: str) -> Iterator[None]:
    """One action a target at a time; released by the system when its holder dies."""
    # Servers read registries without it.
    from filelock import FileLock

    folder = workspace.private / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"registry-{target}.lock"):
        for leftover in workspace.registry(target).glob(".writing-*"):
            leftover.unlink()  # of a killed action; git must not get it
        yield
