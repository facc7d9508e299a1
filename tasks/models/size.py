"""How large a network may be: what is trained must fit into the file that is served."""

from torch import nn

from tasks.errors import BadInput

MAX_FILE_BYTES = 2**31 - 2**24
"""A protobuf message, and so an ONNX file, holds less than 2 GiB; the graph takes the difference."""


def check_size(network: nn.Module, name: str) -> None:
    """Refuse a network whose ONNX file could not be written.

    Raises:
        BadInput: Parameters and buffers of ``name`` take more room than one file has.
    """
    tensors = (*network.parameters(), *network.buffers())
    size = sum(tensor.nbytes for tensor in tensors)
    if size > MAX_FILE_BYTES:
        num = sum(tensor.numel() for tensor in tensors)
        raise BadInput(
            f"{name} has {num / 1e6:,.0f} million numbers, {size / 2**20:,.0f} MiB, and an ONNX file holds no more than"
            f" {MAX_FILE_BYTES / 2**20:,.0f} MiB. Choose a smaller backbone: model.backbone in params.yaml."
        )
