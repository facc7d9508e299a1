"""The training loop: a fair baseline, losses that reach the features, and kills that change nothing."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tasks.config.sections.model import ModelParams
from tasks.config.sections.presets import LossTerm
from tasks.domains.image.spec import image_spec
from tasks.engine.augment.image import IMAGE_AUGMENTATIONS, affine, flip_crop
from tasks.engine.checkpoints import Checkpoints
from tasks.engine.schedules import learning_rate_factor
from tasks.engine.streams import Stream
from tasks.engine.trainer import Diverged, HeldOut, LabelledRows, Recipe, train
from tasks.losses.centroid_labels import CentroidLabels, centroid_labels
from tasks.losses.contract.batch import JointBatch
from tasks.losses.contract.terms import Shapes, WeightedTerm
from tasks.losses.mcc import MinimumClassConfusion
from tasks.losses.presets.build import build_terms
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier, predict
from tasks.models.rows import Rows, all_rows

RECIPE = Recipe(
    rows=None, scope="full", last_k=1, batch_norm="live", augment="none", steps=60, batch_size=16, source_sampling="natural",
    labelled_batch_size=16,    learning_rate=0.05, backbone_learning_rate_ratio=1.0, weight_decay=1e-3, label_smoothing=0.1, seed=0,
)  # fmt: skip
WIDTH, BOTTLENECK, CLASSES = 6, 8, 3


def rows(seed: int, *, shift: float, count: int = 90) -> LabelledRows:
    """Three clusters on axis 0 and 1; ``shift`` moves the domain along axis 2."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    inputs = 0.3 * torch.randn(count, WIDTH, generator=generator)
    inputs[:, 0] += torch.cos(labels * 2 * math.pi / CLASSES)
    inputs[:, 1] += torch.sin(labels * 2 * math.pi / CLASSES)
    inputs[:, 2] += shift
    return LabelledRows(all_rows(inputs), labels)


def fresh() -> Classifier:
    torch.manual_seed(3)
    return Classifier(None, feature_width=WIDTH, bottleneck=BOTTLENECK, num_classes=CLASSES)


def terms(*names: str, num_rows: int = 90):
    known = {
        "dann": LossTerm(loss="dann", weight=1.0, hidden=8),
        "mmd": LossTerm(loss="mmd", weight=1.0, num_kernels=5),
        "mcc": LossTerm(loss="mcc", weight=1.0, temperature=2.5),
        "cdan": LossTerm(loss="cdan", weight=1.0, hidden=8, entropy_weighting=True),
        "adda": LossTerm(loss="adda", weight=1.0, hidden=8),
        "infomax": LossTerm(loss="infomax", weight=1.0),
        "self_training": LossTerm(loss="self_training", weight=1.0, first_share=0.2, last_share=0.8),
        "centroid_labels": LossTerm(loss="centroid_labels", weight=1.0),
    }
    torch.manual_seed(4)
    return build_terms(
        [known[name] for name in names],
        Shapes(feature_width=BOTTLENECK, num_classes=CLASSES, num_rows=num_rows),
    )


def pictures(seed: int, count: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=generator)


def network() -> Classifier:
    torch.manual_seed(3)
    backbone = build_backbone(ModelParams(backbone="lenet", weights="none", bottleneck=8), image_spec(16))
    return Classifier(backbone, feature_width=backbone.feature_width, bottleneck=8, num_classes=CLASSES)


def bytes_of(model: Classifier) -> bytes:
    return save({name: tensor.contiguous() for name, tensor in model.state_dict().items()})


def test_training_on_the_source_learns_it():
    source, held_out = rows(0, shift=0.0), rows(1, shift=0.0)
    model = fresh()

    curve = train(model, RECIPE, source=source, target=None)

    accuracy = (predict(model, held_out.rows).logits_NC.argmax(1) == held_out.labels_N).float().mean()
    assert accuracy > 0.9
    assert curve[-1]["source_loss"] < 0.7 * curve[0]["source_loss"]


def test_the_loss_falls_below_what_a_second_softmax_would_leave():
    # Cross-entropy of a softmax of a softmax over three classes is at least ln(e + 2) - 1 = 0.55.
    curve = train(fresh(), replace(RECIPE, label_smoothing=0.0), source=rows(0, shift=0.0), target=None)

    assert curve[-1]["source_loss"] < 0.2


def test_the_shorter_domain_does_not_cut_the_longer_one_short():
    seen: dict[str, list[int]] = {"source": [], "target": []}

    class Noting(MinimumClassConfusion):
        def forward(self, batch: JointBatch) -> torch.Tensor:
            assert batch.target_rows_B is not None
            seen["source"].append(len(batch.source_features_BD))
            seen["target"].extend(batch.target_rows_B.tolist())
            return super().forward(batch)

    train(
        fresh(), replace(RECIPE, steps=12), source=rows(0, shift=0.0, count=21), target=rows(2, shift=1.0).rows,
        terms=[WeightedTerm(1.0, Noting(num_classes=CLASSES, temperature=2.5))],
    )  # fmt: skip

    assert seen["source"] == [16] * 12
    assert len(seen["target"]) == 12 * 16
    assert sorted(seen["target"][:90]) == list(range(90))


def test_source_only_takes_no_gradient_from_the_target_but_shares_its_batch_norm():
    source = rows(0, shift=0.0)
    near, far = fresh(), fresh()
    train(near, replace(RECIPE, steps=1), source=source, target=rows(2, shift=0.0).rows)
    train(far, replace(RECIPE, steps=1), source=source, target=rows(2, shift=5.0).rows)

    # The joint forward puts target images into the statistics of source-only and adapted models alike.
    assert not torch.equal(near.bottleneck[1].running_mean, far.bottleneck[1].running_mean)


@pytest.mark.parametrize("name", ["dann", "mmd", "mcc"])
def test_a_target_loss_changes_the_bottleneck(name: str):
    source, target = rows(0, shift=0.0), rows(2, shift=2.0).rows
    alone, adapted = fresh(), fresh()
    train(alone, RECIPE, source=source, target=target)
    curve = train(adapted, RECIPE, source=source, target=target, terms=terms(name))

    assert not torch.allclose(alone.bottleneck[0].weight, adapted.bottleneck[0].weight)
    assert name in curve[-1]


@pytest.mark.parametrize("names", [(), ("dann", "mcc"), ("mmd",)])
def test_the_same_seed_gives_the_same_bytes(names: tuple[str, ...]):
    source, target = rows(0, shift=0.0), rows(2, shift=1.0).rows
    models = [fresh(), fresh()]
    for model in models:
        train(model, RECIPE, source=source, target=target, terms=terms(*names))

    assert bytes_of(models[0]) == bytes_of(models[1])


def test_another_seed_gives_another_model():
    source = rows(0, shift=0.0)
    models = [fresh(), fresh()]
    for seed, model in enumerate(models):
        train(model, replace(RECIPE, seed=seed), source=source, target=None)

    assert bytes_of(models[0]) != bytes_of(models[1])


class Killed(BaseException):
    """Stands for a kill: nothing in the loop may catch it."""


@pytest.mark.parametrize(
    "names", [(), ("dann", "mcc"), ("cdan", "self_training"), ("adda", "centroid_labels")]
)
def test_a_run_killed_after_a_checkpoint_ends_with_the_bytes_of_an_undisturbed_one(
    names: tuple[str, ...], tmp_path: Path
):
    source, target = rows(0, shift=0.0), rows(2, shift=1.0).rows
    undisturbed, resumed = fresh(), fresh()
    curve = train(undisturbed, RECIPE, source=source, target=target, terms=terms(*names))
    # Not where the target was seen once more: labels of its own must come from the checkpoint.
    checkpoints = Checkpoints(tmp_path / "unfinished.safetensors", every=18)
    seen = 0

    def kill_at_step_33(module, inputs):
        nonlocal seen
        seen += 1
        if seen == 34:
            raise Killed

    hook = resumed.register_forward_pre_hook(kill_at_step_33)
    with pytest.raises(Killed):
        train(resumed, RECIPE, source=source, target=target, terms=terms(*names), checkpoints=checkpoints)
    hook.remove()
    other_start = fresh()
    torch.nn.init.zeros_(other_start.head.weight)  # whatever the new process begins with must not matter

    resumed_curve = train(
        other_start, RECIPE, source=source, target=target, terms=terms(*names), checkpoints=checkpoints
    )

    assert bytes_of(other_start) == bytes_of(undisturbed)
    assert resumed_curve == curve


def test_a_resumed_run_draws_the_same_augmentation_as_an_undisturbed_one(tmp_path: Path):
    source = LabelledRows(all_rows(pictures(0)), torch.arange(24) % CLASSES)
    recipe = replace(RECIPE, rows="image", augment="affine", steps=6)
    checkpoints = Checkpoints(tmp_path / "unfinished.safetensors", every=4)

    undisturbed, resumed = network(), network()
    train(undisturbed, recipe, source=source, target=None, checkpoints=checkpoints)  # leaves step 4 behind
    torch.manual_seed(999)

    train(resumed, recipe, source=source, target=None, checkpoints=checkpoints)

    assert bytes_of(resumed) == bytes_of(undisturbed)


def imbalanced() -> LabelledRows:
    """48 rows of class 0 and 3 of each other one."""
    everything = rows(0, shift=0.0, count=144)
    kept = (everything.labels_N == 0) | (torch.arange(144) < 9)
    return LabelledRows(all_rows(everything.rows.variants[0][kept]), everything.labels_N[kept])


def test_balanced_sampling_gives_rare_classes_their_share_of_every_candidate():
    source, target = imbalanced(), rows(2, shift=0.0)
    shares = {}
    for sampling in ("natural", "balanced"):
        for names in ((), ("mcc",)):
            model = fresh()
            recipe = replace(RECIPE, source_sampling=sampling, steps=15)
            curve = train(model, recipe, source=source, target=target.rows, terms=terms(*names))
            predicted = torch.softmax(predict(model, target.rows).logits_NC, dim=1).mean(0)
            shares[sampling, names] = float(predicted[0])
            shares[sampling, names, "first loss"] = curve[0]["source_loss"]

    for names in ((), ("mcc",)):
        assert abs(shares["balanced", names] - 1 / 3) < 0.1 < shares["natural", names] - 1 / 3
    assert shares["balanced", (), "first loss"] == shares["balanced", ("mcc",), "first loss"]


def turned(seed: int, *, count: int) -> LabelledRows:
    """Another domain: the clusters of :func:`rows` turned by 100 degrees, so that each lies nearest to another class."""
    domain = rows(seed, shift=0.0, count=count)
    (inputs,) = domain.rows.variants
    angle = math.radians(100)
    turn = torch.tensor([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return LabelledRows(all_rows(torch.cat([inputs[:, :2] @ turn, inputs[:, 2:]], dim=1)), domain.labels_N)


@pytest.mark.parametrize("names", [(), ("mcc",)])
def test_three_labels_a_class_help_where_the_shift_defeats_the_source(names: tuple[str, ...]):
    source, target, labelled = rows(0, shift=0.0), turned(2, count=90), turned(5, count=9)
    accuracies = []
    for few in (None, labelled):
        model = fresh()
        train(model, RECIPE, source=source, target=target.rows, labelled=few, terms=terms(*names))
        right = predict(model, target.rows).logits_NC.argmax(1) == target.labels_N
        accuracies.append(float(right.float().mean()))

    assert accuracies[0] < 0.3
    assert accuracies[1] > accuracies[0] + 0.3


def test_labelled_target_rows_cost_smoothed_cross_entropy_and_no_target_loss_sees_them():
    source, target, labelled = rows(0, shift=0.0), rows(2, shift=1.0).rows, turned(5, count=9)
    model = fresh()
    seen: list[int] = []

    class Watching(MinimumClassConfusion):
        def forward(self, batch: JointBatch) -> torch.Tensor:
            seen.append(len(batch.target_logits_BC))
            assert batch.target_strong_logits_BC is None
            return super().forward(batch)

    term = WeightedTerm(1.0, Watching(num_classes=CLASSES, temperature=2.5))
    logits = []
    hook = model.register_forward_hook(
        lambda module, inputs, outputs: logits.append(outputs.logits_NC.detach())
    )
    curve = train(
        model, replace(RECIPE, steps=1), source=source, target=target, labelled=labelled, terms=[term]
    )
    hook.remove()

    (logits_NC,) = logits  # one joint forward: 16 of the source, 16 of the target, all nine labelled
    order = Stream(9, batch_size=9, seed=RECIPE.seed + 2).batch(0)
    log_p = torch.log_softmax(logits_NC[32:], dim=1)
    own = log_p[torch.arange(9), labelled.labels_N[order]]
    expected = -((1 - RECIPE.label_smoothing) * own + RECIPE.label_smoothing * log_p.mean(1)).mean()
    assert len(logits_NC) == 16 + 16 + 9
    assert seen == [16]
    assert curve[0]["labelled_loss"] == pytest.approx(float(expected), abs=1e-5)
    assert curve[0]["loss"] == pytest.approx(
        curve[0]["source_loss"] + curve[0]["labelled_loss"] + curve[0]["mcc"], abs=1e-5
    )


def test_no_more_labelled_rows_a_step_than_the_recipe_says():
    model, sizes = fresh(), []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    recipe = replace(RECIPE, steps=3, labelled_batch_size=4)
    train(model, recipe, source=rows(0, shift=0.0), target=None, labelled=turned(5, count=9))

    assert sizes == [20, 20, 20]


def test_without_a_source_labelled_rows_move_the_features_and_not_the_head():
    model = fresh()
    head, bottleneck = model.head.weight.clone(), model.bottleneck[0].weight.clone()

    train(model, RECIPE, source=None, target=rows(2, shift=1.0).rows, labelled=turned(5, count=9))

    assert torch.equal(model.head.weight, head)
    assert not torch.equal(model.bottleneck[0].weight, bottleneck)


# --- evaluations during training ---------------------------------------------------------------


def labels_of_its_own(model: Classifier, inputs: torch.Tensor) -> list[int]:
    features, logits = model(inputs)
    return centroid_labels(features.detach(), logits.detach().softmax(1)).tolist()


def test_the_targets_own_labels_come_from_evaluation_mode_without_augmentation():
    plain, redrawn = pictures(1, 90), 255 - pictures(1, 90)
    settled, model = network(), network()
    for untrained in (settled, model):
        for _ in range(20):
            untrained(pictures(2, 64))
        untrained.load_state_dict(settled.state_dict())
    expected = labels_of_its_own(settled.eval(), plain)
    torch.manual_seed(0)
    wrong = [
        labels_of_its_own(settled.eval(), affine(plain)),
        labels_of_its_own(settled.eval(), redrawn),
        labels_of_its_own(settled.train(), plain),
    ]
    assert all(labels != expected for labels in wrong)
    own = CentroidLabels(num_rows=90, warm_up=False)

    train(
        model,
        replace(RECIPE, rows="image", steps=1, augment="affine"),
        source=LabelledRows(all_rows(pictures(3)), torch.arange(24) % CLASSES),
        target=Rows((plain, redrawn), np.arange(90)),
        terms=[WeightedTerm(1.0, own)],
    )

    assert own.own.labels_N.tolist() == expected


def test_the_targets_own_labels_are_given_anew_whenever_the_target_was_seen_once_more():
    given_at: list[float] = []

    class Noting(CentroidLabels):
        def refresh(self, features_ND: torch.Tensor, probabilities_NC: torch.Tensor, progress: float) -> None:
            given_at.append(progress)
            super().refresh(features_ND, probabilities_NC, progress)

    train(
        fresh(), RECIPE, source=rows(0, shift=0.0), target=rows(2, shift=1.0).rows,
        terms=[WeightedTerm(1.0, Noting(num_rows=90, warm_up=True))],
    )  # fmt: skip

    # 90 rows at 16 a step: every five steps of sixty.
    assert given_at == [step / 60 for step in range(0, 60, 5)]


@pytest.mark.parametrize("scope", ["head", "last_k"])
def test_frozen_parts_stay_frozen_and_the_others_train_on_after_every_evaluation(scope: str):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    target = all_rows(pictures(1))

    train(
        model,
        replace(RECIPE, scope=scope, steps=20),
        source=LabelledRows(all_rows(pictures(0)), torch.arange(24) % CLASSES),
        target=target,
        terms=terms("dann", "centroid_labels", num_rows=24),
        held_out=HeldOut(all_rows(pictures(2)), all_rows(pictures(3))),
    )

    after = model.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    trained = {name.split(".")[3] for name in changed if name.startswith("backbone")}
    assert trained == ({"2"} if scope == "last_k" else set())
    # Every step was one in training mode, though the model was evaluated in between.
    assert after["bottleneck.1.num_batches_tracked"] == 20
    if scope == "last_k":
        assert {after[name].item() for name in changed if "backbone" in name and "tracked" in name} == {20}


def test_source_free_training_keeps_the_head_and_needs_no_source():
    target = rows(2, shift=2.0)
    model = fresh()
    train(model, RECIPE, source=rows(0, shift=0.0), target=None)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    curve = train(model, RECIPE, source=None, target=target.rows, terms=terms("infomax", "centroid_labels"))

    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert {"bottleneck.0.weight", "bottleneck.1.weight", "bottleneck.1.running_mean"} <= changed
    assert not any(name.startswith("head") for name in changed)
    assert {row["source_loss"] for row in curve} == {0.0}
    accuracy = (predict(model, target.rows).logits_NC.argmax(1) == target.labels_N).float().mean()
    assert accuracy > 0.9


def test_without_a_source_and_without_target_losses_there_is_nothing_to_train_on():
    with pytest.raises(ValueError, match="nothing to train on"):
        train(fresh(), RECIPE, source=None, target=rows(2, shift=1.0).rows)


# --- reports about the discriminators ----------------------------------------------------------


@pytest.mark.parametrize("name", ["dann", "cdan", "adda"])
def test_a_discriminator_is_asked_ten_times_about_rows_that_no_loss_saw(name: str):
    model, known = fresh(), terms(name)
    held_out = HeldOut(rows(5, shift=0.0, count=60).rows, rows(6, shift=1.0, count=6).rows)

    curve = train(
        model, RECIPE, source=rows(0, shift=0.0), target=rows(2, shift=1.0).rows, terms=known, held_out=held_out
    )  # fmt: skip

    asked = {
        row["step"]: row[f"{name}_held_out_accuracy"] for row in curve if f"{name}_held_out_accuracy" in row
    }
    assert list(asked) == list(range(5, 60, 6))
    source, target = predict(model, held_out.source), predict(model, held_out.target)
    batch = JointBatch(source.features_ND, target.features_ND, source.logits_NC, target.logits_NC, 1.0)
    assert asked[59] == pytest.approx(known[0].term.held_out_accuracy(batch), abs=1e-6)


def test_the_answer_of_a_discriminator_stands_in_the_row_of_the_step_it_was_asked_at():
    held_out = HeldOut(rows(5, shift=0.0, count=60).rows, rows(6, shift=1.0, count=6).rows)
    recipe = replace(RECIPE, steps=200)  # a row every 4 steps, a question after every 20

    curve = train(
        fresh(), recipe, source=rows(0, shift=0.0), target=rows(2, shift=1.0).rows, terms=terms("dann"),
        held_out=held_out,
    )  # fmt: skip

    assert [row["step"] for row in curve if "dann_held_out_accuracy" in row] == list(range(19, 200, 20))
    assert [row["step"] for row in curve] == sorted({*range(0, 200, 4), *range(19, 200, 20)})


def test_a_candidate_without_a_discriminator_has_no_rows_for_questions():
    held_out = HeldOut(rows(5, shift=0.0, count=60).rows, rows(6, shift=1.0, count=6).rows)
    recipe = replace(RECIPE, steps=200)

    curve = train(
        fresh(), recipe, source=rows(0, shift=0.0), target=rows(2, shift=1.0).rows, terms=terms("mcc"),
        held_out=held_out,
    )  # fmt: skip

    assert [row["step"] for row in curve] == [*range(0, 200, 4), 199]


def test_two_discriminators_of_one_preset_are_told_apart_in_the_curve():
    curve = train(
        fresh(),
        replace(RECIPE, steps=2),
        source=rows(0, shift=0.0),
        target=rows(2, shift=1.0).rows,
        terms=[*terms("dann"), *terms("cdan")],
    )

    assert {"dann_discriminator_accuracy", "cdan_discriminator_accuracy"} <= curve[0].keys()


@pytest.mark.parametrize("exchanged", [False, True])
def test_the_accuracy_is_that_on_the_held_out_rows_and_not_on_those_trained_on(exchanged: bool):
    near, far = rows(5, shift=0.0).rows, rows(6, shift=5.0, count=6).rows
    off = LossTerm(loss="dann", weight=0.0, hidden=8)
    torch.manual_seed(4)
    known = build_terms([off], Shapes(feature_width=BOTTLENECK, num_classes=CLASSES, num_rows=90))

    curve = train(
        fresh(),
        RECIPE,
        source=rows(0, shift=0.0),
        target=rows(2, shift=5.0).rows,
        terms=known,
        held_out=HeldOut(far, near) if exchanged else HeldOut(near, far),
    )

    assert curve[-1]["dann_discriminator_accuracy"] > 0.95
    accuracy = curve[-1]["dann_held_out_accuracy"]
    assert accuracy < 0.05 if exchanged else accuracy > 0.95


def test_asking_the_discriminators_changes_nothing_of_the_model():
    source, target = rows(0, shift=0.0), rows(2, shift=1.0).rows
    silent, asked = fresh(), fresh()
    held_out = HeldOut(rows(5, shift=0.0).rows, rows(6, shift=1.0).rows)

    train(silent, RECIPE, source=source, target=target, terms=terms("dann", "mcc"))
    train(asked, RECIPE, source=source, target=target, terms=terms("dann", "mcc"), held_out=held_out)

    assert bytes_of(asked) == bytes_of(silent)


def test_without_a_discriminator_nothing_is_asked():
    held_out = HeldOut(rows(5, shift=0.0).rows, rows(6, shift=1.0).rows)

    curve = train(
        fresh(), RECIPE, source=rows(0, shift=0.0), target=rows(2, shift=1.0).rows, terms=terms("mcc"),
        held_out=held_out,
    )  # fmt: skip

    assert not any("accuracy" in key for row in curve for key in row)


def test_a_damaged_checkpoint_starts_over_instead_of_failing(tmp_path: Path):
    source = rows(0, shift=0.0)
    checkpoints = Checkpoints(tmp_path / "unfinished.safetensors", every=20)
    checkpoints.path.write_bytes(b"torn")
    undisturbed, restarted = fresh(), fresh()
    train(undisturbed, RECIPE, source=source, target=None)

    train(restarted, RECIPE, source=source, target=None, checkpoints=checkpoints)

    assert bytes_of(restarted) == bytes_of(undisturbed)


def test_a_diverging_run_stops_and_names_the_step():
    source = rows(0, shift=0.0)
    source.rows.variants[0][5, 0] = float("nan")

    with pytest.raises(Diverged, match=r"became nan at step \d+ of 60"):
        train(fresh(), RECIPE, source=source, target=None)


def test_target_losses_without_a_target_are_refused():
    with pytest.raises(ValueError, match="need target rows"):
        train(fresh(), RECIPE, source=rows(0, shift=0.0), target=None, terms=terms("mcc"))


def test_the_learning_rate_decays_with_progress_and_not_with_the_number_of_steps():
    assert learning_rate_factor(0.0) == 1.0
    assert learning_rate_factor(1.0) == pytest.approx(11**-0.75)
    assert learning_rate_factor(0.5) == pytest.approx(6**-0.75)


@pytest.mark.parametrize("augment", [flip_crop, affine])
def test_augmentation_keeps_shape_and_type_and_moves_every_image_its_own_way(augment):
    torch.manual_seed(0)
    ramp = torch.arange(0, 160, 10, dtype=torch.uint8).repeat(16, 1)[None, :, :, None].repeat(64, 1, 1, 3)

    views = augment(ramp)

    assert views.shape == ramp.shape
    assert views.dtype == ramp.dtype
    assert len({tuple(view[0, :, 0].tolist()) for view in views}) >= 8


@pytest.mark.parametrize("augmentation", IMAGE_AUGMENTATIONS.values(), ids=IMAGE_AUGMENTATIONS)
def test_augmentation_of_an_even_image_is_the_image(augmentation):
    even = torch.full((4, 16, 16, 3), 77, dtype=torch.uint8)

    assert torch.equal(augmentation.draw(even), even)


def test_affine_views_keep_the_handedness_of_a_digit():
    """A bright left half stays on the left: no mirror among 200 views."""
    torch.manual_seed(0)
    left = torch.zeros(200, 16, 16, 3, dtype=torch.uint8)
    left[:, :, :8] = 200

    views = affine(left).float()

    assert (views[:, :, :8].mean((1, 2, 3)) > 2 * views[:, :, 8:].mean((1, 2, 3))).all()
