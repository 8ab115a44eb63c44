"""The compact network of `deblur_merger`: Zhang, Zhen, Stevenson, "Deep Motion Blur Removal ...", for a laptop.

The idea is that of the paper (`published` has its network): the noisy and the blurry shot have
an encoder each, their bottlenecks are concatenated, and one decoder makes the sharp picture of them.

Differences from the paper: the encoders and the decoder are the compact ones of this package (2 x 2 pixels as
channels, no biases, no normalisation), so that the weights of `nidf` can be the initial ones: `net1` is its denoising
network. The decoder's output is added to the noisy shot. The inputs are both pictures minus the mean around each pixel
of the noisy one, so that a pair of one constant colour is not changed, and a difference in brightness is seen. The
initial weights of all that comes from the blurry shot are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, PositiveInt
from torch import Tensor, nn

from unblur.contract import checked
from unblur.layers.u_shape import COMPACT_BLOCKS, COMPACT_WIDTHS, Encoder, UShape, surroundings
from unblur.methods.deblur_merger.published import PublishedDeblurMerger, PublishedPlan


class MergerPlan(BaseModel):
    """The sizes of both encoders and of the decoder.

    Attributes:
        widths: channels per scale, finest first (at half, quarter, ... of the picture's size).
        blocks: residual blocks per scale of an encoder, and of the decoder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: tuple[PositiveInt, ...] = COMPACT_WIDTHS
    blocks: tuple[PositiveInt, ...] = COMPACT_BLOCKS


class DeblurMerger(nn.Module):
    """A blurry and an equally bright noisy picture, `(B, 3, H, W)` each -> the sharp picture, `(B, 3, H, W)`.

    Compact: 1.91 M parameters, 3.0 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: MergerPlan) -> None:
        super().__init__()
        self.net1 = Net1(plan)
        self.merger = Merger(plan)

    def forward(self, I_B: Tensor, I_N: Tensor) -> Tensor:
        """Restore the sharp picture at the time of the noisy shot."""
        return merge(dict(self.named_children()), I_B, I_N)


def merge(modules: Mapping[str, nn.Module], I_B: Tensor, I_N: Tensor) -> Tensor:
    """Apply the modules of either network, given by their names: the sharp picture, `(B, 3, H, W)`."""
    if "generator" in modules:
        return modules["generator"](I_B, I_N)
    return modules["net1"](I_N, I_B, modules["merger"])


class Net1(nn.Module):
    """The encoder of the noisy shot and the decoder. The names of the weights are those of a network of `nidf`."""

    def __init__(self, plan: MergerPlan) -> None:
        super().__init__()
        self.network = UShape(3, 3, plan.widths, plan.blocks)

    def forward(self, I_N: Tensor, I_B: Tensor, merger: nn.Module) -> Tensor:
        """Restore the noisy shot with the help of the blurry one, `(B, 3, H, W)` each; `merger` is a `Merger`."""
        height, width = I_N.shape[-2:]
        mean = surroundings(I_N)
        bottom, kept = self.network.encode(I_N - mean)  # (B, widths[-1], H/2^n, W/2^n)
        bottom, kept = merger(I_B - mean, bottom, kept)
        return I_N + self.network.decode(bottom, kept)[..., :height, :width].to(I_N)


class Merger(nn.Module):
    """The encoder of the blurry shot, and what merges its features with those of the noisy one."""

    def __init__(self, plan: MergerPlan) -> None:
        super().__init__()
        *finer, coarsest = plan.widths
        self.encoder = Encoder(3, plan.widths, plan.blocks)
        self.bottleneck = nn.Conv2d(2 * coarsest, coarsest, 1, bias=False)
        self.skips = nn.ModuleList(nn.Conv2d(2 * width, width, 1, bias=False) for width in finer)
        for merge in (self.bottleneck, *self.skips):
            assert isinstance(merge, nn.Conv2d)
            nn.init.dirac_(merge.weight)  # the features of the noisy shot, unchanged

    def forward(self, blurry: Tensor, bottom: Tensor, kept: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Merge the features of the noisy shot, as from `Encoder.encode`, with those of the blurry picture."""
        coarse, fine = self.encoder.encode(blurry)
        merged = [skip(torch.cat(both, 1)) for skip, *both in zip(self.skips, kept, fine, strict=True)]
        return self.bottleneck(torch.cat((bottom, coarse), 1)), merged


def network_of(measures: Mapping[str, Any]) -> DeblurMerger | PublishedDeblurMerger:
    """Create the network that a recipe's table `network` describes.

    It is the published one if the table has a table `published`, else the compact one.

    Raises:
        UnblurError: an unknown key, or a value that is not allowed.
    """
    if "published" in measures:
        tables = {"published": PublishedPlan}
        return PublishedDeblurMerger(checked(_Published, measures, "deblur_merger, network", tables).published)
    return DeblurMerger(checked(MergerPlan, measures, "deblur_merger, network"))


class _Published(BaseModel):
    """A table `network` that contains only the table `published`."""

    model_config = ConfigDict(extra="forbid")

    published: PublishedPlan
