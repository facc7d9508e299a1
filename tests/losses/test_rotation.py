"""Rotation prediction: the paper's cross-entropy, features that learn which way is up, and nothing where nothing is up."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.domains.image.views import TURNS
from tasks.engine.augment.image import turn
from tasks.engine.trainer import LabelledRows, Recipe, train
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import WeightedTerm
from tasks.losses.rotation import RelativeRotation, rotation_loss
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier
from tasks.models.rows import Rows, all_rows

SIDE = 16


def loss_as_published(logits: list[list[float]], turns: list[int]) -> float:
    """Minus the mean log of the share that softmax gives the true turn, row by row."""
    total = 0.0
    for row, true in zip(logits, turns, strict=True):
        total -= math.log(math.exp(row[true]) / sum(math.exp(value) for value in row))
    return total / len(turns)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 8), scale=st.floats(0, 20), seed=st.integers(0, 2**16))
def test_the_loss_is_the_published_one_and_does_not_depend_on_the_order_of_rows(rows, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    turns = torch.randint(4, (rows,), generator=generator)

    value = rotation_loss(logits, turns).item()

    assert value == pytest.approx(loss_as_published(logits.tolist(), turns.tolist()))
    assert rotation_loss(logits.flip(0), turns.flip(0)).item() == pytest.approx(value)


def test_knowing_nothing_costs_ln_4_and_knowing_all_costs_nothing():
    turns = torch.tensor([0, 1, 2, 3])

    assert rotation_loss(torch.zeros(4, 4), turns).item() == pytest.approx(math.log(4))
    assert rotation_loss(100 * torch.eye(4), turns).item() == pytest.approx(0)


def turned_batch() -> JointBatch:
    generator = torch.Generator().manual_seed(0)
    upright, turned = (torch.randn(6, 5, generator=generator).requires_grad_() for _ in range(2))
    none = torch.zeros(0, 5)
    return JointBatch(none, upright, none, torch.zeros(6, 3), 0.5,
                      target_turned_features_BD=turned, target_turns_B=torch.tensor([0, 1, 2, 3, 0, 1]))  # fmt: skip


def test_the_head_is_asked_about_the_pair_and_the_gradient_reaches_the_turned_features_alone():
    batch, term = turned_batch(), RelativeRotation(feature_width=5)
    upright, turned = batch.target_features_BD, batch.target_turned_features_BD

    loss = term(batch)
    gradients = torch.autograd.grad(loss, (turned, upright, term.head.weight), allow_unused=True)

    logits = torch.cat([upright, turned], dim=1) @ term.head.weight.T + term.head.bias
    torch.testing.assert_close(loss, rotation_loss(logits, batch.target_turns_B))
    assert gradients[0].abs().min(dim=1).values.max() > 0
    assert gradients[1] is None
    assert gradients[2][:, :5].abs().max() > 0 < gradients[2][:, 5:].abs().max()
    named = (logits.argmax(1) == batch.target_turns_B).double().mean().item()
    assert term.diagnostics() == {"accuracy": pytest.approx(named)}


def test_without_a_turned_view_it_is_refused(make_batch):
    with pytest.raises(ValueError, match="needs a turned view of the target rows, got none"):
        RelativeRotation(feature_width=4)(make_batch())


# --- turning -----------------------------------------------------------------------------------


def noise(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, SIDE, SIDE, 3), dtype=torch.uint8, generator=generator)


def test_turns_are_exact_and_undo_each_other():
    images = noise(12)
    turns = torch.arange(12) % 4

    there = turn(images, turns)

    assert there.dtype == torch.uint8
    assert torch.equal(turn(there, (4 - turns) % 4), images)
    assert torch.equal(there[turns == 0], images[turns == 0])
    assert all(not torch.equal(one, other) for one, other in zip(there[1:4], images[1:4], strict=True))
    assert torch.equal(turn(turn(images, torch.ones(12)), torch.ones(12)), turn(images, torch.full((12,), 2)))


def test_a_quarter_turn_brings_the_right_edge_to_the_top():
    image = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    image[:, :, -1] = 200

    assert (turn(image, torch.tensor([1]))[0, 0] == 200).all()


def test_turns_that_are_kept_on_disk_are_those_of_pixels_in_training():
    images = noise(5)

    for turns, redraw in enumerate(TURNS.values(), start=1):
        assert np.array_equal(redraw(images.numpy()), turn(images, torch.full((5,), turns)).numpy())
    assert list(TURNS) == ["rot90", "rot180", "rot270"]


# --- what it teaches ---------------------------------------------------------------------------


def oriented(count: int = 96) -> torch.Tensor:
    """Noise under a bright sky: one can see which way up it is."""
    images = noise(count) // 2
    images[:, : SIDE // 3] += 110
    return images


def without_orientation(count: int = 96) -> torch.Tensor:
    """Noise averaged over its four turns, which is the same whichever way it is held."""
    images = noise(count).int()
    return (sum(torch.rot90(images, turns, dims=(1, 2)) for turns in range(4)) // 4).to(torch.uint8)


def recipe(**changes) -> Recipe:
    values = {
        "rows": "image", "scope": "full", "last_k": 1, "batch_norm": "live", "augment": "none", "steps": 60, "batch_size": 32,
        "source_sampling": "natural", "labelled_batch_size": 16, "learning_rate": 0.02,
        "backbone_learning_rate_ratio": 1.0, "weight_decay": 1e-3, "label_smoothing": 0.0, "seed": 0,
    }  # fmt: skip
    return Recipe(**(values | changes))


def network() -> Classifier:
    torch.manual_seed(3)
    backbone = build_backbone(ModelParams(backbone="lenet", weights="none", bottleneck=8), image_spec(SIDE))
    return Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=2)


def term(weight: float = 1.0) -> list[WeightedTerm]:
    torch.manual_seed(4)
    return [WeightedTerm(weight, RelativeRotation(feature_width=8))]


def last_accuracy(images: torch.Tensor) -> float:
    curve = train(network(), recipe(), source=None, target=all_rows(images), terms=term())
    return sum(row["rotation_accuracy"] for row in curve[-10:]) / 10


def test_turns_are_learned_where_an_image_has_a_way_up_and_stay_a_guess_where_it_has_none():
    assert last_accuracy(oriented()) > 0.9
    assert last_accuracy(without_orientation()) < 0.4


def labelled() -> LabelledRows:
    images = oriented(48)
    images[::2, :, :, 0] //= 2
    return LabelledRows(all_rows(images), torch.arange(48) % 2)


def state(weight: float | None) -> dict[str, torch.Tensor]:
    model, source = network(), labelled()
    terms = [] if weight is None else term(weight)
    train(model, recipe(steps=5), source=source, target=all_rows(oriented(40)), terms=terms)
    return model.state_dict()


def test_turned_images_leave_no_trace_in_the_statistics_that_the_classes_are_told_by():
    """Under weight 0 the model is source-only to the byte: same BatchNorm statistics, same normalisation."""
    alone, beside, trained = state(None), state(0.0), state(1.0)

    assert all(torch.equal(value, beside[name]) for name, value in alone.items())
    assert not torch.equal(alone["bottleneck.0.weight"], trained["bottleneck.0.weight"])


def kept(images: torch.Tensor) -> Rows:
    """The three turns as the stage features keep them."""
    turned = (turn(images, torch.full((len(images),), turns)) for turns in (1, 2, 3))
    return Rows(tuple(turned), np.arange(len(images)))


def test_rows_that_were_turned_beforehand_train_as_pixels_that_are_turned_as_they_are_read():
    images, models, curves = oriented(40), (network(), network()), []
    for model, turned in zip(models, (None, kept(images)), strict=True):
        curves.append(
            train(model, recipe(steps=5), source=None, target=all_rows(images), turned=turned, terms=term())
        )

    assert curves[0] == curves[1]
    assert all(
        torch.equal(value, models[1].state_dict()[name]) for name, value in models[0].state_dict().items()
    )


def test_features_without_their_turned_rows_are_refused():
    features = Classifier(None, feature_width=4, bottleneck=8, num_classes=2)

    with pytest.raises(ValueError, match="needs turned rows of the target, or rows that can be turned"):
        train(
            features,
            recipe(scope="head", rows=None),
            source=None,
            target=all_rows(torch.randn(9, 4)),
            terms=term(),
        )
