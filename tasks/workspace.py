"""A workspace: one folder with params.yaml, dvc.yaml, data/, its own git and DVC state.

Every path that dvc.yaml names is built here, once; a test compares the two. Domains are
``source`` and the targets.

    data/source/<class>/...              labelled images
    data/<target>/images/...             flat, or in class folders (labels then serve the hold-out only)
    data/<target>/holdout/<class>/...    optional, labelled; spent on the verdict, never trained on
    data/<target>/labelled/<class>/...   optional, a few images that training sees with their labels
    data/<target>/arrived/<batch>/...    unlabelled batches taken in by the arrival flow
    data/<domain>/refused.jsonl          files that the importer could not copy, one {"path", "reason"} per line
    targets/<target>.yaml                settings of one target, laid over those of params.yaml
    data/<target>/labelled/retired.csv   images whose labels were spent on a verdict and now train, one sha256 and label per line
    answers/<target>.csv                 labels of disagreements, given with `acclimate label`; the gate alone reads them
    ledger/<target>.jsonl                what the labels of the target were spent on; only ever grows
    results/<stage>/<domain or target>/  what a stage leaves
    registry/<target>/                   versions, aliases, history
    landing/<target>/<batch>/            batches waiting to be taken in
    .acclimate/                          mutex, scratch of interrupted stages, local Prefect state; not in git
"""

import re
from dataclasses import dataclass
from pathlib import Path

# Target names become folders, DVC stage names, URL parts, Prefect resource ids and Triton models.
DOMAIN_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


@dataclass(frozen=True)
class Workspace:
    """Paths of a workspace; touches nothing on disk."""

    root: Path

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def dvc_yaml(self) -> Path:
        return self.root / "dvc.yaml"

    @property
    def dvc_lock(self) -> Path:
        return self.root / "dvc.lock"

    @property
    def private(self) -> Path:
        return self.root / ".acclimate"

    def data(self, domain: str) -> Path:
        return self.root / "data" / domain

    def landing(self, target: str) -> Path:
        return self.root / "landing" / target

    def answers(self, target: str) -> Path:
        """The labels that people gave to the target's disagreements; like the champion it always exists."""
        return self.root / "answers" / f"{target}.csv"

    def ledger(self, target: str) -> Path:
        """The account of the target's labels and verdicts; the gate refuses without it."""
        return self.root / "ledger" / f"{target}.jsonl"

    def registry(self, target: str) -> Path:
        return self.root / "registry" / target

    def champion(self, target: str) -> Path:
        """The pointer file that the gate depends on; it always exists, also before the first promotion."""
        return self.registry(target) / "champion.json"

    def stage(self, stage: str, domain: str | None = None) -> Path:
        """The folder of a stage's results; ``domain`` is absent for stages that run once."""
        folder = self.root / "results" / stage
        return folder / domain if domain else folder

    def scratch(self, stage: str, domain: str | None = None) -> Path:
        """Where an interrupted stage finds its checkpoints; DVC never touches it."""
        folder = self.private / "scratch" / stage
        return folder / domain if domain else folder
