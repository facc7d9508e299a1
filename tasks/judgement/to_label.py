"""The images on which the models that the gate compares differ, and the evidence that their labels give.

Only these images can tell the models apart, so a label is worth most there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.config.sections.gate import GateParams
from tasks.judgement.disagreements import Drawn, fair_sample, interval_from_disagreements
from tasks.judgement.evidence import Evidence
from tasks.judgement.holdout import Holdout
from tasks.judgement.judge import interval_confidence, is_enough
from tasks.judgement.paired import count_pairs
from tasks.records.answers import Answer, latest
from tasks.records.to_label import Disagreement
from tasks.selection.pool import Candidate


def find_disagreements(
    chosen: Candidate, others: Sequence[Candidate], holdout: Holdout
) -> list[Disagreement]:
    """All of them, in the order of their content hashes: as good as random, and no name or label moves it.

    None where source-only itself was selected: no label could change what is held.

    Args:
        chosen: The selected candidate.
        others: The candidates that it is compared with, source-only first.
        holdout: The images, and the classes that every candidate predicts.
    """
    if not holdout.outputs or chosen == others[0]:
        return []
    after = holdout.named(chosen.name)
    source_only, *further = [holdout.named(other.name) for other in others]
    found = [
        Disagreement(holdout.paths[image], image, source_only[image], after[image])
        for image in holdout.images
        if image not in holdout.labels
        and any(said[image] != after[image] for said in (source_only, *further))
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


def weigh_answers(
    answered: Answered, other: Mapping[str, str], selected: Mapping[str, str], *, params: GateParams
) -> Evidence | None:
    """The selected candidate against another on the labelled disagreements; ``None`` without any.

    Args:
        answered: Disagreements and answers.
        other: The classes that the other one predicts for all images of the test split.
        selected: Those that the selected candidate predicts.
        params: Level and seed of the bootstrap.
    """
    sample = answered.sample()
    if not sample:
        return None
    drawn = Drawn(len(answered.disagreements), len(selected), answered.looks(len(selected), params))
    right = np.array(
        [[answer.label == said[one.sha256] for said in (other, selected)] for one, answer in sample]
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
