"""The contract of every kind of example. The rest of the code refers to a kind by these types alone.

A kind is an `InputSpec` (the array that a model takes), a `Reader` (from files to that array) and a half that
needs torch, in tasks/models/backbones/. Nothing here needs torch, nor a library that decodes anything.

Shape suffixes: N = examples, X = the axes of one example, as its spec has them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from tasks.config.params import Params
from tasks.config.sections.kind import KindParams
from tasks.domains.folder import FoundFile
from tasks.domains.shown import Shown
from tasks.errors import BadInput
from tasks.files import parse_json

DTYPES = ("uint8", "int32", "int64", "float32")
"""Element types of inputs that ONNX, onnxruntime and Triton all have."""

QUARTER_TURNS = ("rot90", "rot180", "rot270")
"""Names of turned examples, by 90, 180 and 270 degrees; also of the files that keep them."""

Redraw = Callable[[np.ndarray], np.ndarray]
"""From arrays ``(N, X)`` to as many of the same shape."""

Restyle = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From arrays ``(N, X)`` and as many styles to as many of the same shape."""

Limits = Mapping[str, int]
"""Limits of one example, by names that its kind chooses; they cross process boundaries as JSON."""

Measures = Mapping[str, int | float | str | None]
"""The measures of one example in the manifest, by name."""

Facets = Mapping[str, Sequence[Mapping[str, Any]]]
"""Facets of examples, such as the columns of a table, by groups: a suite repeats a check for each facet of a group. Each has its
``column`` in `Reader.checked`, its ``name``, and in ``leave_out`` the setting by which no model reads it; further keys are the kind's own."""


class UnreadableExample(BadInput):
    """A file or upload that cannot be used as an example; ``reason`` says why, without the path."""

    def __init__(self, reason: str, *, path: Path | None = None) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason


class StillOpen(BadInput):
    """A setting is missing that the examples of the source decide, and the next run writes into params.yaml."""


class BeyondLimits(UnreadableExample):
    """An example larger than the limits of its reader; ``needed`` holds the limits that would let it in."""

    def __init__(self, reason: str, *, needed: Limits) -> None:
        super().__init__(reason)
        self.needed = needed


@dataclass(frozen=True)
class InputSpec:
    """The input of a model: which array it takes, and how the bytes of an example become one."""

    kind: str
    name: str
    """Name of the input in the ONNX graph."""
    dtype: str
    """NumPy's name, one of `DTYPES`."""
    shape: tuple[int, ...]
    """Shape of one example, without the batch."""
    rule: Mapping[str, Any]
    """How the reader of the kind makes the array; only that reader knows what it means."""
    parts: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Contents that the rule needs, such as a vocabulary, by name; an ONNX file carries them. The rule holds their digests."""

    def zeros(self, num: int) -> np.ndarray:
        """A batch of ``num`` examples of zeros."""
        return np.zeros((num, *self.shape), dtype=self.dtype)

    def accepts(self, batch: np.ndarray) -> bool:
        """Whether ``batch`` holds one example or more, of this type and shape."""
        return batch.dtype == self.dtype and batch.shape[1:] == self.shape and len(batch) > 0

    def to_json(self) -> str:
        """As text for the metadata of an ONNX file, without the parts; the same spec gives the same text."""
        fields = {"kind": self.kind, "name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        return json.dumps(fields | {"rule": dict(self.rule)}, ensure_ascii=False)

    def __str__(self) -> str:
        """The array in words, for messages."""
        return f"{self.dtype} {self.name} of shape ({', '.join(['N', *map(str, self.shape)])})"


def spec_from_json(text: str, *, origin: str) -> InputSpec:
    """The spec that `InputSpec.to_json` wrote.

    Raises:
        BadInput: ``text`` is no such spec; the message names ``origin``.
    """
    try:
        content = parse_json(text)
        spec = InputSpec(
            kind=str(content["kind"]),
            name=str(content["name"]),
            dtype=str(content["dtype"]),
            shape=tuple(map(int, content["shape"])),
            rule=dict(content["rule"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{origin} is not an input spec ({type(error).__name__}: {error}), got {text!r}. Export it again."
        ) from error
    if spec.dtype not in DTYPES or not spec.shape or min(spec.shape) < 1:
        raise BadInput(
            f"{origin} must have a dtype of {', '.join(DTYPES)} and a shape of positive numbers, got {text!r}."
            " Export it again."
        )
    return spec


def differing_rules(spec: InputSpec, expected: Mapping[str, Any]) -> str:
    """The keys of the rule of ``spec`` whose values are not the expected ones, in words; empty where there are none."""
    return "; ".join(
        f"{key}: {spec.rule.get(key)!r} instead of {value!r}"
        for key, value in expected.items()
        if spec.rule.get(key) != value
    )


@dataclass(frozen=True)
class Measured:
    """The record of an example that can be decoded, for the manifest."""

    measures: Measures
    note: str | None
    """Conversions and decisions, joined by ``"; "``."""


@dataclass(frozen=True)
class Views:
    """Ways to redraw arrays of a kind, by the names that params.yaml and the files of stage features call them.

    A kind without any leaves them empty.
    """

    mirror: Redraw | None = None
    """The mirrored example, which ``features.mirror`` keeps besides each example as it is."""
    source: Mapping[str, Redraw] = field(default_factory=dict)
    """A view of an example alone."""
    target: Mapping[str, Restyle] = field(default_factory=dict)
    """A view of an example in the style of another."""
    turns: Mapping[str, Redraw] = field(default_factory=dict)
    """By the names in `QUARTER_TURNS`, or none at all."""
    augmentations: tuple[str, ...] = ()
    """Names of the random changes of a batch in training, besides ``none``; the engine has their maths."""


class Reader(Protocol):
    """Examples of one kind, from files to arrays."""

    kind: ClassVar[str]
    """As in params.yaml."""
    noun: ClassVar[str]
    """One example, in messages and in the keys of answers: ``image``."""
    plural: ClassVar[str]
    pattern: ClassVar[str]
    """A pattern for file names, in advice: ``*.jpg``."""
    has_rows: ClassVar[bool]
    """Whether a file of rows holds an example in each (:mod:`tasks.domains.rows`)."""
    media_type: ClassVar[str]
    """How the content type of an upload starts: ``image/``."""
    measures: ClassVar[Mapping[str, type]]
    """Name and type (``int``, ``float`` or ``str``) of what `measure` returns, in the order of the columns."""
    likeness: ClassVar[str | None]
    """The measure that holds 64 bits, in hexadecimal; near-duplicates share most. None without one."""
    captured: ClassVar[str | None]
    """The measure that holds when the example was captured, in seconds since 1970. None without one."""
    views: ClassVar[Views]
    loads: ClassVar[tuple[str, ...]]
    """Modules that `measure` imports at its first use: a process that forks others loads them once, before."""

    @property
    def spec(self) -> InputSpec:
        """The spec of the arrays that `read` returns."""
        ...

    @property
    def limits(self) -> Limits:
        """An example beyond them is refused before it is decoded, with `BeyondLimits`."""
        ...

    def memory_within(self, limits: Limits) -> int:
        """As of `Kind`."""
        ...

    @property
    def facets(self) -> Facets:
        """The facets of an example, with what the source taught about each; none where an example is one piece."""
        ...

    def find(self, folder: Path) -> list[FoundFile]:
        """The files of a domain folder, each an example or with the reason why it must not be opened."""
        ...

    def load(self, path: Path) -> bytes:
        """The bytes of a file that may hold an example within the limits.

        Raises:
            UnreadableExample: It is missing, no regular file, unreadable, or larger than any such example.
        """
        ...

    def identity(self, content: bytes) -> bytes:
        """The bytes whose SHA-256 is the id of the example in ``content``: the same for what is the same example.

        Raises:
            UnreadableExample: With the reason.
        """
        ...

    def read(self, path_or_bytes: Path | bytes) -> np.ndarray:
        """One example as the array of the spec, shape ``(X)``.

        Raises:
            UnreadableExample: With the reason; the message also names the path if there is one.
        """
        ...

    def warm_up(self) -> None:
        """Load what `read` needs at its first use: who gives an example little time calls it before the time begins."""
        ...

    def of_json(self, value: object) -> bytes:
        """The example that a request gives as a value of JSON, as `read` takes it; for a kind that has rows.

        Raises:
            UnreadableExample: ``value`` is none.
        """
        ...

    def measure(self, content: bytes) -> Measured:
        """The record of the example in ``content``, for the manifest; called by several threads at once.

        Raises:
            UnreadableExample: With the reason.
        """
        ...

    def checked(self, measures: Measures) -> Measures:
        """The values of one example that the suites of the kind judge, by the names of their columns; the same for each."""
        ...

    def excerpt(self, path: Path) -> str | None:
        """The example in a line that a terminal and a table can show; None where it has to be opened to be seen.

        Raises:
            UnreadableExample: With the reason.
        """
        ...

    def show(self, path: Path) -> Shown | None:
        """The example for a page that a browser opens from disk; None where the page names the file and no more.

        Raises:
            UnreadableExample: With the reason.
        """
        ...

    def describe(self, measured: Sequence[Measures]) -> list[tuple[str, str]]:
        """A description of many examples for a report: titles and texts, the same titles whatever is in ``measured``."""
        ...


Measure = Callable[[Reader, Sequence[Path]], Sequence[Measures]]
"""Measures files in other processes; nothing is known about one that cannot be read."""


class Kind(Protocol):
    """Makes the readers of one kind; it is their class."""

    @property
    def loads(self) -> tuple[str, ...]:
        """As of `Reader`."""
        ...

    @property
    def plural(self) -> str:
        """As of `Reader`."""
        ...

    @property
    def views(self) -> Views:
        """As of `Reader`."""
        ...

    def of_params(self, params: Params) -> Reader:
        """Reads what a workspace with these params trains on.

        Raises:
            StillOpen: A setting is missing that `settings_from` finds.
            BadInput: Another one does not fit.
        """
        ...

    def limits_in(self, params: KindParams) -> Limits:
        """The limits of one example in a workspace with these params."""
        ...

    def memory_within(self, limits: Limits) -> int:
        """Memory in bytes that one example within ``limits`` may take while it is read or measured."""
        ...

    def settings_from(self, params: Params, source: Path, measure: Measure) -> Mapping[str, Any]:
        """Settings that the examples of ``source`` decide, by section and key: those that ``params`` leave open.

        Args:
            params: The settings as they are.
            source: Its folder.
            measure: Measures examples where that cannot hurt.

        Raises:
            BadInput: There is nothing that could decide them.
        """
        ...

    def of_spec(self, spec: InputSpec, limits: Limits) -> Reader:
        """Reads what a model with this input takes.

        Raises:
            BadInput: This version of acclimate does not prepare examples by the rule of ``spec``.
        """
        ...
