"""Closed-form alignment: the published maps, what they do not depend on, and a fold that changes no answer."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power
from torch import Tensor, nn
from torch.nn import functional

from tasks.config.sections.model import ModelParams
from tasks.domains.image.spec import image_spec
from tasks.exported.session import open_session, predict
from tasks.models.alignment import Affine, Maps, fold, linear_coral, subspace_alignment
from tasks.models.backbones.build import build_backbone
from tasks.models.classifier import Classifier
from tasks.stages.export import export_onnx


def domain(seed: int, *, count: int = 30, width: int = 6) -> Tensor:
    """Rows whose features are correlated, with a mean far from zero."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, width, generator=generator, dtype=torch.float64)
    return noise @ mixing + 3 * torch.randn(width, generator=generator, dtype=torch.float64)


def rotation(width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]


def inner_products(maps: Maps, source: Tensor, target: Tensor) -> Tensor:
    """Inner products of all mapped rows: all that a linear model can learn of them, whatever the signs of the axes."""
    mapped = torch.cat([maps.source.apply(source), maps.target.apply(target)])
    return mapped @ mapped.T


def subspace_as_published(source: np.ndarray, target: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """X_S (P_S P_S^T P_T) and X_T P_T, the bases from singular vectors of the prepared rows, element by element."""
    prepared, bases = [], []
    for rows in (source, target):
        centred = rows - rows.mean(0)
        features = range(rows.shape[1])
        deviation = np.sqrt(np.mean([np.var(rows[:, j], ddof=1) for j in features]))
        prepared.append(centred / deviation)
        bases.append(np.linalg.svd(prepared[-1], full_matrices=False)[2][:k].T)
    overlap = [[bases[0][:, i] @ bases[1][:, j] for j in range(k)] for i in range(k)]
    return prepared[0] @ bases[0] @ np.array(overlap), prepared[1] @ bases[1]


@settings(max_examples=20, deadline=None)
@given(
    num_source=st.integers(8, 30), num_target=st.integers(8, 30), k=st.integers(1, 6), seed=st.integers(0, 99)
)
def test_subspace_alignment_equals_the_published_maps(num_source: int, num_target: int, k: int, seed: int):
    source, target = domain(seed, count=num_source), domain(seed + 1000, count=num_target)

    maps = subspace_alignment(source, target, dimensions=k)

    mapped_source, mapped_target = subspace_as_published(source.numpy(), target.numpy(), k)
    expected = torch.from_numpy(np.concatenate([mapped_source, mapped_target]))
    torch.testing.assert_close(inner_products(maps, source, target), expected @ expected.T)


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_coral_equals_the_published_whitening_and_recolouring(ridge: float):
    source, target = domain(0), domain(1, count=40)
    covariances = [np.cov(rows.numpy().T) for rows in (source, target)]
    added = ridge * np.mean([np.diag(covariance) for covariance in covariances]) * np.eye(6)
    whiten = fractional_matrix_power(covariances[0] + added, -0.5)
    recolour = fractional_matrix_power(covariances[1] + added, 0.5)

    maps = linear_coral(source, target, ridge=ridge)

    expected = (source - source.mean(0)).numpy() @ whiten @ recolour + target.mean(0).numpy()
    assert maps.source.apply(source).numpy() == pytest.approx(expected)
    assert torch.equal(maps.target.apply(target), target)


def test_with_little_ridge_coral_gives_the_source_the_targets_mean_and_covariance():
    source, target = domain(0, count=200), domain(1, count=150)

    mapped = linear_coral(source, target, ridge=1e-9).source.apply(source)

    torch.testing.assert_close(mapped.mean(0), target.mean(0))
    torch.testing.assert_close(torch.cov(mapped.T), torch.cov(target.T), rtol=1e-5, atol=1e-5)


def test_turning_the_axes_of_both_domains_changes_nothing():
    source, target, turn = domain(0), domain(1), rotation()

    turned = inner_products(
        subspace_alignment(source @ turn, target @ turn, dimensions=3), source @ turn, target @ turn
    )
    plain = inner_products(subspace_alignment(source, target, dimensions=3), source, target)
    torch.testing.assert_close(turned, plain)

    coral = linear_coral(source @ turn, target @ turn, ridge=1.0).source.apply(source @ turn)
    torch.testing.assert_close(coral, linear_coral(source, target, ridge=1.0).source.apply(source) @ turn)


def test_the_maps_do_not_depend_on_the_order_of_rows():
    source, target = domain(0), domain(1)
    for fit in (
        lambda s, t: subspace_alignment(s, t, dimensions=3),
        lambda s, t: linear_coral(s, t, ridge=1.0),
    ):
        torch.testing.assert_close(
            inner_products(fit(source.flip(0), target[torch.randperm(30)]), source, target),
            inner_products(fit(source, target), source, target),
        )


def test_subspaces_do_not_see_where_a_domain_lies_or_how_large_it_is():
    source, target = domain(0), domain(1)
    moved = 5 * target + 100

    plain = subspace_alignment(source, target, dimensions=3)
    torch.testing.assert_close(
        inner_products(subspace_alignment(source, moved, dimensions=3), source, moved),
        inner_products(plain, source, target),
    )


def test_identical_domains_give_the_identity_for_coral():
    rows = domain(0)

    maps = linear_coral(rows, rows.clone(), ridge=1.0)

    torch.testing.assert_close(maps.source.matrix_DK, torch.eye(6, dtype=torch.float64))
    torch.testing.assert_close(maps.source.offset_K, torch.zeros(6, dtype=torch.float64))


def test_identical_domains_share_one_subspace():
    rows = domain(0)

    maps = subspace_alignment(rows, rows.clone(), dimensions=3)

    torch.testing.assert_close(maps.source.apply(rows), maps.target.apply(rows))


@pytest.mark.parametrize("constant", ["source", "target", "both"])
def test_a_constant_feature_gives_finite_maps(constant: str):
    source, target = domain(0), domain(1)
    if constant != "target":
        source[:, 2] = 4.0
    if constant != "source":
        target[:, 2] = 4.0

    for maps in (subspace_alignment(source, target, dimensions=4), linear_coral(source, target, ridge=1.0)):
        assert torch.isfinite(inner_products(maps, source, target)).all()


@pytest.mark.parametrize(
    ("num_source", "num_target", "dimensions", "whose"),
    [(5, 30, 5, "5 source rows of 6 features span 4"), (30, 4, 4, "4 target rows of 6 features span 3"),
     (30, 30, 7, "30 source rows of 6 features span 6")],
)  # fmt: skip
def test_more_dimensions_than_a_domain_spans_are_refused(
    num_source: int, num_target: int, dimensions: int, whose: str
):
    source, target = domain(0, count=num_source).float(), domain(1, count=num_target).float()

    with pytest.raises(
        ValueError, match=f"{whose} directions around their mean, fewer than the dimensions {dimensions}"
    ):
        subspace_alignment(source, target, dimensions=dimensions)
    subspace_alignment(source, target, dimensions=dimensions - 1)


def test_what_cannot_be_aligned_is_refused():
    with pytest.raises(ValueError, match="one width"):
        linear_coral(domain(0), domain(1, width=5), ridge=1.0)
    with pytest.raises(ValueError, match="two rows of each domain, got 30 source and 1 target"):
        subspace_alignment(domain(0), domain(1, count=1), dimensions=1)
    with pytest.raises(ValueError, match="no feature varies"):
        linear_coral(torch.ones(5, 3), torch.ones(5, 3), ridge=1.0)
    with pytest.raises(ValueError, match="span 0 directions"):
        subspace_alignment(torch.ones(5, 3), torch.ones(5, 3), dimensions=1)


def ring(seed: int, count: int = 150) -> tuple[Tensor, Tensor]:
    """Three classes at equal distances around the origin of axes 0 and 1; little happens on axes 2 and 3."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    rows = 0.2 * torch.randn(count, 4, generator=generator)
    angle = labels * 2 * torch.pi / 3
    rows[:, 0] += torch.cos(angle)
    rows[:, 1] += torch.sin(angle)
    return rows, labels


def accuracy_of_a_head(source: Tensor, labels: Tensor, target: Tensor, target_labels: Tensor) -> float:
    """The accuracy on ``target`` of a linear head that is trained on ``source``."""
    torch.manual_seed(0)
    head = nn.Linear(source.shape[1], 3)
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5)
    for _ in range(200):
        optimiser.zero_grad()
        functional.cross_entropy(head(source), labels).backward()
        optimiser.step()
    return float((head(target).argmax(1) == target_labels).float().mean())


def tilt(rows: Tensor, degrees: float) -> Tensor:
    """The plane of axes 0 and 1 turned towards axes 2 and 3, far from where the source lies."""
    angle = torch.tensor(degrees * torch.pi / 180)
    eye = torch.eye(2)
    turn = torch.cat(
        [
            torch.cat([angle.cos() * eye, angle.sin() * eye], 1),
            torch.cat([-angle.sin() * eye, angle.cos() * eye], 1),
        ]
    )
    return rows @ turn + torch.tensor([0.0, 4.0, 0.0, 0.0])


def stretch(rows: Tensor) -> Tensor:
    """Axes 0 and 1 pulled apart along their diagonal, and moved."""
    matrix = torch.eye(4)
    matrix[:2, :2] = torch.tensor([[3.0, 2.0], [2.0, 3.0]])
    return rows @ matrix + torch.tensor([0.0, 4.0, 0.0, 0.0])


@pytest.mark.parametrize(
    ("shift", "fit"),
    [
        pytest.param(
            lambda rows: tilt(rows, 60), lambda s, t: subspace_alignment(s, t, dimensions=2), id="subspace"
        ),
        pytest.param(stretch, lambda s, t: linear_coral(s, t, ridge=1e-3), id="coral"),
    ],
)
def test_alignment_recovers_a_known_shift_and_one_domains_map_does_not_serve_the_other(shift, fit):
    (source, labels), (rows, target_labels) = ring(0), ring(1)
    target = shift(rows)

    maps = fit(source, target)

    mapped = maps.source.apply(source)
    assert accuracy_of_a_head(source, labels, target, target_labels) < 0.7  # a class is lost
    assert accuracy_of_a_head(mapped, labels, maps.target.apply(target), target_labels) > 0.97
    assert accuracy_of_a_head(mapped, labels, maps.source.apply(target), target_labels) < 0.7


def classifier(width: int, *, bottleneck: int = 5) -> Classifier:
    """Random weights and statistics, as after a training."""
    torch.manual_seed(0)
    model = Classifier(None, feature_width=width, bottleneck=bottleneck, num_classes=3)
    model.bottleneck[1].running_mean.uniform_(-1, 1)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
    model.bottleneck[1].running_var.uniform_(0.5, 2)  # pyright: ignore[reportOptionalMemberAccess, reportCallIssue]
    return model.eval()


@pytest.mark.parametrize("method", ["subspace", "coral"])
def test_a_folded_model_gives_the_logits_of_the_mapped_one_on_plain_features(method: str):
    source, target = domain(0).float(), domain(1).float()
    if method == "subspace":
        affine, width = subspace_alignment(source, target, dimensions=3).target, 3
    else:  # the source's map: the target's is the identity
        affine, width = linear_coral(source, target, ridge=0.1).source, 6
    model = classifier(width)

    folded = fold(model, affine)

    with torch.inference_mode():
        expected, actual = model(affine.apply(target)), folded.eval()(target)
    torch.testing.assert_close(actual.logits_NC, expected.logits_NC, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(actual.features_ND, expected.features_ND, rtol=1e-4, atol=1e-5)
    plain = classifier(6)
    assert {name: tensor.shape for name, tensor in folded.state_dict().items()} == {
        name: tensor.shape for name, tensor in plain.state_dict().items()
    }
    assert model.bottleneck[0].in_features == width  # a copy: the mapped model is as it was


def test_the_identity_folds_into_the_same_bytes():
    model = classifier(6)
    identity = Affine(torch.eye(6, dtype=torch.float64), torch.zeros(6, dtype=torch.float64))

    folded = fold(model, identity)

    assert all(torch.equal(tensor, folded.state_dict()[name]) for name, tensor in model.state_dict().items())


def test_the_exported_onnx_of_a_folded_model_answers_as_the_mapped_one_does():
    torch.manual_seed(0)
    backbone = build_backbone(
        ModelParams(backbone="lenet", weights="none", bottleneck=5), image_spec(16)
    ).eval()
    generator = torch.Generator().manual_seed(0)
    source, target = (
        torch.randint(low, high, (60, 16, 16, 3), generator=generator, dtype=torch.uint8)
        for low, high in ((0, 200), (80, 256))
    )
    with torch.inference_mode():
        source_features, target_features = backbone(source), backbone(target)
    maps = subspace_alignment(source_features, target_features, dimensions=8)
    model = classifier(8)
    with torch.inference_mode():
        expected = model(maps.target.apply(target_features))
    folded = fold(model, maps.target)
    folded.backbone = backbone
    metadata = {
        "acclimate_version": "0", "target": "t", "classes": '["a", "b", "c"]', "candidate": "subspace-0",
        "input": image_spec(16).to_json(), "checkpoint_sha256": "0", "data_digest": "0",
        "code_digest": "0",
    }  # fmt: skip

    content = export_onnx(folded, image_spec(16), opset=18, metadata=metadata)

    got = predict(open_session(content, device="cpu"), target.numpy())
    assert got.logits == pytest.approx(expected.logits_NC.numpy(), abs=1e-4)
    assert np.ptp(got.logits[:, 0]) > 0.1  # the images are told apart
