"""Random views of a batch of images, one draw an image, on tensors.

Shape suffixes: N = images, S = side in px, 3 = colour channels.
"""

import torch
from torch import Tensor
from torch.nn import functional


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
