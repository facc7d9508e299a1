"""The images on which source-only and the selected candidate differ, and the evidence that their labels give.

Only these images can tell the two models apart, so a label is worth most there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.config.sections.gate import GateParams
from tasks.judgement.disagreements import Drawn, fair_sample, interval_from_disagreements
from tasks.judgement.holdout import Holdout
from tasks.judgement.judge import Evidence, interval_confidence, is_enough
from tasks.judgement.paired import count_pairs
from tasks.records.answers import Answer, latest
from tasks.records.to_label import Disagreement
from tasks.selection.pool import Candidate


def find_disagreements(chosen: Candidate, source_only: Candidate, holdout: Holdout) -> list[Disagreement]:
    """All of them, in the order of their content hashes: as good as random, and no name or label moves it."""
    if not holdout.outputs:
        return []
    classes = holdout.pool.classes
    before_N = holdout.outputs[source_only.name].predictions()
    after_N = holdout.outputs[chosen.name].predictions()
    found = [
        Disagreement(holdout.paths[image], image, classes[before], classes[after])
        for image, before, after in zip(holdout.images, before_N, after_N, strict=True)
        if before != after and image not in holdout.labels
    ]
    return sorted(found, key=lambda one: one.sha256)


@dataclass(frozen=True, eq=False)
class Answered:
    """Disagreements, and all that people ever answered about images of the target.

    An answer is a fact about an image and outlives the models it was asked for. Every pair of
    models has a sample of its own: the disagreements of this pair, in the order of their hashes, up to the
    first one without an answer. Selection reads no answer, so no answer has moved an image into the sample.
    """

    disagreements: Sequence[Disagreement]
    answers: Sequence[Answer]

    def sample(self, *, until_round: int | None = None) -> list[tuple[Disagreement, Answer]]:
        """The fair sample that the answers (those of the first rounds) make."""
        known = latest([one for one in self.answers if until_round is None or one.round <= until_round])
        images = {one.sha256: one for one in self.disagreements}
        return [(images[image], known[image]) for image in fair_sample(list(images), known)]

    def looks(self, num_images: int, params: GateParams) -> int:
        """After how many rounds there was a sample large enough to promote on, and another than before; at least 1."""
        drawn, seen = Drawn(len(self.disagreements), num_images), []
        for number in sorted({one.round for one in self.answers}):
            sample = self.sample(until_round=number)
            labels = [(one.sha256, answer.label) for one, answer in sample]
            if is_enough(len(sample), drawn, params) and labels not in seen:
                seen.append(labels)
        return max(1, len(seen))


def weigh_answers(answered: Answered, *, num_images: int, params: GateParams) -> Evidence | None:
    """The selected candidate against source-only on the labelled disagreements; ``None`` without any.

    Args:
        answered: Disagreements and answers.
        num_images: Number of images in the test split.
        params: Level and seed of the bootstrap.
    """
    sample = answered.sample()
    if not sample:
        return None
    drawn = Drawn(len(answered.disagreements), num_images, answered.looks(num_images, params))
    right = np.array(
        [[answer.label == said for said in (one.source_only, one.selected)] for one, answer in sample]
    )
    counts = count_pairs(right[:, 0], right[:, 1])
    interval = interval_from_disagreements(
        counts,
        drawn,
        confidence=interval_confidence(params, looks=drawn.looks),
        resamples=params.bootstrap_resamples,
        seed=params.seed,
    )
    return Evidence(counts, None, interval, drawn)
