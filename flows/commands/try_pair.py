"""The whole pipeline on any pair of folders, in a workspace of its own."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from flows.runs.lock import lock_workspace
from flows.runs.prepare import ask_losses
from flows.runs.walk import run_locked
from flows.workspaces.copy import import_images, note_refused
from flows.workspaces.create import create_workspace, domain_name
from flows.workspaces.programs import commit_all
from flows.workspaces.upgrade import PARAMS_TEMPLATE
from tasks.config.overrides import apply_overrides
from tasks.config.params import check_params
from tasks.domains.kinds import reader_of
from tasks.domains.redrawn import check_views
from tasks.errors import BadInput
from tasks.records.result import Result
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def try_folders(
    source: Path,
    target: Path,
    *,
    holdout: Path | None,
    labelled: Path | None,
    workspace: Path | None,
    overrides: Sequence[str],
) -> Result:
    """Make (or bring up to date) a workspace from two folders, run every stage, return result.json.

    Args:
        source: Class folders with images.
        target: Images, flat or in class folders; such labels serve the hold-out alone.
        holdout: Class folders with labelled images of the target, for the verdict alone.
        labelled: Class folders with a few labelled images of the target, for training.
        workspace: Where; ``acclimate-<target>`` in the current folder by default.
        overrides: ``key=value`` settings of params.yaml.

    Raises:
        BadInput: A folder or a setting cannot be used; nothing is left behind that a rerun minds.
        Fault: A stage broke.
    """
    for folder, role in (
        (source, "SOURCE_DIR"),
        (target, "TARGET_DIR"),
        (holdout, "--holdout"),
        (labelled, "--labelled"),
    ):
        if folder is not None and not folder.is_dir():
            kind = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(f"{role} {folder} {kind}; expected a folder of images")
    name = domain_name(target)
    content = yaml.safe_load(PARAMS_TEMPLATE.read_text(encoding="utf-8"))
    content |= {"domains": ["source", name], "targets": [name]}
    content["gate"]["labels"] = "open"  # one look at a pair of folders shows all that labels say
    params = apply_overrides(content, overrides)
    checked = check_params(params, origin="the settings")
    check_views(checked, origin="the settings")
    ask_losses(checked, origin="the settings")
    unlabelled = reader_of(checked).plural
    place = create_workspace(workspace or Path(f"acclimate-{name}"), params=params)
    purpose = f"try {source.name} {target.name}"
    with lock_workspace(place, purpose=purpose) as lock_fd:
        _take_in(
            place, name, source=source, areas={unlabelled: target, "holdout": holdout, "labelled": labelled}
        )
        try:
            return run_locked(place, lock_fd, purpose=purpose)
        finally:
            commit_all(place, message=purpose)


def _take_in(workspace: Workspace, name: str, *, source: Path, areas: Mapping[str, Path | None]) -> None:
    """Copy the folders as they are now; earlier copies are replaced whole."""
    log.info("copying images into %s", workspace.root)
    for stale in (workspace.data("source"), workspace.data(name)):
        shutil.rmtree(stale, ignore_errors=True)  # copies of the user's folders, and in DVC's cache as well
    note_refused(workspace.data("source"), import_images(source, workspace.data("source")))
    for inside, origin in areas.items():
        if origin is not None:
            refused = import_images(origin, workspace.data(name) / inside)
            note_refused(workspace.data(name), refused, inside=inside)
