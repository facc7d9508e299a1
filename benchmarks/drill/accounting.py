"""The account after a drill: where every image is, who answered, what came back, what was touched, what is whole.

Each function looks at one promise and returns what breaks it; nothing breaks it where the tuple is empty.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.drill.handed import Answer, Delivery, Record, Seen
from benchmarks.drill.lives import CLOCK_S, Life
from tasks.domains.folder import REFUSED, read_refusals
from tasks.records.manifest import read_files, read_summary
from tasks.records.verdict import read_judged
from tasks.workspace import DOMAIN_NAME, Workspace


@dataclass(frozen=True)
class Line:
    """One promise, its figures, and what breaks it."""

    promise: str
    figures: str
    faults: tuple[str, ...]


# --- every image -------------------------------------------------------------------------------


def account_examples(workspace: Workspace, deliveries: Sequence[Delivery]) -> Line:
    """Every file that was handed in is adapted on, waiting, quarantined or refused with a reason, or a double."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    for target in sorted({delivery.target for delivery in deliveries}):
        mine = [delivery for delivery in deliveries if delivery.target == target]
        places = _places(workspace, target, faults)
        for delivery in {one.sha256: one for one in mine}.values():
            place = places.get(delivery.sha256)
            counts[place or "lost"] += 1
            if place is None or place.startswith("not "):
                faults.append(f"{target}: {delivery.name} of batch {delivery.batch} is {place or 'lost'}")
        if doubles := len(mine) - len({delivery.sha256 for delivery in mine}):
            counts["doubles"] += doubles
    figures = ", ".join(f"{number:,} {what}" for what, number in sorted(counts.items()))
    return Line(
        "every image that arrived is accounted for", f"{len(deliveries):,} files: {figures}", tuple(faults)
    )


def _places(workspace: Workspace, target: str, faults: list[str]) -> dict[str, str]:
    """The fate of the contents that lie anywhere in the workspace, by their digest; the best of many wins."""
    landing = workspace.landing(target)
    places = dict.fromkeys(_contents(workspace.private / "quarantine" / target).values(), "refused")
    aside = _contents(landing, only=".refused")
    places |= dict.fromkeys(aside.values(), "refused")
    waiting = _contents(landing)
    places |= dict.fromkeys(waiting.values(), "waiting")
    if not DOMAIN_NAME.fullmatch(target):
        return places
    data = _contents(workspace.data(target))
    places |= dict.fromkeys(data.values(), "not in the manifest")
    try:
        folder = workspace.stage("manifest", target)
        rows, seen = read_files(folder), read_summary(folder).data_digest
        judged = read_judged(workspace.stage("gate", target)).data_digest.target
    except Exception as error:
        faults.append(f"{target}: no manifest or no verdict: {error}")
        return places
    for row in rows:
        digest = row.sha256 or data.get(row.path)
        if digest and row.status == "quarantined" and row.reason and places.get(digest) != "adapted":
            places[digest] = "quarantined"
        elif digest and row.status == "ok":
            places[digest] = "adapted" if seen == judged else "not in the data that the verdict saw"
    return places


def _contents(root: Path, *, only: str = "") -> dict[str, str]:
    """The SHA-256 of every regular file below ``root``, by its path: those in the folder ``only``, or in none with a hidden name."""
    found: dict[str, str] = {}
    for folder, folders, names in os.walk(root):
        if Path(folder) == root:
            folders[:] = [name for name in folders if (name == only if only else not name.startswith("."))]
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(root).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def account_waiting(workspace: Workspace, deliveries: Sequence[Delivery]) -> Line:
    """Images wait only where too few are there."""
    from flows.workspaces.landing import look
    from tasks.config.params import load_params

    faults, said = [], []
    for target in sorted(
        {delivery.target for delivery in deliveries if DOMAIN_NAME.fullmatch(delivery.target)}
    ):
        seen = look(workspace, target, load_params(workspace.params))
        said.append(f"{target} {seen.images} of {seen.needed_images}")
        if seen.is_due or seen.growing:
            faults.append(f"{target}: {seen.words}, and nobody takes them in")
        refused = workspace.data(target) / REFUSED
        said += [f"{len(read_refusals(refused.parent))} refused with a reason"] if refused.exists() else []
    return Line("what waits, waits for more images", "; ".join(said), tuple(faults))


# --- service -----------------------------------------------------------------------------------


def account_answers(
    answers: Sequence[Answer], lives: Mapping[str, Life], down: Sequence[tuple[float, float]]
) -> Line:
    """A champion answered, or nobody did."""
    kinds: Counter[str] = Counter()
    faults = []
    for answer in answers:
        life = lives.get(answer.target, Life())
        fault = _fault_of(answer, life, down)
        kinds["no connection" if answer.status == 0 else str(answer.status)] += 1
        if fault:
            faults.append(f"{answer.target} at {datetime.fromtimestamp(answer.begun):%X.%f}: {fault}")
    figures = ", ".join(f"{number:,} × {kind}" for kind, number in sorted(kinds.items()))
    return Line("a champion answered, or nobody did", f"{len(answers):,} requests: {figures}", tuple(faults))


def _fault_of(answer: Answer, life: Life, down: Sequence[tuple[float, float]]) -> str | None:
    if answer.status == 200:
        if answer.version is None or life.promoted.get(answer.version, float("inf")) > answer.ended + CLOCK_S:
            return f"version {answer.version} answered, which was no champion"
        if life.is_withdrawn(answer.version, answer.begun):
            return f"version {answer.version} answered, which had been withdrawn"
        return None
    if answer.status in (404, 429) or (answer.status == 503 and answer.said):
        return None
    if answer.status == 0 and any(
        begun - 1 <= answer.ended and answer.begun <= ended + 1 for begun, ended in down
    ):
        return None
    return f"status {answer.status}: {answer.said or 'no reason'}"


def account_withdrawn(lives: Mapping[str, Life], seen: Sequence[Seen], workspace: Workspace) -> Line:
    """No withdrawn version came back, and every pointer followed its history."""
    faults = [fault for life in lives.values() for fault in life.faults]
    for one in seen:
        life = lives.get(one.target, Life())
        if one.version is None:
            continue
        if life.is_withdrawn(one.version, one.at):
            faults.append(f"{one.target}: the pointer named version {one.version}, which was withdrawn")
        if one.version not in life.promoted:
            faults.append(
                f"{one.target}: the pointer named version {one.version}, which the history does not know"
            )
    for target, life in lives.items():
        named = json.loads(workspace.champion(target).read_bytes())["champion"]
        if named != life.champion:
            faults.append(
                f"{target}: the pointer names version {named}, and the history leads to {life.champion}"
            )
    moves = sum(len(life.champions) for life in lives.values())
    withdrawals = sum(life.withdrawals for life in lives.values())
    figures = f"{moves} changes of champion, {withdrawals} withdrawals, {len(seen)} pointers seen"
    return Line("no withdrawn version came back by itself", figures, tuple(faults))


def account_decisions(lives: Mapping[str, Life], done: Sequence[tuple[str, str]]) -> Line:
    """Every decision of a person that succeeded is in the history."""
    faults = []
    for (target, action), number in Counter(done).items():
        known = lives[target].actions[action] if target in lives else 0
        if known < number:
            faults.append(f"{target}: {number} times {action} succeeded, and the history has {known}")
    return Line("every decision of a person is in the history", f"{len(done)} decisions", tuple(faults))


# --- what is not acclimate's, and what is ------------------------------------------------------


def account_outside(before: Mapping[str, str], after: Mapping[str, str]) -> Line:
    """Nothing outside the workspace changed."""
    changed = [path for path in sorted(before.keys() | after.keys()) if before.get(path) != after.get(path)]
    faults = [f"{path}: {before.get(path)} became {after.get(path)}" for path in changed]
    return Line(
        "nothing outside the workspace changed", f"{len(before)} files and folders compared", tuple(faults)
    )


def account_users_files(
    workspace: Workspace, files: Mapping[str, str], *, staged: str, secret: Path, remote: Path
) -> Line:
    """The user's files in the workspace are as they were and in no commit, and the file behind a link is nowhere."""
    faults = [
        f"{name} was changed" for name, text in files.items() if (workspace.root / name).read_text() != text
    ]
    tracked = _git(workspace, "log", "--all", "--name-only", "--format=").split()
    faults += [f"{name} was committed" for name in (*files, staged) if name in tracked]
    in_index = _git(workspace, "diff", "--cached", "--name-only").split()
    if in_index != [staged]:
        faults.append(f"staged was {staged} alone, and now is {in_index}")
    content = secret.read_bytes()
    for place in (workspace.data(""), workspace.root / ".dvc" / "cache", remote):
        faults += [
            f"{path} has the bytes of the file behind a link"
            for path in place.rglob("*")
            if path.is_file() and not path.is_symlink() and path.read_bytes() == content
        ]
    return Line("the user's own files are as they were", f"{len(files) + 1} files", tuple(faults))


def account_whole(workspace: Workspace, left: Sequence[str], *, environment: Mapping[str, str]) -> Line:
    """No process is left, every file can be read, git is whole, and the remote has everything."""
    import yaml

    from tasks.config.params import load_params
    from tasks.files import numbered_lines

    faults = [f"a process is left: {one}" for one in left]
    load_params(workspace.params)
    stages = yaml.safe_load(workspace.dvc_lock.read_bytes())["stages"]
    logs = [*workspace.root.glob("*.jsonl"), *workspace.root.glob("registry/*/history.jsonl")]
    logs += workspace.root.glob("ledger/*.jsonl")
    lines = 0
    for path in logs:
        for number, line in numbered_lines(path):
            lines += 1
            try:
                json.loads(line)
            except ValueError:
                faults.append(f"{path}, line {number} is no JSON")
    torn = [path for path in workspace.root.rglob("*.writing-*") if ".git" not in path.parts]
    faults += [f"{path} is half-written" for path in torn]
    checked = subprocess.run(
        ["git", "fsck", "--full"], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    said = [
        line for line in (checked.stdout + checked.stderr).splitlines() if not line.startswith("dangling")
    ]
    if checked.returncode or any("missing" in line or "corrupt" in line or "error" in line for line in said):
        faults.append(f"git fsck: {said[:5]}")
    lacking = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "--cloud", "--json"],
        cwd=workspace.root, env=dict(environment), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if lacking.returncode or json.loads(lacking.stdout or "{}"):
        faults.append(f"dvc status --cloud: {lacking.stdout[:300]} {lacking.stderr[-300:]}")
    figures = f"{len(stages)} stages in dvc.lock, {lines} lines in {len(logs)} histories and ledgers"
    return Line("all is whole, and the remote has everything", figures, tuple(faults))


def _git(workspace: Workspace, *arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=workspace.root, capture_output=True, text=True, check=True
    ).stdout


# --- all of it ---------------------------------------------------------------------------------


def figures_of(record: Record) -> list[str]:
    """The other figures of a drill, a line each."""
    took = sorted(record.rollbacks_s)
    slow = sum(one > 1 for one in took)
    said = [f"{what}: {number}" for what, number in sorted(record.counts.items())]
    if took:
        said.append(
            f"rollback, from command to changed pointer: {took[0]:.2f} s at best, {took[len(took) // 2]:.2f} s in the middle,"
            f" {took[-1]:.2f} s at worst; {slow} of {len(took)} took more than 1 s"
        )
    return said
