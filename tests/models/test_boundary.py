"""A backbone cut in two: the halves together are the whole, and a trunk that is no chain is refused."""

import pytest
import torch
from torch import Tensor, nn

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone
from tasks.models.backbones.build import build_backbone
from tasks.models.backbones.image import Normalise, sample_of
from tasks.models.boundary import cut, join

CHAINS = [
    ("lenet", 16),
    ("timm/mobilenetv3_small_050", 32),
    ("timm/resnet10t", 32),
    ("timm/test_convnext", 32),
]


def random_backbone(name: str, size_px: int) -> Backbone:
    torch.manual_seed(0)
    backbone = build_backbone(ModelParams(backbone=name, weights="none", bottleneck=8), image_spec(size_px))
    for module in backbone.modules():  # statistics that a wrongly placed normalisation would show
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return backbone.eval()


def pictures(size_px: int, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, size_px, size_px, 3), generator=generator, dtype=torch.uint8)


def home_made(trunk: nn.Module) -> Backbone:
    torch.manual_seed(0)
    prepare = Normalise(mean=(0.5,) * 3, std=(0.5,) * 3)
    return Backbone(prepare, trunk, feature_width=4, sample=sample_of(8))


class Skipping(nn.Module):
    """The output of its first part goes to the end past the two others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        seen = self.first(images)
        return (seen + self.third(self.second(seen))).mean((2, 3))


class Curious(nn.Module):
    """Asks a part for an attribute that no identity has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.second(self.first(images) * self.first.out_channels).mean((2, 3))


@pytest.mark.parametrize("last_k", [1, 2])
@pytest.mark.parametrize(("name", "size_px"), CHAINS)
def test_front_and_tail_one_after_the_other_are_the_whole_backbone(name: str, size_px: int, last_k: int):
    backbone, images = random_backbone(name, size_px), pictures(size_px)

    front, tail = cut(backbone, last_k=last_k, name=name)
    activations, features = front(images)

    with torch.inference_mode():
        assert torch.allclose(tail.eval()(activations), backbone(images), rtol=1e-4, atol=1e-5)
        assert torch.equal(features, backbone(images))
    assert features.std() > 1e-3  # two constants would agree too


def test_activations_of_a_convolution_are_kept_channels_last_and_accepted_in_half_precision():
    backbone = random_backbone("lenet", 16)

    front, tail = cut(backbone, last_k=1, name="lenet")
    activations, features = front(pictures(16))

    assert activations.shape == (3, 4, 4, 48)
    assert activations.is_contiguous()
    with torch.inference_mode():
        assert torch.allclose(tail.eval()(activations.half()), features, atol=2e-2)


def test_the_tail_holds_the_last_parts_and_no_parameter_of_the_front():
    backbone = random_backbone("timm/mobilenetv3_small_050", 32)

    _, tail = cut(backbone, last_k=3, name="a")

    expected = sum(p.numel() for block in backbone.blocks()[-3:] for p in block.parameters())
    assert sum(p.numel() for p in tail.parameters()) == expected
    assert {name for name, _ in tail.trunk.named_parameters()} < {
        name for name, _ in backbone.trunk.named_parameters()
    }


def test_training_the_tail_leaves_the_backbone_as_it_was():
    backbone = random_backbone("lenet", 16)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    front, tail = cut(backbone, last_k=2, name="lenet")
    optimiser = torch.optim.SGD(tail.parameters(), lr=0.1)

    loss = tail.train()(front.train()(pictures(16))[0].clone()).square().mean()
    loss.backward()
    optimiser.step()

    assert loss.item() > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())


def test_a_tail_put_back_makes_the_whole_answer_as_front_and_tail_do():
    backbone, images = random_backbone("timm/mobilenetv3_small_050", 32), pictures(32)
    front, tail = cut(backbone, last_k=2, name="a")
    activations, before = front(images)
    torch.manual_seed(2)
    with torch.no_grad():
        for tensor in tail.state_dict().values():  # parameters and BatchNorm statistics
            if tensor.is_floating_point():
                tensor.mul_(1 + 0.2 * torch.rand_like(tensor))
        expected = tail.eval()(activations)

    join(backbone, tail)

    with torch.inference_mode():
        assert torch.allclose(backbone(images), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, before, rtol=1e-2)


def test_a_tail_of_another_backbone_is_not_put_back():
    _, tail = cut(random_backbone("lenet", 16), last_k=1, name="lenet")

    with pytest.raises(ValueError, match="not cut from this backbone"):
        join(random_backbone("timm/resnet10t", 32), tail)


def test_more_trained_blocks_than_leave_a_front_are_refused_with_the_largest_number():
    with pytest.raises(
        BadInput, match=r"features.trained_blocks is 3, but lenet has 3 parts: set it to at most 2"
    ):
        cut(random_backbone("lenet", 16), last_k=3, name="lenet")


@pytest.mark.parametrize(
    ("trunk", "reason"),
    [(Skipping(), "do not follow each other in a chain"), (Curious(), "has no attribute 'out_channels'")],
)
def test_a_trunk_that_is_no_chain_at_the_boundary_is_refused_with_a_way_out(trunk: nn.Module, reason: str):
    with pytest.raises(BadInput, match=reason) as raised:
        cut(home_made(trunk), last_k=1, name="home-made")

    assert "home-made cannot be cut for features.route deeper" in str(raised.value)
    assert "set features.route to cached or end_to_end" in str(raised.value)


def test_a_trunk_with_a_skip_inside_the_tail_can_be_cut_before_it():
    backbone, images = home_made(Skipping()), pictures(8)

    front, tail = cut(backbone, last_k=2, name="home-made")

    with torch.inference_mode():
        assert torch.allclose(tail(front(images)[0]), backbone(images), atol=1e-6)
