"""Images of a batch, decoded side by side.

Shape suffixes: N = images, S = side in px, 3 = colour channels.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tasks.domains.image.reader import load_square

BATCH = 64
"""Images that are decoded, and sent through the backbone, at once."""


def read_pixels(paths: Sequence[Path], *, size_px: int, max_pixels: int) -> np.ndarray:
    """Images as uint8 ``(N, S, S, 3)``, in the order of ``paths``.

    Raises:
        UnreadableImage: A file cannot be used; the message names it.
    """
    pixels_NSS3 = np.empty((len(paths), size_px, size_px, 3), dtype=np.uint8)

    def read(row: int) -> None:
        pixels_NSS3[row] = load_square(paths[row], size_px=size_px, max_pixels=max_pixels)

    with ThreadPoolExecutor() as pool:  # Pillow decodes without holding the interpreter lock
        list(pool.map(read, range(len(paths))))
    return pixels_NSS3
