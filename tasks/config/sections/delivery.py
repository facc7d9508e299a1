"""Sections of what comes behind the gate: the ONNX file, its probe, the report and the server."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.config.sections.section import Count, Fraction, Positive, Section


class ExportParams(Section):
    """The ONNX file."""

    opset: Annotated[int, Field(ge=18, le=23)]
    """ONNX operator set: one that torch writes and onnxruntime reads."""
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


class ServiceParams(Section):
    """Limits of the server: nobody who sends it something can take it from the others."""

    max_pixels: Count
    """Images with more pixels are refused before they are decoded; never more than ``images.max_pixels``."""
    decode_s: Positive
    """Seconds of CPU time after which the process that decodes an example is killed."""
    decoding_mb: Count
    """Memory in MiB for the processes that decode large examples; there are as many as fit, up to one per core."""
    max_waiting: Count
    """Examples that wait for a decoder, or for a model; one more is answered 429."""
    max_wait_s: Positive
    """Seconds that an example waits for either before it is answered 429."""
    max_body_mb: Count
    """Largest body of a request, in MiB."""
    max_bodies_mb: Count
    """All bodies that are held at once, in MiB, without the first 256 KiB of each."""
    max_connections: Count
    """Connections that are open at once. A new one takes the place of the one that has sent nothing whole for longest."""
    headers_s: Positive
    """Seconds from the beginning of a connection, or the end of its last answer, to the end of the next headers."""
    body_s: Positive
    """Seconds from the end of the headers to the end of the body."""
