"""The compact network of `two_way`: Cheng et al. 2021, "Multi-scale Two-Way Deblurring Network ...", for a laptop.

The idea is that of the paper (`published` has its network): one encoder, an upper decoder with its skip connections, a
lower one without, restoration from the coarsest scale to the finest.

Differences from the paper: the U-shaped network is the compact one of this package (2 x 2 pixels as channels, no
biases, no normalisation). All scales share the same weights. The sum of both outputs is added to the blurry picture.
The inputs are pictures minus the mean of each pixel's surroundings, so that a constant picture is not changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, Decoder, UShape, surroundings
from unblur.methods.two_way.published import PublishedPlan, PublishedTwoWay, Scale, at_scale


class TwoWayPlan(BaseModel):
    """The sizes of the network, and the parts that the paper's ablation removes.

    Attributes:
        widths: channels per scale of the U-shaped network, finest first.
        blocks: residual blocks per scale of the encoder, and of each decoder.
        scales: number of sizes at which the picture is restored; each is half the next.
        second_way: False removes the decoder without skip connections (Table 1, "w/o TWNNet").
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS
    scales: PositiveInt = 3
    second_way: bool = True


class TwoWay(nn.Module):
    """Blurry pictures `(B, 3, H, W)` -> the result at each scale, coarsest first. The last `I` is the restored picture.

    Compact: 1.4 M parameters, 3.6 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: TwoWayPlan) -> None:
        super().__init__()
        self.plan = plan
        self.network = UShape(6, 3, plan.widths, plan.blocks)
        self.second = Decoder(3, plan.widths, plan.blocks) if plan.second_way else None

    def forward(self, blurry: Tensor) -> list[Scale]:
        """Restore the picture at each scale (Eq. 1), coarsest first."""
        return list(self.scales(blurry))

    def scales(self, blurry: Tensor) -> Iterator[Scale]:
        """Restore the picture at each scale (Eq. 1), coarsest first, and yield each result when it is ready."""
        made: Scale | None = None
        for scale in reversed(range(self.plan.scales)):
            B = at_scale(blurry, scale)  # (B, 3, h, w)
            before = B if made is None else F.interpolate(made.I, size=B.shape[-2:], mode="bilinear")
            made = self.one_scale(B, before)
            yield made

    def one_scale(self, B: Tensor, before: Tensor) -> Scale:
        """Compute `I^i = I_up^i + I_down^i` at one scale.

        Args:
            B: blurry pictures, `(B, 3, h, w)`.
            before: result of the coarser scale, enlarged to the same size.
        """
        height, width = B.shape[-2:]
        mean = surroundings(B)
        seen = torch.cat((B - mean, before - mean), 1)  # (B, 6, h, w)
        bottom, kept = self.network.encode(seen)
        up = self.network.decode(bottom, kept)[..., :height, :width].to(B)
        if self.second is None:
            return Scale(B + up, up, None)
        down = self.second(bottom)[..., :height, :width].to(B)
        return Scale(B + up + down, up, down)


def network_of(measures: Mapping[str, Any]) -> TwoWay | PublishedTwoWay:
    """Create the network that a recipe's table `network` describes.

    It is the published one if the table has a table `published`, else the compact one.

    Raises:
        UnblurError: an unknown key, or a value that is not allowed.
    """
    if "published" in measures:
        tables = {"published": PublishedPlan}
        return PublishedTwoWay(checked(_Published, measures, "two_way, network", tables).published)
    return TwoWay(checked(TwoWayPlan, measures, "two_way, network"))


class _Published(BaseModel):
    """A table `network` that contains only the table `published`."""

    model_config = ConfigDict(extra="forbid")

    published: PublishedPlan
