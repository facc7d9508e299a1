"""Manifests as stage `manifest` writes them, for tests that start behind it."""

from collections.abc import Sequence

from tasks.domains.image.reader import MEASURES
from tasks.records.manifest import Row, Summary, write_manifest
from tasks.workspace import Workspace


def write_rows(
    workspace: Workspace,
    domain: str,
    rows: Sequence[Row],
    classes: Sequence[str] | None = None,
    *,
    grouped: bool = False,
) -> Summary:
    """Write the manifest of ``domain``."""
    return write_manifest(
        workspace.stage("manifest", domain),
        domain,
        rows,
        classes=classes,
        measures=MEASURES,
        grouped=grouped,
    )
