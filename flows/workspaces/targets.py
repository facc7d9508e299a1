"""The targets of a workspace: which there are, how one is added, and what a name may be."""

import logging
from collections.abc import Sequence

from flows.workspaces.editing import read_yaml, write_yaml
from tasks.config.params import Params, load_params
from tasks.config.per_target import settings_path
from tasks.errors import BadInput
from tasks.files import write_text
from tasks.provenance import PACKAGE_ROOT
from tasks.workspace import DOMAIN_NAME, Workspace

SETTINGS_TEMPLATE = PACKAGE_ROOT / "tasks" / "config" / "templates" / "target.yaml"

log = logging.getLogger(__name__)


def choose_targets(params: Params, names: Sequence[str] | None) -> tuple[str, ...]:
    """``names``, or every target where it is ``None``.

    Raises:
        BadInput: A name is not listed in params.yaml, or nothing is.
    """
    if not params.targets:
        raise BadInput(
            "params.yaml lists no targets; put one under domains and targets, and its examples under data/<name>"
        )
    for name in names or ():
        check_target(params.targets, name)
    return params.targets if names is None else tuple(names)


def check_target(targets: Sequence[str], name: str) -> None:
    """Raise BadInput unless ``name`` is one of ``targets``, those of params.yaml."""
    if name not in targets:
        raise BadInput(f"no such target: {name}; params.yaml lists {', '.join(targets) or 'none'}")


def check_target_name(target: str) -> None:
    """Raise BadInput unless ``target`` can name a folder, a stage, a URL and an event resource."""
    if not DOMAIN_NAME.fullmatch(target) or target == "source":
        raise BadInput(
            f"target name {target!r} must be lower-case letters, digits and dashes, and not `source`"
        )


def create_settings(workspace: Workspace, target: str) -> None:
    """Make the file of the target's own settings, without any; nothing changes if it is there."""
    path = settings_path(workspace.params, target)
    if not path.exists():
        write_text(path, SETTINGS_TEMPLATE.read_text(encoding="utf-8"))


def add_target(workspace: Workspace, target: str) -> None:
    """List ``target`` in params.yaml if it is not there yet; comments and order stay."""
    params = load_params(workspace.params)
    if target in params.targets:
        return
    writer, content = read_yaml(workspace.params.read_text(encoding="utf-8"))
    content["domains"].append(target)
    content["targets"].append(target)
    write_yaml(workspace.params, writer, content)
    load_params(workspace.params)
    log.info("new target %s: listed in %s", target, workspace.params)
