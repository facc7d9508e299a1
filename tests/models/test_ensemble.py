import numpy as np
import pytest
import torch

from tasks.errors import BadInput
from tasks.models.checkpoint import build_network, form_of, load_checkpoint, read_form, save_checkpoint
from tasks.models.classifier import Classifier
from tasks.models.ensemble import Ensemble
from tasks.models.linear import LinearClassifier


def no_backbone():
    raise AssertionError("none of these trained a backbone of its own")


@pytest.fixture
def voices():
    torch.manual_seed(0)
    first = Classifier(None, feature_width=6, bottleneck=4, num_classes=3)
    second = LinearClassifier(None, feature_width=6, num_classes=3)
    second.mean_D.normal_()
    second.deviation_D.uniform_(0.5, 2)
    return [first.eval(), second.eval()]


@pytest.fixture
def features():
    return torch.randn(20, 6, generator=torch.Generator().manual_seed(1))


def test_the_answer_is_the_weighted_mean_of_the_probabilities(voices, features):
    with torch.inference_mode():
        mine = torch.softmax(Ensemble(None, voices, [3.0, 1.0])(features).logits_NC, dim=1)
        first, second = (torch.softmax(voice(features).logits_NC, dim=1) for voice in voices)

    assert torch.allclose(mine, 0.75 * first + 0.25 * second, atol=1e-6)


def test_every_voice_counts_in_distances_as_in_the_mean_however_wide_it_is(voices, features):
    with torch.inference_mode():
        features_ND = Ensemble(None, voices, [3.0, 1.0])(features).features_ND

    assert features_ND.shape == (20, 4 + 6)
    assert torch.allclose(features_ND[:, 4:].norm(dim=1) ** 2, torch.full((20,), 0.25), atol=1e-5)


def test_a_linear_classifier_answers_for_standardised_features(voices, features):
    linear = voices[1]
    expected = (features - linear.mean_D) / linear.deviation_D

    with torch.inference_mode():
        outputs = linear(features)

    assert torch.equal(outputs.features_ND, expected)
    assert torch.allclose(outputs.logits_NC, expected @ linear.head.weight.T + linear.head.bias, atol=1e-6)


@pytest.mark.parametrize("which", ["bottleneck", "linear", "ensemble"])
def test_a_checkpoint_says_how_its_network_is_put_together_and_gives_it_back(
    tmp_path, voices, features, which
):
    network = {"bottleneck": voices[0], "linear": voices[1], "ensemble": Ensemble(None, voices, [1.0, 2.0])}[
        which
    ]
    path = tmp_path / "model.safetensors"

    save_checkpoint(path, network.eval(), classes=["a", "b", "c"])
    again = build_network(read_form(path), num_classes=3, make_backbone=no_backbone)

    assert load_checkpoint(path, again) == ["a", "b", "c"]
    assert form_of(again) == form_of(network)
    with torch.inference_mode():
        assert torch.equal(again.eval()(features).logits_NC, network(features).logits_NC)


def test_a_checkpoint_of_another_network_is_refused_with_every_tensor(tmp_path, voices):
    save_checkpoint(tmp_path / "m.safetensors", voices[1], classes=["a", "b", "c"])

    with pytest.raises(BadInput, match=r"(?s)not a checkpoint of this model:.*head.weight: shape \(3, 6\)"):
        load_checkpoint(tmp_path / "m.safetensors", voices[0])


def test_weights_are_shares(voices):
    assert np.isclose(float(Ensemble(None, voices, [2.0, 6.0]).weights_V.sum()), 1)
