"""Whether exported bytes can be served: they are loaded and asked as a server would, in a process without torch.

In:  a `Request` as JSON on stdin: the model, what it must claim to be, examples to ask it, and the limits.
Out: `Findings` as JSON in the file that is named on the command line (``python -m tasks.exported.examination FILE``).

Stage `probe` runs this in a process of its own, because onnxruntime or a GPU driver may not survive the bytes.
No measured time is part of the findings, only whether the budget is met. Milliseconds go to the log.

Shape suffixes: N = batch, X = the axes of one example, as the model's spec has them, C = classes.
"""

import hashlib
import json
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.domains.contract import Reader, UnreadableExample
from tasks.domains.kinds import reader_for
from tasks.errors import BadInput
from tasks.exported.session import OnnxModel, Predictions, open_session, predict
from tasks.files import write_json
from tasks.records.calibration import Calibration
from tasks.records.candidates import read_split

log = logging.getLogger(__name__)

FORBIDDEN_MODULES = ("torch", "torchvision", "timm")
# Softmax in float32 over a thousand classes stays within 1e-6 of one.
_SUM_TOLERANCE = 1e-4
_LATENCY_RUNS = 11


@dataclass(frozen=True)
class Check:
    """One question asked of the exported file; ``reason`` is for a person, and only when it failed."""

    name: str
    passed: bool
    observed: Any
    expected: Any
    reason: str | None = None


@dataclass(frozen=True)
class Request:
    """Everything that the examination needs to know; crosses the process boundary as JSON."""

    model: str
    judged: str
    """The candidate's folder, with what torch said."""
    calibration: str
    """calibration.json: how the file changes the logits of the candidate."""
    target: str
    classes: list[str]
    checkpoint_sha256: str
    model_sha256: str
    examples: list[tuple[str, str]]
    """(path, sha256) of real examples."""
    limits: dict[str, int]
    """Limits of one of them, as the reader of the workspace has them."""
    device: str
    max_batch_size: int
    latency_budget_ms: float
    tolerance: float


@dataclass(frozen=True)
class Findings:
    """The answers to all questions that could be asked."""

    provider: str | None
    checks: list[Check]


def main() -> None:
    """Read a request from stdin, write what was found to the file named on the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    content = json.load(sys.stdin)
    request = Request(**content | {"examples": [tuple(example) for example in content["examples"]]})
    write_json(Path(sys.argv[1]), asdict(examine(request)))


def examine(request: Request) -> Findings:
    """Open the model and ask it; every question that can still be asked is asked."""
    try:
        model = open_session(Path(request.model), device=request.device)  # type: ignore[arg-type]
        reader = reader_for(model.spec, request.limits)
    except BadInput as error:
        # The name in the verdict must not depend on the folder of the workspace.
        reason = str(error).replace(request.model, "model.onnx")
        return Findings(
            None, [Check("loads", False, None, f"device {request.device}", reason), _check_process()]
        )
    checks = [
        Check("loads", True, model.provider, f"device {request.device}"),
        _check_bytes(model, request),
        _check_metadata(model, request),
    ]
    batch_NX, fault = _read_examples(request, reader)
    checks.append(_check_examples(batch_NX, fault, reader))
    if batch_NX is not None:
        checks += _check_answers(model, batch_NX, request)
    # Last: libraries that onnxruntime loads on demand are in the list by now.
    return Findings(model.provider, [*checks, _check_process()])


def batch_sizes(largest: int) -> list[int]:
    """1, 2, 3, then powers of two below ``largest``, then ``largest``."""
    powers = [2**exponent for exponent in range(2, largest.bit_length()) if 2**exponent < largest]
    return sorted({size for size in (1, 2, 3, *powers, largest) if size <= largest})


def _check_process() -> Check:
    loaded = [name for name in FORBIDDEN_MODULES if name in sys.modules]
    return Check(
        "torch_free",
        not loaded,
        loaded,
        [],
        f"the process that serves must not import {', '.join(loaded)}: find the import with"
        " `python -X importtime -m tasks.exported.examination`",
    )


def _check_bytes(model: OnnxModel, request: Request) -> Check:
    return Check(
        "bytes",
        model.sha256 == request.model_sha256,
        model.sha256,
        request.model_sha256,
        "model.onnx changed while it was probed; run again when nothing else writes to the workspace",
    )


def _check_metadata(model: OnnxModel, request: Request) -> Check:
    observed = {
        "target": model.metadata["target"],
        "classes": list(model.classes),
        "checkpoint_sha256": model.metadata["checkpoint_sha256"],
    }
    expected = {
        "target": request.target,
        "classes": request.classes,
        "checkpoint_sha256": request.checkpoint_sha256,
    }
    differing = [key for key in expected if observed[key] != expected[key]]
    return Check(
        "metadata",
        not differing,
        observed,
        expected,
        f"{', '.join(differing)} in the file differ from export.json: the two are not of one export, run it again",
    )


def _read_examples(request: Request, reader: Reader) -> tuple[np.ndarray | None, str | None]:
    """The real examples as one batch ``(N, X)``, or the first reason why not."""
    examples = []
    for path, sha256 in request.examples:
        name = Path(path).name
        try:
            content = reader.load(Path(path))
            if hashlib.sha256(reader.identity(content)).hexdigest() != sha256:
                return None, f"{name!r} is not the file that the manifest lists; run `acclimate run`"
            examples.append(reader.read(content))
        except OSError as error:
            return None, f"cannot read {name!r}: {error.strerror}; run `dvc checkout`, then `acclimate run`"
        except UnreadableExample as error:
            return None, f"cannot decode {name!r}, which the manifest calls usable: {error.reason}"
    if not examples:
        return None, (
            f"the manifest has no usable {reader.noun} in the splits test and select; add {reader.plural} to the target"
        )
    return np.stack(examples), None


def _check_examples(batch_NX: np.ndarray | None, fault: str | None, reader: Reader) -> Check:
    num = 0 if batch_NX is None else len(batch_NX)
    return Check(reader.plural, batch_NX is not None, num, f"one real {reader.noun} or more", fault)


def _check_answers(model: OnnxModel, batch_NX: np.ndarray, request: Request) -> list[Check]:
    sizes = batch_sizes(request.max_batch_size)
    try:
        single = _stack([predict(model, example[None]) for example in batch_NX])
        batched = {size: predict(model, _fill(batch_NX, size)) for size in sizes}
    except Exception as error:
        # onnxruntime's errors have no common base but Exception.
        reason = f"onnxruntime could not run the model: {str(error).strip().splitlines()[0]}"
        return [Check("runs", False, None, sizes, reason)]
    return [
        Check("runs", True, sizes, sizes),
        _check_shapes(model, batched),
        _check_finite(batched),
        _check_sums(batched),
        _check_batch_parity(single, batched, request.tolerance),
        _check_torch_parity(single, request),
        _check_latency(lambda: predict(model, batch_NX[:1]), request.latency_budget_ms),
    ]


def _stack(predictions: list[Predictions]) -> Predictions:
    return Predictions(
        np.concatenate([item.logits for item in predictions]),
        np.concatenate([item.probabilities for item in predictions]),
        np.concatenate([item.features for item in predictions]),
    )


def _fill(batch: np.ndarray, size: int) -> np.ndarray:
    """A batch of ``size``, repeating the examples when there are fewer."""
    return batch[np.arange(size) % len(batch)]


def _check_shapes(model: OnnxModel, batched: dict[int, Predictions]) -> Check:
    num_classes, width = len(model.classes), model.feature_width
    wrong = [
        size
        for size, answer in batched.items()
        if answer.logits.shape != (size, num_classes)
        or answer.probabilities.shape != (size, num_classes)
        or answer.features.shape != (size, width)
    ]
    return Check(
        "shapes",
        not wrong,
        {"wrong_at_batch_sizes": wrong},
        {"logits": ["N", num_classes], "probabilities": ["N", num_classes], "features": ["N", width]},
        f"outputs have another shape at batch sizes {wrong}; export again with a free batch dimension",
    )


def _check_finite(batched: dict[int, Predictions]) -> Check:
    wrong = sorted(
        {
            name
            for answer in batched.values()
            for name in ("logits", "probabilities", "features")
            if not np.isfinite(getattr(answer, name)).all()
        }
    )
    return Check(
        "finite",
        not wrong,
        wrong,
        [],
        f"{', '.join(wrong)} hold NaN or infinity: training diverged; lower the learning rate or the loss weight",
    )


def _check_sums(batched: dict[int, Predictions]) -> Check:
    error = max(float(np.abs(answer.probabilities.sum(axis=1) - 1).max()) for answer in batched.values())
    lowest = min(float(answer.probabilities.min()) for answer in batched.values())
    return Check(
        "probabilities_sum_to_one",
        error <= _SUM_TOLERANCE and lowest >= 0,
        {"largest_error": _plain(error), "smallest_probability": _plain(lowest)},
        {"largest_error": _SUM_TOLERANCE, "smallest_probability": 0},
        f"rows of `probabilities` are no distributions: off one by up to {error:.2g}, smallest value {lowest:.2g}",
    )


def _check_batch_parity(single: Predictions, batched: dict[int, Predictions], tolerance: float) -> Check:
    difference, at_size = 0.0, 1
    for size, answer in batched.items():
        found = _difference(_fill(single.probabilities, size), answer.probabilities)
        # not (<=): a NaN must count as the largest too.
        if not found <= difference:
            difference, at_size = found, size
    return Check(
        "batch_parity",
        difference <= tolerance,
        _plain(difference),
        tolerance,
        f"probabilities of an example differ by {difference:.2g} alone and in a batch of {at_size}, more than"
        f" export.tolerance {tolerance:g}: an answer must not depend on its neighbours",
    )


def _check_torch_parity(single: Predictions, request: Request) -> Check:
    recorded = _torch_probabilities(
        Path(request.judged), Calibration.model_validate_json(request.calibration)
    )
    known = [index for index, (_, sha256) in enumerate(request.examples) if sha256 in recorded]
    name = "torch_parity"
    if not known:
        reason = (
            "the recorded outputs of the candidate hold none of these examples: run `acclimate run` again"
        )
        return Check(name, False, None, request.tolerance, reason)
    torch_NC = np.stack([recorded[request.examples[index][1]] for index in known])
    if torch_NC.shape[1] != single.probabilities.shape[1]:
        reason = f"torch recorded {torch_NC.shape[1]} classes, the file answers {single.probabilities.shape[1]}: export it again"
        return Check(name, False, None, request.tolerance, reason)
    difference = _difference(torch_NC, single.probabilities[known])
    return Check(
        name,
        difference <= request.tolerance,
        _plain(difference),
        request.tolerance,
        f"probabilities differ by {difference:.2g} from the ones the gate judged, more than export.tolerance"
        f" {request.tolerance:g}, on {len(known)} examples: export again, or raise the tolerance knowingly",
    )


def _torch_probabilities(candidate: Path, calibration: Calibration) -> dict[str, np.ndarray]:
    """Recorded probabilities of the test and select splits, calibrated, by the example's sha256."""
    recorded: dict[str, np.ndarray] = {}
    try:
        for said in (read_split(candidate, "test"), read_split(candidate, "select")):
            if said is not None:
                served_NC = calibration.apply(said.probabilities_NC)
                recorded.update(zip(said.sha256_N, served_NC, strict=True))
    except BadInput as error:
        log.warning("%s", error)
        return {}
    return recorded


def _check_latency(ask: Callable[[], object], budget_ms: float) -> Check:
    times_ms = []
    for _ in range(_LATENCY_RUNS):
        start = time.perf_counter()
        ask()
        times_ms.append((time.perf_counter() - start) * 1000)
    median_ms = statistics.median(times_ms)
    log.info("median time of a batch of one: %.2f ms of %g ms, %d runs", median_ms, budget_ms, _LATENCY_RUNS)
    within = median_ms <= budget_ms
    return Check(
        "latency",
        within,
        "within the budget" if within else "over the budget",
        f"median of a batch of one within {budget_ms:g} ms",
        f"a batch of one takes longer than probe.latency_budget_ms {budget_ms:g} (measured: see the log); choose"
        " a smaller backbone or smaller inputs, a faster device, or a larger budget",
    )


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.float64) - b).max())


def _plain(value: float) -> float | None:
    """Two significant digits; None for what JSON cannot hold."""
    return float(f"{value:.1e}") if math.isfinite(value) else None


if __name__ == "__main__":
    main()
