"""Labels that people give after the arms were frozen, and the evidence in them.

Shape suffixes: N = labelled images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.judgement.arms import Arms, Contestant
from tasks.judgement.evidence import FreshEvidence, weigh_fresh
from tasks.records.answers import Answer, latest
from tasks.records.to_label import Disagreement


@dataclass(frozen=True, eq=False)
class Answered:
    """The arms, and all that people ever answered about images of the target."""

    arms: Arms
    answers: Sequence[Answer]

    def mine(self) -> dict[str, Answer]:
        """The answers that were given for these arms, by image."""
        return latest([one for one in self.answers if one.arms == self.arms.key])

    def sample(self) -> list[tuple[Disagreement, Answer]]:
        """The images that count, in their order: those before the first one without an answer, group by group.

        A person who skips what is hard to tell leaves a sample of easy images. Before the first skipped one the order
        alone decides what is in the sample.
        """
        known, sizes = self.mine(), self.arms.sizes
        counted: list[tuple[Disagreement, Answer]] = []
        whole = 0
        for one in self.arms.disagreements:
            if one.sha256 not in known:
                break
            counted.append((one, known[one.sha256]))
            if len(counted) - whole == sizes[self.arms.group(one.sha256)]:
                whole = len(counted)
        return counted[:whole]

    def next_unlabelled(self) -> Disagreement | None:
        """The image whose label is worth most now; None where all are labelled."""
        known = self.mine()
        return next((one for one in self.arms.disagreements if one.sha256 not in known), None)


def weigh_answers(answered: Answered, rival: Contestant, *, confidence: float) -> FreshEvidence | None:
    """The selected candidate against a rival on the labels that count; None without any.

    Args:
        answered: Arms and answers.
        rival: One of the arms.
        confidence: Confidence of the interval.
    """
    arms, sample = answered.arms, answered.sample()
    if not sample:
        return None
    leads_N = np.array(
        [
            int(answer.label == arms.candidate.says[one.sha256]) - int(answer.label == rival.says[one.sha256])
            for one, answer in sample
        ]
    )
    return weigh_fresh(
        leads_N,
        [arms.group(one.sha256) for one, _ in sample],
        other=rival.name,
        differ=arms.sizes,
        images=arms.images,
        confidence=confidence,
        margin=arms.margin,
    )
