"""The whole pipeline on any pair of folders, in a workspace of its own."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from flows.runs.lock import lock_workspace
from flows.runs.prepare import ask_losses
from flows.runs.walk import run_locked
from flows.workspaces.create import domain_name, settle
from flows.workspaces.imports import bring_in, check_own_folders, take_out
from flows.workspaces.marker import check_place, is_workspace
from flows.workspaces.record import record_by_policy
from flows.workspaces.upgrade import PARAMS_TEMPLATE, bring_up, read_upgraded
from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
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
    """Make a workspace from two folders, or bring them into one that is there; run every stage, return result.json.

    A workspace that is there keeps its settings, but for ``overrides`` and a new target, and all data that no try has brought in.

    Args:
        source: Class folders with images.
        target: Images, flat or in class folders; such labels serve the hold-out alone.
        holdout: Class folders with labelled images of the target, for the verdict alone.
        labelled: Class folders with a few labelled images of the target, for training.
        workspace: Where; ``acclimate-<target>`` in the current folder by default.
        overrides: ``key=value`` settings of params.yaml.

    Raises:
        BadInput: A folder or a setting cannot be used, or something else is where the workspace would be; nothing was written.
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
    place = check_place(workspace or Path(f"acclimate-{name}"))
    content, params = _settings(place, name, overrides)
    for domain in ("source", name):
        check_own_folders(place, domain)
    areas = {reader_of(params).plural: target, "holdout": holdout, "labelled": labelled}
    purpose = f"try {source.name} {target.name}"
    with lock_workspace(place, purpose=purpose) as lock_fd:
        if is_workspace(place) and place.params.exists():
            bring_up(place)
        content, params = _settings(place, name, overrides)  # whoever had the lock may have changed them
        settle(place, content)
        try:
            _take_in(place, name, source=source, areas=areas)
            run = run_locked(place, lock_fd, purpose=purpose)
        finally:
            record_by_policy(place, message=purpose)
    return run.raise_failures()


def _settings(workspace: Workspace, target: str, overrides: Sequence[str]) -> tuple[dict, Params]:
    """The settings that the workspace is to have: its own where it has some, else those of the template.

    Raises:
        ConfigError: They do not describe a run; nothing was written.
    """
    if is_workspace(workspace) and workspace.params.exists():
        content, origin = read_upgraded(workspace), str(workspace.params)
    else:
        content, origin = yaml.safe_load(PARAMS_TEMPLATE.read_text(encoding="utf-8")), "the settings"
        content["gate"]["labels"] = "open"  # one look at a pair of folders shows all that labels say
    if target not in content["targets"]:
        content["domains"].append(target)
        content["targets"].append(target)
    content = apply_overrides(content, overrides)
    params = check_params(content, origin=origin)
    check_views(params, origin=origin)
    ask_losses(params, origin=origin)
    return content, params


def _take_in(workspace: Workspace, name: str, *, source: Path, areas: Mapping[str, Path | None]) -> None:
    """Copy the folders as they are now; what an earlier try brought in gives way, and nothing else does."""
    log.info("copying images into %s", workspace.root)
    bring_in(workspace, "source", "", source)
    for inside, origin in areas.items():
        if origin is not None:
            bring_in(workspace, name, inside, origin)
        else:
            take_out(workspace, name, inside)
