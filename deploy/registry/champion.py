"""The version of a target that is in service, as servers read it."""

from dataclasses import dataclass

from deploy.registry.layout import has_registry, name_of, unknown_target
from deploy.registry.versions import verified_bytes
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.workspace import Workspace

_MADE_ANEW = "The next run makes it anew from the history, as does any action: `acclimate promote {target} --version N`."


@dataclass(frozen=True)
class Champion:
    """The version of a target that is in service."""

    target: str
    version: int
    model_sha256: str
    checkpoint_sha256: str


def read_champion(workspace: Workspace, target: str) -> Champion | None:
    """The champion that the pointer file names, or None before the first promotion.

    Raises:
        BadInput: The target has no registry, or its pointer file is damaged.
    """
    path = workspace.champion(target)
    if not path.is_file():
        if not has_registry(workspace, target):
            raise unknown_target(workspace, target)
        raise BadInput(f"{name_of(workspace, path)} is missing. {_MADE_ANEW.format(target=target)}")
    pointer = read_json(path)
    try:
        if pointer["champion"] is None:
            return None
        return Champion(
            target, int(pointer["champion"]), pointer["model_sha256"], pointer["checkpoint_sha256"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{name_of(workspace, path)} does not name a champion. {_MADE_ANEW.format(target=target)}"
        ) from error


def champion_bytes(workspace: Workspace, champion: Champion) -> bytes:
    """The ONNX bytes of the champion, proven to be the ones that were judged.

    Raises:
        BadInput: They are not on this machine; the message holds the command that fetches them.
        Refused: They are not the bytes that were promoted.
    """
    return verified_bytes(workspace, champion.target, champion.version, champion.model_sha256)
