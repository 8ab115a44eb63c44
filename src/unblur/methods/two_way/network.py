"""Cheng et al. 2021, "Multi-scale Two-Way Deblurring Network for Non-uniform Single Image Deblurring", compact.

One encoder and two decoders: the upper one has the encoder's skip connections and restores from the blurry picture; the
lower one has none and restores from the coarsest features alone ("from blank"). The sum of both is the sharp picture.
The network restores the picture at a quarter of its size first. Each result is enlarged and is a further input at the
next scale.

What differs from the paper: the U-shape is the compact one of this package (2 x 2 pixels as channels, no biases, no
normalisation); all scales share their weights; the sum of the two ways is added to the blurry picture; and the network
sees pictures minus the mean of their surroundings, so that a flat picture comes back as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, Decoder, UShape, surroundings


class TwoWayPlan(BaseModel):
    """The network's measures, and what the paper switches off.

    Attributes:
        widths: channels per scale of the U-shape, finest first.
        blocks: residual blocks per scale on the way down, and again on each way up.
        scales: sizes at which the picture is restored, each half the next.
        second_way: False leaves out the decoder without skips (Table 1, "w/o TWNNet").
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS
    scales: PositiveInt = 3
    second_way: bool = True


class Scale(NamedTuple):
    """The result at one scale, and what the two ways added to the blurry picture there: `(B, 3, h, w)` each."""

    I: Tensor  # noqa: E741
    up: Tensor
    down: Tensor | None


class TwoWay(nn.Module):
    """`(B, 3, H, W)` blurry pictures -> the result at each scale, coarsest first. The last `I` is the sharp picture.

    Compact: 1.4 M parameters, 3.6 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: TwoWayPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(6, 3, plan.widths, plan.blocks)
        self.second = Decoder(3, plan.widths, plan.blocks) if plan.second_way else None

    def forward(self, blurry: Tensor) -> list[Scale]:
        """Eq. 1 at each scale."""
        return list(self.scales(blurry))

    def scales(self, blurry: Tensor) -> Iterator[Scale]:
        """The same, one scale after the other."""
        made: Scale | None = None
        for scale in reversed(range(self.plan.scales)):
            B = at_scale(blurry, scale)  # (B, 3, h, w)
            before = B if made is None else F.interpolate(made.I, size=B.shape[-2:], mode="bilinear")
            made = self.one_scale(B, before)
            yield made

    def one_scale(self, B: Tensor, before: Tensor) -> Scale:
        """`I^i = I_up^i + I_down^i` from the blurry picture and from what the coarser scale made of it."""
        height, width = B.shape[-2:]
        mean = surroundings(B)
        seen = torch.cat((B - mean, before - mean), 1)  # (B, 6, h, w)
        bottom, kept = self.network.encode(seen)
        up = self.network.decode(bottom, kept)[..., :height, :width].to(B)
        if self.second is None:
            return Scale(B + up, up, None)
        down = self.second(bottom)[..., :height, :width].to(B)
        return Scale(B + up + down, up, down)


def at_scale(picture: Tensor, scale: int) -> Tensor:
    """Average blocks of `2^scale` x `2^scale` pixels: `(B, C, H, W)` -> `(B, C, ceil(H / 2^scale), ...)`."""
    side = 2**scale
    if side == 1:
        return picture
    height, width = picture.shape[-2:]
    return F.avg_pool2d(F.pad(picture, (0, -width % side, 0, -height % side), "replicate"), side)


def network_of(measures: Mapping[str, Any]) -> TwoWay:
    """The network of a recipe's table `network`.

    Raises:
        UnblurError: for a key that there is not, or a value that cannot be.
    """
    return TwoWay(checked(TwoWayPlan, measures, "two_way, network"))
