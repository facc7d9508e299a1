"""A network that no ONNX file can hold is refused where it is built and where it is exported, not after hours of training."""

import pytest
import torch

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.models import size
from tasks.models.backbones.build import build_backbone
from tasks.models.size import check_size

LENET = ModelParams(backbone="lenet", weights="none", bottleneck=8)


def test_a_backbone_is_refused_by_name_one_byte_above_what_a_file_holds(monkeypatch: pytest.MonkeyPatch):
    backbone = build_backbone(LENET, image_spec(32))
    room = sum(tensor.nbytes for tensor in (*backbone.parameters(), *backbone.buffers()))

    monkeypatch.setattr(size, "MAX_FILE_BYTES", room)
    assert build_backbone(LENET, image_spec(32)).feature_width == backbone.feature_width
    monkeypatch.setattr(size, "MAX_FILE_BYTES", room - 1)
    with pytest.raises(
        BadInput,
        match=r"^lenet has 0 million numbers.*Choose a smaller backbone: model.backbone in params.yaml",
    ):
        build_backbone(LENET, image_spec(32))


def test_a_model_of_several_backbones_is_measured_as_a_whole(monkeypatch: pytest.MonkeyPatch):
    one = build_backbone(LENET, image_spec(32))
    both = torch.nn.ModuleList([one, build_backbone(LENET, image_spec(32))])
    monkeypatch.setattr(
        size, "MAX_FILE_BYTES", sum(tensor.nbytes for tensor in (*one.parameters(), *one.buffers()))
    )

    check_size(one, "one")
    with pytest.raises(BadInput, match=r"^both has"):
        check_size(both, "both")
