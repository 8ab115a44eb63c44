"""Cheng et al. 2021, "Multi-scale Two-Way Deblurring Network for Non-uniform Single Image Deblurring", as published.

One encoder and two decoders: the upper one has the encoder's skip connections and restores from the blurry picture; the
lower one has none and restores from the coarsest features alone ("from blank"). The sum of both is the sharp picture.
The network restores the picture at a quarter of its size first. Each result is enlarged and is a further input at the
next scale.

Not in the paper, and so our reading: the widths and strides (those of SRN, Tao et al. 2018, which it extends); one set
of weights for all scales (Eq. 1 has one theta); skip connections are sums; the order of the layers in a decoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from unblur.layers.conv_lstm import ConvLstm, State
from unblur.layers.u_shape import ResidualBlock


class PublishedPlan(BaseModel):
    """The sizes of the network, and what the paper removes or compares with.

    Attributes:
        widths: channels per level, finest first.
        blocks: residual blocks per level of the encoder, and of each decoder.
        scales: number of sizes at which the picture is restored; each is half the next.
        second_way: False removes the decoder without skip connections (Table 1, "w/o TWNNet").
        shared: True: all scales have the same weights, as in SRN. False: each has its own, as in Nah et al. 2017.
        recurrent: True: a ConvLSTM passes the coarsest features from scale to scale, as in SRN.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (32, 64, 128)
    blocks: PositiveInt = 3
    scales: PositiveInt = 3
    second_way: bool = True
    shared: bool = True
    recurrent: bool = False


class Scale(NamedTuple):
    """The restored picture `I` at one scale, and the outputs `up` and `down` of both decoders: `(B, 3, h, w)` each."""

    I: Tensor  # noqa: E741
    up: Tensor
    down: Tensor | None


class PublishedTwoWay(nn.Module):
    """Blurry pictures `(B, 3, H, W)` -> the result at each scale, coarsest first. The last `I` is the restored picture.

    2.0 M parameters, 36 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        self.plan = plan
        self.nets = nn.ModuleList(Net(plan) for _ in range(1 if plan.shared else plan.scales))  # coarsest first
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, blurry: Tensor) -> list[Scale]:
        """Restore the picture at each scale (Eq. 1), coarsest first."""
        return list(self.scales(blurry))

    def scales(self, blurry: Tensor) -> Iterator[Scale]:
        """Restore the picture at each scale (Eq. 1), coarsest first, and yield each result when it is ready."""
        result = at_scale(blurry, self.plan.scales - 1)  # the coarsest scale is given the blurry picture twice
        state: State | None = None
        for number, scale in enumerate(reversed(range(self.plan.scales))):
            B = at_scale(blurry, scale)  # (B, 3, h, w)
            before = F.interpolate(result, size=B.shape[-2:], mode="bilinear")  # I^{i+1}
            made, state = self.nets[0 if self.plan.shared else number](B, before, state)
            yield made
            result = made.I


class Net(nn.Module):
    """The network at one scale: an encoder and one or two decoders."""

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        self.multiple = 2 ** (len(plan.widths) - 1)
        self.encoder = nn.ModuleList(
            _level(nn.Conv2d(inputs, width, 3, stride=2 if level else 1, padding=1), width, plan.blocks)
            for level, (inputs, width) in enumerate(pairwise((6, *plan.widths)))
        )
        self.lstm = ConvLstm(plan.widths[-1]) if plan.recurrent else None
        self.upper = Decoder(plan)
        self.lower = Decoder(plan) if plan.second_way else None

    def forward(self, B: Tensor, before: Tensor, state: State | None) -> tuple[Scale, State | None]:
        """Compute `I^i, I_up^i, I_down^i = Net(B^i, I^{i+1})` (Eq. 1).

        Args:
            B: blurry pictures, `(B, 3, h, w)`.
            before: result of the coarser scale, enlarged to the same size.
            state: state of the ConvLSTM at the coarser scale; None: there is none.
        """
        height, width = B.shape[-2:]
        x = F.pad(torch.cat((B, before), 1), (0, -width % self.multiple, 0, -height % self.multiple), "replicate")
        kept = []
        for level in self.encoder:
            x = level(x)  # (B, widths[level], h / 2^level, w / 2^level)
            kept.append(x)
        if self.lstm is not None:
            x, state = self.lstm(x, state)  # (B, widths[-1], ...)
        up = self.upper(x, kept)[..., :height, :width].to(B)
        if self.lower is None:
            return Scale(up, up, None), state
        down = self.lower(x, None)[..., :height, :width].to(B)
        return Scale(up + down, up, down), state  # I = I_up + I_down


class Decoder(nn.Module):
    """A deconvolution and residual blocks per level, then a convolution to the picture."""

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            _level(nn.ConvTranspose2d(coarse, fine, 3, stride=2, padding=1, output_padding=1), fine, plan.blocks)
            for fine, coarse in pairwise(plan.widths)
        )
        self.last = nn.Conv2d(plan.widths[0], 3, 3, padding=1)

    def forward(self, x: Tensor, kept: list[Tensor] | None) -> Tensor:
        """Apply the decoder, with the encoder's features `kept` as skip connections, or None: without."""
        for number in reversed(range(len(self.levels))):
            deconvolution, *blocks = self.levels[number]  # pyright: ignore[reportGeneralTypeIssues]
            x = deconvolution(x)
            x = x if kept is None else x + kept[number]
            for block in blocks:
                x = block(x)
        return self.last(x)


def _level(change: nn.Module, width: int, blocks: int) -> nn.Sequential:
    """A convolution or deconvolution with a ReLU, then residual blocks."""
    return nn.Sequential(
        nn.Sequential(change, nn.ReLU(inplace=True)), *(ResidualBlock(width, bias=True) for _ in range(blocks))
    )


def at_scale(picture: Tensor, scale: int) -> Tensor:
    """Average blocks of `2^scale` x `2^scale` pixels: `(B, C, H, W)` -> `(B, C, ceil(H / 2^scale), ...)`."""
    side = 2**scale
    if side == 1:
        return picture
    height, width = picture.shape[-2:]
    return F.avg_pool2d(F.pad(picture, (0, -width % side, 0, -height % side), "replicate"), side)
