"""Targets made harder: skewed class shares, few images, worse cameras. From class folders to class folders.

Every image is drawn or kept by its path alone, so that the same folder gives the same target everywhere.
"""

import hashlib
import io
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

FEW = 150
"""Images of a target with few."""

Camera = Callable[[Image.Image, int], Image.Image]
"""A worse picture of an image; the number decides what is random about it."""


def blurred(image: Image.Image, seed: int) -> Image.Image:
    """Out of focus, by a sixtieth of the shorter side."""
    del seed
    return image.filter(ImageFilter.GaussianBlur(min(image.size) / 60))


def noisy(image: Image.Image, seed: int) -> Image.Image:
    """Sensor noise with a deviation of 40 of 255."""
    pixels = np.asarray(image, dtype=np.float64)
    noise = np.random.default_rng(seed).normal(0, 40, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def dark(image: Image.Image, seed: int) -> Image.Image:
    """A quarter of the light."""
    del seed
    return image.point(lambda value: value / 4 + 5)


def compressed(image: Image.Image, seed: int) -> Image.Image:
    """Sent as a JPEG of 64 px and quality 12."""
    del seed
    sent = io.BytesIO()
    image.resize((64, 64)).save(sent, "JPEG", quality=12)
    return Image.open(sent).convert("RGB").resize(image.size)


CAMERAS: Mapping[str, Camera] = {"blur": blurred, "noise": noisy, "dark": dark, "jpeg": compressed}
"""By the name that tasks call them."""


def harder(origin: Path, folder: Path, *, how: str) -> Path:
    """The target in ``origin`` made harder, in ``folder``.

    Args:
        origin: Class folders of images.
        folder: Written whole; what is there already is kept.
        how: ``few``, a name in :data:`CAMERAS`, or ``skew`` and a number: the most frequent class has that many
            times the images of the least frequent one, with equal steps between the logarithms of the others.
    """
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    for path in kept(origin, how=how):
        place = partial / path.relative_to(origin)
        place.parent.mkdir(parents=True, exist_ok=True)
        if how in CAMERAS:
            with Image.open(path) as image:
                CAMERAS[how](image.convert("RGB"), draw(path)).save(place.with_name(f"{place.name}.png"))
        else:
            shutil.copyfile(path, place)
    partial.rename(folder)
    return folder


def kept(origin: Path, *, how: str) -> list[Path]:
    """The images of ``origin`` that are in the harder target, in the order of their names."""
    by_class = {
        folder.name: sorted(folder.iterdir(), key=draw) for folder in origin.iterdir() if folder.is_dir()
    }
    if how == "few":
        return sorted(sorted((path for paths in by_class.values() for path in paths), key=draw)[:FEW])
    if not how.startswith("skew"):
        return sorted(path for paths in by_class.values() for path in paths)
    names = sorted(by_class, key=lambda name: draw(Path(name)))
    shares = float(how.removeprefix("skew")) ** -np.linspace(0, 1, len(names))
    scale = min(len(by_class[name]) / share for name, share in zip(names, shares, strict=True))
    counts = [max(1, round(scale * share)) for share in shares]
    return sorted(path for name, count in zip(names, counts, strict=True) for path in by_class[name][:count])


def draw(path: Path) -> int:
    """A number that only the last two parts of ``path`` decide."""
    return int(hashlib.sha256("/".join(path.parts[-2:]).encode()).hexdigest()[:12], 16)
