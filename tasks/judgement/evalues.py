"""Evidence that may be looked at after every label: e-values, and intervals that hold at every look.

An e-value is the gain of a fair bet against "the candidate is not better". Under that hypothesis no rule for when to
stop makes it reach ``1 / alpha`` with a probability above ``alpha`` (Ville's inequality).

Shape suffixes: G = groups or single images, in the order in which they were labelled; L = stakes.
"""

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import root_scalar
from scipy.special import betaln
from scipy.stats import beta

PRIOR = 5.0
"""The share of decided images on which the candidate is right comes from Beta(5, 5) above one half: bets are placed on
shares of about .6 to .8."""

STAKES_L = np.linspace(0.05, 0.95, 19)
"""Parts of the capital that are bet on each group; the capital is split among them evenly."""

MOST_LABELS = 10_000
"""Further labels beyond which :func:`labels_to_go` gives up."""

FORETOLD = 0.75
"""Share of decided images on which a candidate is right, for the number of labels that is named before the first one."""


@lru_cache(maxsize=100_000)
def log_e_better(better: float, worse: float) -> float:
    """Logarithm of the e-value that the candidate is better, from decided images; 0 where there are none.

    The likelihood of the counts, where the share of ``better`` comes from the upper half of a Beta prior, over their
    likelihood at one half. Images on which both models are right, or both wrong, leave it as it is. Swap
    the arguments for the evidence that the candidate is worse.

    Args:
        better: Images on which the candidate alone is right.
        worse: Images on which the other model alone is right.

    References:
        Ramdas, Grünwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", 2022.
    """
    a, b = better + PRIOR, worse + PRIOR
    return float(
        (better + worse) * math.log(2)
        + betaln(a, b)
        - betaln(PRIOR, PRIOR)
        + math.log(2)
        + _log_upper_half(a, b)
    )


def _log_upper_half(a: float, b: float) -> float:
    """Logarithm of the part of a Beta that lies above one half, of the smallest parts as well."""
    if a >= b:
        return float(beta.logsf(0.5, a, b))
    # A series of positive falling terms: after so many, even where a and b are equal, no digit changes.
    terms = np.arange(80 + int(13 * math.sqrt(b)))
    series = 1 + np.cumprod((a + b + terms) / (b + 1 + terms) / 2).sum()
    return math.log(series) - (a + b) * math.log(2) - math.log(b) - betaln(a, b)


def log_e_of_groups(differences_G: np.ndarray, *, above: float = 0.0) -> float:
    """Logarithm of the e-value that the mean difference of groups is above a bound; 0 without groups.

    It is the capital of bets on every group, all that could be lost being staked in part: valid for groups that come as
    those before, whatever happens within a group.

    Args:
        differences_G: Per group, in ``[-1, 1]``.
        above: The bound, in ``(-1, 1)``.

    References:
        Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024, with stakes
        that do not adapt.
    """
    ratios_G = (1 + differences_G) / (1 + above)
    grown_L = np.log1p(np.outer(STAKES_L, ratios_G - 1)).sum(axis=1)
    return float(np.logaddexp.reduce(grown_L)) - math.log(len(STAKES_L))


def interval_of_mean(differences_G: np.ndarray, confidence: float) -> tuple[float, float]:
    """Two-sided interval of the mean difference, which holds at every look at once.

    Every mean is left out against which the bets of :func:`log_e_of_groups` have won too much. ``(-1, 1)`` where
    there are no differences.

    Args:
        differences_G: In ``[-1, 1]``.
        confidence: In ``(0, 1)``.
    """
    return _lower_end(differences_G, confidence), -_lower_end(-differences_G, confidence)


def _lower_end(differences_G: np.ndarray, confidence: float) -> float:
    bound = math.log(2 / (1 - confidence))

    def excess(mean: float) -> float:
        return log_e_of_groups(differences_G, above=mean) - bound

    low, high = -1 + 1e-9, float(differences_G.mean()) if len(differences_G) else -1.0
    if high <= low or excess(low) <= 0:
        return -1.0
    return float(root_scalar(excess, bracket=(low, high), xtol=1e-7).root)


def labels_to_go(*, better: int, worse: int, tied: int, alpha: float) -> int | None:
    """How many more labels would probably bring the e-value to ``1 / alpha``; ``None`` where none would.

    As if the next labels came like those before, which count as two more: one better and one worse. Two times in five
    it takes more.

    Args:
        better: Images on which the candidate alone is right.
        worse: Images on which the other model alone is right.
        tied: Labelled images that decide nothing.
        alpha: Above 0.
    """
    decided = better + worse + 2
    share = (better + 1) / decided
    if share <= 0.5:
        return None
    further = _settled_after(better, worse, share=share, alpha=alpha)
    return None if further is None else math.ceil(further * (decided + tied) / decided)


def labels_needed(share: float, *, alpha: float) -> int | None:
    """How many decided images bring the e-value to ``1 / alpha`` three times in five; ``None`` beyond all reason.

    Args:
        share: Share of the decided images on which the candidate is right; above one half.
        alpha: Above 0.
    """
    return _settled_after(0, 0, share=share, alpha=alpha)


def _settled_after(better: int, worse: int, *, share: float, alpha: float) -> int | None:
    """After how many more decided images, ``share`` of them better, the e-value is ``1 / alpha``."""

    def is_settled(further: int) -> bool:
        return log_e_better(better + share * further, worse + (1 - share) * further) >= -math.log(alpha)

    if is_settled(0):
        return 0
    few, many = 0, MOST_LABELS
    if not is_settled(many):
        return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if is_settled(middle) else (middle, many)
    return many
