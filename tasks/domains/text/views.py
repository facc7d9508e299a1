"""Ways to redraw source texts: with words missing.

Shape suffixes: N = texts, T = tokens.
"""

import numpy as np

from tasks.domains.contract import Views

DROPPED = 0.15


def dropout(tokens_NT: np.ndarray) -> np.ndarray:
    """Each text with about a seventh of its tokens gone, and others of the same text in their places.

    Beginning, end and padding stay. A function of the text alone. Same shape, int32.
    """
    return np.stack([_with_gaps(tokens_T) for tokens_T in tokens_NT])


def _with_gaps(tokens_T: np.ndarray) -> np.ndarray:
    generator = np.random.default_rng(np.frombuffer(tokens_T.tobytes(), dtype=np.uint8))
    # The last token is padding, or else the mark of the end.
    places = np.flatnonzero(tokens_T != tokens_T[-1])[1:-1]
    redrawn_T = tokens_T.copy()
    gone = places[generator.random(len(places)) < DROPPED]
    if len(gone):
        redrawn_T[gone] = tokens_T[generator.choice(places, size=len(gone))]
    return redrawn_T


VIEWS = Views(source={"dropout": dropout}, augmentations=("dropout",))
