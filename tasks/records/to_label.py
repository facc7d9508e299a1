"""The images worth labelling (to_label.csv): those that can tell the models apart that the gate compares.

People fill in the column ``label``, in place or in a copy. No model's answer stands beside it.
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


def write_to_label(
    folder: Path, arms: str, disagreements: Sequence[Disagreement], labels: Mapping[str, str]
) -> None:
    """Write to_label.csv into ``folder``; its first k lines are a fair sample of them all.

    Args:
        folder: results/gate/<target>.
        arms: Digest of what is compared.
        disagreements: In the order in which they are to be labelled.
        labels: Known answers, by SHA-256 of the image.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in disagreements:
        writer.writerow([one.path, one.sha256, arms, labels.get(one.sha256, "")])
    write_text(folder / CSV, text.getvalue())


def read_to_label(folder: Path) -> list[ToLabel]:
    """The lines of to_label.csv in ``folder``, in the order of the file.

    Raises:
        BadInput: It is missing, or is not as the gate writes it.
    """
    path = folder / CSV
    try:
        text = path.read_text(encoding="utf-8")
        header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
        if tuple(header) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
            raise ValueError(f"every line must be {','.join(COLUMNS)}")
    except FileNotFoundError as error:
        raise BadInput(f"{path} does not exist. Run the stage that writes it: `acclimate run`.") from error
    except (ValueError, csv.Error) as error:
        raise BadInput(
            f"{path} is not as the gate writes it ({error}). Run `acclimate run` again."
        ) from error
    return [ToLabel(Disagreement(path, image), arms, label) for path, image, arms, label in lines]
