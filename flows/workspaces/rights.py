"""Everything that acclimate writes in a workspace, and whether this user may: a workspace may be another's, or be mounted to be read."""

import os
from pathlib import Path

from tasks.errors import BadInput, owner_of, user_name
from tasks.workspace import Workspace

FOLDERS = (
    ".acclimate", ".acclimate/*", ".dvc", ".dvc/tmp", ".dvc/cache/files/md5", ".git", ".git/objects", "answers", "code",
    "data", "ledger", "registry", "registry/*", "results", "results/*", "targets",
)  # fmt: skip
"""Patterns of folders, beside the root, in which files appear or are replaced."""
REWRITTEN = (
    ".acclimate/mutex", ".acclimate/at-work", ".acclimate/locks/*", ".dvc/tmp/*lock", ".git/index", "dvc.lock",
)  # fmt: skip
"""Patterns of files that are opened to be written, by DVC among others."""


def check_rights(workspace: Workspace) -> None:
    """Refuse to begin what this user may not end.

    Raises:
        BadInput: Something that acclimate writes is not writable; the message says whose it is.
    """
    if refused := not_writable(workspace):
        raise BadInput(describe(workspace, refused))


def not_writable(workspace: Workspace) -> list[Path]:
    """Folders and files that acclimate writes and this user may not."""
    root = workspace.root
    if not root.is_dir():  # yet to be made
        return []
    folders = [root, *(path for pattern in FOLDERS for path in sorted(root.glob(pattern)) if path.is_dir())]
    files = [path for pattern in REWRITTEN for path in sorted(root.glob(pattern)) if path.is_file()]
    return [
        *(path for path in folders if not os.access(path, os.W_OK | os.X_OK)),
        *(path for path in files if not os.access(path, os.W_OK)),
    ]


def describe(workspace: Workspace, refused: list[Path]) -> str:
    """A message about ``refused``, and the way out."""
    first = refused[0]
    if os.statvfs(first).f_flag & os.ST_RDONLY:
        return f"{first} is on a file system that can only be read. Mount it so that it can be written, and run again."
    named = ", ".join(path.relative_to(workspace.root).as_posix() for path in refused[:3])
    more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
    what = f"{workspace.root}" if first == workspace.root else f"{named}{more} in {workspace.root}"
    owner = owner_of(first)
    if owner is None:
        return f"{what} is write-protected. Make it writable: `chmod -R u+w {workspace.root}`."
    return (
        f"{what} belongs to {owner}, and you are {user_name(os.geteuid())}, who may read it and not change it. Ask {owner} to do"
        " this, or to share the workspace with a group of both of you (docs/machines.md). `acclimate status`, `acclimate history`"
        " and `acclimate predict` work as it is."
    )
