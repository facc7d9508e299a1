from dataclasses import replace

import pytest
import torch

from tasks.config.sections.presets import LossTerm, loss_names
from tasks.errors import ConfigError
from tasks.losses.contract.terms import LabelsItself, Shapes
from tasks.losses.dann import DomainAdversarial
from tasks.losses.mcc import MinimumClassConfusion
from tasks.losses.mmd import MultiKernelMmd
from tasks.losses.presets.build import build_terms

SHAPES = Shapes(feature_width=4, num_classes=3, num_rows=20)
DANN = LossTerm(loss="dann", weight=0.7, hidden=16)
MMD = LossTerm(loss="mmd", weight=0.5, num_kernels=3)
MCC = LossTerm(loss="mcc", weight=2.0, temperature=1.5)
EVERY = [
    DANN,
    MMD,
    MCC,
    LossTerm(loss="cdan", weight=1.0, hidden=8, entropy_weighting=True),
    LossTerm(loss="adda", weight=1.0, hidden=8),
    LossTerm(loss="jan", weight=1.0, num_kernels=3),
    LossTerm(loss="coral", weight=10.0),
    LossTerm(loss="infomax", weight=1.0),
    LossTerm(loss="bnm", weight=1.0),
    LossTerm(loss="self_training", weight=1.0, first_share=0.2, last_share=0.8),
    LossTerm(loss="centroid_labels", weight=1.0),
    LossTerm(loss="rotation", weight=0.3),
]


def test_terms_become_modules_in_the_order_given():
    (mcc_weight, mcc), (mmd_weight, mmd) = build_terms([MCC, MMD], SHAPES)

    assert isinstance(mcc, MinimumClassConfusion)
    assert (mcc_weight, mcc.temperature, mcc.num_classes) == (2.0, 1.5, 3)
    assert isinstance(mmd, MultiKernelMmd)
    assert (mmd_weight, mmd.num_kernels) == (0.5, 3)


def test_weight_of_dann_goes_into_the_reversal_and_not_onto_the_loss():
    ((multiplier, dann),) = build_terms([DANN], SHAPES)

    assert isinstance(dann, DomainAdversarial)
    assert multiplier == 1.0
    assert dann.weight == 0.7
    assert [tuple(p.shape) for p in dann.parameters()] == [(16, 4), (16,), (16, 16), (16,), (1, 16), (1,)]


def test_source_only_has_no_terms():
    assert build_terms([], SHAPES) == []


@pytest.mark.parametrize("term", EVERY, ids=lambda term: term.loss)
def test_every_loss_answers_the_trainer(term, make_batch):
    ((_, module),) = build_terms([term], SHAPES)
    batch = make_batch(source=6, target=5, width=4, classes=3, progress=0.5)
    if isinstance(module, LabelsItself):
        module.refresh(torch.randn(20, 4), torch.rand(20, 3).softmax(1), 0.5)
    turned = {"target_turned_features_BD": torch.randn(5, 4), "target_turns_B": torch.arange(5) % 4}
    value = module(replace(batch, target_rows_B=torch.arange(5), **turned))

    assert value.shape == ()
    assert value.requires_grad
    assert module.name == term.loss
    assert all(isinstance(number, float) for number in module.diagnostics().values())


def test_the_test_above_knows_every_loss_that_exists():
    assert [term.loss for term in sorted(EVERY, key=lambda term: term.loss)] == loss_names()


def test_options_that_do_not_fit_the_classes_are_named():
    term = LossTerm(loss="infomax", weight=1.0, prior=[0.5, 0.5])

    with pytest.raises(
        ConfigError, match=r"infomax.prior must hold 3 positive shares that sum to 1, got \[0.5, 0.5\]"
    ):
        build_terms([term], SHAPES)


def test_a_term_holds_no_state_but_the_discriminator():
    terms = build_terms([DANN, MMD, MCC], SHAPES)

    states = {module.name: list(module.state_dict()) for _, module in terms}

    assert states["mmd"] == states["mcc"] == []
    assert all(name.startswith("discriminator.") for name in states["dann"])
