"""Publishing: the latest export of a target becomes a version of its registry."""

import logging
import subprocess
from pathlib import Path

from deploy.registry.history import Entry, append, judged, now
from deploy.registry.layout import check_name, locked, locked_for_publishing, published_versions
from deploy.registry.pointer import settle
from deploy.registry.versions import Published, find_version, put_back, write_version
from tasks.environment import child_environment
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def create_registry(workspace: Workspace, target: str) -> None:
    """Make the registry of ``target``, with no champion; nothing changes if it is there.

    Raises:
        BadInput: ``target`` is no name of a target.
    """
    check_name(target)
    with locked(workspace, target):
        settle(workspace, target)


def publish(workspace: Workspace, target: str, *, by: str, reason: str, at: str | None = None) -> int:
    """Record the latest export of ``target`` as a version, if its three verdicts refer to its very bytes.

    Bytes that are published already keep their version; verdicts that are new about them are
    added to the history, and the latest decides about promotion. A promotion or a rollback meanwhile
    does not wait for it. It can be killed and run again.

    Args:
        at: ISO 8601 time of the action; now when None.

    Returns:
        The version, from 1.

    Raises:
        Refused: A verdict refers to other bytes or data, or did not pass; every reason is named.
        BadInput: A file is missing or is not what it should be.
    """
    # The rest of this package serves readers, which need not load onnxruntime for it.
    from deploy.publication import gather

    check_name(target)
    at = at or now()
    publication = gather(workspace, target)
    verdicts = publication.described.verdicts
    with locked_for_publishing(workspace, target):
        with locked(workspace, target):
            settle(workspace, target)
        version = find_version(workspace, target, publication.described.model_sha256)
        if version is None:
            version = max(published_versions(workspace, target), default=0) + 1
            published = Published(
                version=version, created_at=at, git_commit=_git_commit(workspace.root), by=by, reason=reason
            )
            write_version(
                workspace, content=publication.content, published=published, described=publication.described
            )
        else:
            put_back(workspace, target, version, publication.content)
        with locked(workspace, target):
            known = judged(settle(workspace, target).history, version)
            if known[-1:] != [verdicts]:
                action = "judge" if known else "publish"
                entry = Entry(at=at, action=action, version=version, by=by, reason=reason, verdicts=verdicts)
                append(workspace, target, entry)
                log.info("%s %s version %d: %s", action, target, version, verdicts.gate.verdict)
        return version


def _git_commit(root: Path) -> str | None:
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=root,
            env=child_environment(root),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    except OSError:
        return None
    return result.stdout.strip() or None if result.returncode == 0 else None
