"""The target's BatchNorm statistics: the plain moments of what enters, of live layers alone, kept if scores agree."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.engine.adabn import estimate_statistics, propose_target_statistics
from tasks.engine.trainer import LabelledRows, Recipe, train
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier, predict
from tasks.models.rows import Rows, all_rows

RECIPE = Recipe(
    rows=None, scope="head", last_k=1, batch_norm="live", augment="none", steps=150, batch_size=32, source_sampling="natural",
    labelled_batch_size=16, learning_rate=0.05, backbone_learning_rate_ratio=1.0, weight_decay=1e-3, label_smoothing=0.1, seed=0,
)  # fmt: skip
WIDTH, CLASSES = 6, 3


def domain(seed: int, *, shares: tuple[int, ...] = (60, 60, 60), shift: float = 0.0) -> LabelledRows:
    """Three clusters on axes 0 and 1, ``shares`` rows of each, all of it moved by ``shift`` along both."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(CLASSES), torch.tensor(shares))
    rows = 0.35 * torch.randn(len(labels), WIDTH, generator=generator)
    rows[:, 0] += torch.cos(labels * 2 * math.pi / CLASSES)
    rows[:, 1] += torch.sin(labels * 2 * math.pi / CLASSES)
    rows[:, :2] += shift
    order = torch.randperm(len(labels), generator=generator)
    return LabelledRows(all_rows(rows[order]), labels[order])


@pytest.fixture
def trained() -> Classifier:
    """On the source alone: its statistics are the source's."""
    torch.manual_seed(1)
    model = Classifier(None, feature_width=WIDTH, bottleneck=16, num_classes=CLASSES)
    train(model, RECIPE, source=domain(0), target=None)
    return model


def on_images(scope: str = "full", *, batch_norm: str = "live") -> tuple[Classifier, Recipe]:
    torch.manual_seed(2)
    backbone = build_backbone(ModelParams(backbone="lenet", weights="none", bottleneck=8), image_spec(16))
    model = Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=CLASSES)
    return model, replace(RECIPE, scope=scope, batch_norm=batch_norm)


def images(count: int) -> Rows:
    generator = torch.Generator().manual_seed(3)
    return all_rows(torch.randint(40, 200, (count, 16, 16, 3), generator=generator, dtype=torch.uint8))


def bytes_of(model: Classifier) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})


def statistics(model: Classifier) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in model.named_buffers() if "running" in name}


def accuracy(model: Classifier, rows: LabelledRows) -> float:
    return float((predict(model, rows.rows).logits_NC.argmax(1) == rows.labels_N).float().mean())


def entering_bottleneck(model: Classifier, rows: Rows) -> Tensor:
    with torch.no_grad():
        return model.bottleneck[0](rows.variants[0][torch.from_numpy(rows.numbers_N)]).double()


def test_the_statistics_are_the_mean_and_variance_of_what_enters_the_layer(trained: Classifier):
    target = domain(1, shift=2.0).rows
    some = Rows(target.variants, np.arange(3, 143))  # only the rows asked for

    estimate_statistics(trained, RECIPE, some)

    entering = entering_bottleneck(trained, some)
    layer = trained.bottleneck[1]
    assert layer.running_mean.numpy() == pytest.approx(entering.mean(0).numpy(), abs=1e-5)
    assert layer.running_var.numpy() == pytest.approx(entering.var(0).numpy(), rel=1e-5)


def test_several_batches_count_alike_and_none_has_one_row(trained: Classifier):
    target = domain(1, shares=(300, 300, 169)).rows  # 769 rows: three batches of 256 would leave one

    estimate_statistics(trained, RECIPE, target)

    entering = entering_bottleneck(trained, target)
    batches = [entering[torch.from_numpy(part)] for part in np.array_split(np.arange(769), 4)]
    assert {len(batch) for batch in batches} == {192, 193}
    layer = trained.bottleneck[1]
    mean = torch.stack([batch.mean(0) for batch in batches]).mean(0)
    assert layer.running_mean.numpy() == pytest.approx(mean.numpy(), abs=1e-5)
    assert layer.running_mean.numpy() == pytest.approx(entering.mean(0).numpy(), abs=1e-3)
    assert layer.running_var.numpy() == pytest.approx(entering.var(0).numpy(), rel=0.02)


def test_an_estimate_forgets_the_one_before_it(trained: Classifier):
    target = domain(1, shift=2.0).rows
    estimate_statistics(trained, RECIPE, target)
    once = bytes_of(trained)

    estimate_statistics(trained, RECIPE, target)

    assert bytes_of(trained) == once


@pytest.mark.parametrize(
    ("scope", "batch_norm", "moves"),
    [("head", "live", ("bottleneck",)), ("full", "frozen", ("bottleneck",)), ("full", "live", ("backbone", "bottleneck"))],
)  # fmt: skip
def test_only_layers_that_training_kept_live_are_estimated_again(
    scope: str, batch_norm: str, moves: tuple[str, ...]
):
    model, recipe = on_images(scope, batch_norm=batch_norm)
    before = statistics(model)
    momenta = [module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm1d)]

    estimate_statistics(model, recipe, images(40))

    moved = {name for name, buffer in statistics(model).items() if not torch.equal(buffer, before[name])}
    assert {name.split(".")[0] for name in moved} == set(moves)
    assert moved == {name for name in before if name.startswith(moves)}
    assert not any(module.training for module in model.modules())
    assert [m.momentum for m in model.modules() if isinstance(m, nn.BatchNorm1d)] == momenta


def test_no_weight_moves(trained: Classifier):
    before = {name: parameter.clone() for name, parameter in trained.named_parameters()}

    estimate_statistics(trained, RECIPE, domain(1, shift=2.0).rows)

    assert all(torch.equal(parameter, before[name]) for name, parameter in trained.named_parameters())
    assert all(
        parameter.grad is None or not parameter.grad.isnan().any() for parameter in trained.parameters()
    )


def test_a_target_that_is_moved_by_a_constant_is_won_back(trained: Classifier):
    adapt, select = domain(1, shift=1.5), domain(2, shift=1.5)
    lost = accuracy(trained, select)

    proposal = propose_target_statistics(trained, RECIPE, adapt=adapt.rows, select=select.rows, seed=0)

    assert proposal.outcome == "kept"
    assert proposal.before is not None
    assert proposal.after is not None
    assert all(proposal.after[score] > proposal.before[score] for score in ("v_measure", "infomax"))
    assert lost < 0.7  # a class is lost
    assert accuracy(trained, select) > 0.9


def test_a_target_with_other_class_shares_keeps_the_model_as_it_was(trained: Classifier):
    shares = (150, 15, 15)
    adapt, select = domain(1, shares=shares), domain(2, shares=shares)
    before, right = bytes_of(trained), accuracy(trained, select)

    proposal = propose_target_statistics(trained, RECIPE, adapt=adapt.rows, select=select.rows, seed=0)

    assert proposal.outcome == "not kept"
    assert proposal.after is not None
    assert proposal.after["infomax"] > proposal.before["infomax"]  # one score alone would have taken it
    assert bytes_of(trained) == before
    estimate_statistics(trained, RECIPE, adapt.rows)
    assert accuracy(trained, select) < right - 0.05  # and it would have hurt


def test_a_model_that_answers_nan_is_left_alone(trained: Classifier):
    with torch.no_grad():
        trained.head.weight[0, 0] = float("nan")
    target = domain(1).rows

    proposal = propose_target_statistics(trained, RECIPE, adapt=target, select=target, seed=0)

    assert (proposal.outcome, proposal.before, proposal.after) == ("not kept", None, None)


@pytest.mark.parametrize(("num_adapt", "num_select"), [(1, 50), (50, 0)])
def test_too_few_rows_leave_the_model_alone(trained: Classifier, num_adapt: int, num_select: int):
    inputs = domain(1).rows.variants
    before = bytes_of(trained)

    proposal = propose_target_statistics(
        trained, RECIPE, adapt=Rows(inputs, np.arange(num_adapt)), select=Rows(inputs, np.arange(num_select)), seed=0
    )  # fmt: skip

    assert (proposal.outcome, proposal.before, proposal.after) == ("not kept", None, None)
    assert bytes_of(trained) == before
