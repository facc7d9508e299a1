"""A backbone for rows of tables, trained from scratch: ``mlp``.

Its first layer sees a number in three forms: where it lies between the bounds of equal shares of the source, on a line, and
whether it is there at all; and a category as one of a list, of which a weight for each is the learned embedding.

Shape suffixes: N = rows, C = columns, K = columns of numbers, B = shares of a column, M = columns of categories.
"""

import torch
from torch import Tensor, nn

from tasks.config.sections.columns import CategoryColumn, NumberColumn
from tasks.config.sections.model import ModelParams
from tasks.domains.contract import InputSpec
from tasks.domains.table.spec import columns_in
from tasks.errors import BadInput
from tasks.models.backbones.backbone import Backbone, Sample

WIDTH = 256
DROPOUT = 0.1
FARTHEST = 4.0
"""Numbers beyond so many middle halves of the source say no more than that they are far."""


def build_table_backbone(params: ModelParams, spec: InputSpec) -> Backbone:
    """The backbone that ``params`` names, with random weights.

    Raises:
        BadInput: The name or the weights do not fit; the message says what to set.
    """
    if params.backbone != "mlp":
        raise BadInput(f"params.yaml: model.backbone {params.backbone!r} is none for tables; expected mlp")
    if params.weights != "none":
        raise BadInput(
            f"params.yaml: model.weights is {params.weights}, but mlp has no published weights: set it to none"
        )
    columns = list(columns_in(spec).read.values())
    prepare = Encode(columns)
    trunk = nn.Sequential(
        nn.Sequential(nn.Linear(prepare.width, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(DROPOUT)),
        nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Dropout(DROPOUT)),
    )
    return Backbone(prepare, trunk, feature_width=WIDTH, sample=_sample_of(columns))


class Encode(nn.Module):
    """From cells ``(N, C)`` to numbers ``(N, width)``; has nothing to train.

    Args:
        columns: In the order of the cells.

    References:
        Gorishniy et al., "On Embeddings for Numerical Features in Tabular Deep Learning", NeurIPS 2022: piecewise linear
        encoding by quantiles. Their periodic embeddings, and bins by trees, are left out.
    """

    low_KB: Tensor
    width_KB: Tensor
    centre_K: Tensor
    scale_K: Tensor

    def __init__(self, columns: list[NumberColumn | CategoryColumn]) -> None:
        super().__init__()
        numbers = [
            (place, column) for place, column in enumerate(columns) if isinstance(column, NumberColumn)
        ]
        self.numbers = [place for place, _ in numbers]
        self.categories = [
            (place, len(column.category))
            for place, column in enumerate(columns)
            if isinstance(column, CategoryColumn)
        ]
        most = max((len(column.number) - 1 for _, column in numbers), default=0)
        low_KB, width_KB = torch.zeros(len(numbers), most), torch.ones(len(numbers), most)
        centre_K, scale_K = torch.zeros(len(numbers)), torch.ones(len(numbers))
        is_share_KB = torch.zeros(len(numbers), most)
        for row, (_, column) in enumerate(numbers):
            bounds = torch.tensor(column.number, dtype=torch.float64)
            widths = bounds.diff()
            shares = widths > 0  # a value that many rows have fills several shares
            num = int(shares.sum())
            low_KB[row, :num], width_KB[row, :num] = bounds[:-1][shares].float(), widths[shares].float()
            is_share_KB[row, :num] = 1
            quarter, middle, three = torch.quantile(
                bounds, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
            )
            spread = three - quarter if three > quarter else bounds[-1] - bounds[0]
            centre_K[row], scale_K[row] = float(middle), float(spread)
        for name, tensor in (
            ("low_KB", low_KB), ("width_KB", width_KB), ("is_share_KB", is_share_KB), ("centre_K", centre_K),
            ("scale_K", scale_K),
        ):  # fmt: skip
            self.register_buffer(name, tensor, persistent=False)
        self.width = len(numbers) * (most + 2) + sum(num + 1 for _, num in self.categories)

    is_share_KB: Tensor

    def forward(self, cells_NC: Tensor) -> Tensor:
        """The forms of every cell, side by side."""
        forms = []
        if self.numbers:
            cells_NK = cells_NC[:, self.numbers]
            is_missing_NK = torch.isnan(cells_NK)
            known_NK = torch.where(is_missing_NK, self.centre_K, cells_NK)
            far_NK = ((known_NK - self.centre_K) / self.scale_K).clamp(-FARTHEST, FARTHEST)
            shares_NKB = ((known_NK[..., None] - self.low_KB) / self.width_KB).clamp(0, 1) * self.is_share_KB
            is_known_NK = 1 - is_missing_NK.float()
            forms += [far_NK, (shares_NKB * is_known_NK[..., None]).flatten(1), is_missing_NK.float()]
        for place, num in self.categories:
            places = torch.arange(num + 1, dtype=cells_NC.dtype, device=cells_NC.device)
            forms.append((cells_NC[:, place, None] == places).float())  # a missing one equals none
        return torch.cat(forms, dim=1)


def _sample_of(columns: list[NumberColumn | CategoryColumn]) -> Sample:
    generator = torch.Generator().manual_seed(0)
    cells_C2 = []
    for column in columns:
        draws_2 = torch.rand(2, generator=generator)
        if isinstance(column, NumberColumn):
            cells_C2.append(column.number[0] + draws_2 * (column.number[-1] - column.number[0]))
        else:
            cells_C2.append((draws_2 * len(column.category)).floor())
    cells_2C = torch.stack(cells_C2, dim=1)
    cells_2C[1, 0] = torch.nan
    return Sample(cells_2C, f"{len(columns)} columns")
