"""The champions of a workspace, in memory: loaded, warmed, replaced when the registry says so.

One thread refreshes, any number of threads ask. A replacement is one assignment: a request holds
the model it began with, and the old one is freed when its last request ends. A champion that
cannot be loaded leaves the one before in service.
"""

import logging
import os
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from deploy.registry import Champion, champion_bytes, read_champion, registered_targets
from tasks.domains.contract import Limits, Reader
from tasks.domains.cores import usable_cores
from tasks.domains.kinds import reader_for
from tasks.errors import AcclimateError, Refused
from tasks.exported.possible import classify
from tasks.exported.session import Device, OnnxModel, open_session, predict
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

# Bytes that are missing may be pulled, a full GPU may become free.
_RETRY_S = 1.0

MAX_FAILURES = 5
"""Examples in a row that a model may fail before its target is not ready."""


class Answers:
    """How a model has answered lately; any number of threads tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._last: tuple[np.ndarray, str] | None = None

    def succeeded(self) -> bool:
        """Note an answer; whether the model was failing before it."""
        with self._lock:
            was_failing, self._failures, self._last = self._failures >= MAX_FAILURES, 0, None
        return was_failing

    def failed(self, example: np.ndarray, reason: str) -> bool:
        """Note an example without an answer; whether the model is failing from now on."""
        with self._lock:
            self._failures += 1
            self._last = example, reason
            return self._failures == MAX_FAILURES

    @property
    def problem(self) -> str | None:
        """Why nothing can be expected of the model; None while something can."""
        with self._lock:
            if self._failures < MAX_FAILURES or self._last is None:
                return None
            return f"the last {self._failures} examples had no answer; the last one: {self._last[1]}"

    @property
    def last_failed(self) -> np.ndarray | None:
        """The last example without an answer, while the model is failing."""
        with self._lock:
            return self._last[0] if self._last is not None and self._failures >= MAX_FAILURES else None


class ModelFailed(Refused):
    """A model has no answer to an example that it should have one to."""


@dataclass(frozen=True)
class Loaded:
    """A champion that has answered once."""

    champion: Champion
    model: OnnxModel
    reader: Reader
    """Reader of the examples that the model takes."""
    answers: Answers = field(default_factory=Answers, compare=False)


@dataclass(frozen=True)
class TargetState:
    """The state of a target, replaced as a whole."""

    pointed_at: int | None = None
    """The version that champion.json names."""
    loaded: Loaded | None = None
    """The model that answers; another version than ``pointed_at`` while that one loads or cannot be loaded."""
    problem: str | None = None
    """Why ``pointed_at`` is not what answers."""
    seen: bytes | None = None
    """The content of champion.json that led here."""
    retry_at: float = 0.0
    """When a failed attempt is repeated though nothing changed; seconds, monotonic clock."""

    @property
    def ready(self) -> bool:
        """Whether an answer can be expected."""
        return self.loaded is not None and self.loaded.answers.problem is None

    @property
    def trouble(self) -> str | None:
        """The faults of the target, whether or not it is ready; None without any."""
        failing = self.loaded.answers.problem if self.loaded else None
        return "; ".join(filter(None, [self.problem, failing])) or None


class Champions:
    """The champions of every registered target.

    Args:
        workspace: Whose registry is read.
        device: Where the models run.
        limits: Limits of one example, as the reader of the workspace has them.
    """

    def __init__(self, workspace: Workspace, device: Device, limits: Limits) -> None:
        self._workspace = workspace
        self._limits = limits
        self._device: Device = device
        self._states: dict[str, TargetState] = {}
        self._refreshed = False
        self._nothing_registered: str | None = None

    def state(self, target: str) -> TargetState | None:
        """The state of ``target``; None when it is not registered."""
        return self._states.get(target)

    def states(self) -> dict[str, TargetState]:
        """The state of every target, sorted by name."""
        return dict(sorted(self._states.items()))

    @property
    def refreshed(self) -> bool:
        """Whether the whole registry was looked at once."""
        return self._refreshed

    @property
    def trouble(self) -> str | None:
        """Why no target at all can be answered for; None as soon as one can."""
        states = self._states.values()
        if any(state.ready for state in states):
            return None
        if not self._refreshed:
            return "the models are still loading"
        if not states:
            return self._nothing_registered
        if all(state.loaded is None and state.trouble is None for state in states):
            return "no target has a champion yet: `acclimate promote TARGET` sets one"
        return "no champion can answer; each target says why"

    def refresh(self) -> None:
        """Load what changed since the last call; called from one thread at a time."""
        registered = registered_targets(self._workspace)
        self._nothing_registered = None if registered else _why_nothing_is_registered(self._workspace)
        for target in registered:
            state = self._look(target, self._states.get(target, TargetState()))
            # A new dictionary each time: requests may be iterating over the old one.
            self._states = self._states | {target: state}
        outlived = set(self._states) - set(registered)
        self._states = {
            target: self._outlive(target, state) if target in outlived else state
            for target, state in self._states.items()
            if target not in outlived or state.loaded is not None
        }
        self._refreshed = True
        for state in self._states.values():
            if state.loaded is not None:
                try_again(state.loaded)

    def _look(self, target: str, state: TargetState) -> TargetState:
        # Read before the champion is: what changes meanwhile is seen next time, not missed.
        pointer = _read_or_none(self._workspace.champion(target))
        if pointer == state.seen and (state.problem is None or time.monotonic() < state.retry_at):
            return state
        champion = None
        try:
            champion = read_champion(self._workspace, target)
            loaded = self._load(champion, state.loaded)
        except Exception as error:
            # Whatever a new version does to onnxruntime, the one in service goes on.
            problem = str(error) if isinstance(error, AcclimateError) else f"{type(error).__name__}: {error}"
            if problem != state.problem:
                log.error("%s: %s", target, problem, exc_info=not isinstance(error, AcclimateError))
            version = champion.version if champion else None
            return TargetState(version, state.loaded, problem, pointer, time.monotonic() + _RETRY_S)
        version = champion.version if champion else None
        if loaded is not state.loaded:
            log.info("%s: version %s is in service", target, version)
        return TargetState(version, loaded, None, pointer)

    def _load(self, champion: Champion | None, current: Loaded | None) -> Loaded | None:
        if champion is None:
            return None
        if current is not None and current.champion == champion:
            return current
        return load_champion(self._workspace, champion, self._device, self._limits)

    def _outlive(self, target: str, state: TargetState) -> TargetState:
        """The state of a target whose registry vanished: a half-done checkout must not stop it."""
        problem = f"registry/{target}/champion.json is gone; still serving what was loaded before"
        if problem != state.problem:
            log.error("%s: %s", target, problem)
        return replace(state, problem=problem, seen=None)


def load_champion(workspace: Workspace, champion: Champion, device: Device, limits: Limits) -> Loaded:
    """The champion's model, after one answer: the first run of a session is the slow one.

    Raises:
        BadInput: Its bytes are not here, it does not run on ``device``, or its examples cannot be prepared here.
        Refused: Its bytes are not the ones that were promoted, or it answers nonsense.
    """
    model = open_session(champion_bytes(workspace, champion), device=device, threads=usable_cores())
    if model.metadata["target"] != champion.target:
        raise Refused(
            f"version {champion.version} of {champion.target} was made for the target"
            f" {model.metadata['target']!r} and must not serve. Promote another version."
        )
    reader = reader_for(model.spec, limits)
    answer = predict(model, model.spec.zeros(1))
    if not np.isfinite(answer.probabilities).all():
        raise Refused(
            f"version {champion.version} of {champion.target} answers NaN or infinity to an input of"
            " zeros and must not serve. Promote another version."
        )
    return Loaded(champion, model, reader)


def answer(loaded: Loaded, example: np.ndarray) -> dict[str, object]:
    """The class of one example, whether that is unsure, the probability of every class, and who says so.

    Raises:
        ModelFailed: The model fails, or its answer is no number.
    """
    champion, classes = loaded.champion, loaded.model.classes
    try:
        probabilities = _probabilities(loaded, example)
    except ModelFailed as error:
        if loaded.answers.failed(example, str(error)):
            log.error("%s: not ready: %s", champion.target, loaded.answers.problem)
        raise
    if loaded.answers.succeeded():
        log.info("%s: ready again: version %s has answered", champion.target, champion.version)
    return {
        "target": champion.target,
        **classify(probabilities, classes, loaded.model.possible),
        "probabilities": dict(zip(classes, map(float, probabilities), strict=True)),
        "version": champion.version,
        "model_sha256": champion.model_sha256,
    }


def try_again(loaded: Loaded) -> None:
    """Ask a failing model for the example that it failed last: no request may come while its target is not ready."""
    example = loaded.answers.last_failed
    if example is not None:
        with suppress(ModelFailed):
            answer(loaded, example)


def _probabilities(loaded: Loaded, example: np.ndarray) -> np.ndarray:
    version = f"version {loaded.champion.version} of {loaded.champion.target}"
    try:
        probabilities = predict(loaded.model, example[None]).probabilities[0]
    except Exception as error:  # onnxruntime's errors have no common base
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelFailed(f"{version} failed ({first_line}): roll it back.") from error
    if not np.isfinite(probabilities).all():
        raise ModelFailed(f"{version} answered NaN or infinity: roll it back.")
    return probabilities


def _why_nothing_is_registered(workspace: Workspace) -> str:
    try:
        is_empty = not os.listdir(workspace.root / "registry")
    except OSError as error:
        return f"registry/ of the workspace cannot be read ({error.strerror or error}): mount or restore it"
    if is_empty:
        return "registry/ of the workspace is empty: mount or restore it"
    return "registry/ of the workspace holds no target: mount or restore it, or run `acclimate run`"


def _read_or_none(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
