"""The champion of a target, asked about its test split, and the champions before it, asked about what is labelled there.

In: registry/<target>/champion.json and the models it names, data/<target>.

Shape suffixes: N = examples of the test split, X = the axes of one, as the model's spec has them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.domains.contract import Limits, Reader
from tasks.domains.kinds import reader_for
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.judgement.holdout import Holdout
from tasks.workspace import Workspace


@dataclass(frozen=True, eq=False)
class InService:
    """A champion and what it says about the test split."""

    version: int
    checkpoint_sha256: str
    model_sha256: str
    says: Mapping[str, str]
    """A class for every image that it was asked about, by SHA-256; it may be none of the candidates' classes."""
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name that people read."""
        return f"version {self.version} in service"


def ask_champion(workspace: Workspace, target: str, holdout: Holdout, limits: Limits) -> InService | None:
    """The model in service, asked about the test split; ``None`` before the first promotion.

    It is asked by class name, so that a champion of another class list is compared all the same.

    Args:
        workspace: Whose registry names the champion.
        target: Its name.
        holdout: The test split of the target.
        limits: Limits of one example, as the reader of the workspace has them.

    Raises:
        BadInput: Its file is missing or is not the one on record, its examples cannot be prepared here, or one of
            them changed since the manifest.
    """
    aliases = read_json(workspace.champion(target))
    if aliases["champion"] is None:
        return None
    return _ask(
        workspace, target, aliases | {"version": aliases["champion"]}, holdout, holdout.images, limits
    )


def ask_former(workspace: Workspace, target: str, holdout: Holdout, limits: Limits) -> tuple[InService, ...]:
    """The champions before the one in service that may serve again, asked about the labelled images; the latest first.

    Service could lose a little with every promotion if the last one alone were compared with. A withdrawn version is
    none of them.

    Raises:
        BadInput: As :func:`ask_champion`. A verdict that skipped one would stand for a comparison that was not made.
    """
    # A registry of an older acclimate does not name them before its first action.
    former = read_json(workspace.champion(target)).get("former", ())
    return tuple(_ask(workspace, target, one, holdout, holdout.labelled, limits) for one in former)


def _ask(
    workspace: Workspace,
    target: str,
    version: Mapping[str, Any],
    holdout: Holdout,
    images: Sequence[str],
    limits: Limits,
) -> InService:
    known = version["version"], version["checkpoint_sha256"], version["model_sha256"]
    if not images:
        return InService(*known, says={}, classes=())
    # Imported here, because few runs have a champion.
    from tasks.exported.session import ASKED_AT_ONCE, open_session, predict

    path = workspace.root / version["path"]
    model = open_session(path, device="cpu")
    if model.sha256 != version["model_sha256"]:
        raise BadInput(
            f"{path} has SHA-256 {model.sha256}, the registry says {version['model_sha256']}:"
            " fetch it again with `dvc pull`."
        )
    reader = reader_for(model.spec, limits)
    says: dict[str, str] = {}
    for start in range(0, len(images), ASKED_AT_ONCE):
        hashes = images[start : start + ASKED_AT_ONCE]
        batch_NX = np.stack(
            [_read(reader, workspace.data(target) / holdout.paths[sha256], sha256) for sha256 in hashes]
        )
        numbers_N = predict(model, batch_NX).probabilities.argmax(axis=1)
        says |= {image: model.classes[number] for image, number in zip(hashes, numbers_N, strict=True)}
    return InService(*known, says, model.classes)


def _read(reader: Reader, path: Path, sha256: str) -> np.ndarray:
    """One example, proven to be the one that the manifest lists, shape ``(X)``."""
    content = reader.load(path)
    if hashlib.sha256(reader.identity(content)).hexdigest() != sha256:
        raise BadInput(f"{path} changed since the manifest was written. Run `acclimate run` again.")
    return reader.read(content)
