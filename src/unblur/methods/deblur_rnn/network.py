"""The compact network of `deblur_rnn`: Zhang, Zhen, Stevenson, "Deep Motion Blur Removal ...", for a laptop.

The idea is that of the paper (`published` has its network): a denoising network restores the short shot, and a
deblurring network restores the sharp picture from the denoised and the blurry shot. A ConvLSTM between the encoder and
the decoder of each passes what the first network has seen to the second.

Differences from the paper: the networks are the compact ones of this package (2 x 2 pixels as channels, no biases, no
normalisation), so that the weights of `nidf` can be the initial ones of `net1`. The hidden state is added to the
coarsest features; its initial weights are zero. Each network's output is added to its first input. The inputs are
pictures minus the mean around each pixel of the noisy or denoised one, so that a pair of one constant colour is not
changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.conv_lstm import ConvLstm, State
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, UShape, surroundings
from unblur.methods.deblur_rnn.published import PublishedDeblurRnn, PublishedPlan, deblur, denoise


class RnnPlan(BaseModel):
    """The sizes of both networks, and the part that an ablation removes.

    Attributes:
        widths: channels per scale, finest first (at half, quarter, ... of the picture's size).
        blocks: residual blocks per scale of the encoder, and of the decoder.
        recurrent: False removes the ConvLSTMs, so that the second network sees only pictures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS
    recurrent: bool = True


class DeblurRnn(nn.Module):
    """A blurry and an equally bright noisy picture, `(B, 3, H, W)` each -> the denoised and the sharp picture.

    Compact: 3.53 M parameters, 4.2 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: RnnPlan) -> None:
        super().__init__()
        self.net1 = Net(3, plan)  # denoises
        self.net2 = Net(6, plan)  # deblurs
        self.lstm1, self.lstm2 = (Memory(plan.widths[-1]) if plan.recurrent else None for _ in range(2))

    def forward(self, I_B: Tensor, I_N: Tensor) -> tuple[Tensor, Tensor]:
        """Restore the picture at the time of the noisy shot: `I_C, I_S`, `(B, 3, H, W)` each."""
        modules = dict(self.named_children())
        I_C, state = denoise(modules, I_N)
        return I_C, deblur(modules, I_C, I_B, state)


class Net(nn.Module):
    """A U-shaped network. The names of the weights are those of a network of `nidf`."""

    def __init__(self, inputs: int, plan: RnnPlan) -> None:
        super().__init__()
        self.network = UShape(inputs, 3, plan.widths, plan.blocks)

    def forward(
        self, x: Tensor, other: Tensor | None, lstm: nn.Module | None, state: State | None
    ) -> tuple[Tensor, State | None]:
        """Add a correction to a picture.

        Args:
            x: the picture, `(B, 3, H, W)`.
            other: a further input of the same shape.
            lstm: a `Memory`.
            state: its state after the last network.

        Returns:
            The corrected picture, `(B, 3, H, W)`, and the new state.
        """
        height, width = x.shape[-2:]
        mean = surroundings(x)
        seen = x - mean if other is None else torch.cat((x - mean, other - mean), 1)  # (B, 3 or 6, H, W)
        bottom, kept = self.network.encode(seen)  # (B, widths[-1], H/2^n, W/2^n)
        if lstm is not None:
            bottom, state = lstm(bottom, state)
        return x + self.network.decode(bottom, kept)[..., :height, :width].to(x), state


class Memory(nn.Module):
    """A ConvLSTM whose hidden state is added to the features: `x + W h`. Features of 0 remain 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cell = ConvLstm(width, bias=False)
        self.out = nn.Conv2d(width, width, 1, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Apply it to features `(B, width, h, w)` and the state after the last call."""
        hidden, new = self.cell(x, state)
        return x + self.out(hidden), new


def network_of(measures: Mapping[str, Any]) -> DeblurRnn | PublishedDeblurRnn:
    """Create the network that a recipe's table `network` describes.

    It is the published one if the table has a table `published`, else the compact one.

    Raises:
        UnblurError: an unknown key, or a value that is not allowed.
    """
    if "published" in measures:
        tables = {"published": PublishedPlan}
        return PublishedDeblurRnn(checked(_Published, measures, "deblur_rnn, network", tables).published)
    return DeblurRnn(checked(RnnPlan, measures, "deblur_rnn, network"))


class _Published(BaseModel):
    """A table `network` that contains only the table `published`."""

    model_config = ConfigDict(extra="forbid")

    published: PublishedPlan
