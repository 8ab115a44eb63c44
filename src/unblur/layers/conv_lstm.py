"""A convolutional LSTM: a memory of features that is passed from one network to the next."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

State = tuple[Tensor, Tensor]
"""Hidden and cell state of a ConvLSTM, `(B, C, h, w)` each."""


class ConvLstm(nn.Module):
    """A convolutional LSTM (Shi et al. 2015, "Convolutional LSTM network")."""

    def __init__(self, width: int, *, bias: bool = True) -> None:
        """Build the cell.

        Args:
            width: channels of the features and of the states.
            bias: False: features and states of 0 give 0.
        """
        super().__init__()
        self.gates = nn.Conv2d(2 * width, 4 * width, 3, padding=1, bias=bias)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Apply the cell to features `(B, C, h, w)`.

        Args:
            x: the features.
            state: the state after the last call, enlarged or reduced to the size of `x`; None: there was none.

        Returns:
            The hidden state, `(B, C, h, w)`, and both states.
        """
        if state is None:
            state = torch.zeros_like(x), torch.zeros_like(x)
        hidden, cell = (F.interpolate(part, size=x.shape[-2:], mode="bilinear") for part in state)
        take, keep, give, new = self.gates(torch.cat((x, hidden), 1)).chunk(4, 1)  # (B, C, h, w) each
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        hidden = give.sigmoid() * cell.tanh()
        return hidden, (hidden, cell)
