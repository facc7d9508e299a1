"""Labels that are spent: the ledger of a target is opened, and labels retire into training.

A label that a verdict has read proves nothing about the next model. So it trains the next model.
"""

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime

from ruamel.yaml import YAMLError

from flows.workspaces.programs import is_tracked
from tasks.config.yaml_file import parse_yaml
from tasks.domains.retired import add_retired, read_retired
from tasks.errors import BadInput
from tasks.files import read_json
from tasks.judgement.price import unsealing
from tasks.records.answers import NO_CLASS, latest, read_answers
from tasks.records.ledger import Opened, Retired, append, digits, read_ledger
from tasks.records.manifest import PARQUET, read_labels, read_summary
from tasks.records.verdict import JSON as VERDICT
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


def create_ledger(workspace: Workspace, target: str) -> None:
    """Open the ledger of ``target`` if it never had one; the caller has locked the workspace.

    A workspace of an acclimate without ledgers has shown the accuracies of every candidate: the labels that it has
    judged by are spent.

    Raises:
        BadInput: There was a ledger, and it is gone.
    """
    path = workspace.ledger(target)
    if path.exists():
        return
    if _had_ledger(workspace, target):
        read_ledger(path)  # says what to do
    today = datetime.now(UTC).date()
    verdict, manifest = workspace.stage("gate", target) / VERDICT, workspace.stage("manifest", target)
    labels = (
        read_labels(manifest, splits=["test"]) if verdict.exists() and (manifest / PARQUET).exists() else {}
    )
    if labels:
        log.warning(
            "%s: the %d labels of the hold-out were judged by before there was a ledger, and the accuracies of all"
            " candidates were shown: they stop what is worse, and prove nothing more",
            target, len(labels),
        )  # fmt: skip
    append(path, [Opened(at=today, target=target)])
    unseal_labels(workspace, target, labels, reason="judged before there was a ledger")


def open_lost_ledger(workspace: Workspace, target: str) -> None:
    """Begin a new ledger for ``target`` where the old one is lost: whatever labels there are count as spent."""
    labels = read_labels(workspace.stage("manifest", target), splits=["test"])
    append(workspace.ledger(target), [Opened(at=datetime.now(UTC).date(), target=target)])
    unseal_labels(workspace, target, labels, reason="the ledger was lost")


def unseal_labels(workspace: Workspace, target: str, images: Collection[str], *, reason: str) -> None:
    """Note in the ledger that accuracies on ``images`` are shown; nothing is added where they were before."""
    path = workspace.ledger(target)
    append(path, unsealing(read_ledger(path), images, on=datetime.now(UTC).date(), reason=reason))


def _had_ledger(workspace: Workspace, target: str) -> bool:
    """Whether git or dvc.lock knows a ledger of ``target``."""
    path = workspace.ledger(target)
    if is_tracked(workspace, path):
        return True
    name = path.relative_to(workspace.root).as_posix()
    try:
        stages = parse_yaml(workspace.dvc_lock.read_text(encoding="utf-8"))["stages"]
        return any(out["path"] == name for out in stages[f"gate@{target}"]["outs"])
    except (OSError, KeyError, TypeError, YAMLError):
        return False


def retire(workspace: Workspace, target: str, labels: Mapping[str, str]) -> int:
    """Let ``labels``, by SHA-256 of the image, train from now on; how many are new."""
    folder = workspace.data(target)
    new = {image: label for image, label in labels.items() if image not in read_retired(folder)}
    if new:
        add_retired(folder, new)
    known = read_ledger(workspace.ledger(target)).retired()
    unnoted = sorted({digits(image) for image in labels} - known)
    if unnoted:
        today = datetime.now(UTC).date()
        append(workspace.ledger(target), [Retired(at=today, images=tuple(unnoted))])
    return len(new)


def retire_answers(workspace: Workspace, target: str, *, all_of_them: bool) -> None:
    """Retire labels that people gave: those that brought the champion into service, or all of them.

    The others are kept back while the comparison that they were given for goes on.

    Args:
        workspace: Where; the caller has locked it.
        target: Its name.
        all_of_them: Whether a new model will be compared anyway, as when data has arrived.
    """
    if not workspace.ledger(target).exists():
        return  # before the first run of a target; where it was lost, the gate refuses
    answers = latest(read_answers(workspace.answers(target), classes=None))
    if not all_of_them:
        champion = read_json(workspace.champion(target))["checkpoint_sha256"]
        over = read_ledger(workspace.ledger(target)).arms_of(champion)
        answers = {image: one for image, one in answers.items() if one.arms in over}
    known = source_classes(workspace)
    labels = {
        image: one.label
        for image, one in answers.items()
        if one.label not in NO_CLASS and (known is None or one.label in known)
    }
    num_retired = retire(workspace, target, labels) if labels else 0
    if num_retired:
        log.info(
            "%s: %d labels have decided what they were given for; they train the next model (%s)",
            target, num_retired, workspace.data(target) / "labelled",
        )  # fmt: skip


def source_classes(workspace: Workspace) -> tuple[str, ...] | None:
    """The classes of the source; None before its manifest is written."""
    try:
        return read_summary(workspace.stage("manifest", "source")).classes
    except BadInput:
        return None
