"""The whole pipeline on any pair of folders, in a workspace of its own."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.runs.lock import lock_workspace
from flows.runs.prepare import ask_losses, check_weights
from flows.runs.walk import run_locked
from flows.workspaces.create import domain_name, settle
from flows.workspaces.imports import bring_in, check_links, check_origin, check_own_folders, take_out
from flows.workspaces.marker import check_place, is_workspace
from flows.workspaces.record import record_by_policy
from flows.workspaces.targets import check_target_name
from flows.workspaces.upgrade import PARAMS_TEMPLATE, bring_up, read_upgraded
from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.config.yaml_file import parse_yaml
from tasks.domains.folder import list_folders
from tasks.domains.kinds import reader_of
from tasks.domains.places import check_no_splits, check_not_wrapped
from tasks.domains.redrawn import check_views
from tasks.errors import BadInput
from tasks.files import printable
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
    name: str | None = None,
    source_split: str | None = None,
    follow_links: bool = False,
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
        name: The target's; by default it is made of the folder's.
        source_split: The folder in ``source`` that holds the class folders, where a dataset is divided into parts.
        follow_links: Whether what links in these folders lead to is copied, wherever that lies.

    Raises:
        BadInput: A folder or a setting cannot be used, or something else is where the workspace would be; nothing was written.
        Fault: A stage broke.
    """
    _check_folders(source, target, holdout, labelled, follow_links=follow_links)
    source = _class_folders_of(source, source_split)
    _check_apart(source, target, holdout, labelled)
    check_not_wrapped(source, role="SOURCE_DIR")
    for folder, role in ((holdout, "--holdout"), (labelled, "--labelled")):
        if folder is not None:
            check_not_wrapped(folder, role=role, classes=list_folders(source))
    is_named, name = name is not None, name or domain_name(target, source=source)
    check_target_name(name)
    place = check_place(workspace or Path(f"acclimate-{name}"))
    content, params = _settings(place, name, overrides)
    area = reader_of(params).plural
    for domain in ("source", name):
        check_own_folders(place, domain)
    if not is_named:
        check_origin(place, name, area, target)
    check_weights(params, root=place.root)
    areas = {area: target, "holdout": holdout, "labelled": labelled}
    purpose = f"try {source.name} {target.name}"
    with lock_workspace(place, purpose=purpose) as lock_fd:
        if is_workspace(place) and place.params.exists():
            bring_up(place)
        if not is_named:
            check_origin(place, name, area, target)
        content, params = _settings(place, name, overrides)  # whoever had the lock may have changed them
        settle(place, content)
        try:
            _take_in(place, name, source=source, areas=areas, follow_links=follow_links)
            run = run_locked(place, lock_fd, purpose=purpose)
        finally:
            record_by_policy(place, message=purpose)
    return run.raise_failures()


def _check_folders(
    source: Path, target: Path, holdout: Path | None, labelled: Path | None, *, follow_links: bool
) -> None:
    for folder, role in (
        (source, "SOURCE_DIR"),
        (target, "TARGET_DIR"),
        (holdout, "--holdout"),
        (labelled, "--labelled"),
    ):
        if folder is not None and not folder.is_dir():
            kind = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(f"{role} {folder} {kind}; expected a folder of images")
        if folder is not None and not follow_links:
            check_links(folder)
        if folder is not None and role.startswith("--"):
            check_no_splits(folder, advice=f"Name one of them: {role} {folder / 'NAME'}.")


def _check_apart(source: Path, target: Path, holdout: Path | None, labelled: Path | None) -> None:
    """Refuse images in two roles: they would be learned as one domain and judged as the other, or be both lesson and exam."""
    of_target = {"TARGET_DIR": target, "--holdout": holdout, "--labelled": labelled}
    given = {role: folder.resolve() for role, folder in of_target.items() if folder is not None}
    outer = source.resolve()
    for role, folder in given.items():
        if outer == folder:
            raise BadInput(
                f"{role} and SOURCE_DIR are both {source}. Name a folder of another place or camera."
            )
        if outer in folder.parents or folder in outer.parents:
            inner, around = (role, "SOURCE_DIR") if outer in folder.parents else ("SOURCE_DIR", role)
            raise BadInput(
                f"{inner} lies inside {around} ({outer}, {folder}), which would take in its images. Move it out."
            )
    roles = {folder: role for role, folder in given.items()}
    for role, folder in given.items():
        if roles[folder] != role:
            raise BadInput(
                f"{role} and {roles[folder]} are both {of_target[role]}. An image can have one use alone: name other images for one of them."
            )


def _class_folders_of(source: Path, split: str | None) -> Path:
    """The folder of the class folders: ``source``, or the part of it that ``split`` names."""
    if split is None:
        check_no_splits(source, advice="Name one with --source-split, or name the folder below.")
        return source
    if not (source / split).is_dir():
        found = ", ".join(list_folders(source)) or "no folder"
        raise BadInput(f"--source-split {split}: {source} holds {found}")
    return source / split


def _settings(workspace: Workspace, target: str, overrides: Sequence[str]) -> tuple[dict, Params]:
    """The settings that the workspace is to have: its own where it has some, else those of the template.

    Raises:
        ConfigError: They do not describe a run; nothing was written.
    """
    if is_workspace(workspace) and workspace.params.exists():
        content, origin = read_upgraded(workspace), str(workspace.params)
    else:
        content, origin = parse_yaml(PARAMS_TEMPLATE.read_text(encoding="utf-8")), "the settings"
        content["gate"]["labels"] = "open"  # one look at a pair of folders shows all that labels say
    if target not in content["targets"]:
        content["domains"].append(target)
        content["targets"].append(target)
    content = apply_overrides(content, [printable(override) for override in overrides])
    if any(override.startswith("model.weights=") for override in overrides):
        content["model"]["weights"] = _from_here(str(content["model"]["weights"]))
    params = check_params(content, origin=origin)
    check_views(params, origin=origin)
    ask_losses(params, origin=origin)
    return content, params


def _from_here(weights: str) -> str:
    """The path of a file as it is seen from the workspace, too: what the command line names lies beside the person."""
    return str(Path(weights).resolve()) if Path(weights).is_file() else weights


def _take_in(
    workspace: Workspace, name: str, *, source: Path, areas: Mapping[str, Path | None], follow_links: bool
) -> None:
    """Copy the folders as they are now; what an earlier try brought in gives way, and nothing else does."""
    log.info("copying images into %s", workspace.root)
    bring_in(workspace, "source", "", source, follow_links=follow_links)
    for inside, origin in areas.items():
        if origin is not None:
            bring_in(workspace, name, inside, origin, follow_links=follow_links)
        else:
            take_out(workspace, name, inside)
