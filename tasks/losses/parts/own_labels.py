"""Labels that the target gives itself, and the cross-entropy on them.

The labels of all target rows are assigned at once, from outputs in evaluation mode without augmentation.
They are buffers, so that a resumed run trains on the labels that the undisturbed one had.

Shape suffixes: N = all target rows, B = target rows of a batch, C = classes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

WARM_UP = 0.5
"""Share of a run before its own labels are believed, where the model learns from the source as well."""


class OwnLabels(nn.Module):
    """Labels of all target rows, which of them are believed, and the share that the last refresh changed.

    Args:
        num_rows: ``N``, target rows that the run adapts to.
    """

    labels_N: Tensor
    kept_N: Tensor
    changed: Tensor

    def __init__(self, *, num_rows: int) -> None:
        super().__init__()
        self.register_buffer("labels_N", torch.full((num_rows,), -1))
        self.register_buffer("kept_N", torch.zeros(num_rows, dtype=torch.bool))
        self.register_buffer("changed", torch.tensor(1.0, dtype=torch.float64))

    def assign(self, labels_N: Tensor, kept_N: Tensor) -> None:
        """Take new labels ``(N,)`` and which rows to believe ``(N,)``."""
        self.changed.fill_((labels_N != self.labels_N.cpu()).double().mean())
        self.labels_N.copy_(labels_N)
        self.kept_N.copy_(kept_N)

    def cross_entropy(self, logits_BC: Tensor, rows_B: Tensor | None) -> Tensor:
        """Mean over the whole batch, with 0 for rows that are not kept.

        Over the kept rows alone, one confident mistake in an uncertain batch would weigh as much as a
        batch of them.

        Raises:
            ValueError: The batch has no row numbers, or a row has no label yet.
        """
        if rows_B is None:
            raise ValueError("pseudo-labels need the row numbers of the target rows, got none")
        labels_B, kept_B = self.labels_N[rows_B], self.kept_N[rows_B]
        if bool((labels_B < 0).any()):
            raise ValueError("pseudo-labels were asked for before refresh() gave any")
        losses_B = functional.cross_entropy(logits_BC, labels_B, reduction="none")
        return (losses_B * kept_B).mean()

    def diagnostics(self) -> dict[str, float]:
        """Share of rows believed, and of labels that the last refresh changed."""
        return {"kept": float(self.kept_N.double().mean()), "changed": float(self.changed)}
