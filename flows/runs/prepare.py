"""Everything that a walk needs before its first stage."""

from flows.runs.dvc_client import DvcClient
from flows.runs.repair import heal
from flows.workspaces.create import refresh_generated
from flows.workspaces.filled import create_answers
from flows.workspaces.spent import create_ledger, retire_answers
from flows.workspaces.targets import create_settings
from flows.workspaces.upgrade import bring_up, check_upgraded
from tasks.config.params import Params, load_params
from tasks.config.per_target import settings_path
from tasks.domains.redrawn import check_views
from tasks.errors import BadInput
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


def prepare(dvc: DvcClient, params: Params) -> None:
    """Make everything that a walk needs: whole DVC files, every setting, pointers, ledgers, generated files, data under DVC."""
    from deploy.registry import create_registry

    workspace = dvc.workspace
    heal(workspace)
    bring_up(workspace)
    for target in params.targets:
        create_registry(workspace, target)
        create_answers(workspace, target)
        create_settings(workspace, target)
        create_ledger(workspace, target)
        retire_answers(workspace, target, all_of_them=False)
    refresh_generated(workspace)
    track_data(dvc, params)


def track_data(dvc: DvcClient, params: Params) -> None:
    """Put every domain's folder under DVC, as it is now.

    Raises:
        BadInput: A domain has no folder.
    """
    workspace = dvc.workspace
    missing = [domain for domain in params.domains if not workspace.data(domain).is_dir()]
    if missing:
        folders = ", ".join(f"data/{domain}" for domain in missing)
        raise BadInput(
            f"{workspace.root} has no {folders}; params.yaml lists {missing} under domains."
            " Put the images there, or take the name out of domains and targets."
        )
    dvc.track([f"data/{domain}" for domain in params.domains])
