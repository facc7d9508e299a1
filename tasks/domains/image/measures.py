"""The measures of an image, for the manifest."""

import numpy as np

from tasks.domains.contract import Measured
from tasks.domains.image.decode import ReadImage


def measure_image(image: ReadImage) -> Measured:
    """The measures of a decoded image, by the names in ``Images.measures``."""
    # The server carries this file, but neither library.
    import scipy.fftpack  # noqa: F401 - imagehash imports it at first use, which threads must not race for
    from imagehash import phash

    luminance_HW = np.asarray(image.pixels.convert("L"), dtype=np.float64)
    measures = {
        "width": image.width,
        "height": image.height,
        "mode": image.mode,
        "format": image.format,
        "phash": str(phash(image.pixels)),
        "luminance_mean": round(float(luminance_HW.mean()), 3),
        "luminance_std": round(float(luminance_HW.std()), 3),
        "captured_at": image.captured_at,
        "grey_low": image.scaled and image.scaled.low,
        "grey_high": image.scaled and image.scaled.high,
        "grey_share": image.scaled and round(image.scaled.share, 6),
    }
    return Measured(measures, image.note)
