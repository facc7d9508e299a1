"""Bringing a user's folder into the data of a workspace that may have lived.

A copy that has the same content stays. Another one is replaced in one step, and what is replaced is set aside. Files that acclimate
did not bring in stay: it keeps a list of those that it did, .acclimate/imports/<domain>.json.
"""

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from flows.workspaces.copy import (
    copy_files,
    digest_inside,
    drop_refused,
    folder_of,
    list_origin,
    make_folders,
    note_refused,
)
from flows.workspaces.create import set_aside
from flows.workspaces.present import check_present
from tasks.domains.folder import LEAVES, OWN_FILES, list_files, list_folders
from tasks.errors import BadInput, Fault, reason_of
from tasks.files import printable, write_text
from tasks.workspace import Workspace

log = logging.getLogger(__name__)


class Imported(BaseModel):
    """The files that came from a user's folder, for one area of a domain."""

    model_config = ConfigDict(frozen=True)

    files: dict[str, str]
    """SHA-256 by path below the area."""
    refused: tuple[str, ...]
    """Paths that could not be copied."""
    origin: str | None = None
    """The user's folder; None where an older acclimate noted the files."""


class _Areas(BaseModel):
    areas: dict[str, Imported]


def check_own_folders(workspace: Workspace, domain: str) -> None:
    """Refuse a domain folder whose data somebody keeps elsewhere: behind a link, or in DVC's remote.

    Raises:
        BadInput: It is such a folder.
    """
    check_present(workspace, domain)
    folder = workspace.data(domain)
    if folder.is_symlink():
        raise BadInput(
            f"{folder} is a link to {os.readlink(folder)}, which acclimate did not make and does not fill."
            " Put examples there yourself and `acclimate run`, or name another --workspace."
        )


def check_origin(workspace: Workspace, domain: str, area: str, origin: Path) -> None:
    """Refuse a folder for ``area`` that is not the one which its examples came from.

    Raises:
        BadInput: They came from another one.
    """
    before = _read(workspace, domain).get(area)
    if before and before.origin and before.origin != _place_of(origin):
        raise BadInput(
            f"the target {domain} of {workspace.root} came from {before.origin}, and {_place_of(origin)} is another folder."
            f" If it is another place, name it: --name NAME. If it is the same place, say so: --name {domain}."
        )


def _place_of(origin: Path) -> str:
    return printable(str(origin.resolve()))


def check_links(origin: Path) -> None:
    """Refuse a folder of which whole folders, or all files, are links that lead out of it: without them it is another dataset.

    Raises:
        BadInput: Saying which, and how they would be followed.
    """
    found = list_files(origin)
    links = [file.path for file in found if file.reason == LEAVES]
    folders = [path for path in links if (origin / path).is_dir()]
    if folders or (links and not any(file.reason is None for file in found)):
        first = (folders or links)[0]
        raise BadInput(
            f"{origin}: {len(links)} links lead out of it, such as {first} to {os.path.realpath(origin / first)}. They are not"
            " followed unasked. If what they lead to is meant, add --follow-links: it is copied."
        )
    if links:
        log.warning(
            "%s: %d links lead out of it and are left out; --follow-links copies what they lead to",
            origin,
            len(links),
        )


def bring_in(
    workspace: Workspace, domain: str, area: str, origin: Path, *, follow_links: bool = False
) -> None:
    """Make ``area`` of the domain the copy of ``origin``, whole or not at all; the caller has locked the workspace.

    Args:
        workspace: Where.
        domain: ``source`` or a target.
        area: A folder in ``data/<domain>``; empty for ``data/<domain>`` itself.
        origin: The user's folder.
        follow_links: Whether what its links lead to is copied, wherever that lies.

    Raises:
        BadInput: ``origin`` cannot be copied.
        Fault: The workspace cannot be written.
    """
    check_own_folders(workspace, domain)
    place = workspace.data(domain) / area
    found = list_origin(origin, place, follow_links=follow_links)
    before = _read(workspace, domain).get(area)
    partial = workspace.data(domain).with_name(f".importing-{domain}")
    shutil.rmtree(partial, ignore_errors=True)
    copied = copy_files(found, folder_of(origin), partial, durable=False, follow_links=follow_links)
    if origin.is_dir():
        make_folders(origin, partial, follow_links=follow_links)
    if os.path.lexists(place):
        theirs = _of_others(place, area, before, copied.files)
        if _is_same(place, partial, copied.files, theirs):
            shutil.rmtree(partial)
        else:
            _keep(theirs, place, partial)
            aside = set_aside(workspace, place)
            log.info("%s is brought in anew; the earlier copy is in %s", place, aside)
            os.replace(partial, place)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(partial, place)
    imported = Imported(
        files=copied.files, refused=tuple(file.path for file in copied.refused), origin=_place_of(origin)
    )
    _write(workspace, domain, {**_read(workspace, domain), area: imported})
    folder, inside = workspace.data(domain), f"{area}/" if area else ""
    gone = set(before.refused if before else ()) - set(imported.refused)
    drop_refused(folder, [f"{inside}{path}" for path in gone])
    note_refused(folder, copied.refused, inside=area)


def take_out(workspace: Workspace, domain: str, area: str) -> None:
    """Set aside what an earlier try brought into ``area``, whose folder is not named any more; all else stays.

    Raises:
        Fault: The workspace cannot be written.
    """
    place, before = workspace.data(domain) / area, _read(workspace, domain)
    if area not in before or not place.is_dir():
        return
    theirs = _of_others(place, area, before[area], {})
    partial = workspace.data(domain).with_name(f".importing-{domain}")
    shutil.rmtree(partial, ignore_errors=True)
    _keep(theirs, place, partial)
    aside = set_aside(workspace, place)
    if theirs:
        os.replace(partial, place)
    drop_refused(workspace.data(domain), [f"{area}/{path}" for path in before[area].refused])
    _write(workspace, domain, {name: imported for name, imported in before.items() if name != area})
    log.info("%s is left out, since no folder was named for it; it is in %s", place, aside)


def _of_others(place: Path, area: str, before: Imported | None, coming: Mapping[str, str]) -> list[str]:
    """Files at ``place`` that acclimate did not bring in, or that somebody has changed since."""
    known = before.files if before else {}
    found = [path.relative_to(place).as_posix() for path in sorted(place.rglob("*")) if not _is_folder(path)]
    foreign = [
        path for path in found if path not in coming and not _is_unchanged(place / path, known.get(path))
    ]
    seen = [path for path in foreign if (Path(area) / path).as_posix() not in OWN_FILES]
    if seen:
        log.warning(
            "%s: %d files that acclimate did not bring in stay there, %s among them",
            place,
            len(seen),
            seen[0],
        )
    return foreign


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_unchanged(path: Path, sha256: str | None) -> bool:
    if sha256 is None or path.is_symlink():
        return False
    try:
        return digest_inside(path, Path(os.path.realpath(path.parent))) == sha256
    except OSError:
        return False


def _is_same(place: Path, partial: Path, coming: Mapping[str, str], theirs: list[str]) -> bool:
    """Whether ``place`` holds exactly what comes, besides what is there of others."""
    found = {path.relative_to(place).as_posix() for path in place.rglob("*") if not _is_folder(path)}
    return (
        found - set(theirs) == set(coming)
        and set(list_folders(partial)) <= set(list_folders(place))
        and all(_is_unchanged(place / path, sha256) for path, sha256 in coming.items())
    )


def _keep(paths: list[str], place: Path, partial: Path) -> None:
    """Put the files of others into the new copy as well."""
    for path in paths:
        copy = partial / path
        if os.path.lexists(copy):
            log.warning("%s gives way to a folder of that name; it is set aside", place / path)
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(place / path, copy, follow_symlinks=False)
        except OSError:
            _copy_over(place / path, copy)


def _copy_over(path: Path, copy: Path) -> None:
    try:
        shutil.copy2(path, copy, follow_symlinks=False)
    except OSError as error:
        raise Fault(
            f"cannot keep {path}, which acclimate did not bring in: {reason_of(error)}. Nothing was replaced;"
            " move it away, or name another --workspace."
        ) from error


def _list(workspace: Workspace, domain: str) -> Path:
    return workspace.private / "imports" / f"{domain}.json"


def _read(workspace: Workspace, domain: str) -> dict[str, Imported]:
    """The files that were brought in, by area; none where the list is missing or damaged, and then all files are kept."""
    try:
        return _Areas.model_validate_json(_list(workspace, domain).read_bytes()).areas
    except (OSError, ValidationError):
        return {}


def _write(workspace: Workspace, domain: str, areas: dict[str, Imported]) -> None:
    write_text(_list(workspace, domain), _Areas(areas=areas).model_dump_json(indent=1) + "\n")
