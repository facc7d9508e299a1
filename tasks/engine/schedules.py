"""Schedules as pure functions of training progress in [0, 1]: no counter, so nothing can advance one by accident."""


def learning_rate_factor(progress: float) -> float:
    """Share of the first learning rate at ``progress``: ``(1 + 10 p)^-0.75``, from 1 to about 0.17.

    Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17 (2016), sec. 5.2.2.
    """
    return (1 + 10 * progress) ** -0.75
