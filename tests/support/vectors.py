"""A toy kind: vectors of eight numbers in .npy files. One reader, one backbone, and no more.

No torch at module level: the process that examines an exported file imports this, too.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tasks.config.params import Params
from tasks.config.sections.kind import KindParams
from tasks.domains import kinds
from tasks.domains.contract import (
    Facets,
    InputSpec,
    Kind,
    Limits,
    Measure,
    Measured,
    Measures,
    UnreadableExample,
    Views,
)
from tasks.domains.folder import FoundFile, list_files

if TYPE_CHECKING:
    from tasks.models.backbones.backbone import Backbone

WIDTH = 8
SPEC = InputSpec("vectors", "vectors", "float32", (WIDTH,), {"file": "npy"})
known_kind = kinds.kind_named


@dataclass(frozen=True)
class Vectors:
    """The reader of vectors."""

    spec: InputSpec = SPEC
    max_bytes: int = 4096

    kind: ClassVar[str] = "vectors"
    noun: ClassVar[str] = "vector"
    plural: ClassVar[str] = "vectors"
    pattern: ClassVar[str] = "*.npy"
    has_rows: ClassVar[bool] = False
    media_type: ClassVar[str] = "application/x-npy"
    measures: ClassVar[Mapping[str, type]] = {"length": float}
    likeness: ClassVar[str | None] = None
    captured: ClassVar[str | None] = None
    views: ClassVar[Views] = Views()
    loads: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of_params(cls, params: Params) -> "Vectors":
        return cls()

    @classmethod
    def of_spec(cls, spec: InputSpec, limits: Limits) -> "Vectors":
        return cls(spec, limits["max_bytes"])

    @property
    def limits(self) -> Limits:
        return {"max_bytes": self.max_bytes}

    @classmethod
    def limits_in(cls, params: KindParams) -> Limits:
        return {"max_bytes": 4096}

    @classmethod
    def settings_from(cls, params: Params, source: Path, measure: Measure) -> Mapping[str, Any]:
        return {}

    @classmethod
    def memory_within(cls, limits: Limits) -> int:
        return 2**24

    @property
    def facets(self) -> Facets:
        return {}

    def find(self, folder: Path) -> list[FoundFile]:
        return list_files(folder)

    def load(self, path: Path) -> bytes:
        content = path.read_bytes()
        if len(content) > self.max_bytes:
            raise UnreadableExample("more bytes than a vector needs")
        return content

    def identity(self, content: bytes) -> bytes:
        return content

    def read(self, path_or_bytes: Path | bytes) -> np.ndarray:
        content = path_or_bytes if isinstance(path_or_bytes, bytes) else self.load(path_or_bytes)
        try:
            vector = np.load(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise UnreadableExample("not an .npy file") from error
        if (vector.shape, vector.dtype) != ((WIDTH,), np.float32):
            raise UnreadableExample(f"{vector.dtype} of shape {vector.shape}")
        return vector

    def warm_up(self) -> None: ...

    def of_json(self, value: object) -> bytes:
        raise UnreadableExample("no JSON")

    def measure(self, content: bytes) -> Measured:
        return Measured({"length": float(np.linalg.norm(self.read(content)))}, None)

    def checked(self, measures: Measures) -> Measures:
        return measures

    def excerpt(self, path: Path) -> str | None:
        return None

    def show(self, path: Path) -> None:
        return None

    def describe(self, measured: Sequence[Measures]) -> list[tuple[str, str]]:
        longest = max((float(one["length"] or 0) for one in measured), default=0.0)
        return [("Longest vector", f"{longest:.1f}")]


def kind_named(name: str) -> Kind:
    """Stands in for the product's choice."""
    return Vectors if name == "vectors" else known_kind(name)


def build_vector_backbone(params: object, spec: InputSpec) -> "Backbone":
    """Two layers; whatever ``params`` names."""
    import torch
    from torch import nn

    from tasks.models.backbones.backbone import Backbone, Sample

    trunk = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 16))
    return Backbone(nn.Identity(), trunk, feature_width=16, sample=Sample(torch.zeros(2, WIDTH), "8 numbers"))


def encode(vector: np.ndarray) -> bytes:
    """``vector`` as an .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, vector.astype(np.float32))
    return buffer.getvalue()


def draw(label: int, seed: int, *, shifted: bool) -> np.ndarray:
    """One vector of a class: a corner of a triangle, and noise. ``shifted`` ones are moved towards the next corner."""
    rng = np.random.default_rng([label, seed])
    vector = 0.25 * rng.standard_normal(WIDTH)
    angle = 2 * np.pi * label / 3 + (0.9 if shifted else 0.0)
    vector[:2] += 2 * np.array([np.cos(angle), np.sin(angle)])
    vector[2] += 1.5 if shifted else 0.0
    return vector.astype(np.float32)


def write_vectors(folder: Path, *, count: int, first_seed: int, shifted: bool, labelled: bool) -> None:
    """``count`` vectors of each of three classes, in class folders or flat."""
    for label, name in enumerate(("east", "north", "west")):
        place = folder / name if labelled else folder
        place.mkdir(parents=True, exist_ok=True)
        for seed in range(first_seed, first_seed + count):
            vector = draw(label, seed, shifted=shifted)
            (place / f"{label}-{seed}.npy").write_bytes(encode(vector))
