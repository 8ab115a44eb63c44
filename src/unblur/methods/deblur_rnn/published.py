"""Zhang, Zhen, Stevenson, "Deep Motion Blur Removal Using Noisy/Blurry Image Pairs": DeblurRNN as published.

A denoising net restores `I_C` from the noisy shot `I_N`; a deblurring net restores the sharp picture from `I_C` and the
blurry shot `I_B`. Both have the same encoder and decoder with skip connections and different weights. A ConvLSTM stands
between the encoder and the decoder of each, and its state flows from the first net to the second (Fig. 2).

Not in the text of the paper, and so our reading: the widths and the number of blocks, the kernel of the ConvLSTM (3),
the place of the dropout (after the coarsest block of the decoder), and that the last layer has no activation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from unblur.layers.conv_lstm import ConvLstm, State
from unblur.layers.strided_blocks import StridedDecoder, StridedEncoder, initialised, padded


class PublishedPlan(BaseModel):
    """The sizes of both nets, and the parts that an ablation removes.

    Attributes:
        widths: channels after each block of the encoder, finest first.
        spectral: False removes the spectral norm of the weights.
        recurrent: False removes the ConvLSTMs.
        dropout: share of the values that dropout sets to 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (64, 128, 256, 512)
    spectral: bool = True
    recurrent: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class PublishedDeblurRnn(nn.Module):
    """A blurry and an equally bright noisy picture, `(B, 3, H, W)` each -> the denoised and the sharp picture.

    57.0 M parameters, 23.6 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        self.net1 = Net(3, plan)  # denoises
        self.net2 = Net(6, plan)  # deblurs
        self.lstm1, self.lstm2 = (ConvLstm(plan.widths[-1]) if plan.recurrent else None for _ in range(2))
        for lstm in (self.lstm1, self.lstm2):
            if lstm is not None:
                initialised(lstm.gates, spectral=False)

    def forward(self, I_B: Tensor, I_N: Tensor) -> tuple[Tensor, Tensor]:
        """Restore the picture at the time of the noisy shot: `I_C, I_S`, `(B, 3, H, W)` each."""
        modules = dict(self.named_children())
        I_C, state = denoise(modules, I_N)
        return I_C, deblur(modules, I_C, I_B, state)


def denoise(modules: Mapping[str, nn.Module], I_N: Tensor) -> tuple[Tensor, State | None]:
    """Apply `net1` and `lstm1`, given by their names: the denoised picture `I_C`, and the state for `deblur`."""
    return modules["net1"](I_N, None, modules.get("lstm1"), None)


def deblur(modules: Mapping[str, nn.Module], I_C: Tensor, I_B: Tensor, state: State | None) -> Tensor:
    """Apply `net2` and `lstm2`, given by their names: the sharp picture `I_S`."""
    I_S, _ = modules["net2"](I_C, I_B, modules.get("lstm2"), state)
    return I_S


class Net(nn.Module):
    """An encoder and a decoder, and a ConvLSTM between them."""

    def __init__(self, inputs: int, plan: PublishedPlan) -> None:
        super().__init__()
        *finer, coarsest = plan.widths
        self.multiple = 2 ** len(plan.widths)
        self.encoder = StridedEncoder(inputs, plan.widths, spectral=plan.spectral)
        self.decoder = StridedDecoder(coarsest, finer, (3, *finer), spectral=plan.spectral, dropout=plan.dropout)

    def forward(
        self, x: Tensor, other: Tensor | None, lstm: nn.Module | None, state: State | None
    ) -> tuple[Tensor, State | None]:
        """Restore pictures `(B, 3, H, W)`.

        Args:
            x: noisy or denoised pictures.
            other: the blurry ones, if they are a further input.
            lstm: a `ConvLstm`.
            state: its state after the last network.

        Returns:
            The restored pictures, and the new state.
        """
        height, width = x.shape[-2:]
        seen = padded(x if other is None else torch.cat((x, other), 1), self.multiple)
        *kept, bottom = self.encoder(seen)  # (B, widths[-1], H / 2^n, W / 2^n)
        if lstm is not None:
            bottom, state = lstm(bottom, state)
        return self.decoder(bottom, kept)[..., :height, :width].to(x), state
