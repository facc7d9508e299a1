"""The machine: Python and libraries, git, room, devices, and variables that others have set."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from flows.doctor.finding import Finding
from flows.workspaces.programs import NEUTRAL_IDENTITY, identity
from tasks.environment import LOOPBACK, OWN_PREFIXES, SILENCE, ask_git, child_environment, no_proxy
from tasks.errors import BadInput
from tasks.exported.session import has_cuda_driver, provider_on
from tasks.provenance import acclimate_version

GIT_NEEDED = (2, 32)
"""The first that takes settings from a file that a variable names (GIT_CONFIG_GLOBAL)."""
FEW_MIB = 1024
"""A run may not end with less room."""
LOW_MIB = 5 * 1024
PERSONAL = "commit.gpgsign core.hookspath core.excludesfile core.autocrlf core.fsmonitor init.templatedir"
"""Settings of a person's git that would break or change a record, if they were followed."""
DEVICE_VARIABLE = "ACCLIMATE_DEVICE"


def python() -> Iterator[Finding]:
    """The interpreter, and whether acclimate is made for it."""
    version = platform.python_version()
    said = f"acclimate {acclimate_version()}, Python {version}, {sys.executable}"
    wanted = _python_needed()
    if wanted and version not in SpecifierSet(wanted):
        yield Finding(
            "python", "wrong", said, f"acclimate needs Python {wanted}: install it in another environment."
        )
    else:
        yield Finding("python", "ok", said)


def libraries() -> Iterator[Finding]:
    """Versions of everything that acclimate requires, and pairs that do not go together."""
    required = [Requirement(line) for line in _requires("acclimate")]
    required = [one for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    faults = [fault for one in required if (fault := _fault_of(one))]
    pair = [Requirement(line) for line in _requires("torchvision") if re.match(r"torch\b", line)]
    faults += [
        f"{fault}, by torchvision {_version('torchvision')}" for one in pair if (fault := _fault_of(one))
    ]
    if faults:
        repair = "`pip install --force-reinstall acclimate` mends it, in an environment of its own."
        yield Finding("libraries", "wrong", "; ".join(dict.fromkeys(faults)), repair)
    elif not required:
        yield Finding(
            "libraries",
            "note",
            "acclimate is not installed as a package, so that versions cannot be compared",
        )
    else:
        yield Finding("libraries", "ok", f"all {len(required)} are as acclimate requires them")
    yield from _onnxruntimes()


def _onnxruntimes() -> Iterator[Finding]:
    builds = sorted({
        name for one in importlib.metadata.distributions()
        if (name := str(one.metadata["Name"]).lower()) == "onnxruntime" or re.fullmatch(r"onnxruntime-(gpu|directml|openvino|qnn|training|rocm)", name)
    })  # fmt: skip
    if len(builds) > 1:
        yield Finding(
            "libraries", "wrong", f"{' and '.join(builds)} are both installed, into the same folder: the later one has overwritten the other",
            f"Uninstall all of them, then install one: `pip uninstall {' '.join(builds)}`.",
        )  # fmt: skip


def git(folder: Path) -> Iterator[Finding]:
    """The program, and who a commit in ``folder`` would be by."""
    said = ask_git(folder, "--version").strip()
    numbers = re.search(r"(\d+)\.(\d+)", said)
    if numbers is None:
        advice = "Install it: `apt-get install git`, for example."
        yield Finding("git", "wrong", "git is not installed, or not on PATH", advice)
        return
    if (int(numbers[1]), int(numbers[2])) < GIT_NEEDED:
        needed = ".".join(map(str, GIT_NEEDED))
        yield Finding("git", "wrong", f"{said}, which follows the person's own settings in workspaces", f"Install git {needed} or newer.")  # fmt: skip
    else:
        yield Finding("git", "ok", said)
    who = identity(folder)
    name = f"{who['GIT_AUTHOR_NAME']} <{who['GIT_AUTHOR_EMAIL']}>"
    if who["GIT_AUTHOR_EMAIL"] == NEUTRAL_IDENTITY["GIT_AUTHOR_EMAIL"]:
        yield Finding("identity", "note", f"records are by {name}, since git knows no name here", "`git config --global user.email YOU@EXAMPLE.ORG` gives them yours.")  # fmt: skip
    else:
        yield Finding("identity", "ok", f"records are by {name}")
    said = ask_git(
        folder, "config", "--global", "--name-only", "--get-regexp", f"^({PERSONAL.replace(' ', '|')})$"
    )
    if own := sorted(set(said.split())):
        yield Finding("git", "ok", f"your own {', '.join(own)} are not followed in workspaces")


def variables() -> Iterator[Finding]:
    """Variables that others have put into the environment, and whether they are followed."""
    of_git = sorted(
        name for name in os.environ if name.startswith(OWN_PREFIXES) and name not in NEUTRAL_IDENTITY
    )
    if of_git:
        yield Finding("variables", "ok", f"{', '.join(of_git)} are set, and not followed")
    proxies = sorted(name for name in os.environ if re.fullmatch(r"(?i)(https?|all)_proxy", name))
    if proxies:
        yield Finding("variables", "ok", f"{', '.join(proxies)} are set, and not used for {', '.join(LOOPBACK)}: {no_proxy()['NO_PROXY']}")  # fmt: skip
    try:
        "é".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        yield Finding("variables", "note", f"the output is {sys.stdout.encoding}: other letters are written as \\x codes", "Set LANG=C.UTF-8, or PYTHONUTF8=1.")  # fmt: skip


def telemetry() -> Iterator[Finding]:
    """Whether every library is kept silent, in the processes that acclimate starts."""
    children = child_environment(Path())
    loud = sorted(name for name, value in SILENCE.items() if children.get(name) != value)
    if loud or os.environ.get("ORT_DISABLE_TELEMETRY") != "1":
        yield Finding("telemetry", "wrong", f"not off: {', '.join(loud) or 'ORT_DISABLE_TELEMETRY'}", "Report it: acclimate sets it itself.")  # fmt: skip
    else:
        yield Finding("telemetry", "ok", f"off in every process: {', '.join(f'{name}={value}' for name, value in SILENCE.items())}")  # fmt: skip


def devices() -> Iterator[Finding]:
    """Where models can run: in onnxruntime, and in training."""
    import onnxruntime

    said = f"onnxruntime {onnxruntime.__version__} of {', '.join(onnxruntime.get_available_providers())}"
    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    if wanted not in ("auto", "cuda", "cpu"):
        yield Finding("devices", "wrong", f"{DEVICE_VARIABLE} is {wanted!r}", "Set it to auto, cuda or cpu.")
    if not has_cuda_driver():
        asked = wanted == "cuda"
        yield Finding(
            "devices", "wrong" if asked else "ok", f"{said}; no NVIDIA driver, so that models run on the CPU",
            f"{DEVICE_VARIABLE} asks for cuda: install the driver, or set it to auto." if asked else "",
        )  # fmt: skip
        return
    try:
        yield Finding("devices", "ok", f"{said}; a graph runs on {provider_on('cuda', _small_graph())}")
    except BadInput as error:
        yield Finding(
            "devices", "wrong", f"{said}; there is an NVIDIA driver, and a graph does not run on it: {error}"
        )


def _small_graph() -> bytes:
    from onnx import TensorProto, helper

    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in ("a", "b")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "a"], ["b"])], "small", values[:1], values[1:]
    )
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def room(*folders: Path) -> Iterator[Finding]:
    """Whether ``folders`` can be written and have room, and whether there is memory."""
    temporary = Path(tempfile.gettempdir())
    for folder in dict.fromkeys((*folders, temporary)):
        free = shutil.disk_usage(folder).free // 2**20
        state = os.statvfs(folder)
        said = f"{free:,} MiB free in {folder}"
        if state.f_files and not state.f_favail:
            yield Finding(
                "disk", "wrong", f"no file can be made in {folder}: no inode is free", "Remove files."
            )
        elif free < LOW_MIB:
            level = "wrong" if free < FEW_MIB else "note"
            yield Finding("disk", level, said, "Make room: `acclimate clean`, or set TMPDIR to another disk.")
        elif folder == temporary and not os.access(folder, os.W_OK | os.X_OK):
            yield Finding(
                "disk", "wrong", f"{folder} cannot be written", "Set TMPDIR to a folder that you may write."
            )
        else:
            yield Finding("disk", "ok", said)
    memory = psutil.virtual_memory().available // 2**20
    if memory < 2 * FEW_MIB:
        yield Finding("memory", "note", f"{memory:,} MiB free", "Training may be killed: end other programs, or lower adapt.batch_size.")  # fmt: skip
    else:
        yield Finding("memory", "ok", f"{memory:,} MiB free, {os.cpu_count()} cores")


def _python_needed() -> str:
    try:
        return str(importlib.metadata.metadata("acclimate").json.get("requires_python", ""))
    except importlib.metadata.PackageNotFoundError:
        return ""


def _requires(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _fault_of(required: Requirement) -> str | None:
    version = _version(required.name)
    if version is None:
        return f"{required.name} is missing"
    if not required.specifier.contains(version, prereleases=True):
        return f"{required.name} is {version}, required is {required.specifier}"
    return None
