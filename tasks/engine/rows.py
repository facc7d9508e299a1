"""The features of a domain as training reads them: tensors, through a map where a preset aligns them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tasks.domains.contract import QUARTER_TURNS
from tasks.engine.trainer import LabelledRows
from tasks.models.alignment import Affine
from tasks.models.rows import Rows
from tasks.records.features import Features, FeaturesInfo, Index, Kind


@dataclass(frozen=True, eq=False)
class DomainRows:
    """A domain's rows; they stay on disk until a batch of them is asked for."""

    features: Features
    affine: Affine | None = None
    """Applied to the frozen features as they are read."""

    @property
    def index(self) -> Index:
        """Hashes, splits and labels, in the order of the rows."""
        return self.features.index

    @property
    def info(self) -> FeaturesInfo:
        """The network and settings that the rows were computed with."""
        return self.features.info

    @property
    def route(self) -> str:
        """The route they were written for: ``cached``, ``deeper`` or ``end_to_end``."""
        return self.features.info.route

    def rows(self, split: str, *, kind: Kind = "inputs", views: Sequence[str] = ()) -> Rows:
        """The rows of one split; arguments as of :meth:`tasks.records.features.Features.rows`."""
        arrays, numbers_N = self.features.rows(split, kind=kind, views=views)
        variants = tuple(torch.from_numpy(array) for array in arrays)
        if self.affine is None:
            return Rows(variants, numbers_N)
        mapped = tuple(self.affine.apply(variant[torch.from_numpy(numbers_N)]) for variant in variants)
        return Rows(mapped, np.arange(len(numbers_N)))

    def turned(self, *, kind: Kind) -> Rows | None:
        """The rows of the adapt split in three variants, turned by 90, 180 and 270 degrees; ``None`` where rows are examples as read."""
        if self.route == "end_to_end":
            return None
        variants = [torch.from_numpy(array) for array in self.features.adapted(QUARTER_TURNS, kind=kind)]
        mapped = tuple(self.affine.apply(variant) if self.affine else variant for variant in variants)
        return Rows(mapped, np.arange(len(mapped[0])))

    def width(self) -> int:
        """Width of the frozen features, mapped where there is a map."""
        return self.features.width() if self.affine is None else len(self.affine.offset_K)


def labelled_split(
    domain: DomainRows,
    split: str,
    classes: Sequence[str],
    *,
    kind: Kind = "inputs",
    views: Sequence[str] = (),
) -> LabelledRows:
    """The rows of a labelled split with class numbers in the order of ``classes``."""
    numbers = {name: number for number, name in enumerate(classes)}
    labels = np.array([numbers[label] for label in domain.index.labels(split)], dtype=np.int64)
    return LabelledRows(domain.rows(split, kind=kind, views=views), torch.from_numpy(labels))
