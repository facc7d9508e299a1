"""Statistics of two models judged on labels of the images on which they disagree.

Where two models say the same, both are right or both are wrong: the difference of their accuracies lies on
the disagreements alone. A fair sample of these, labelled, estimates it without bias from far fewer labels
than a sample of all images takes. The labelled ones are counted as in :mod:`tasks.judgement.paired`: better,
worse, and tied where both models are wrong. The exact test is :func:`~tasks.judgement.paired.mcnemar_p` of
these counts: images on which both say the same would not enter it.

The verdict is about images to come, of which the test split is a sample itself. So nothing shrinks to a
point when every disagreement is labelled: estimate, p and interval are then those of the whole split labelled.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.judgement.paired import PairedCounts, detection_power, smallest_detectable_gain


@dataclass(frozen=True)
class Drawn:
    """The images that the labelled disagreements were drawn from."""

    disagreements: int
    """Images on which the two models disagree, labelled or not."""
    images: int
    """All images on which they were compared."""
    looks: int = 1
    """How often the gate has judged, this time included, while the sample grew."""

    @property
    def rate(self) -> float:
        """Share of images on which the two models disagree."""
        return self.disagreements / self.images


def fair_sample(disagreements: Sequence[str], answered: Collection[str]) -> list[str]:
    """The images before the first one that is not answered.

    Args:
        disagreements: In a random order that no label has touched; that of content hashes is one.
        answered: Images with an answer.

    A person who skips what is hard to tell leaves a sample of easy images. Before the first skipped one the
    order alone decides what is in the sample, and what is hard only where it ends.
    """
    missing = (number for number, image in enumerate(disagreements) if image not in answered)
    return list(disagreements[: next(missing, len(disagreements))])


def gain_from_disagreements(counts: PairedCounts, drawn: Drawn) -> float:
    """Unbiased estimate of the difference of accuracies over all images, in ``[-rate, rate]``.

    ``rate * (share the candidate is right on - share the baseline is right on)``, the shares taken among
    the labelled disagreements: the mean of a sample without replacement is unbiased for the mean of all.
    """
    return drawn.rate * counts.gain


def interval_from_disagreements(
    counts: PairedCounts, drawn: Drawn, *, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Two-sided percentile interval of the gain, by resampling all images.

    Every resample draws as many images as there are: labelled disagreements that are better, worse or
    tied, disagreements without a label, and agreements. So both what the labels leave open and how far
    the rate of disagreement may be off are in the interval, and with no unlabelled disagreement it is that of
    :func:`~tasks.judgement.paired.bootstrap_interval` over all images. A resample without a labelled
    disagreement counts as no gain.

    Args:
        counts: Pairs of answers on the labelled disagreements.
        drawn: The images they were drawn from.
        confidence: Share of resamples inside, in ``(0, 1)``.
        resamples: How many.
        seed: Decides them.
    """
    unlabelled = drawn.disagreements - counts.n
    agreed = drawn.images - drawn.disagreements
    shares = np.array([counts.better, counts.worse, counts.tied, unlabelled, agreed]) / drawn.images
    drawn_counts = np.random.default_rng(seed).multinomial(drawn.images, shares, size=resamples)
    better, worse, tied, open_, _ = drawn_counts.T
    labelled = better + worse + tied
    gains = (labelled + open_) / drawn.images * (better - worse) / np.maximum(labelled, 1)
    outside = (1 - confidence) / 2
    low, high = np.quantile(gains, [outside, 1 - outside])
    return float(low), float(high)


def power_from_disagreements(gain: float, *, n: int, rate: float, discordance: float, alpha: float) -> float:
    """Probability that the exact test finds a true ``gain`` from ``n`` labelled disagreements.

    Args:
        gain: True difference of the accuracies over all images, in ``(0, rate]``.
        n: Labelled disagreements.
        rate: Share of images on which the models disagree, in ``(0, 1]``.
        discordance: Share of disagreements on which one of the two is right; the others are ties.
        alpha: Level of the one-sided test.
    """
    return detection_power(gain / rate, n=n, discordance=discordance, alpha=alpha)


def detectable_from_disagreements(n: int, *, rate: float, discordance: float, alpha: float) -> float | None:
    """The gain over all images found with probability .8; ``None`` where none is large enough.

    Arguments as in :func:`power_from_disagreements`.
    """
    among_disagreements = smallest_detectable_gain(n, discordance=discordance, alpha=alpha)
    return None if among_disagreements is None else rate * among_disagreements
