"""The network as published: Gilbert, Messinger & Patel, "Non-Blind Image Deblurring using Neural Networks", sec. 2."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from unblur.layers.bilateral import bilateral_filter
from unblur.solvers.canvas import Canvas

SNRS = tuple(range(9, 66, 4))
"""Assumed signal-to-noise ratios in dB (section 1.2)."""


class PublishedPlan(BaseModel):
    """The sizes of the network, and the parts that the paper adds or removes.

    Attributes:
        blocks: number of residual blocks.
        width: channels.
        kernel: side of the convolutions in pixels.
        keep: share of the channels that dropout keeps (our reading of "dropout rate .8").
        with_blurry: whether the blurry picture is part of the stack.
        bilateral: whether the last layer is a bilateral filter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blocks: Annotated[int, Field(ge=1)] = 12
    width: Annotated[int, Field(ge=1)] = 64
    kernel: Annotated[int, Field(ge=1)] = 5
    keep: Annotated[float, Field(gt=0, le=1)] = 0.8
    with_blurry: bool = True
    bilateral: bool = False


class PublishedStack(nn.Module):
    """Blurry pictures `(B, 3, H, W)` and PSFs `(B, 1, h, w)` -> restored pictures `(B, 3, H, W)`."""

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        self.plan = plan
        inputs = 3 * (len(SNRS) + plan.with_blurry)
        self.head = nn.Conv2d(inputs, plan.width, plan.kernel, padding=plan.kernel // 2)
        self.blocks = nn.Sequential(*(_Block(plan) for _ in range(plan.blocks)))
        self.tail = nn.Conv2d(plan.width, 3, plan.kernel, padding=plan.kernel // 2)

    def forward(self, blurry: Tensor, psf: Tensor) -> Tensor:
        """Restore the pictures."""
        canvas = Canvas.around(blurry, psf)
        stack = canvas.crop(wiener_stack(canvas)).flatten(1, 2)  # (B, 45, H, W)
        if self.plan.with_blurry:
            stack = torch.cat((stack, blurry), 1)  # (B, 48, H, W)
        sharp = self.tail(self.blocks(self.head(stack))).float()
        if self.plan.bilateral:
            return bilateral_filter(sharp)
        return sharp


class _Block(nn.Module):
    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        conv = lambda: nn.Conv2d(plan.width, plan.width, plan.kernel, padding=plan.kernel // 2)  # noqa: E731
        self.body = nn.Sequential(conv(), nn.ReLU(inplace=True), nn.Dropout2d(1 - plan.keep), conv())

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def wiener_stack(canvas: Canvas) -> Tensor:
    """Compute the reconstruction `conj(K) Y / (|K|^2 + 1 / SNR)` for each of `SNRS`: `(B, 15, C, H', W')`."""
    noise = torch.tensor([10 ** (-snr / 10) for snr in SNRS], device=canvas.blurry.device).view(-1, 1, 1, 1)
    data = canvas.otf_conj * canvas.forward(canvas.blurry)  # (B, C, H', W'//2 + 1)
    power = canvas.otf.abs().square()[:, None] + noise  # (B, 15, 1, H', W'//2 + 1)
    return canvas.inverse(data[:, None] / power)
