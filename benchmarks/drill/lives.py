"""The history of a target, replayed without the product's own code."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from benchmarks.drill.handed import PERSON
from tasks.workspace import Workspace

RELOAD_S = 0.5
"""A server looks at the registry so often."""
MARGIN_S = 5.0
"""A model takes a moment to load on a machine that trains."""
CLOCK_S = 1.0
"""A history has whole seconds."""


@dataclass
class Life:
    """The fate of the versions of a target."""

    target: str = ""
    promoted: dict[int, float] = field(default_factory=dict)
    """When each version first became champion, in seconds since the epoch."""
    champions: list[tuple[float, int | None]] = field(default_factory=list)
    """Every change of champion."""
    spans: dict[int, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """From when to when each version was withdrawn."""
    actions: Counter[str] = field(default_factory=Counter)
    """Those of the drill's own person."""
    faults: list[str] = field(default_factory=list)
    _stack: list[int] = field(default_factory=list)
    _models: dict[int, str] = field(default_factory=dict)
    _out: dict[int, float] = field(default_factory=dict)
    """The versions that are withdrawn now, and since when."""

    def is_withdrawn(self, version: int, at: float) -> bool:
        """Whether a version was withdrawn at a time, and had been for longer than a server needs to notice."""
        late = CLOCK_S + RELOAD_S + MARGIN_S
        closed = any(begun + late < at < end for begun, end in self.spans.get(version, []))
        return closed or self._out.get(version, at) + late < at

    @property
    def champion(self) -> int | None:
        """The version in service."""
        return self._stack[-1] if self._stack else None

    def follow(self, line: Mapping[str, Any]) -> None:
        """Take one line of a history into account."""
        at, action, by = datetime.fromisoformat(line["at"]).timestamp(), line["action"], line.get("by")
        version: int = line.get("version") or 0  # 0: freeze and unfreeze name none
        before = self.champion
        self.actions[action] += by == PERSON
        if line.get("checkpoint_sha256"):
            self._models[version] = line["checkpoint_sha256"]
        if action == "promote":
            self._promote(version, at, by_person=by == PERSON)
        elif action == "rollback":
            self._roll_back(version, at)
        elif action == "withdraw":
            self._out.setdefault(version, at)
            while self._stack and self._withdrawn_as(self._stack[-1]):
                self._stack.pop()
        elif action == "lift":
            self._lift([version], at)
        if self.champion != before:
            self.champions.append((at, self.champion))
        if self.champion is not None:
            self.promoted.setdefault(self.champion, at)

    def _promote(self, version: int, at: float, *, by_person: bool) -> None:
        if self._withdrawn_as(version) and not by_person:
            self.faults.append(f"{self.target}: version {version} was withdrawn and came back by itself")
        self._lift(self._withdrawn_as(version), at)
        self._stack.append(version)

    def _roll_back(self, version: int, at: float) -> None:
        if self._withdrawn_as(version):
            self.faults.append(
                f"{self.target}: a rollback brought back version {version}, which was withdrawn"
            )
        if self.champion is not None:
            self._out[self.champion] = at
        while self._stack and self._stack[-1] != version:
            self._stack.pop()
        if not self._stack:
            self.faults.append(f"{self.target}: a rollback led to version {version}, never a champion before")

    def _withdrawn_as(self, version: int) -> list[int]:
        """The withdrawn versions that are ``version``, or another file of the same model."""
        model = self._models.get(version, version)
        return [one for one in self._out if one == version or self._models.get(one, one) == model]

    def _lift(self, versions: Sequence[int], at: float) -> None:
        for one in versions:
            self.spans[one].append((self._out.pop(one, at), at))

    @property
    def withdrawals(self) -> int:
        """How often a version was withdrawn."""
        return sum(map(len, self.spans.values())) + len(self._out)


def replay(target: str, lines: Sequence[Mapping[str, Any]]) -> Life:
    """The life of ``target`` from the lines of its history.jsonl."""
    life = Life(target)
    for line in lines:
        life.follow(line)
    return life


def lives_of(workspace: Workspace) -> dict[str, Life]:
    """The life of every target that has a history."""
    return {
        path.parent.name: replay(
            path.parent.name, [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        )
        for path in sorted(workspace.root.glob("registry/*/history.jsonl"))
    }
