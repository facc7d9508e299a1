"""The shares and recalls of a class are filed under ``class``, a word that code cannot use."""

from pathlib import Path

from tasks.files import read_json
from tasks.records.record import as_json
from tasks.records.selection import JSON, ClassShare, ClassShares, Selected, read_selected, write_selected
from tasks.records.verdict import ClassRecall

SHARE = ClassShare(name="cat", source=1.0, given=None, estimated=1.0, bbse=None, em=1.0)
SELECTED = Selected(
    source_only="source_only-0",
    target_statistics="target_statistics-0",
    target="cam7",
    candidate="mcc-0",
    checkpoint_sha256="1" * 64,
    reasons=("mcc-0 has an InfoMax of 0.9",),
    target_prior=ClassShares(total_variation=0.0, max_total_variation=0.3, classes=(SHARE,)),
    candidates=(),
)


def test_a_selection_comes_back_and_names_the_class_of_a_share_first(tmp_path: Path):
    write_selected(tmp_path, SELECTED)

    assert read_selected(tmp_path) == SELECTED
    (share,) = read_json(tmp_path / JSON)["target_prior"]["classes"]
    assert list(share) == ["class", "source", "given", "estimated", "bbse", "em"]


def test_a_recall_names_its_class_first():
    recall = ClassRecall(name="cat", n=0, source_only=None, selected=None, p_worse=None)

    assert list(as_json(recall)) == ["class", "n", "source_only", "selected", "p_worse"]
