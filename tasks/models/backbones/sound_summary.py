"""From the states of a sound, one after the other in time, to one row of features.

Shape suffixes: N = sounds, T = frames, D = width of a state, E = D + 1.
"""

import torch
from torch import Tensor, nn

PARTS_IN_TIME = 4
ROWS = 2 + PARTS_IN_TIME
"""Rows of the width of a state that the features have side by side."""


class Summary(nn.Module):
    """The states of a sound in one row: their mean and deviation, and the means of its four quarters in time.

    Args:
        norm: Applied to the states before.
    """

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, states_NTE: Tensor) -> Tensor:
        """Features ``(N, 6 D)``; frames of padding have no part in them."""
        states_NTD, is_sound_NT1 = self.norm(states_NTE[..., :-1]), states_NTE[..., -1:]
        num_N11 = is_sound_NT1.sum(dim=1, keepdim=True).clamp(min=1)
        mean_N1D = (states_NTD * is_sound_NT1).sum(dim=1, keepdim=True) / num_N11
        squares_ND = (((states_NTD - mean_N1D) ** 2) * is_sound_NT1).sum(dim=1) / num_N11[:, 0]
        place_NT1 = (torch.cumsum(is_sound_NT1, dim=1) - 0.5) / num_N11 * PARTS_IN_TIME
        rows = [mean_N1D[:, 0], (squares_ND + 1e-8).sqrt()]
        for part in range(PARTS_IN_TIME):
            # Each frame counts for a quarter by how near it is to its middle, so that no sound is too short.
            weights_NT1 = (1 - (place_NT1 - part - 0.5).abs()).clamp(
                min=0
            ) * is_sound_NT1 + 1e-6 * is_sound_NT1
            rows.append((states_NTD * weights_NT1).sum(dim=1) / weights_NT1.sum(dim=1).clamp(min=1e-9))
        return torch.cat(rows, dim=1)
