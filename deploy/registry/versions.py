"""The versions of a target on disk: the bytes, and version.json, which says what they are.

A version is written once and stays for good. So an older version.json may lack keys and a newer one may have more:
both are read, and only what decides must be there.
"""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from deploy.registry.layout import MODEL, REMOVED, model_path, name_of, published_versions, version_folder
from tasks.environment import child_environment
from tasks.errors import BadInput, Fault, Refused, reason_of
from tasks.files import fsync_folder, read_json, write_bytes, write_json
from tasks.workspace import Workspace


class Kept(BaseModel):
    """A piece of the registry's files: immutable, open to keys of other versions of acclimate."""

    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class DataSaid(Kept):
    """The verdict of the data checks."""

    passed: bool
    sha256: str
    """SHA-256 of the file that says it."""


class ChampionSaid(Kept):
    """The champion that a verdict compared with."""

    version: int
    checkpoint_sha256: str


class GateSaid(Kept):
    """The verdict of the gate."""

    candidate: str
    reasons: tuple[str, ...] = ()
    verdict: str
    warnings: tuple[str, ...] = ()
    source_only: Mapping[str, JsonValue] | None = None
    selected: Mapping[str, JsonValue] | None = None
    evidence: Mapping[str, JsonValue] | None = None
    champion: ChampionSaid | None = None
    """None where nothing was in service. It is not set in records of older versions of acclimate, which did not keep it."""
    sha256: str = ""
    """SHA-256 of the file that says it."""


class ProbeSaid(Kept):
    """The verdict of the probe."""

    passed: bool
    provider: str | None = None
    sha256: str
    """SHA-256 of the file that says it."""


class Verdicts(Kept):
    """The verdicts about the bytes of a version."""

    data: DataSaid | None = None
    gate: GateSaid
    probe: ProbeSaid | None = None


class Described(Kept):
    """The bytes of a version, and the verdicts about them when they were published."""

    schema_version: int = 1
    target: str
    candidate: str
    model_sha256: str
    checkpoint_sha256: str
    data_digest: Mapping[str, str] = {}
    """Digests of the data of ``source`` and ``target``."""
    labels_digest: str | None = None
    answers_digest: str | None = None
    code_digest: str = ""
    classes: tuple[str, ...] = ()
    """In the order of the outputs."""
    acclimate_version: str = ""
    verdicts: Verdicts


class Published(Kept):
    """Who published a version, and when."""

    version: int
    created_at: str
    """ISO 8601."""
    git_commit: str | None = None
    by: str = ""
    reason: str = ""


class Version(Described, Published):
    """The content of version.json."""


def read_version(workspace: Workspace, target: str, version: int) -> Version:
    """The content of a version's version.json.

    Raises:
        BadInput: There is no such version, and the message names those there are; or its record is damaged.
    """
    known = published_versions(workspace, target)
    if version not in known:
        listed = (
            ", ".join(map(str, known))
            or f"none yet. `acclimate promote {target}` publishes the latest result"
        )
        raise BadInput(f"target {target} has no version {version}; published versions: {listed}.")
    path = version_folder(workspace, target, version) / "version.json"
    try:
        return Version.model_validate(read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "the file"
        raise BadInput(
            f"{name_of(workspace, path)} does not describe a version ({key}: {fault['msg']}). Restore it from git."
        ) from error


def find_version(workspace: Workspace, target: str, model_sha256: str) -> int | None:
    """The version of ``target`` that has these bytes, if any."""
    for version in published_versions(workspace, target):
        if read_version(workspace, target, version).model_sha256 == model_sha256:
            return version
    return None


def write_version(
    workspace: Workspace, *, content: bytes, published: Published, described: Described
) -> None:
    """Make a version; nothing of it is there unless all of it is.

    Raises:
        BadInput: The workspace is no DVC repository.
        Fault: DVC or the disk failed.
    """
    folder = version_folder(workspace, described.target, published.version)
    # DVC tracks the file before the rename: a version is never there without its pointer. The
    # name is fixed so that a killed publish leaves one folder, which the next one clears.
    staging = folder.parent / f".writing-{published.version}"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _fill(workspace.root, staging, content, described.model_sha256)
        write_json(
            staging / "version.json", published.model_dump(mode="json") | described.model_dump(mode="json")
        )
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    staging.rename(folder)
    fsync_folder(folder.parent)


def put_back(workspace: Workspace, target: str, version: int, content: bytes) -> None:
    """Give a version whose bytes were removed here its bytes again; nothing changes where DVC knows of them.

    Raises:
        Fault: DVC or the disk failed.
    """
    model = model_path(workspace, target, version)
    pointer = model.with_name(f"{MODEL}.dvc")
    if not pointer.exists():
        _fill(workspace.root, model.parent, content, hashlib.sha256(content).hexdigest())
    pointer.with_name(f"{pointer.name}{REMOVED}").unlink(missing_ok=True)


def _fill(root: Path, folder: Path, content: bytes, model_sha256: str) -> None:
    write_bytes(folder / MODEL, content)
    _dvc_add(root, folder / MODEL)
    # DVC moved the bytes into its cache and linked or copied them back.
    if hashlib.sha256((folder / MODEL).read_bytes()).hexdigest() != model_sha256:
        raise Fault(
            f"{folder / MODEL} changed while it was written; check the disk and publish again.",
            retryable=True,
        )


def _dvc_add(root: Path, path: Path) -> None:
    command = [sys.executable, "-P", "-m", "dvc", "add", path.relative_to(root).as_posix()]
    result = subprocess.run(
        command,
        cwd=root,
        env=child_environment(root),
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode == 0:
        return
    if "not inside of a DVC repository" in result.stderr:
        raise BadInput(
            f"{root} is no DVC repository, so versions cannot be kept. Run `git init` and `dvc init` in it,"
            " or make a workspace with `acclimate try`."
        )
    last = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
    raise Fault(
        f"`dvc add {command[-1]}` failed in {root}: {last}. Nothing was published; run again.", retryable=True
    )


def verified_bytes(workspace: Workspace, target: str, version: int, sha256: str) -> bytes:
    """The ONNX bytes of a version, proven to be the ones that were judged.

    Raises:
        BadInput: They are not on this machine; the message holds the command that fetches them.
        Refused: They are other bytes.
    """
    path = model_path(workspace, target, version)
    name = name_of(workspace, path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        removed = path.with_name(f"{MODEL}.dvc{REMOVED}")
        first = f"mv {name}.dvc{REMOVED} {name}.dvc && " if removed.exists() else ""
        raise BadInput(
            f"version {version} of {target} is not on this machine: {name} is missing. Fetch it with"
            f" `{first}dvc pull {name}.dvc` in the workspace."
        ) from error
    except OSError as error:
        raise BadInput(
            f"cannot read {name}: {reason_of(error)}. Fix the permissions, or `dvc checkout --force {name}.dvc`."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Refused(
            f"version {version} of {target} must not serve: {name} has the sha256 {found}, but {sha256} was"
            f" judged and promoted. Restore it with `dvc checkout --force {name}.dvc`."
        )
    return content
