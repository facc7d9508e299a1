"""The stronger view: half as wide a square greyed out, or a tenth of the features dropped."""

import pytest
import torch

from tasks.domains.image.views import VIEWS
from tasks.engine.augment.augmentation import OF_FEATURES
from tasks.engine.augment.build import build_augmentation
from tasks.engine.augment.image import IMAGE_AUGMENTATIONS, strengthen
from tasks.errors import BadInput


def drop(features: torch.Tensor) -> torch.Tensor:
    assert OF_FEATURES.strengthen is not None
    return OF_FEATURES.strengthen(features)


def ramps(count: int, side: int) -> torch.Tensor:
    """Images none of whose pixels is 128."""
    values = torch.arange(count * side * side * 3) % 100
    return values.to(torch.uint8).reshape(count, side, side, 3)


@pytest.mark.parametrize("side", [16, 15, 1])
def test_one_square_of_half_the_side_is_greyed_out_and_nothing_else_changes(side: int):
    torch.manual_seed(0)
    images = ramps(32, side)

    views = strengthen(images)

    assert views.dtype == torch.uint8
    reach = side // 2
    for view, image in zip(views, images, strict=True):
        grey = (view == 128).all(-1)
        assert torch.equal(view[~grey], image[~grey])
        assert grey.sum() == reach**2
        if reach:
            down, across = torch.nonzero(grey).amin(0).tolist()
            assert grey[down : down + reach, across : across + reach].all()


def test_the_square_falls_on_every_place_and_on_each_image_its_own():
    torch.manual_seed(0)

    grey = (strengthen(ramps(400, 8)) == 128).all(-1)

    corners = {tuple(torch.nonzero(mask).amin(0).tolist()) for mask in grey}
    assert corners == {(down, across) for down in range(5) for across in range(5)}


def test_the_batch_that_is_strengthened_stays_as_it_is():
    images, features = ramps(4, 16), torch.ones(4, 8)

    strengthen(images)
    drop(features)

    assert torch.equal(images, ramps(4, 16))
    assert torch.equal(features, torch.ones(4, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_tenth_of_the_features_is_dropped_and_their_mean_kept(dtype: torch.dtype):
    torch.manual_seed(0)

    views = drop(torch.ones(200, 500, dtype=dtype)).float()

    dropped = views == 0
    assert views.dtype == torch.float32
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert views[~dropped].unique().tolist() == pytest.approx([1 / 0.9], rel=0.01)
    assert views.mean().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("inputs", "harder"), [(ramps(8, 16), strengthen), (torch.ones(8, 32), drop)], ids=["images", "features"]
)
def test_the_same_seed_gives_the_same_view_and_another_one_another(inputs: torch.Tensor, harder):
    def view(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return harder(inputs)

    assert torch.equal(view(0), view(0))
    assert not torch.equal(view(0), view(1))


@pytest.mark.parametrize(("kind", "words"), [(None, "frozen features can"), ("vectors", "kind vectors can")])
def test_rows_that_are_no_images_cannot_be_augmented_as_images_are(kind: str | None, words: str):
    with pytest.raises(
        BadInput, match=rf"finetune\.augment is flip_crop, but {words} only be augmented by none"
    ):
        build_augmentation(kind, "flip_crop")


def test_a_kind_without_augmentations_keeps_its_rows_and_has_no_stronger_view_and_no_turns():
    plain = build_augmentation("vectors", "none")
    rows = torch.ones(3, 8)

    assert plain.draw(rows) is rows
    assert (plain.strengthen, plain.turn) == (None, None)


def test_the_reader_of_images_names_every_augmentation_that_the_engine_has():
    assert {"none", *VIEWS.augmentations} == IMAGE_AUGMENTATIONS.keys()
