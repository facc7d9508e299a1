"""A small convolutional backbone for images of 16 or 32 px, trained from scratch in CPU minutes.

After LeCun et al. (Proc. IEEE 86, 1998) in spirit only: three 3x3 convolutions with BatchNorm
and max pooling. It exists for digits, where an ImageNet backbone on upsampled strokes does
worse than this.
"""

from torch import Tensor, nn

WIDTHS = (24, 48, 96)


class LeNet(nn.Module):
    """Maps ``(N, 3, S, S)`` images to ``(N, feature_width)`` features; ``S`` a multiple of 8."""

    def __init__(self, size_px: int) -> None:
        super().__init__()
        if size_px % 8:
            raise ValueError(
                f"lenet halves the image three times: size_px must be a multiple of 8, got {size_px}"
            )
        blocks: list[nn.Module] = []
        for width_in, width_out in zip((3, *WIDTHS[:-1]), WIDTHS, strict=True):
            blocks.append(_block(width_in, width_out))
        self.blocks = nn.Sequential(*blocks)
        self.feature_width = WIDTHS[-1] * (size_px // 8) ** 2

    def forward(self, images: Tensor) -> Tensor:
        return self.blocks(images).flatten(1)


def _block(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )
