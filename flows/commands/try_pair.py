"""The whole pipeline on any pair of folders, in a workspace of its own."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.runs.lock import lock_workspace
from flows.runs.prepare import ask_losses, check_weights
from flows.runs.walk import run_locked
from flows.workspaces.copy import is_file_of_rows
from flows.workspaces.create import domain_name, settle
from flows.workspaces.imports import bring_in, check_links, check_origin, check_own_folders, take_out
from flows.workspaces.marker import check_place, is_workspace
from flows.workspaces.record import record_by_policy
from flows.workspaces.targets import check_target_name
from flows.workspaces.upgrade import bring_up, read_upgraded
from tasks.config.overrides import apply_overrides
from tasks.config.params import Params, check_params
from tasks.config.starting import starting_params
from tasks.domains.folder import list_files, list_folders
from tasks.domains.kinds import kind_in, kind_named, kind_of
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
    kind: str | None = None,
    source_split: str | None = None,
    follow_links: bool = False,
) -> Result:
    """Make a workspace from two folders, or bring them into one that is there; run every stage, return result.json.

    A workspace that is there keeps its settings, but for ``overrides`` and a new target, and all data that no try has brought in.

    Args:
        source: Class folders with examples, or a file of rows that name their class.
        target: Examples, flat or in class folders, or a file of rows; such labels serve the hold-out alone.
        holdout: Labelled examples of the target, laid out as the source is, for the verdict alone.
        labelled: A few labelled examples of the target, laid out as the source is, for training.
        workspace: Where; ``acclimate-<target>`` in the current folder by default.
        overrides: ``key=value`` settings of params.yaml.
        name: The target's; by default it is made of the folder's.
        kind: The form of the examples; by default that of the workspace, or of a new one what its files tell.
        source_split: The folder in ``source`` that holds the class folders, where a dataset is divided into parts.
        follow_links: Whether what links in these folders lead to is copied, wherever that lies.

    Raises:
        BadInput: A folder or a setting cannot be used, or something else is where the workspace would be; nothing was written.
        Fault: A stage broke.
    """
    _check_folders(source, target, holdout, labelled, follow_links=follow_links)
    source = _class_folders_of(source, source_split)
    _check_apart(source, target, holdout, labelled)
    if source.is_dir():
        check_not_wrapped(source, role="SOURCE_DIR")
        for folder, role in ((holdout, "--holdout"), (labelled, "--labelled")):
            if folder is not None and folder.is_dir():
                check_not_wrapped(folder, role=role, classes=list_folders(source))
    is_named, name = name is not None, domain_name(target, source=source) if name is None else name
    check_target_name(name)
    place = check_place(workspace or Path(f"acclimate-{name}"))
    kind = _kind_of(place, kind, source)
    content, params = _settings(place, name, overrides, kind)
    area = kind_of(params).plural
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
        content, params = _settings(
            place, name, overrides, kind
        )  # whoever had the lock may have changed them
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
        if folder is None or is_file_of_rows(folder):
            continue
        if not folder.is_dir():
            kind = "is not a folder" if folder.exists() else "does not exist"
            raise BadInput(
                f"{role} {folder} {kind}; expected a folder of examples, or a .csv, .jsonl or .parquet file of them"
            )
        if not follow_links:
            check_links(folder)
        if role.startswith("--"):
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
                f"{inner} lies inside {around} ({outer}, {folder}), which would take in its examples. Move it out."
            )
    roles = {folder: role for role, folder in given.items()}
    for role, folder in given.items():
        if roles[folder] != role:
            raise BadInput(
                f"{role} and {roles[folder]} are both {of_target[role]}. An example can have one use alone: name other examples for one of them."
            )


def _class_folders_of(source: Path, split: str | None) -> Path:
    """The folder of the class folders: ``source``, or the part of it that ``split`` names."""
    if split is None and is_file_of_rows(source):
        return source
    if split is None:
        check_no_splits(source, advice="Name one with --source-split, or name the folder below.")
        return source
    if not (source / split).is_dir():
        found = ", ".join(list_folders(source)) or "no folder"
        raise BadInput(f"--source-split {split}: {source} holds {found}")
    return source / split


def _kind_of(workspace: Workspace, asked: str | None, source: Path) -> str:
    """The form of the examples: what is asked for, what the workspace has, or what the files of ``source`` tell.

    Raises:
        BadInput: There is no such kind, or the workspace has another.
    """
    if asked is not None:
        kind_named(asked)
    if is_workspace(workspace) and workspace.params.exists():
        own = str(read_upgraded(workspace).get("kind"))
        if asked not in (None, own):
            raise BadInput(
                f"--kind {asked}: {workspace.root} is a workspace of kind {own}. Name another --workspace, or leave --kind out."
            )
        return own
    if asked is None:
        is_file = source.is_file()
        paths = [source.name] if is_file else [file.path for file in list_files(source)]
        asked = kind_in(source.parent if is_file else source, paths)
        log.info("kind %s, by the files in %s; --kind names another", asked, source)
    return asked


def _settings(workspace: Workspace, target: str, overrides: Sequence[str], kind: str) -> tuple[dict, Params]:
    """The settings that the workspace is to have: its own where it has some, else those of the template for ``kind``.

    Raises:
        ConfigError: They do not describe a run; nothing was written.
    """
    if is_workspace(workspace) and workspace.params.exists():
        content, origin = read_upgraded(workspace), str(workspace.params)
    else:
        content, origin = starting_params(kind, backbone=_backbone_in(overrides)), "the settings"
        content["gate"]["labels"] = "open"  # one look at a pair of folders shows all that labels say
    if target not in content["targets"]:
        content["domains"].append(target)
        content["targets"].append(target)
    content = apply_overrides(content, [printable(override) for override in overrides])
    for key, prefix in (("weights", ""), ("backbone", "hf/")):
        if any(override.startswith(f"model.{key}=") for override in overrides):
            content["model"][key] = _from_here(str(content["model"][key]), prefix)
    params = check_params(content, origin=origin)
    check_views(params, origin=origin)
    ask_losses(params, origin=origin)
    return content, params


def _backbone_in(overrides: Sequence[str]) -> str | None:
    return next(
        (value for key, _, value in (one.partition("=") for one in overrides) if key == "model.backbone"),
        None,
    )


def _from_here(value: str, prefix: str) -> str:
    """The path behind ``prefix`` as it is seen from the workspace, too: what the command line names lies beside the person."""
    place = Path(value.removeprefix(prefix))
    is_there = value.startswith(prefix) and (place.is_dir() if prefix else place.is_file())
    return f"{prefix}{place.resolve()}" if is_there else value


def _take_in(
    workspace: Workspace, name: str, *, source: Path, areas: Mapping[str, Path | None], follow_links: bool
) -> None:
    """Copy the folders as they are now; what an earlier try brought in gives way, and nothing else does."""
    log.info("copying examples into %s", workspace.root)
    bring_in(workspace, "source", "", source, follow_links=follow_links)
    for inside, origin in areas.items():
        if origin is not None:
            bring_in(workspace, name, inside, origin, follow_links=follow_links)
        else:
            take_out(workspace, name, inside)
