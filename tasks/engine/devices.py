"""Where training runs, asked for by ``ACCLIMATE_DEVICE`` and never guessed away, and what it can do there."""

import os

import torch

from tasks.errors import BadInput


def training_device() -> torch.device:
    """The device named by ``ACCLIMATE_DEVICE``: ``auto`` (the default), ``cuda`` or ``cpu``.

    Raises:
        BadInput: CUDA was asked for and is not there, or the name is unknown.
    """
    wanted = os.environ.get("ACCLIMATE_DEVICE", "auto")
    if wanted not in ("auto", "cuda", "cpu"):
        raise BadInput(f"ACCLIMATE_DEVICE is {wanted!r}; expected auto, cuda or cpu")
    if wanted == "cuda" and not torch.cuda.is_available():
        raise BadInput(
            "ACCLIMATE_DEVICE is cuda, but torch sees no CUDA device; check the driver, or set it to auto or cpu"
        )
    use_cuda = wanted == "cuda" or (wanted == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if use_cuda else "cpu")


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies in bfloat16 itself; elsewhere it would be emulated, and slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    instructions = torch.cpu.get_capabilities()
    return any(instructions.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def make_deterministic(seed: int) -> None:
    """Seed torch and refuse operations whose result varies from run to run."""
    # cuBLAS needs this set before its first call, or deterministic mode raises.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    # Not use_deterministic_algorithms: that imports the compiler, two seconds per process.
    torch.set_deterministic_debug_mode("error")
    torch.backends.cudnn.benchmark = False
