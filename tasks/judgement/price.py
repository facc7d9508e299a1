"""The price of a verdict: which part of the year's probability of a false promotion it spends.

A promotion needs evidence that a model which is no better reaches with a probability of ``alpha`` at most. The sum of
all ``alpha`` of a year stays below the target's share of ``gate.budget.false_promotions``, so the probability of
any false promotion does as well, whatever the dependence between the verdicts.

    hold-out       the k-th candidate since its labels were first read: share / (k (k + 1)), which sums to the share
                   over any number of candidates
    fresh labels   what is left of the year, over the planned verdicts that are left

Neither is ever more than what is left of the year. A hold-out takes half of it at most, so that it never leaves nothing to
fresh labels; on a hold-out alone that changes no number.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from tasks.records.ledger import Entry, Ledger, Look, Read, Unsealed

TINY = 1e-9
"""Less than this is nothing: a sum of shares misses their total by rounding."""


@dataclass(frozen=True)
class Price:
    """The spending that the ledger allows one verdict."""

    share: float
    """The target's probability of a false promotion in a year."""
    left: float
    """The rest of it after this verdict."""
    planned: int
    """Planned verdicts on fresh labels in a year."""
    holdout: Look | None
    """None where no label of a hold-out is read."""
    fresh: Look | None
    """None without a fresh label."""
    next_fresh: float = 0.0
    """The spending of a verdict on fresh labels; that of ``fresh`` where there is one."""


def share_of(false_promotions: float, num_targets: int) -> float:
    """The probability of a false promotion in a year that one of several targets has."""
    return false_promotions / max(1, num_targets)


def holdout_alpha(share: float, place: int, *, left: float) -> float:
    """The spending of the ``place``-th candidate on the same labels."""
    return _no_less_than_nothing(min(share / (place * (place + 1)), left / 2))


def fresh_alpha(planned: int, used: int, *, left: float) -> float:
    """The spending of a verdict on fresh labels.

    Args:
        planned: Verdicts on fresh labels in a year.
        used: Those that the last year had before it.
        left: The rest of the year's share.
    """
    return _no_less_than_nothing(left / (planned - used)) if used < planned else 0.0


def _no_less_than_nothing(alpha: float) -> float:
    return alpha if alpha > TINY else 0.0


def look_at_holdout(
    ledger: Ledger,
    arms: str,
    images: Collection[str],
    *,
    labels_digest: str,
    share: float,
    on: date,
    can_promote: bool,
) -> tuple[Look, list[Entry]]:
    """The look at a hold-out, and the lines to write before a label is read: none for a look that was written before.

    Args:
        ledger: The ledger of the target.
        arms: Digest of what is compared.
        images: Those that have a label.
        labels_digest: Names these labels.
        share: The target's probability of a false promotion in a year.
        on: Today.
        can_promote: Whether this verdict may be a promotion; one that can only find harm spends nothing.
    """
    looks = ledger.looks("hold-out")
    before = [one for one in looks if (one.arms, one.labels_digest) == (arms, labels_digest)]
    if before and not _had_nothing(before[-1]):
        return before[-1], []
    lives = ledger.lives(images)
    life = lives[0] if lives else ledger.next_life()
    # A look that found nothing left and was taken again has two lines.
    judged = {(one.arms, one.labels_digest) for one in looks if one.life in lives and one.place > 0}
    place = before[-1].place if before else 1 + len(judged)
    unsealed = ledger.unsealed(lives)
    alpha = 0.0
    if can_promote and unsealed is None:
        alpha = holdout_alpha(share, place, left=share - ledger.spent(on))
    look = Look(
        at=on,
        arms=arms,
        route="hold-out",
        life=life,
        labels_digest=labels_digest,
        place=place if can_promote else 0,
        alpha=alpha,
        opened=None if unsealed is None else unsealed.at,
    )
    if before and alpha == 0:
        return before[-1], []
    return look, [*first_read(ledger, images, life, on), look]


def _had_nothing(look: Look) -> bool:
    """Whether a look found the year's budget spent. It may be taken again once there is some."""
    return look.alpha == 0 and look.place > 0 and look.opened is None


def first_read(ledger: Ledger, images: Collection[str], life: int, on: date) -> list[Entry]:
    """The line for labels that no verdict has read, if there are any."""
    unread = ledger.unread(images)
    return [Read(at=on, life=life, images=unread)] if unread else []


def unsealing(ledger: Ledger, images: Collection[str], *, on: date, reason: str) -> list[Entry]:
    """The lines that unseal the labels of ``images``; none where they are open, or there are none."""
    lives = ledger.lives(images)
    if not images or ledger.unsealed(lives) is not None:
        return []
    life = lives[0] if lives else ledger.next_life()
    return [*first_read(ledger, images, life, on), Unsealed(at=on, life=life, reason=reason)]


def look_at_fresh(
    ledger: Ledger, arms: str, *, share: float, planned: int, on: date
) -> tuple[Look, list[Entry]]:
    """The look at fresh labels of ``arms``, and the line to write: none after the first label. Further labels are free."""
    before = [one for one in ledger.looks("fresh labels") if one.arms == arms]
    if before and not _had_nothing(before[-1]):
        return before[-1], []
    used = ledger.fresh_looks(on)
    look = Look(
        at=on,
        arms=arms,
        route="fresh labels",
        life=None,
        labels_digest=None,
        place=used + 1,
        alpha=fresh_alpha(planned, used, left=share - ledger.spent(on)),
    )
    if before and look.alpha == 0:
        return before[-1], []
    return look, [look]
