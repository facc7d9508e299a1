"""Sections that say which network is trained, and what it reads."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.sections.section import Count, Section


class ModelParams(Section):
    """The network that is fine-tuned, adapted and exported."""

    backbone: Annotated[str, Field(min_length=1)]
    """``lenet``, ``efficientnet-lite0``, ``torchvision/<name>`` or ``timm/<name>``."""
    weights: str
    """``default`` (the backbone's published weights), ``none`` (random) or the path of a safetensors or .pth file."""
    bottleneck: Count
    """Width of the layer between backbone and head; losses and scores see its output."""


class FeaturesParams(Section):
    """The inputs of training: pixels once decoded and resized, or frozen-backbone features."""

    route: Literal["auto", "cached", "deeper", "end_to_end"]
    """``cached``: the backbone is frozen and run once per image. ``deeper``: also trains its last blocks, from what
    enters them, kept on disk. ``end_to_end``: nothing is kept but pixels. ``auto``: by backbone, device and size; the
    report says which and why."""
    precision: Literal["auto", "float32", "bfloat16"]
    """Routes cached and deeper: the precision of the frozen backbone for the examples that training reads. ``auto``:
    bfloat16 where the machine multiplies in it, which is twice as fast, else float32. It is float32 for those that judge."""
    trained_blocks: Count
    """Route deeper: blocks of the backbone that are trained, counted from the output."""
    mirror: bool
    """Routes cached and deeper: also keep every image mirrored, and train on either at random."""
    views: tuple[str, ...]
    """Ways to redraw the source that presets may ask for; ``histogram`` and ``fourier`` once per target, in its style."""
    rotations: bool
    """Routes cached and deeper: also keep the images that a target adapts to turned by 90, 180 and 270 degrees, for
    presets with the loss ``rotation``."""
