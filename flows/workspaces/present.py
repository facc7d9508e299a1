"""Whether the data of a domain is on this machine: in a fresh clone only its pointer is."""

from tasks.errors import BadInput
from tasks.workspace import Workspace


def check_present(workspace: Workspace, domain: str) -> None:
    """Refuse to add to data that is known to DVC and is not here: the pointer would forget all but what is added.

    Raises:
        BadInput: It is not here; the message holds the command that fetches it.
    """
    folder = workspace.data(domain)
    pointer = folder.with_name(f"{domain}.dvc")
    if pointer.exists() and not folder.is_dir():
        raise BadInput(
            f"{folder} is not on this machine, and {pointer} says that it has data. Fetch it first: `dvc pull {pointer.name}` in"
            f" {pointer.parent}."
        )
