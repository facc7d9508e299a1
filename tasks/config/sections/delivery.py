"""Sections of the stages behind the gate: the ONNX file, its probe and the report."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.sections.section import Count, Fraction, Positive, Section


class ExportParams(Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=18)]
    """ONNX operator set."""
    tolerance: Positive
    """Largest allowed difference of a probability between torch and onnxruntime."""
    max_metric_change: Fraction
    """Largest allowed difference of the task metric between torch and onnxruntime."""


class ProbeParams(Section):
    """Loading and asking the published bytes in a fresh process without torch."""

    device: Literal["auto", "cuda", "tensorrt", "cpu"]
    """Execution provider; anything but ``auto`` is strict: landing elsewhere is an error."""
    max_batch_size: Count
    """Real images are sent in batches of 1 up to this."""
    latency_budget_ms: Positive
    """Median time of a batch of one."""


class ReportParams(Section):
    """The HTML report and the model card."""

    max_map_points: Count
    """Images per domain in the feature map."""
