"""Random views of a batch of images, one draw per image, on tensors.

Shape suffixes: N = images, S = side in px, 3 = colour channels.
"""

import torch
from torch import Tensor
from torch.nn import functional

from tasks.engine.augment.augmentation import Augmentation, as_they_are


def flip_crop(images_NSS3: Tensor) -> Tensor:
    """Each image mirrored with probability 1/2 and shifted by up to an eighth of its side, edges repeated.

    Draws from torch's global generator. Same shape and dtype out.
    """
    count, side = images_NSS3.shape[0], images_NSS3.shape[1]
    reach = side // 8
    mirrored = torch.where(torch.rand(count, 1, 1, 1) < 0.5, images_NSS3.flip(2), images_NSS3)
    # Replicate padding exists for floats only.
    padded = functional.pad(mirrored.permute(0, 3, 1, 2).float(), [reach] * 4, mode="replicate")
    tops, lefts = torch.randint(0, 2 * reach + 1, (2, count)).tolist()
    views = [
        padded[i, :, top : top + side, left : left + side]
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True))
    ]
    return torch.stack(views).permute(0, 2, 3, 1).to(images_NSS3.dtype)


def affine(images_NSS3: Tensor) -> Tensor:
    """Each image stretched by up to a quarter along each axis, sheared by up to 0.2 and shifted by up to
    0.075 of its side, edges repeated.

    For what has a right way up and a handedness, such as digits. Draws from torch's global generator.
    Same shape and dtype out.
    """
    count = len(images_NSS3)
    maps = torch.zeros(count, 2, 3)
    maps[:, [0, 1], [0, 1]] = 1 + 0.25 * _uniform(count, 2)
    maps[:, 0, 1] = 0.2 * _uniform(count)
    maps[:, :, 2] = 0.15 * _uniform(count, 2)  # a grid runs from -1 to 1: half of this in shares of the side
    images = images_NSS3.permute(0, 3, 1, 2).float()
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    views = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    return views.round().permute(0, 2, 3, 1).to(images_NSS3.dtype)


def turn(images_NSS3: Tensor, turns_N: Tensor) -> Tensor:
    """Each square image turned counter-clockwise by its number of quarter turns, exactly. Same shape and dtype out."""
    views_NSS3 = images_NSS3.clone()
    for turns in (1, 2, 3):
        mine_N = turns_N == turns
        views_NSS3[mine_N] = torch.rot90(images_NSS3[mine_N], turns, dims=(1, 2))
    return views_NSS3


def strengthen(images_NSS3: Tensor) -> Tensor:
    """A harder view of a batch: a square of a quarter of each image greyed out.

    For losses that ask for the answer on the plain view to hold on this one. Draws from torch's global
    generator. Same shape and dtype out.

    References:
        DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """
    views_NSS3 = images_NSS3.clone()
    side, reach = images_NSS3.shape[1], images_NSS3.shape[1] // 2
    tops, lefts = torch.randint(0, side - reach + 1, (2, len(images_NSS3))).tolist()
    for view, top, left in zip(views_NSS3, tops, lefts, strict=True):
        view[top : top + reach, left : left + reach] = 128
    return views_NSS3


def _uniform(*shape: int) -> Tensor:
    return 2 * torch.rand(*shape) - 1


IMAGE_AUGMENTATIONS = {
    name: Augmentation(draw, strengthen, turn)
    for name, draw in (("none", as_they_are), ("flip_crop", flip_crop), ("affine", affine))
}
"""By the name that params.yaml calls them."""
