"""A verdict comes back as it was written; shares and recalls are filed under ``class``, a word that code cannot use."""

from pathlib import Path

import pytest

from tasks.files import read_json
from tasks.records.record import as_json
from tasks.records.selection import JSON, ClassShare, ClassShares, Selected, read_selected, write_selected
from tasks.records.verdict import (
    AgainstChampion,
    ClassRecall,
    DataDigest,
    FreshPrice,
    HoldoutPrice,
    Judged,
    Measured,
    Oracle,
    Price,
    Proof,
    Sample,
    read_judged,
    write_judged,
)

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


SEALED = Judged(
    target="cam7",
    candidate="mcc-0",
    checkpoint_sha256="1" * 64,
    verdict="hold",
    reasons=("not proven",),
    warnings=(),
    source_only=Measured(accuracy=None, n=120, candidate="source_only-0"),
    selected=Measured(accuracy=None, n=120, candidate="mcc-0"),
    oracle=Oracle(accuracy=None, n=0, candidate=None),
    champion=None,
    evidence=None,
    price=Price(
        share=0.05,
        left=0.025,
        planned=12,
        next_fresh=0.025 / 12,
        holdout=HoldoutPrice(place=1, alpha=0.025, level=0.025, spent_since="2031-03-01"),
        fresh=None,
    ),
    sealed=True,
    per_class=(),
    confusion=None,
    target_prior=None,
    answers_digest=None,
    candidates=(),
    labels_digest="2" * 64,
    labelled_target_images=0,
    data_digest=DataDigest(source="3", target="4"),
)
PROVEN = SEALED.model_copy(
    update={
        "verdict": "promote",
        "champion": AgainstChampion(
            version=3,
            checkpoint_sha256="5" * 64,
            model_sha256="6" * 64,
            accuracy=None,
            n=0,
            gain=None,
            interval=None,
        ),
        "evidence": Proof(
            kind="disagreements",
            against="version 3 in service",
            gain=0.139,
            interval=(0.064, 0.181),
            confidence=0.95,
            mcnemar_p=8.7e-05,
            mcnemar_p_worse=1.0,
            better=30,
            worse=3,
            smallest_detectable_gain=None,
            groups=None,
            disagreements=Sample(labelled=38, total=78, images=400),
        ),
        "price": SEALED.price.model_copy(
            update={
                "fresh": FreshPrice(
                    arms="7" * 64, alpha=0.0, threshold=None, evidence=1e300, more=None, course=(0.17, -0.1)
                )
            }
        ),
    }
)


@pytest.mark.parametrize("judged", [SEALED, PROVEN], ids=["sealed", "on fresh labels"])
def test_a_verdict_comes_back_with_what_it_cost(tmp_path: Path, judged: Judged):
    write_judged(tmp_path, judged)

    assert read_judged(tmp_path) == judged
    assert next(iter(read_json(tmp_path / "verdict.json"))) == "schema_version"
