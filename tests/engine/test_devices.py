"""The training device is the one that was asked for, or an error."""

import pytest
import torch

from tasks.engine.devices import training_device
from tasks.errors import BadInput


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ACCLIMATE_DEVICE", raising=False)

    assert training_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_cuda_without_cuda_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCLIMATE_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(BadInput, match="torch sees no CUDA device"):
        training_device()


def test_an_unknown_device_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCLIMATE_DEVICE", "tpu")

    with pytest.raises(BadInput, match="'tpu'; expected auto, cuda or cpu"):
        training_device()


@pytest.mark.gpu
def test_cuda_is_used_where_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ACCLIMATE_DEVICE", "cuda")

    assert training_device().type == "cuda"
