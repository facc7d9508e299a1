"""The landing zone: batches of target images, handed in whole and taken in once.

landing/<target>/<batch>/          waiting; names that begin with a dot, or end in .tmp or .part, are not finished yet
landing/<target>/<batch>/_READY    says that the batch is whole; without it a batch has to rest for a while
data/<target>/arrived/<digest>/    taken in: a copy, checked file by file
landing/<target>/.refused/         files that cannot be taken in
landing/<target>/.duplicates/      batches whose content was taken in before
arrivals.jsonl                     the ledger, one line per batch

Whoever can write to the landing zone may be anyone. So nothing in it is followed, moved into the data or trusted to stay as it is:
a batch is copied, and what was copied is removed once the copy is safe.
"""

import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from flows.workspaces.arrivals import ledger, mend_ledger, note, unnoted_batches
from flows.workspaces.batches import (
    READY,
    Batch,
    Look,
    Looks,
    batch_digest,
    digest_of,
    examples_in,
    examples_of,
    list_batch,
    printable,
    read_looks,
    refuse_all,
    remove_taken,
    set_double_aside,
    write_looks,
)
from flows.workspaces.copy import Copied, copy_files, list_origin, note_refused
from flows.workspaces.present import check_present
from flows.workspaces.targets import check_target_name
from flows.workspaces.waiting import (
    Found,
    Survey,
    Waiting,
    images_needed,
    in_words,
    look,
    misnamed,
    said,
    soonest,
    survey_of,
    targets_with_batches,
    was_taken,
)
from tasks.config.params import Params
from tasks.domains.folder import REFUSED, read_refusals
from tasks.domains.kinds import IN_ROWS
from tasks.errors import BadInput, Fault, reason_of
from tasks.files import fsync_folder, write_text
from tasks.workspace import Workspace

__all__ = [
    "Intake", "Waiting", "batch_digest", "hand_in", "ledger", "look", "misnamed", "observe", "take_in",
    "targets_with_batches",
]  # fmt: skip

log = logging.getLogger(__name__)

STAGING = ".taking-"
"""How the folders in data/<target>/ begin that a batch is copied to."""


@dataclass(frozen=True)
class Intake:
    """The findings of a look into the landing zone of one target."""

    taken: tuple[str, ...]
    """Digests of the batches taken in now."""
    waiting_images: int
    """Images left waiting because they are too few yet."""
    needed_images: int = 0
    """How many have to wait before they are taken in."""
    growing: tuple[str, ...] = ()
    """Names of the batches that still arrive, or have not rested long enough."""
    again_in_s: float | None = None
    """Seconds until another look can find one of them whole."""
    problems: tuple[str, ...] = ()
    """Why a batch is kept out, and what to do, a sentence each."""

    @property
    def words(self) -> str:
        """The state in a sentence, for messages."""
        if self.taken:
            return f"{len(self.taken)} batches taken in"
        return in_words(self.waiting_images, self.needed_images, self.growing, self.again_in_s)


# --- handing in --------------------------------------------------------------------------------


def hand_in(workspace: Workspace, target: str, folder: Path) -> tuple[str, Path | None]:
    """Copy ``folder`` into the landing zone of ``target``; it appears there whole or not at all.

    Nothing is copied where the same content waits there or was taken in before.

    Returns:
        The batch's digest, and where it waits; ``None`` when its content was taken in before.

    Raises:
        BadInput: The name or the folder cannot be used, or no file in it can be taken in.
        Fault: The landing zone cannot be written; ``folder`` is untouched.
    """
    check_target_name(target)
    landing = workspace.landing(target)
    list_origin(folder, landing)
    found = examples_of(folder)
    if all(file.reason for file in found):
        reasons = "; ".join(f"{file.path}: {file.reason}" for file in found[:3])
        raise BadInput(f"{folder} has no file that can be taken in ({reasons})")
    digest = batch_digest(folder)
    if not was_taken(workspace, target, digest) and not (landing / digest).is_dir():
        unnamed = landing / f".incoming-{uuid.uuid4().hex}"
        try:
            copied = copy_files(found, folder, unnamed, durable=True)
            digest = digest_of(copied.files)  # the folder may have changed since
            note_refused(unnamed, copied.refused)
            write_text(unnamed / READY, "")
            _appear(unnamed, landing / digest)
        except OSError as error:
            raise Fault(
                f"cannot write {landing}: {reason_of(error)}. {folder} is untouched; free space or fix the permissions,"
                " and emit it again."
            ) from error
        finally:
            shutil.rmtree(unnamed, ignore_errors=True)
    place = landing / digest
    return digest, place if place.is_dir() else None


def _appear(unnamed: Path, place: Path) -> None:
    try:
        os.rename(unnamed, place)
    except OSError:
        if not place.is_dir():  # another command handed in the same
            raise
    fsync_folder(place.parent)


# --- taking in ---------------------------------------------------------------------------------


def observe(workspace: Workspace, target: str, params: Params) -> None:
    """Remember what waits for ``target`` now, so that a later look can tell which batches have ceased to grow."""
    looks = read_looks(workspace, target)
    survey = survey_of(workspace, target, looks, params)
    _keep_looks(
        workspace, target, looks, survey, left=survey.whole, kept=survey.kept, problems=list(survey.problems)
    )


def take_in(workspace: Workspace, target: str, params: Params) -> Intake:
    """Copy what waits for ``target`` to its data, once each; the caller has locked the workspace.

    A batch becomes data by one rename and is noted in the ledger after it, and only then leaves the landing zone. A kill in
    between leaves a batch in the data that the ledger lacks; the next call notes it and counts it as new. A batch that cannot
    be taken in is told, and stops no other.

    Raises:
        BadInput: The name cannot be that of a target.
    """
    check_target_name(target)
    try:
        return _take_in(workspace, target, params)
    except (OSError, Fault, BadInput) as error:
        words = said(error) if isinstance(error, OSError) else str(error)
        problem = (
            f"{target}: nothing was taken in: {words}. It waits; mend that, and the next look takes it in"
        )
        log.warning("%s", problem)
        return Intake((), 0, problems=(problem,))


def _take_in(workspace: Workspace, target: str, params: Params) -> Intake:
    check_present(workspace, target)
    mend_ledger(workspace)
    looks = read_looks(workspace, target)
    survey = survey_of(workspace, target, looks, params)
    problems, kept = list(survey.problems), list(survey.kept)
    if workspace.data(target).is_dir():
        sweep_staging(workspace.data(target))
    taken = unnoted_batches(workspace, target)
    has_rows = params.kind in IN_ROWS
    for digest in taken:
        _note_taken(workspace, target, digest, has_rows=has_rows)
    known = {*ledger(workspace, target), *taken}
    fresh: dict[str, Found] = {}
    for found in survey.whole:
        if not found.images:
            problems.append(
                f"{found.batch.path} holds nothing that can be taken in; {refuse_all(found.batch)}"
            )
        elif found.digest in known or found.digest in fresh or was_taken(workspace, target, found.digest):
            if set_double_aside(found.batch):
                kept.append(found.batch)
        else:
            fresh[found.digest] = found
    waiting = sum(found.images for found in fresh.values())
    needed = images_needed(workspace, target, params)
    left: list[Found] = []
    if taken or waiting >= needed:
        for digest, found in fresh.items():
            try:
                copied = _copy_to_data(workspace, target, found)
                if copied is None:
                    continue  # it changed meanwhile, and is looked at anew
                _note_taken(workspace, target, digest, has_rows=has_rows)
            except (OSError, Fault) as error:
                words = said(error) if isinstance(error, OSError) else str(error)
                problems.append(f"{found.batch.path} could not be taken in, and waits: {words}")
                left.append(found)
                continue
            taken.append(digest)
            if error := remove_taken(found.batch, copied.files):
                kept.append(found.batch)
                problems.append(
                    f"{found.batch.path} was taken in; what is left of it stays, since this user cannot remove it ({said(error)})."
                    " Its owner may delete it"
                )
    else:
        left = list(fresh.values())
    problems = [printable(problem) for problem in problems]
    try:
        _keep_looks(workspace, target, looks, survey, left=left, kept=kept, problems=problems)
    except (OSError, Fault) as error:
        log.warning("%s: the look at the landing zone could not be noted: %s", target, error)
    return Intake(
        tuple(taken),
        waiting_images=sum(found.images for found in left),
        needed_images=needed,
        growing=tuple(batch.name for batch, _ in survey.growing),
        again_in_s=soonest(survey),
        problems=tuple(problems),
    )


def sweep_staging(folder: Path) -> None:
    """Remove copies that a killed intake has left in the domain at ``folder``; what they were copied from still waits."""
    for path in folder.glob(f"{STAGING}*"):
        shutil.rmtree(path)


def _copy_to_data(workspace: Workspace, target: str, found: Found) -> Copied | None:
    """Copy a batch to its place in the data; None where it changed meanwhile.

    Raises:
        OSError, Fault: The data cannot be written; nothing of the batch is there then.
    """
    arrived = workspace.data(target) / "arrived"
    for folder in (workspace.data(target), arrived):
        if folder.is_symlink():
            raise Fault(f"{folder} is a symbolic link; put the folder itself there, or mount it")
    staging = workspace.data(target) / f"{STAGING}{uuid.uuid4().hex}"
    try:
        batch = found.batch.path
        copied = copy_files(examples_of(batch), batch, staging, durable=True)
        if digest_of(copied.files) != found.digest:
            return None
        note_refused(staging, [*_read_refusals(batch), *copied.refused])
        arrived.mkdir(parents=True, exist_ok=True)
        os.rename(staging, arrived / found.digest)
        fsync_folder(arrived)
        fsync_folder(arrived.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return copied


def _read_refusals(batch: Path) -> list:
    try:
        return [] if (batch / REFUSED).is_symlink() else read_refusals(batch)
    except (OSError, BadInput):
        return []  # not written by `acclimate emit`


def _note_taken(workspace: Workspace, target: str, digest: str, *, has_rows: bool) -> None:
    place = workspace.data(target) / "arrived" / digest
    note_refused(workspace.data(target), _read_refusals(place), inside=f"arrived/{digest}")
    (place / REFUSED).unlink(missing_ok=True)
    note(workspace, target, digest, images=examples_in(place, has_rows=has_rows))


def _keep_looks(
    workspace: Workspace,
    target: str,
    before: Looks,
    survey: Survey,
    *,
    left: Iterable[Found],
    kept: Iterable[Batch],
    problems: list[str],
) -> None:
    """Remember what this look found, and log the problems that were not logged before."""
    looks = {}
    for batch, _ in survey.growing:
        last = before.batches.get(batch.name)
        same = last is not None and last.signature == batch.signature and last.since <= time.time()
        looks[batch.name] = last if last and same else Look(signature=batch.signature, since=time.time())
    for found in left:
        looks[found.batch.name] = Look(
            signature=found.batch.signature, since=0.0, digest=found.digest, images=found.images
        )
    for batch in kept:
        if batch.path.is_dir() and (left_over := list_batch(batch.path)).states <= batch.states:
            looks[batch.name] = Look(signature=left_over.signature, since=0.0, stays=True)
    for problem in problems:
        if problem not in before.told:
            log.warning("%s", problem)
    if looks or problems or before.batches or before.told:
        write_looks(workspace, target, Looks(batches=looks, told=tuple(problems)))
