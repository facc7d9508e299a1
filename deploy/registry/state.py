"""The outcome of a target's history: its champion, earlier ones, withdrawn versions, and whether it is frozen."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from deploy.registry.history import Entry, damaged
from deploy.registry.versions import read_version
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Promoted:
    """A version that was put into service."""

    version: int
    model_sha256: str
    checkpoint_sha256: str


@dataclass(frozen=True)
class Withdrawal:
    """A version that a person took out of service, or keeps from it."""

    version: int
    checkpoint_sha256: str
    entry: Entry
    """Who did it, when and why."""

    def concerns(self, version: int, checkpoint_sha256: str) -> bool:
        """Whether it keeps a version out of service: this one, or another file of the same model."""
        return version == self.version or checkpoint_sha256 == self.checkpoint_sha256


@dataclass(frozen=True)
class State:
    """The outcome of a history."""

    history: Sequence[Entry]
    stack: tuple[Promoted, ...]
    """The champions one after another, the one in service last. A rollback goes back through those that are not withdrawn."""
    withdrawals: Mapping[int, Withdrawal]
    """By version."""
    frozen: Entry | None
    """Who froze the target, when and why; None where it is not frozen."""
    moves: int
    """How often the champion changed."""

    @property
    def champion(self) -> Promoted | None:
        """The version in service."""
        return self.stack[-1] if self.stack else None

    @property
    def earlier(self) -> list[Promoted]:
        """Earlier champions that may serve again, the latest last."""
        return [one for one in self.stack[:-1] if not self.withdrawal(one.version, one.checkpoint_sha256)]

    def concerning(self, version: int, checkpoint_sha256: str) -> list[Withdrawal]:
        """The withdrawals that keep a version out of service, in the order in which they were made."""
        return [one for one in self.withdrawals.values() if one.concerns(version, checkpoint_sha256)]

    def withdrawal(self, version: int, checkpoint_sha256: str) -> Withdrawal | None:
        """Why a version must not serve; None where it may."""
        return next(reversed(self.concerning(version, checkpoint_sha256)), None)


def replay(workspace: Workspace, target: str, history: Sequence[Entry]) -> State:
    """The state after every action of ``history``.

    Raises:
        BadInput: An action does not follow from those before it: lines were lost.
    """
    stack: list[Promoted] = []
    withdrawals: dict[int, Withdrawal] = {}
    frozen: Entry | None = None
    moves = 0
    for number, entry in enumerate(history, start=1):
        before = stack[-1:]
        match entry.action:
            case "promote":
                stack.append(_promoted(workspace, target, entry, number))
                _lift(withdrawals, stack[-1])
            case "rollback":
                places = [place for place, one in enumerate(stack[:-1]) if one.version == entry.version]
                if not places or entry.came_from not in (stack[-1].version, None):
                    raise damaged(
                        workspace,
                        target,
                        f"line {number} rolls back from version {entry.came_from} to {entry.version}, which does"
                        " not follow from the lines before it: some were lost",
                    )
                out = stack[-1]
                withdrawals[out.version] = Withdrawal(out.version, out.checkpoint_sha256, entry)
                del stack[places[-1] + 1 :]
                _lift(withdrawals, stack[-1])
            case "withdraw":
                withdrawal = _withdrawal(workspace, target, entry, number)
                withdrawals[withdrawal.version] = withdrawal
                while stack and _concerned(withdrawals, stack[-1]):
                    stack.pop()
            case "lift":
                withdrawals.pop(_version(workspace, target, entry, number), None)
            case "freeze":
                frozen = entry
            case "unfreeze":
                frozen = None
            case _:
                pass
        moves += stack[-1:] != before
    return State(history, tuple(stack), withdrawals, frozen, moves)


def _promoted(workspace: Workspace, target: str, entry: Entry, number: int) -> Promoted:
    version = _version(workspace, target, entry, number)
    if entry.model_sha256 is None or entry.checkpoint_sha256 is None:
        record = read_version(workspace, target, version)
        return Promoted(version, record.model_sha256, record.checkpoint_sha256)
    return Promoted(version, entry.model_sha256, entry.checkpoint_sha256)


def _withdrawal(workspace: Workspace, target: str, entry: Entry, number: int) -> Withdrawal:
    version = _version(workspace, target, entry, number)
    checkpoint = entry.checkpoint_sha256 or read_version(workspace, target, version).checkpoint_sha256
    return Withdrawal(version, checkpoint, entry)


def _version(workspace: Workspace, target: str, entry: Entry, number: int) -> int:
    if entry.version is None:
        raise damaged(workspace, target, f"line {number} names no version")
    return entry.version


def _lift(withdrawals: dict[int, Withdrawal], champion: Promoted) -> None:
    """Nothing that concerns the model in service is withdrawn."""
    for one in list(_concerned(withdrawals, champion)):
        del withdrawals[one]


def _concerned(withdrawals: Mapping[int, Withdrawal], one: Promoted) -> list[int]:
    return [
        version
        for version, withdrawal in withdrawals.items()
        if withdrawal.concerns(one.version, one.checkpoint_sha256)
    ]


def what_happened(withdrawal: Withdrawal, version: int) -> str:
    """Who withdrew a version, when and why, as a clause."""
    entry = withdrawal.entry
    whose = (
        f"version {version} was"
        if version == withdrawal.version
        else f"version {version} has the model of version {withdrawal.version}, which was"
    )
    how = f"rolled back to version {entry.version}" if entry.action == "rollback" else "withdrawn"
    return f"{whose} {how} on {entry.at or 'an unknown day'} by {entry.by or 'somebody'} ({entry.reason or 'no reason given'})"


def champions_in_turn(state: State) -> Iterator[Promoted]:
    """The champion and then the earlier ones that may serve again, the latest first, each model once."""
    seen: set[str] = set()
    for one in [*state.stack[-1:], *reversed(state.earlier)]:
        if one.checkpoint_sha256 not in seen:
            seen.add(one.checkpoint_sha256)
            yield one
