"""The names of the same things in several languages, as tables of texts: English is the source.

    npm pack emojibase-data@17.0.0
    python -m benchmarks.languages emojibase-data-17.0.0.tgz DATA/languages
    make bench-accuracy DATA=DATA BENCH='--only english'

A text is the name and the search words of an emoji (Unicode CLDR, MIT), and its class is the group that it is in. No emoji is
on both sides: the source has one half of them, and every target the other half.
"""

import csv
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.errors import BadInput
from tasks.files import sha256_of_file, write_text

ARCHIVE_SHA256 = "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a"

SOURCE = "english"
LANGUAGES = {"english": "en", "french": "fr", "german": "de", "japanese": "ja"}
"""The names of the tables, and the folders of the archive."""

GROUPS = {
    0: "smileys", 1: "people", 3: "nature", 4: "food", 5: "places", 6: "activities", 7: "objects", 8: "symbols", 9: "flags",
}  # fmt: skip
"""The classes, by the number of the group. Group 2 is made of nine parts of other emoji, such as hair."""

Named = tuple[str, str]
"""A text and its class."""


def main() -> None:
    """Write the tables.

    Raises:
        BadInput: The archive is another one.
    """
    archive, folder = map(Path, sys.argv[1:])
    if (found := sha256_of_file(archive)) != ARCHIVE_SHA256:
        raise BadInput(
            f"{archive} has sha256 {found}, expected {ARCHIVE_SHA256}: get it with `npm pack emojibase-data@17.0.0`."
        )
    for language, rows in rows_by_language(archive).items():
        write_rows(folder / f"{language}.csv", rows)
        print(f"{language}: {len(rows)} texts")


def rows_by_language(archive: Path) -> dict[str, list[Named]]:
    """Texts and classes of each language: of the source from one half of the emoji, and of the targets from the other."""
    with tarfile.open(archive) as package:
        return {language: _rows(package, language) for language in LANGUAGES}


def write_rows(path: Path, rows: Sequence[Named]) -> None:
    """Write ``rows`` with the columns ``text`` and ``label``."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows([("text", "label"), *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, lines.getvalue())


def _rows(package: tarfile.TarFile, language: str) -> list[Named]:
    file = package.extractfile(f"package/{LANGUAGES[language]}/data.json")
    assert file is not None, "the package has this file of every language"
    return [
        (_text(emoji), GROUPS[emoji["group"]])
        for emoji in json.load(file)
        if emoji.get("group") in GROUPS and _is_of_source(emoji["hexcode"]) == (language == SOURCE)
    ]


def _text(emoji: Mapping[str, object]) -> str:
    tags = emoji.get("tags")
    return ", ".join([str(emoji["label"]), *(map(str, tags) if isinstance(tags, list) else ())])


def _is_of_source(hexcode: str) -> bool:
    """The half is decided by the code's digest: the same in every language, and whatever else a file lists."""
    return hashlib.sha256(hexcode.encode()).digest()[0] % 2 == 0


if __name__ == "__main__":
    main()
