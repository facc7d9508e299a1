"""The inputs of training from one domain: results/features/<domain>, and results/views/<target> beside it.

index.parquet has hash, split and label of every row, info.json what the rows were computed with. Arrays have one
row per example, in the order of the index. For the examples that training reads these are:

    inputs.npy       float32 features of the frozen backbone (routes ``cached`` and ``deeper``), or the arrays
                     themselves (route ``end_to_end``)
    activations.npy  route ``deeper``: what enters the blocks that are trained, in float16 (bfloat16 would be as
                     small and eight times coarser)

    <file>.<view>.npy is the same of every such example in another view.

Where ``precision`` is bfloat16, the backbone ran in it for these. For the examples that judge a candidate it ran in
float32, so that the exported model repeats the answers to them:

    judged.inputs.npy, judged.activations.npy    as inputs.npy and activations.npy, but both in float32

Shape suffixes: N = examples of the domain, M = those that an array holds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from tasks.errors import BadInput
from tasks.files import atomic_file
from tasks.records.manifest import TRAINED_SPLITS, Example
from tasks.records.record import Record, read_record, write_record

INDEX = "index.parquet"
INFO = "info.json"

RouteName = Literal["cached", "deeper", "end_to_end"]
Kind = Literal["inputs", "activations"]
Precision = Literal["float32", "bfloat16"]
Append = Callable[[np.ndarray], None]
AppendSeen = Callable[[str, Mapping[Kind, np.ndarray]], None]

JUDGED = "judged."
"""The names of files of the examples that judge a candidate begin with it."""


class FeaturesInfo(Record):
    """info.json of a domain: what its rows were computed with."""

    schema_version: Literal[4] = 4
    route: RouteName
    route_reason: str
    precision: Precision
    """That of the rows that training reads; those that judge are float32."""
    views: tuple[str, ...]
    """Further views of every row, sorted."""
    shape: tuple[int, ...]
    """Shape of one example, as its input spec has it."""
    rows: int
    data_digest: str
    backbone_sha256: str | None
    """SHA-256 of the frozen backbone; None on route end_to_end."""


class ViewsInfo(Record):
    """info.json of the source in the style of a target."""

    schema_version: Literal[1] = 1
    views: tuple[str, ...]
    """Sorted; empty where none were asked for."""
    data_digests: tuple[str, ...]
    """Digests of the source and the target, where there are views."""


@dataclass(frozen=True, eq=False)
class Index:
    """The meaning of the rows, in their order."""

    sha256_N: np.ndarray
    split_N: np.ndarray
    label_N: np.ndarray
    """Class names, None where training must not know them."""

    def hashes(self, split: str) -> list[str]:
        """SHA-256 of the rows of one split."""
        return self.sha256_N[self.split_N == split].tolist()

    def labels(self, split: str) -> list[str]:
        """Class names of the rows of a split that has them."""
        return self.label_N[self.split_N == split].tolist()


class RowsOnDisk(NamedTuple):
    """Rows in one or more variants, each mapped copy-on-write from its file."""

    variants: tuple[np.ndarray, ...]
    """Arrays ``(M, ...)`` of the same examples in the same order; the first is the example as it is."""
    numbers_N: np.ndarray
    """Which of their rows these are."""


@dataclass(frozen=True, eq=False)
class Features:
    """A domain as stage `features` left it; arrays stay on disk until rows of them are asked for."""

    folder: Path
    index: Index
    info: FeaturesInfo
    in_style: Path | None = None
    """Where stage `views` keeps the source in the style of a target; None where no target is concerned."""
    styled: tuple[str, ...] = ()
    """The views that lie there."""

    def rows(self, split: str, *, kind: Kind = "inputs", views: Sequence[str] = ()) -> RowsOnDisk:
        """The rows of one split in the order of the content hash.

        Args:
            split: Its name.
            kind: ``inputs`` or, on route deeper, ``activations``.
            views: Further variants of a row that is trained on, besides as it is and, where kept, mirrored.
        """
        in_split_N = self.index.split_N == split
        is_trained_N = np.isin(self.index.split_N, TRAINED_SPLITS)
        if split not in TRAINED_SPLITS:
            judged = _array(self.folder / f"{JUDGED}{kind}.npy")
            return RowsOnDisk((judged,), np.flatnonzero(in_split_N[~is_trained_N]))
        mirrored = ["mirror"] if "mirror" in self.info.views else []
        files = [self.folder / f"{kind}.npy", *(self._view(kind, view) for view in (*mirrored, *views))]
        return RowsOnDisk(tuple(_array(file) for file in files), np.flatnonzero(in_split_N[is_trained_N]))

    def adapted(self, views: Sequence[str], *, kind: Kind) -> tuple[np.ndarray, ...]:
        """The rows of the adapt split alone in views that are kept of no other."""
        return tuple(_array(self.folder / f"{kind}.{view}.npy") for view in views)

    def width(self) -> int:
        """Width of the frozen features."""
        return int(_array(self.folder / "inputs.npy").shape[1])

    def _view(self, kind: Kind, view: str) -> Path:
        folder = self.in_style if self.in_style and view in self.styled else self.folder
        return folder / f"{kind}.{view}.npy"


# --- reading -----------------------------------------------------------------------------------


def read_info(folder: Path) -> FeaturesInfo:
    """info.json of the domain whose features are in ``folder``.

    Raises:
        BadInput: It is missing, or another version of acclimate wrote it.
    """
    return read_record(FeaturesInfo, folder / INFO)


def read_features(folder: Path, *, in_style: Path | None = None) -> Features:
    """The features of a domain.

    Args:
        folder: results/features/<domain>.
        in_style: results/views/<target>, where the source is read for a target.

    Raises:
        BadInput: A file is missing, or another version of acclimate wrote it.
    """
    styled = read_record(ViewsInfo, in_style / INFO).views if in_style else ()
    return Features(folder, read_index(folder), read_info(folder), in_style, styled)


def read_index(folder: Path) -> Index:
    """index.parquet of ``folder``.

    Raises:
        BadInput: It is missing.
    """
    import pyarrow.parquet as pq

    path = folder / INDEX
    try:
        columns = pq.read_table(path, columns=["sha256", "split", "label"]).to_pydict()
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error
    return Index(*(np.array(columns[name], dtype=object) for name in ("sha256", "split", "label")))


def _array(path: Path) -> np.ndarray:
    # Copy-on-write: torch warns of arrays that it could not write to.
    return np.load(path, mmap_mode="c", allow_pickle=False)


# --- writing -----------------------------------------------------------------------------------


def write_index(folder: Path, examples: Sequence[Example], labels: Mapping[str, str]) -> None:
    """Write index.parquet: ``examples`` in their order, with those ``labels``, by SHA-256, that training may know."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"sha256": example.sha256, "split": example.split, "label": labels.get(example.sha256)}
        for example in examples
    ]
    schema = pa.schema([(name, pa.string()) for name in ("sha256", "split", "label")])
    with atomic_file(folder / INDEX) as file:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)


def write_info(folder: Path, info: FeaturesInfo | ViewsInfo) -> None:
    """Write info.json, last of all: it says that the rows are there."""
    write_record(folder / INFO, info)


@contextmanager
def seen_files(folder: Path, num_rows: int, *, prefix: str = "") -> Iterator[AppendSeen]:
    """A function that appends the arrays kept of a batch, by kind, to the files of one view.

    Args:
        folder: Where the files appear when all rows are there.
        num_rows: How many that is.
        prefix: The names of the files begin with it.
    """
    files: dict[str, Append] = {}
    with ExitStack() as opened:

        def append(view: str, seen: Mapping[Kind, np.ndarray]) -> None:
            for kind, array in seen.items():
                name = f"{prefix}{kind}.{view}.npy" if view else f"{prefix}{kind}.npy"
                if name not in files:
                    files[name] = opened.enter_context(rows_file(folder / name, num_rows=num_rows))
                files[name](array)

        yield append


@contextmanager
def rows_file(path: Path, *, num_rows: int) -> Iterator[Append]:
    """A function that appends rows to an .npy file of ``num_rows`` rows, which appears when all are there.

    Activations of a large domain do not fit into memory.
    """
    with atomic_file(path) as file:

        def append(array: np.ndarray) -> None:
            if file.tell() == 0:
                header = {
                    "descr": array.dtype.str,
                    "fortran_order": False,
                    "shape": (num_rows, *array.shape[1:]),
                }
                np.lib.format.write_array_header_2_0(file, header)
            file.write(np.ascontiguousarray(array).tobytes())

        yield append
