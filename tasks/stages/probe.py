"""Load and ask the exported bytes the way a server will: in a fresh process without torch.

In:  results/export/<target>/{model.onnx,export.json}, results/manifest/<target>/manifest.parquet,
     data/<target>, results/adapt/<target>/<candidate>/outputs.safetensors, results/gate/<target>/calibration.json.
Out: results/probe/<target>/verdict.json, also for bytes that do not load, kill the process or
     answer wrongly. A refusal is an answer, so the stage ends with status 0.

Only the child process (`tasks.exported.examination`) opens the model: a crash inside onnxruntime or a GPU
driver becomes a failed check. A rerun gives the same bytes.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from tasks.config.params import Params
from tasks.domains.kinds import reader_of
from tasks.errors import BadInput, Fault
from tasks.exported.examination import Check, Findings, Request
from tasks.files import parse_json, sha256_of_file
from tasks.records.calibration import read_calibration
from tasks.records.export import MODEL, read_exported
from tasks.records.manifest import read_examples
from tasks.records.probe import ProbeCheck, Probed, write_probed
from tasks.workspace import Workspace

log = logging.getLogger(__name__)

# A TensorRT engine takes minutes to build; half an hour is a hang.
_CHILD_TIMEOUT_S = 1800
# -P: a file of the workspace must not shadow a module.
CHILD = (sys.executable, "-P", "-m", "tasks.exported.examination")
"""The command that examines a file in a process of its own; the path of its reply follows."""


def run(workspace: Workspace, params: Params, target: str) -> None:
    """Probe the exported model of ``target`` and write the verdict.

    Raises:
        BadInput: An input of the stage is missing or unreadable (but not the ONNX file's content).
        Fault: The child ended by an error of its own.
    """
    request = _make_request(workspace, params, target)
    findings = _ask_child(request)
    verdict = compose_verdict(request, findings)
    write_probed(workspace.stage("probe", target), verdict)
    log.info(
        "probe of %s %s on %s: %s",
        target,
        "passed" if verdict.passed else "failed",
        verdict.provider,
        "; ".join(verdict.reasons) or f"{len(verdict.checks)} checks",
    )


def compose_verdict(request: Request, findings: Findings) -> Probed:
    """The verdict: passed when every check did."""
    reasons = tuple(f"{check.name}: {check.reason}" for check in findings.checks if not check.passed)
    checks = (
        ProbeCheck(name=check.name, passed=check.passed, observed=check.observed, expected=check.expected)
        for check in findings.checks
    )
    return Probed(
        target=request.target,
        passed=not reasons,
        model_sha256=request.model_sha256,
        provider=findings.provider,
        checks=tuple(checks),
        reasons=reasons,
    )


def _make_request(workspace: Workspace, params: Params, target: str) -> Request:
    export = workspace.stage("export", target)
    record = read_exported(export)
    model = export / MODEL
    if not model.is_file():
        raise BadInput(
            f"{model} does not exist. Run the stage that writes it: `acclimate run --target {target}`."
        )
    candidate = workspace.stage("adapt", target) / record.candidate
    return Request(
        model=str(model),
        judged=str(candidate),
        calibration=read_calibration(workspace.stage("gate", target)).model_dump_json(),
        target=target,
        classes=list(record.classes),
        checkpoint_sha256=record.checkpoint_sha256,
        model_sha256=sha256_of_file(model),
        examples=_choose_examples(workspace, target, params.probe.max_batch_size),
        limits=dict(reader_of(params).limits),
        device=params.probe.device,
        max_batch_size=params.probe.max_batch_size,
        latency_budget_ms=params.probe.latency_budget_ms,
        tolerance=params.export.tolerance,
    )


def _choose_examples(workspace: Workspace, target: str, num: int) -> list[tuple[str, str]]:
    """Up to ``num`` usable examples, of the test split first, then of select; by content hash."""
    examples = read_examples(workspace.stage("manifest", target))
    usable = [example for example in examples if example.split in ("test", "select")]
    usable.sort(key=lambda example: (example.split != "test", example.sha256))
    return [(str(workspace.data(target) / example.path), example.sha256) for example in usable[:num]]


def _ask_child(request: Request) -> Findings:
    package_root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory(prefix="acclimate-probe-") as folder:
        reply = Path(folder) / "findings.json"
        paths = [str(package_root), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        try:
            child = subprocess.run(
                [*CHILD, str(reply)],
                input=json.dumps(asdict(request)).encode(),
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_CHILD_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return _died(f"no answer within {_CHILD_TIMEOUT_S} s")
        return _read_reply(child, reply)


def _read_reply(child: "subprocess.CompletedProcess[bytes]", reply: Path) -> Findings:
    output = child.stdout.decode(errors="replace").strip()
    for line in output.splitlines():
        log.info("%s", line)
    if child.returncode < 0:
        return _died(f"killed by {_signal_name(-child.returncode)}")
    if child.returncode > 0 or not reply.is_file():
        last = output.splitlines()[-1:] or ["no output"]
        raise Fault(
            f"the probe's process ended with status {child.returncode}: {last[0]}. The log above has the rest;"
            " run again, and if it happens again report it.",
            retryable=True,
        )
    content = parse_json(reply.read_text(encoding="utf-8"))
    return Findings(content["provider"], [Check(**check) for check in content["checks"]])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _died(how: str) -> Findings:
    reason = f"{how} while loading or running the model; onnxruntime or a driver does not survive these bytes"
    return Findings(None, [Check("process", False, how, "exit status 0", reason)])
