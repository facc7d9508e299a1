import torch

from tasks.models.discriminator import DomainDiscriminator


def make(width: int = 4) -> DomainDiscriminator:
    torch.manual_seed(0)
    return DomainDiscriminator(feature_width=width, hidden=16)


def test_discriminator_gives_one_logit_a_row():
    assert make()(torch.randn(7, 4)).shape == (7,)
    assert make()(torch.randn(1, 4)).shape == (1,)


def test_a_row_is_judged_by_itself_whatever_its_batch():
    # BatchNorm in here would let the domains be told apart by the batch, and fail this.
    discriminator, rows = make(), torch.randn(8, 4)

    alone = torch.cat([discriminator(row[None]) for row in rows])

    torch.testing.assert_close(discriminator(rows), alone)


def test_training_and_evaluation_mode_agree():
    discriminator, rows = make(), torch.randn(8, 4)

    torch.testing.assert_close(discriminator.train()(rows), discriminator.eval()(rows), rtol=0, atol=0)


def test_logits_are_not_squashed():
    # A sigmoid or a softmax at the end keeps every output within [0, 1].
    logits = make()(1000 * torch.randn(64, 4))

    assert logits.min() < -1
    assert logits.max() > 1
