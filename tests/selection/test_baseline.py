import numpy as np

from tasks.records.candidates import Outputs
from tasks.selection.baseline import stand_in
from tasks.selection.pool import Candidate, Pool

LABELS = np.arange(200) % 2


def pool_of(*candidates: Candidate) -> Pool:
    return Pool(None, ("cat", "dog"), candidates)  # type: ignore[arg-type]


def source_only(seed: int, route: str = "cached") -> Candidate:
    deeper = "@deeper" if route == "deeper" else ""
    return Candidate(f"source_only{deeper}-{seed}", "source_only", seed, "", True, route=route)  # type: ignore[arg-type]


def said(*, wrong: int, certainty: float = 0.9, first: int = 0) -> Outputs:
    """Outputs that are wrong on as many images, from the first on."""
    named_N = np.where((np.arange(200) >= first) & (np.arange(200) < first + wrong), 1 - LABELS, LABELS)
    probabilities_NC = np.where(np.eye(2)[named_N] == 1, certainty, 1 - certainty)
    return Outputs(probabilities_NC, np.zeros((200, 1)), ())


def chosen(outputs: dict[Candidate, Outputs]) -> str:
    validations = {one.name: mine for one, mine in outputs.items()}
    found = stand_in("source_only", pool_of(*outputs), validations, LABELS)
    assert found is not None
    return found.name


def test_the_seed_that_is_most_accurate_on_the_source_stands_for_all():
    assert chosen(
        {source_only(0): said(wrong=8), source_only(1): said(wrong=4), source_only(2): said(wrong=6)}
    ) == ("source_only-1")


def test_accuracy_goes_before_cross_entropy():
    accurate, cautious = said(wrong=4, certainty=0.99999), said(wrong=8)

    assert chosen({source_only(0): cautious, source_only(1): accurate}) == "source_only-1"


def test_of_equally_accurate_seeds_the_one_with_the_lower_cross_entropy():
    assert (
        chosen({source_only(0): said(wrong=4, certainty=0.9999), source_only(1): said(wrong=4)})
        == "source_only-1"
    )


def test_training_deeper_is_the_baseline_only_where_it_is_clearly_better_on_the_source():
    shallow = {source_only(0): said(wrong=10), source_only(1): said(wrong=12)}

    slightly = {
        source_only(0, "deeper"): said(wrong=9, first=50),
        source_only(1, "deeper"): said(wrong=12, first=50),
    }
    clearly = {source_only(0, "deeper"): said(wrong=2), source_only(1, "deeper"): said(wrong=3)}

    assert chosen(shallow | slightly) == "source_only-0"
    assert chosen(shallow | clearly) == "source_only@deeper-0"


def test_the_order_of_the_pool_does_not_matter():
    outputs = {source_only(0): said(wrong=8), source_only(1): said(wrong=4), source_only(2): said(wrong=6)}

    assert chosen(dict(reversed(outputs.items()))) == chosen(outputs)


def test_without_a_validation_split_the_first_stands_for_all_and_without_any_there_is_none():
    pool = pool_of(source_only(3), source_only(1))

    assert stand_in("source_only", pool, {}, LABELS) == source_only(3)
    assert stand_in("target_statistics", pool, {}, LABELS) is None
