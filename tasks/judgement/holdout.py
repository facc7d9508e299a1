"""The labelled part of a target that no training and no selection sees, and what every candidate says about it.

In: results/manifest/<domain>, results/adapt/<target>.

Shape suffixes: N = labelled images of the hold-out, C = classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tasks.config.sections.gate import Metric
from tasks.errors import BadInput
from tasks.files import sha256_of_lines
from tasks.judgement.balanced import weights_of
from tasks.records.candidates import Outputs
from tasks.records.manifest import read_examples, read_groups, read_labels
from tasks.selection.pool import Pool, read_outputs
from tasks.selection.select import class_numbers
from tasks.workspace import Workspace


@dataclass(frozen=True, eq=False)
class Holdout:
    """The target's test split: what every candidate says about it, and the labels it has, if any."""

    pool: Pool
    outputs: Mapping[str, Outputs]
    """By candidate; empty where the test split has no images."""
    paths: Mapping[str, str]
    """Below data/<target>, by SHA-256 of the image."""
    labels: Mapping[str, str]
    """Class names by SHA-256, of the labelled images alone."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The group of every image, by SHA-256; an image that is missing is a group of its own."""
    metric: Metric = "accuracy"
    """``gate.metric``."""

    @property
    def images(self) -> tuple[str, ...]:
        """SHA-256 of every image of the test split, in the order of the outputs."""
        return next((outputs.sha256_N for outputs in self.outputs.values()), ())

    @property
    def labelled(self) -> list[str]:
        """SHA-256 of the labelled images, in the order of the outputs."""
        return [image for image in self.images if image in self.labels]

    @property
    def labelled_groups(self) -> list[str]:
        """The group of every labelled image, in the order of the outputs."""
        return [self.groups.get(image, image) for image in self.labelled]

    @property
    def labels_digest(self) -> str:
        """Names the labels that were read."""
        return sha256_of_lines([f"{image} {label}" for image, label in self.labels.items()])

    def class_numbers(self) -> np.ndarray:
        """The classes of the labelled images, as positions among the classes, shape ``(N,)``."""
        return class_numbers(self.pool, self.labelled, self.labels, whose="the hold-out")

    def predictions(self, name: str) -> np.ndarray:
        """The predictions of a candidate for the labelled images, shape ``(N,)``."""
        is_labelled = [image in self.labels for image in self.images]
        return self.outputs[name].predictions()[is_labelled]

    def probabilities(self, name: str) -> np.ndarray:
        """The probabilities that a candidate gives the classes of the labelled images, shape ``(N, C)``."""
        is_labelled = [image in self.labels for image in self.images]
        return self.outputs[name].probabilities_NC[is_labelled]

    def right(self, name: str) -> np.ndarray:
        """Which of the labelled images that a candidate names rightly, shape ``(N,)``."""
        return self.predictions(name) == self.class_numbers()

    def named(self, name: str) -> dict[str, str]:
        """The class that a candidate predicts for every image, by SHA-256."""
        outputs = self.outputs[name]
        numbers_N = outputs.predictions()
        return {
            image: self.pool.classes[number]
            for image, number in zip(outputs.sha256_N, numbers_N, strict=True)
        }

    def accuracy(self, name: str) -> float | None:
        """Accuracy of a candidate on the labelled images, by the metric; ``None`` without labels or without outputs."""
        if not self.labels or name not in self.outputs:
            return None
        return self.share_of(self.right(name))

    def share_of(self, right_N: np.ndarray) -> float:
        """The accuracy, by the metric, of a model that names these of the labelled images rightly."""
        return self.mean_of(right_N, np.ones(len(right_N), dtype=bool))

    def mean_of(self, values_N: np.ndarray, where_N: np.ndarray) -> float:
        """The mean of values of the labelled images, as the metric weighs those of them that are in ``where_N``."""
        labels_N = self.balanced_labels
        weights_N = None if labels_N is None else weights_of(labels_N[where_N])
        return float(np.average(values_N[where_N], weights=weights_N))

    @property
    def balanced_labels(self) -> np.ndarray | None:
        """The classes of the labelled images, ``(N,)``, where balanced accuracy is the metric; else None."""
        return self.class_numbers() if self.metric == "balanced_accuracy" else None


def read_holdout(workspace: Workspace, target: str, pool: Pool, metric: Metric) -> Holdout:
    """The test split of ``target``; labels of any other split are not looked at.

    Args:
        workspace: Whose.
        target: Its name.
        pool: The candidates of the target.
        metric: ``gate.metric``.

    Raises:
        BadInput: Manifest and outputs list different images.
    """
    manifest = workspace.stage("manifest", target)
    examples = [example for example in read_examples(manifest) if example.split == "test"]
    holdout = Holdout(
        pool,
        read_outputs(pool, "test"),
        paths={example.sha256: example.path for example in examples},
        labels=read_labels(manifest, splits=["test"]),
        metric=metric,
        groups=read_groups(manifest, splits=["test"]),
    )
    if set(holdout.images) != set(holdout.paths):
        raise BadInput(
            f"{pool.folder} refers to {len(holdout.images)} test examples, of which"
            f" {len(set(holdout.images) & set(holdout.paths))} are among the {len(holdout.paths)} of"
            f" {manifest}. Run `acclimate run` again."
        )
    return holdout
