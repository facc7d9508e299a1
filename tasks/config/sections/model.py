"""Sections that say which network is trained, and what it reads."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from tasks.config.sections.section import Count, Section

NO_FILE = ("default", "none")
"""Values of ``model.weights`` that name no file."""

_FOLDER = "hf/"


class ModelParams(Section):
    """The network that is fine-tuned, adapted and exported."""

    backbone: Annotated[str, Field(min_length=1)]
    """``lenet``, ``efficientnet-lite0``, ``torchvision/<name>`` or ``timm/<name>``; for other kinds their own, and
    ``hf/<folder>``, a folder as the library ``transformers`` writes it."""
    weights: str
    """``default`` (the backbone's published weights), ``none`` (random) or the path of a safetensors or .pth file."""
    bottleneck: Count
    """Width of the layer between backbone and head; losses and scores see its output."""

    @property
    def folder(self) -> Path | None:
        """The folder that ``backbone`` names; None where it names none."""
        return Path(self.backbone.removeprefix(_FOLDER)) if self.backbone.startswith(_FOLDER) else None

    @property
    def file(self) -> Path | None:
        """The file that ``weights`` names; None where it names none."""
        return None if self.weights in NO_FILE else Path(self.weights)

    def seen_from(self, root: Path) -> "ModelParams":
        """The same network, where relative paths of its folder and file begin at ``root``."""
        backbone = self.backbone if self.folder is None else f"{_FOLDER}{root / self.folder}"
        return self.model_copy(
            update={
                "backbone": backbone,
                "weights": self.weights if self.file is None else str(root / self.file),
            }
        )


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
