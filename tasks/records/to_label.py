"""The images worth labelling (to_label.csv): those that can tell the models apart that the gate compares.

People fill in the column ``label``, in place or in a copy. No model's answer stands beside it. The column ``example`` shows what a
line can show of the example.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import BadInput
from tasks.files import write_text

CSV = "to_label.csv"
COLUMNS = ("path", "sha256", "arms", "label")
"""People fill in the last."""
EXAMPLE = "example"
"""The column after the first, where there is anything to show in it."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet would compute a cell that begins so, and what it computes may reach out."""


@dataclass(frozen=True)
class Disagreement:
    """An unlabelled image of the test split that the selected candidate and a model it is compared with name differently."""

    path: str
    """Below data/<target>."""
    sha256: str


@dataclass(frozen=True)
class ToLabel:
    """One line of to_label.csv."""

    disagreement: Disagreement
    arms: str
    """Digest of what is compared."""
    label: str
    """Empty where nobody has answered yet."""
    example: str = ""
    """The example itself, where a line can show it."""


def write_to_label(
    folder: Path,
    arms: str,
    disagreements: Sequence[Disagreement],
    labels: Mapping[str, str],
    examples: Mapping[str, str],
) -> None:
    """Write to_label.csv into ``folder``; its first k lines are a fair sample of them all.

    Args:
        folder: results/gate/<target>.
        arms: Digest of what is compared.
        disagreements: In the order in which they are to be labelled.
        labels: Known answers, by SHA-256 of the image.
        examples: The examples that a line can show, by their SHA-256; empty for a kind that has to be opened.
    """
    path, *others = COLUMNS
    lines = [[path, EXAMPLE, *others] if examples else COLUMNS]
    for one in disagreements:
        label, shown = (_as_cell(by_id.get(one.sha256, "")) for by_id in (labels, examples))
        beside = [shown] if examples else []
        lines.append([one.path, *beside, one.sha256, arms, label])
    write_text(folder / CSV, "".join(map(_csv_line, lines)))


def read_to_label(folder: Path) -> list[ToLabel]:
    """The lines of to_label.csv in ``folder``, in the order of the file.

    Raises:
        BadInput: It is missing, or is not as the gate writes it.
    """
    path = folder / CSV
    try:
        text = path.read_bytes().decode("utf-8")
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(name for name in header if name != EXAMPLE) != COLUMNS or any(
            len(line) != len(header) for line in lines
        ):
            raise ValueError(f"every line must be {','.join(COLUMNS)}")
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error
    except (ValueError, csv.Error) as error:
        raise BadInput(
            f"{path} is not as the gate writes it ({error}). Run `acclimate run` again."
        ) from error
    return [_line(dict(zip(header, line, strict=True))) for line in lines]


def _line(cells: Mapping[str, str]) -> ToLabel:
    disagreement = Disagreement(cells["path"], cells["sha256"])
    return ToLabel(disagreement, cells["arms"], as_text(cells["label"]), as_text(cells.get(EXAMPLE, "")))


def _csv_line(cells: Sequence[str]) -> str:
    """A line of the file; csv puts a carriage return in quotes only where lines end with one."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().removesuffix("\r\n") + "\n"


def _as_cell(text: str) -> str:
    """``text`` as a spreadsheet shows it and does not compute it; `as_text` takes the apostrophe away."""
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def as_text(cell: str) -> str:
    """The text that the gate wrote as ``cell``."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'").startswith(_FORMULA) else cell
