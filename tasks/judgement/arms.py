"""The arms of a comparison, frozen before a label is given: the candidate, its rivals, and the images on which they differ.

The order in which these images are labelled follows from the digest of all this. So it is as good as random, nobody
can choose it, and no image comes first at every retraining.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tasks.config.sections.gate import BudgetParams
from tasks.files import sha256_of_lines
from tasks.judgement.holdout import Holdout
from tasks.judgement.in_service import InService
from tasks.records.answers import Answer, latest
from tasks.records.ledger import Frozen
from tasks.records.ledger import Rival as FrozenRival
from tasks.records.to_label import Disagreement
from tasks.selection.pool import Candidate


@dataclass(frozen=True)
class Contestant:
    """A model and what it says about the images of the test split."""

    name: str
    """As people call it."""
    checkpoint_sha256: str
    says: Mapping[str, str]
    """A class for every image, by SHA-256."""


@dataclass(frozen=True)
class Arms:
    """A candidate, the models that it is compared with, and the images that can tell them apart."""

    candidate: Contestant
    rivals: tuple[Contestant, ...]
    """The first is the one that it must beat: the champion, or source-only where there is none."""
    margin: float
    """The gain that is to be exceeded."""
    images: int
    """Images on which they were compared."""
    disagreements: tuple[Disagreement, ...]
    """Unlabelled images on which a rival says something else, in the order in which they are to be labelled."""
    groups: Mapping[str, str]
    """The groups of images; one that is missing is a group of its own."""
    key: str
    """Digest of all this."""

    def group(self, image: str) -> str:
        """The group of an image."""
        return self.groups.get(image, image)

    @property
    def sizes(self) -> Counter[str]:
        """How many images of every group are to be labelled."""
        return Counter(self.group(one.sha256) for one in self.disagreements)

    def frozen(self, budget: BudgetParams, *, share: float, on: date) -> Frozen:
        """The line of the ledger."""
        return Frozen(
            at=on,
            arms=self.key,
            candidate=self.candidate.name,
            checkpoint_sha256=self.candidate.checkpoint_sha256,
            against=tuple(
                FrozenRival(name=one.name, checkpoint_sha256=one.checkpoint_sha256) for one in self.rivals
            ),
            margin=self.margin,
            disagreements=len(self.disagreements),
            images=self.images,
            order_sha256=_digest("".join(one.sha256 for one in self.disagreements)),
            share=share,
            verdicts=budget.verdicts,
        )


def arms_of(
    chosen: Candidate,
    others: Sequence[Candidate],
    holdout: Holdout,
    champion: InService | None,
    answers: Sequence[Answer],
    *,
    margin: float,
) -> Arms | None:
    """The chosen candidate and what labels compare it with: the champion or, where there is none, the ``others``.

    None where nothing was preferred to source-only, the candidate is in service already, or there is no image to
    compare them on.

    Args:
        chosen: The selected candidate.
        others: Source-only first, then the simplest adaptation.
        holdout: The test split.
        champion: The model in service.
        answers: All that people ever answered.
        margin: The gain that is to be exceeded.
    """
    is_champion = champion is not None and champion.checkpoint_sha256 == chosen.checkpoint_sha256
    if chosen == others[0] or is_champion or not holdout.outputs:
        return None

    def contestant(one: Candidate) -> Contestant:
        return Contestant(one.name, one.checkpoint_sha256, holdout.named(one.name))

    rivals = [contestant(one) for one in others if one != chosen]
    if champion is not None:
        rivals = [Contestant(champion.name, champion.checkpoint_sha256, champion.says)]
    return take_up_arms(contestant(chosen), rivals, holdout, answers, margin=margin)


def take_up_arms(
    candidate: Contestant,
    rivals: Sequence[Contestant],
    holdout: Holdout,
    answers: Sequence[Answer],
    *,
    margin: float,
) -> Arms:
    """The arms of a comparison.

    Args:
        candidate: The selected one.
        rivals: The models that it is compared with; the one that it must beat first.
        holdout: The test split.
        answers: All that people ever answered. An image that was labelled for other arms is left out: its label is no fresh
            one.
        margin: The gain that is to be exceeded.
    """
    differing = [
        image
        for image in holdout.images
        if image not in holdout.labels and any(rival.says[image] != candidate.says[image] for rival in rivals)
    ]
    models = [one.checkpoint_sha256 for one in (candidate, *rivals)]
    key = _digest("\n".join([*models, repr(margin), sha256_of_lines(differing)]))
    elsewhere = {image for image, answer in latest(answers).items() if answer.arms != key}
    fresh = [image for image in differing if image not in elsewhere]
    groups = {image: holdout.groups[image] for image in fresh if image in holdout.groups}

    def position(image: str) -> tuple[str, str]:
        return _digest(key + groups.get(image, image)), _digest(key + image)

    return Arms(
        candidate,
        tuple(rivals),
        margin,
        len(holdout.images),
        tuple(Disagreement(holdout.paths[image], image) for image in sorted(fresh, key=position)),
        groups,
        key,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
