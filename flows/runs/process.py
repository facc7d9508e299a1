"""The process of one stage: loads params.yaml, calls the stage, and notes how it ended."""

import importlib
import logging
import os
import resource
import sys
from pathlib import Path

from flows.runs.lock import at_work
from flows.runs.note import StageError, StageNote, note_path, write_note
from flows.workspaces.filled import keep_unsent
from flows.workspaces.marker import open_workspace
from flows.workspaces.programs import STARTED_BY
from tasks.config.params import Params, load_params
from tasks.environment import ALLOCATOR
from tasks.errors import AcclimateError, BadInput, Fault
from tasks.files import printable
from tasks.workspace import DOMAIN_NAME, Workspace

log = logging.getLogger(__name__)

# In an order that dvc.yaml allows; a test compares.
STAGES = (
    "manifest",
    "validate",
    "features",
    "views",
    "finetune",
    "adapt",
    "gate",
    "export",
    "probe",
    "report",
)
DOMAIN_STAGES = ("manifest", "features")
"""Those that run for the source as well; of the others, finetune runs once and the rest for each target."""
TORCH_STAGES = ("features", "views", "finetune", "adapt", "export")


def run_here(name: str, domain: str | None) -> int:
    """Run stage ``name`` in the current folder; the exit status of the process."""
    if name not in STAGES:
        raise BadInput(f"no stage {name!r}; expected one of {', '.join(STAGES)}")
    if (domain is None) != (name == "finetune"):
        raise BadInput(f"stage {name} {'needs a domain or target' if domain is None else 'takes no domain'}")
    if domain is not None and not DOMAIN_NAME.fullmatch(domain):
        raise BadInput(
            f"stage {name}: '{printable(domain)}' is no name of a domain, which are lower-case letters, digits and dashes"
        )
    _check_parent()
    if name in TORCH_STAGES:
        _use_fast_allocator()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="acclimate: %(message)s")
    logging.getLogger("tasks").setLevel(logging.INFO)  # libraries note every step they take at that level
    workspace = open_workspace(Path.cwd())
    with at_work(workspace):
        return _run(workspace, name, domain)


def _run(workspace: Workspace, name: str, domain: str | None) -> int:
    note = note_path(workspace, f"{name}@{domain}" if domain else name)
    token = os.environ.get("ACCLIMATE_RUN_TOKEN", "")
    write_note(note, StageNote(token=token, ended=False))
    try:
        params = load_params(workspace.params, target=domain if domain != "source" else None)
        _check_domain(name, domain, params)
        if name == "gate" and domain:
            keep_unsent(workspace, domain)
        stage = importlib.import_module(f"tasks.stages.{name}")
        stage.run(workspace, params, *([domain] if domain else []))
    except AcclimateError as error:
        return _fail(note, token, error)
    except OSError as error:
        return _fail(
            note,
            token,
            Fault(f"stage {name}: {error}. Nothing half-written is kept; mend it and run again."),
        )
    except Exception as error:
        log.exception("stage %s broke", name)
        return _fail(
            note,
            token,
            Fault(
                f"stage {name} broke: {type(error).__name__}: {error}. This is a bug; its trace is printed above, and"
                f" under `acclimate run` kept in {workspace.private / 'logs'}"
            ),
        )
    write_note(note, StageNote(token=token, ended=True, peak_mib=peak_mib()))
    return 0


def _check_domain(name: str, domain: str | None, params: Params) -> None:
    known = params.domains if name in DOMAIN_STAGES else params.targets
    if domain is not None and domain not in known:
        what = "domains" if name in DOMAIN_STAGES else "targets"
        raise BadInput(
            f"stage {name}: params.yaml has no {domain!r} among its {what}: {', '.join(known) or 'none'}"
        )


def peak_mib() -> int:
    """Largest resident set of this process or of a child it waited for, in MiB.

    From VmHWM and not from getrusage: the latter remembers across exec what the process was forked from.
    """
    children_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    own_kib = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
    return max(own_kib, children_kib) // 1024


def _check_parent() -> None:
    """Raise Fault where the DVC that started this stage ended before the kernel could be told to end both."""
    if os.environ.get(STARTED_BY, str(os.getppid())) != str(os.getppid()):
        raise Fault("the DVC process that started this stage has ended; run again.", retryable=True)


def _fail(note: Path, token: str, error: AcclimateError) -> int:
    if not token:  # a run reads the note, and prints what failed once
        print(f"acclimate: {error}", file=sys.stderr)
    retryable = isinstance(error, Fault) and error.retryable
    described = StageError(kind=type(error).__name__, message=printable(str(error)), retryable=retryable)
    write_note(note, StageNote(token=token, ended=True, error=described))
    return error.exit_status


def _use_fast_allocator() -> None:
    # glibc reads these once, at the start of a process: a stage started by a plain `dvc repro` starts over.
    if sys.platform == "linux" and any(os.environ.get(key) != value for key, value in ALLOCATOR.items()):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
