"""The faults of the deliberately bad candidates."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.audit.candidates import DrivenApart, EntropyAlone, bad_terms, shuffle_labels, wrong_prior
from tasks.audit.replay import BAD_KINDS
from tasks.engine.trainer import LabelledRows
from tasks.losses.contract.batch import JointBatch
from tasks.losses.dann import DomainAdversarial
from tasks.models.rows import all_rows
from tasks.selection.scores import entropy


def batch(source: Tensor, target: Tensor, *, progress: float) -> JointBatch:
    return JointBatch(source, target, source[:, :3], target[:, :3], progress)


def gradients(loss: DomainAdversarial, *, progress: float) -> tuple[float, Tensor, list[Tensor]]:
    """Value, gradient of the target's features, gradients of the discriminator."""
    generator = torch.Generator().manual_seed(0)
    source, target = (torch.randn(8, 4, generator=generator) + shift for shift in (0.0, 1.0))
    target.requires_grad_()
    value = loss(batch(source, target, progress=progress))
    grads = torch.autograd.grad(value, [target, *loss.parameters()])
    return value.item(), grads[0], list(grads[1:])


@pytest.mark.parametrize("progress", [0.3, 1.0])
def test_the_flipped_sign_is_danns_gradient_turned_and_the_discriminator_learns_as_ever(progress: float):
    torch.manual_seed(0)
    dann = DomainAdversarial(feature_width=4, hidden=8, weight=3.0).eval()
    flipped = DrivenApart(feature_width=4, hidden=8, weight=3.0).eval()
    flipped.load_state_dict(dann.state_dict())

    value, features, discriminator = gradients(dann, progress=progress)
    flipped_value, flipped_features, flipped_discriminator = gradients(flipped, progress=progress)

    assert flipped_value == value
    assert features.abs().max() > 0
    torch.testing.assert_close(flipped_features, -features)
    torch.testing.assert_close(flipped_discriminator, discriminator)


def test_a_shift_that_dann_closes_is_widened_under_the_flipped_sign():
    def shift_after(kind: type[DomainAdversarial]) -> float:
        torch.manual_seed(0)
        loss = kind(feature_width=4, hidden=8, weight=1.0)
        source, target = torch.randn(64, 4), torch.randn(64, 4)
        shift = torch.tensor(2.0, requires_grad=True)
        optimiser = torch.optim.SGD([shift, *loss.parameters()], lr=0.1)
        for _ in range(300):
            optimiser.zero_grad()
            moved = target + shift * torch.tensor([1.0, 0.0, 0.0, 0.0])
            loss(batch(source, moved, progress=1.0)).backward()
            optimiser.step()
        return shift.item()

    assert abs(shift_after(DomainAdversarial)) < 1
    assert shift_after(DrivenApart) > 3


def test_entropy_alone_is_the_mean_entropy_and_does_not_mind_a_collapse():
    logits_BC = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    loss = EntropyAlone(num_classes=3)

    p_BC = np.exp(logits_BC.numpy()) / np.exp(logits_BC.numpy()).sum(1, keepdims=True)
    expected = np.mean([-sum(p * np.log(p) for p in row) for row in p_BC])
    assert loss(batch(logits_BC, logits_BC, progress=0.5)).item() == pytest.approx(expected, rel=1e-5)
    collapsed = torch.tensor([[500.0, 0.0, 0.0]]).repeat(6, 1)
    assert loss(batch(collapsed, collapsed, progress=0.5)).item() == 0


@pytest.mark.parametrize("num_classes", [2, 3, 7, 10])
def test_the_wrong_prior_is_uneven_and_not_yet_a_collapse(num_classes: int):
    shares = wrong_prior(num_classes, seed=0)

    assert sum(shares) == pytest.approx(1)
    assert max(shares) == pytest.approx(num_classes**2 * min(shares))
    assert np.exp(entropy(np.array(shares))) > 1 + 0.5 * (num_classes - 1)
    assert len({tuple(wrong_prior(num_classes, seed=seed)) for seed in range(6)}) > 1


def test_forty_percent_of_the_labels_are_shuffled_among_themselves():
    labels_N = torch.arange(500) % 5
    source = LabelledRows(all_rows(torch.zeros(500, 1)), labels_N.clone())

    shuffled = shuffle_labels(source, share=0.4, seed=0)

    # Four of five shuffled labels come to lie on a row of another class.
    assert int((shuffled.labels_N != labels_N).sum()) == pytest.approx(160, abs=20)
    assert shuffled.labels_N.bincount().tolist() == [100] * 5
    assert torch.equal(source.labels_N, labels_N)
    assert torch.equal(shuffle_labels(source, share=0.4, seed=0).labels_N, shuffled.labels_N)
    assert not torch.equal(shuffle_labels(source, share=0.4, seed=1).labels_N, shuffled.labels_N)


def test_only_labels_class_order_and_steps_need_no_loss_of_their_own():
    with_losses = {kind for kind in BAD_KINDS if bad_terms(kind, feature_width=4, num_classes=3, seed=0)}

    assert set(BAD_KINDS) - with_losses == {"bad_mislabelled_source", "bad_class_order"}
