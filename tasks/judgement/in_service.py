"""The champion of a target, asked about its labelled hold-out.

In: registry/<target>/champion.json and the model it names, data/<target>.

Shape suffixes: N = labelled images of the hold-out, S = side of the square in px, C = colour channels.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from tasks.config.sections.data import ImagesParams
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.judgement.holdout import Holdout
from tasks.workspace import Workspace

IMAGES_AT_ONCE = 64
"""Hold-out images the champion is asked about in one batch."""


@dataclass(frozen=True, eq=False)
class InService:
    """The champion and what it says about the labelled hold-out."""

    version: int
    checkpoint_sha256: str
    model_sha256: str
    right_N: np.ndarray | None
    """Which labelled images it names rightly; ``None`` without labels."""
    unknown_classes: tuple[str, ...]
    """Classes of the hold-out that it cannot name."""


def ask_champion(
    workspace: Workspace, target: str, holdout: Holdout, images: ImagesParams
) -> InService | None:
    """The model in service, asked about the labelled hold-out images; ``None`` before the first promotion.

    It is asked by class name, so that a champion of another class list is compared all the same.

    Raises:
        BadInput: Its file is missing or is not the one on record, or an image changed since the manifest.
    """
    aliases = read_json(workspace.champion(target))
    if aliases["champion"] is None:
        return None
    known = aliases["champion"], aliases["checkpoint_sha256"], aliases["model_sha256"]
    if not holdout.labels:
        return InService(*known, right_N=None, unknown_classes=())
    # Imported here, because few runs have both a champion and labels.
    from tasks.exported.session import open_session, predict

    path = workspace.root / aliases["path"]
    model = open_session(path, device="cpu")
    if model.sha256 != aliases["model_sha256"]:
        raise BadInput(
            f"{path} has SHA-256 {model.sha256}, the registry says {aliases['model_sha256']}:"
            " fetch it again with `dvc pull`."
        )
    names = []
    for start in range(0, len(holdout.labelled), IMAGES_AT_ONCE):
        batch = holdout.labelled[start : start + IMAGES_AT_ONCE]
        pixels_NSSC = np.stack(
            [_load(workspace, target, holdout, image, model.size_px, images) for image in batch]
        )
        names += [
            model.classes[number] for number in predict(model, pixels_NSSC).probabilities.argmax(axis=1)
        ]
    right_N = np.array(
        [name == holdout.labels[image] for name, image in zip(names, holdout.labelled, strict=True)]
    )
    return InService(*known, right_N, tuple(sorted(set(holdout.labels.values()) - set(model.classes))))


def _load(
    workspace: Workspace, target: str, holdout: Holdout, image: str, size_px: int, images: ImagesParams
) -> np.ndarray:
    """Pixels ``(S, S, 3)`` of one image, proven to be the one that the manifest lists."""
    from tasks.domains.image.reader import load_square, read_file

    path = workspace.data(target) / holdout.paths[image]
    content = read_file(path, max_pixels=images.max_pixels)
    if hashlib.sha256(content).hexdigest() != image:
        raise BadInput(f"{path} changed since the manifest was written. Run `acclimate run` again.")
    return load_square(content, size_px=size_px, max_pixels=images.max_pixels)
