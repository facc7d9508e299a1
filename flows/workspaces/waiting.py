"""Looking into the landing zone: which batches are whole, which still arrive, and what keeps one out. Nothing is written."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from flows.workspaces.arrivals import arrived_batches, ledger, unnoted_batches
from flows.workspaces.batches import (
    UNFINISHED,
    Batch,
    Look,
    Looks,
    examples_in,
    list_batch,
    measure,
    printable,
    read_looks,
    seconds_to_wait,
)
from flows.workspaces.present import check_present
from flows.workspaces.targets import check_target_name
from tasks.config.params import Params
from tasks.domains.kinds import IN_ROWS
from tasks.errors import BadInput
from tasks.workspace import DOMAIN_NAME, Workspace

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Waiting:
    """The state of the landing zone of one target."""

    ready: tuple[str, ...]
    """Names of the batches that are whole and new."""
    images: int
    """Different images in them."""
    needed_images: int
    """Images that have to wait before any is taken in."""
    growing: tuple[str, ...]
    """Names of the batches that still arrive, or have not rested long enough."""
    again_in_s: float | None
    """Seconds until another look can find one of them whole; None where none arrives."""
    problems: tuple[str, ...]
    """Why a batch is kept out, and what to do, a sentence each."""
    unnoted: tuple[str, ...] = ()
    """Batches in the data that the ledger lacks: the next intake counts them as taken."""
    is_here: bool = True
    """Whether the data of the target is on this machine; without it nothing is taken in."""

    @property
    def is_due(self) -> bool:
        """Whether :func:`take_in` would take something in now."""
        enough = bool(self.ready) and self.images >= self.needed_images
        return self.is_here and (bool(self.unnoted) or enough)

    @property
    def words(self) -> str:
        """The state in a sentence, for messages."""
        return in_words(self.images, self.needed_images, self.growing, self.again_in_s)


@dataclass(frozen=True)
class Found:
    """A batch, with its content."""

    batch: Batch
    digest: str
    images: int


@dataclass(frozen=True)
class Survey:
    whole: tuple[Found, ...]
    """Batches that have ceased to grow, whatever is in them."""
    growing: tuple[tuple[Batch, float | None], ...]
    """With the seconds until they may be whole."""
    kept: tuple[Batch, ...]
    """Batches that were dealt with and cannot be removed."""
    problems: tuple[str, ...]


def look(workspace: Workspace, target: str, params: Params) -> Waiting:
    """The state of the landing zone of ``target``; nothing is written.

    Raises:
        BadInput: The name cannot be that of a target.
    """
    check_target_name(target)
    problems = _missing_data(workspace, target)
    survey = survey_of(workspace, target, read_looks(workspace, target), params)
    fresh = {found.digest: found for found in survey.whole if found.images}
    fresh = {digest: found for digest, found in fresh.items() if not was_taken(workspace, target, digest)}
    return Waiting(
        ready=tuple(found.batch.name for found in fresh.values()),
        images=sum(found.images for found in fresh.values()),
        needed_images=images_needed(workspace, target, params),
        growing=tuple(batch.name for batch, _ in survey.growing),
        again_in_s=soonest(survey),
        problems=(*problems, *survey.problems),
        unnoted=tuple(unnoted_batches(workspace, target)),
        is_here=not problems,
    )


def _missing_data(workspace: Workspace, target: str) -> tuple[str, ...]:
    try:
        check_present(workspace, target)
    except BadInput as error:
        return (str(error),)
    return ()


def images_needed(workspace: Workspace, target: str, params: Params) -> int:
    """Images that have to wait before they are taken in.

    ``arrival.min_images``, and for a target that has few images, as many as stage validate asks for in all.
    """
    folder = workspace.data(target)
    have = examples_in(folder, has_rows=params.kind in IN_ROWS) if folder.is_dir() else 0
    return max(params.arrival.min_images, params.validate_.min_rows_target - have)


def targets_with_batches(workspace: Workspace) -> list[str]:
    """Targets for which something waits in the landing zone, or lies in the data and is not in the ledger."""
    landed = [path for path in _folders(workspace.root / "landing") if _may_be_target(path)]
    waiting = {path.name for path in landed if path.is_symlink() or _has_batches(path)}
    data = [path.name for path in _folders(workspace.root / "data") if _may_be_target(path)]
    return sorted(waiting | {name for name in data if unnoted_batches(workspace, name)})


def misnamed(workspace: Workspace) -> list[str]:
    """Folders of the landing zone that cannot be targets, as ``landing/<name>``."""
    found = [path for path in _folders(workspace.root / "landing") if not _may_be_target(path)]
    return [f"landing/{printable(path.name)}" for path in found if not path.name.startswith(".")]


def survey_of(workspace: Workspace, target: str, looks: Looks, params: Params) -> Survey:
    landing = workspace.landing(target)
    whole: list[Found] = []
    growing: list[tuple[Batch, float | None]] = []
    kept: list[Batch] = []
    problems: list[str] = []
    for path in _waiting(landing, problems):
        try:
            batch = list_batch(path)
            before = looks.batches.get(batch.name)
            if batch.is_empty:
                continue
            if before and before.stays and before.signature == batch.signature:
                kept.append(batch)
                continue
            wait_s = seconds_to_wait(batch, before, settle_s=params.arrival.settle_s)
            if wait_s == 0:
                whole.append(_measured(batch, before, has_rows=params.kind in IN_ROWS))
            else:
                growing.append((batch, wait_s))
        except OSError as error:
            problems.append(
                f"{path} cannot be read ({said(error)}); let this user read it: `chmod -R a+rX`, or hand the batch in anew"
            )
    return Survey(tuple(whole), tuple(growing), tuple(kept), tuple(printable(one) for one in problems))


def _waiting(landing: Path, problems: list[str]) -> list[Path]:
    """The folders of batches; what cannot be one goes to ``problems``."""
    if landing.is_symlink():
        problems.append(
            f"{landing} is a symbolic link, which is not followed; move the batches there themselves"
        )
        return []
    try:
        names = sorted(os.listdir(landing))
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{landing} cannot be listed ({said(error)}); let this user read and enter it")
        return []
    batches = []
    for name in names:
        path = landing / name
        if name.startswith(".") or name.casefold().endswith(UNFINISHED):
            continue
        if path.is_symlink():
            problems.append(f"{path} is a symbolic link, which is not followed; copy the folder there itself")
        elif path.is_dir():
            batches.append(path)
        else:
            problems.append(f"{path} lies outside any batch; put it into a folder of its own below {landing}")
    return batches


def _measured(batch: Batch, before: Look | None, *, has_rows: bool) -> Found:
    if before and before.digest and before.signature == batch.signature:
        return Found(batch, before.digest, before.images)
    return Found(batch, *measure(batch.path, has_rows=has_rows))


def soonest(survey: Survey) -> float | None:
    return min((wait_s for _, wait_s in survey.growing if wait_s is not None), default=None)


def _folders(root: Path) -> list[Path]:
    """Folders in ``root``, links to folders among them; none where it cannot be listed."""
    try:
        return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("%s cannot be listed (%s); let this user read and enter it", root, said(error))
        return []


def _may_be_target(path: Path) -> bool:
    return bool(DOMAIN_NAME.fullmatch(path.name)) and path.name != "source"


def _has_batches(landing: Path) -> bool:
    problems: list[str] = []
    batches = _waiting(landing, problems)
    return bool(problems) or any(_holds_files(batch) for batch in batches)


def _holds_files(batch: Path) -> bool:
    try:
        return not list_batch(batch).is_empty
    except OSError:
        return True  # the intake says why it cannot be read


def was_taken(workspace: Workspace, target: str, digest: str) -> bool:
    """Whether the ledger says that a batch was taken in, or the data shows it."""
    return digest in ledger(workspace, target) or digest in arrived_batches(workspace, target)


def in_words(images: int, needed: int, growing: tuple[str, ...], again_in_s: float | None) -> str:
    """How many images wait and how many are needed, and what still arrives."""
    parts = []
    if images:
        parts.append(f"{images} examples wait; {needed} are needed")
    if growing:
        again = "when it changes" if again_in_s is None else f"in {again_in_s:.0f} s"
        first, *others = growing
        more = f" and {len(others)} more" if others else ""
        parts.append(f"{first}{more} still arriving; looked at again {again}")
    return "; ".join(parts) or "nothing new"


def said(error: OSError) -> str:
    """The reason of an error of the file system, to go on a sentence with."""
    return error.strerror.lower() if error.strerror else str(error)
