"""Images whose labels were spent on a verdict and train from then on: data/<target>/labelled/retired.csv.

One line per image, ``sha256,label``. The image stays where it is; its split is ``labelled`` wherever it lies.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from tasks.domains.folder import RETIRED
from tasks.errors import BadInput
from tasks.files import write_text

COLUMNS = ("sha256", "label")


def read_retired(folder: Path) -> dict[str, str]:
    """The labels that have retired in the domain at ``folder``, by SHA-256; none where there is no list.

    Raises:
        BadInput: The list is damaged.
    """
    path = folder / RETIRED
    if not path.exists():
        return {}
    try:
        header, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""), strict=True)
        if tuple(header) != COLUMNS:
            raise ValueError(f"line 1 must be {','.join(COLUMNS)}")
        return dict(rows)
    except (ValueError, csv.Error) as error:
        raise BadInput(
            f"{path} is not a list of {','.join(COLUMNS)} ({error}). Restore it with `dvc checkout`."
        ) from error


def add_retired(folder: Path, labels: Mapping[str, str]) -> None:
    """Add ``labels``, by SHA-256, to the list; an image that is there already keeps its line."""
    known = read_retired(folder)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        {**known, **{image: label for image, label in labels.items() if image not in known}}.items()
    )
    write_text(folder / RETIRED, text.getvalue())
