"""Everything that a walk needs before its first stage."""

import json
from pathlib import Path

from flows.runs.adapted import note_begun
from flows.runs.dvc_client import DvcClient
from flows.runs.repair import heal
from flows.workspaces.create import refresh_generated, write_if_changed
from flows.workspaces.filled import create_answers
from flows.workspaces.learned import learn_settings
from flows.workspaces.marker import mark
from flows.workspaces.present import check_present
from flows.workspaces.programs import is_tracked
from flows.workspaces.quarantine import make_safe
from flows.workspaces.spent import create_ledger, retire_answers
from flows.workspaces.targets import create_settings
from flows.workspaces.upgrade import bring_up, check_upgraded
from tasks.config.params import Params, load_params
from tasks.config.per_target import settings_path
from tasks.config.sections.kind import KindParams
from tasks.domains.contract import StillOpen
from tasks.domains.hf_folder import digests_of
from tasks.domains.kinds import reader_of
from tasks.domains.places import class_names
from tasks.domains.redrawn import check_views
from tasks.errors import BadInput
from tasks.files import sha256_of_file, sha256_of_lines
from tasks.workspace import Workspace


def read_params(workspace: Workspace) -> Params:
    """params.yaml, checked as far as it can be before a stage runs; missing keys have their defaults.

    Raises:
        ConfigError: It does not describe a run; every offending key is named.
    """
    params = check_upgraded(workspace)
    check_views(params, origin=str(workspace.params))
    ask_losses(params, origin=str(workspace.params))
    return params


def check_settings(workspace: Workspace, target: str) -> None:
    """Check the settings of one target as :func:`read_params` does those of all.

    Raises:
        ConfigError: They do not describe a run.
    """
    params = load_params(workspace.params, target=target)
    ask_losses(params, origin=str(settings_path(workspace.params, target)))


def ask_losses(params: Params, *, origin: str) -> None:
    """Let the losses check the presets that a user wrote; ``origin`` names the file in messages.

    The presets that ``auto`` trains need no check: asking would import torch, which takes seconds.

    Raises:
        ConfigError: Naming every offending key at once.
    """
    if params.adapt.unproven:
        from tasks.losses.presets.check import check_presets

        check_presets(params, origin=origin)


def prepare(dvc: DvcClient) -> None:
    """Make what all targets need: whole DVC files, every setting, generated files, the source under DVC.

    Raises:
        BadInput: The source has no folder.
    """
    workspace = dvc.workspace
    mark(workspace)
    heal(workspace)
    bring_up(workspace)
    refresh_generated(workspace)
    check_data(workspace, "source")
    params = learn_settings(workspace)
    check_weights(params, root=workspace.root)
    track_data(dvc, "source")
    note_classes(workspace)
    note_input(workspace, params)


def prepare_target(dvc: DvcClient, target: str) -> None:
    """Make what a walk of one target needs: registry, ledger, answers, settings, its data under DVC.

    Raises:
        BadInput: It has no folder, or a file of its own is damaged.
    """
    from deploy.registry import create_registry

    workspace = dvc.workspace
    check_registry_is_here(workspace, target)
    create_registry(workspace, target)
    create_answers(workspace, target)
    create_settings(workspace, target)
    create_ledger(workspace, target)
    retire_answers(workspace, target, all_of_them=False)
    check_settings(workspace, target)
    track_data(dvc, target)
    note_begun(workspace, target)


def check_registry_is_here(workspace: Workspace, target: str) -> None:
    """Raise BadInput where git knows a registry of ``target`` and the disk has none, as with a mount that is missing."""
    pointer = workspace.champion(target)
    if pointer.exists() or not is_tracked(workspace, pointer):
        return
    place = pointer.parent.relative_to(workspace.root).as_posix()
    raise BadInput(
        f"{pointer.parent} is not there, and git knows it: is a disk not mounted? A new registry would hide the champion."
        f" Mount it, or `git checkout -- {place}`."
    )


def check_weights(params: Params, *, root: Path) -> bool:
    """Refuse files that the user named and that do not fit the backbone, before anything is computed.

    Returns:
        Whether there are any and they fit; not yet where the source has to decide a setting before. A run asks again after that.

    Raises:
        BadInput: In one line, which names the file.
    """
    params = params.model_copy(update={"model": params.model.seen_from(root)})
    if not (params.model.file or params.model.folder):
        return False
    try:
        spec = reader_of(params).spec
    except StillOpen:
        return False
    from tasks.models.backbones.build import build_backbone

    build_backbone(params.model, spec)
    return True


def note_input(workspace: Workspace, params: Params) -> None:
    """Write data/weights.json, by which DVC sees what it does not see in params.yaml: that the weights which ``model`` names have
    become others, and that keys have changed places where their order counts, such as the columns of a table.
    """
    model = params.model.seen_from(workspace.root)
    note: dict[str, str | dict[str, str]] = {}
    if model.file:
        note["sha256"] = sha256_of_file(model.file)
    if model.folder:
        note["folder"] = digests_of(model.folder)
    sections = params.model_dump(include={*KindParams.model_fields} - {"kind"}).values()
    orders = [
        list(value) for section in sections for value in section.values() if isinstance(value, dict) and value
    ]
    if orders:
        note["order"] = sha256_of_lines([json.dumps(orders)])
    write_if_changed(workspace.root / "data" / "weights.json", json.dumps(note or None) + "\n")


def note_classes(workspace: Workspace) -> None:
    """Write data/classes.json, by which DVC sees that the manifests of the targets must know of another class."""
    source, reader = workspace.data("source"), reader_of(load_params(workspace.params))
    names = json.dumps(sorted(class_names(source, reader) or ()), ensure_ascii=False)
    write_if_changed(workspace.root / "data" / "classes.json", f"{names}\n")


def track_data(dvc: DvcClient, domain: str) -> None:
    """Put the folder of one domain under DVC, as it is now; what must not be hashed is moved aside before.

    Raises:
        BadInput: It has none, or it is a symbolic link.
    """
    check_data(dvc.workspace, domain)
    make_safe(dvc.workspace, domain)
    dvc.track([f"data/{domain}"])


def check_data(workspace: Workspace, domain: str) -> None:
    """Refuse a domain whose data is not on this machine.

    Raises:
        BadInput: It has no folder; the message tells whether DVC knows it.
    """
    check_present(workspace, domain)
    if not workspace.data(domain).is_dir():
        raise BadInput(
            f"{workspace.root} has no data/{domain}; params.yaml lists {domain!r} under domains."
            " Put the examples there, or take the name out of domains and targets."
        )
