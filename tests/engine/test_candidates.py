"""The warnings that a candidate's training leaves."""

import pytest

from tasks.engine.candidates import discriminator_warnings


def asked(*accuracies: float, name: str = "dann") -> list[dict]:
    """A curve in which every second row asked the discriminator."""
    return [
        row for value in accuracies for row in ({"step": 0}, {"step": 1, f"{name}_held_out_accuracy": value})
    ]


@pytest.mark.parametrize(
    ("accuracies", "expected"),
    [
        pytest.param(
            [0.5, 0.51, 0.49],
            "never told the domains apart (accuracy 0.49): it is dead, or they are alike (then `pad` of source_only in selection.json is near 0)",
            id="dead",
        ),
        pytest.param([0.52, 0.5], None, id="it moved once"),
        pytest.param([0.9, 0.7, 0.5], None, id="confused at the end, as it should be"),
        pytest.param([0.5, 0.9, 0.99], "won (accuracy 0.99): the domains are not aligned", id="won"),
        pytest.param([1.0, 1.0, 0.9], None, id="the features caught up"),
        pytest.param([0.9, 0.98], None, id="exactly on the bound"),
        pytest.param([], None, id="never asked"),
    ],
)
def test_a_dead_or_winning_discriminator_is_told(accuracies: list[float], expected: str | None):
    assert discriminator_warnings(asked(*accuracies)) == (
        [] if expected is None else [f"dann: the discriminator {expected}"]
    )


def test_each_discriminator_of_a_candidate_is_told_by_its_name():
    curve = [*asked(0.5, 0.5, name="dann"), *asked(0.6, 1.0, name="cdan"), *asked(0.8, 0.6, name="adda")]

    assert [line.split(":")[0] for line in discriminator_warnings(curve)] == ["cdan", "dann"]
