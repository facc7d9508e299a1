"""Examples that come in groups: frames of one scene err together, so a group counts once, by what it changes on the whole.

Shape suffixes: N = images, G = groups.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Differences:
    """The candidate's lead in every group, on the scale of the largest that could be."""

    differences_G: np.ndarray
    """Better minus worse images over ``most``, in ``[-1, 1]``."""
    most: int
    """Images of one group on which the models differ, at most. It is known before a label is."""
    is_grouped: bool
    """Whether any group has several images on which they differ."""


def differences_of_groups(
    leads_N: np.ndarray, groups_N: Sequence[str], *, differ: Mapping[str, int]
) -> Differences:
    """The lead of the candidate by group, the groups in the order of their first image.

    Args:
        leads_N: 1 where the candidate alone is right, -1 where the other model alone is right, else 0; times a weight of 1 at
            most, where some images count for more.
        groups_N: The group of each image.
        differ: By group, on how many of its images the two models say something else, labelled or not.
    """
    order = {group: number for number, group in enumerate(dict.fromkeys(groups_N))}
    numbers_N = np.array([order[group] for group in groups_N], dtype=int)
    most = max(differ.values(), default=1)
    sums_G = np.bincount(numbers_N, weights=leads_N, minlength=len(order)) if len(order) else np.empty(0)
    return Differences(sums_G / most, most, is_grouped=most > 1)
