"""The demo's texts: sentences of product reviews with labels, and tweets. From the source archive of the package vaderSentiment.

Each was rated by ten people or more (Hutto and Gilbert, ICWSM 2014), from -4 to 4. The texts are third parties'; the package is
MIT-licensed.
"""

import csv
import io
import tarfile
from pathlib import Path

from tasks.files import write_text

INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
MEMBER = "hutto_ICWSM_2014/{}_GroundTruth.txt"
CLEAR = 0.5
"""Texts whose mean rating is nearer to zero belong to neither class, and are left out."""


def write_sentences(archive: Path, folder: Path) -> None:
    """Write sentences.csv and tweets.csv into ``folder``, each with the columns text and label."""
    with tarfile.open(archive) as outer:
        content = outer.extractfile(INNER)
        assert content is not None, "the archive's digest is known"
        with tarfile.open(fileobj=io.BytesIO(content.read())) as inner:
            _write(inner, "amazonReviewSnippets", folder / "sentences.csv")
            _write(inner, "tweets", folder / "tweets.csv")


def _write(archive: tarfile.TarFile, member: str, path: Path) -> None:
    content = archive.extractfile(MEMBER.format(member))
    assert content is not None, "the archive's digest is known"
    written = io.StringIO(newline="")
    writer = csv.writer(written)
    writer.writerow(("text", "label"))
    for line in content.read().decode().splitlines():
        _, rating, text = line.split("\t", 2)
        if abs(float(rating)) >= CLEAR:
            writer.writerow((text, "positive" if float(rating) > 0 else "negative"))
    write_text(path, written.getvalue())
