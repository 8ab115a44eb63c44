"""Zhang, Zhen, Stevenson, "Deep Motion Blur Removal Using Noisy/Blurry Image Pairs": DeblurMerger as published.

The noisy and the blurry shot have an encoder each. Their bottlenecks are concatenated, and one decoder makes the sharp
picture of them (Fig. 3). The encoders and the decoder are those of DeblurRNN.

Not in the text of the paper, and so our reading: the widths and the number of blocks; that the skip connections come
from both encoders; the place of the dropout (after the coarsest block of the decoder); that the last layer has no
activation.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt
from torch import Tensor, nn

from unblur.layers.strided_blocks import StridedDecoder, StridedEncoder, padded


class PublishedPlan(BaseModel):
    """The sizes of the network, and the part that an ablation removes.

    Attributes:
        widths: channels after each block of an encoder, finest first.
        spectral: False removes the spectral norm of the weights.
        dropout: share of the values that dropout sets to 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=2)] = (64, 128, 256, 512)
    spectral: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class PublishedDeblurMerger(nn.Module):
    """A blurry and an equally bright noisy picture, `(B, 3, H, W)` each -> the sharp picture, `(B, 3, H, W)`.

    18.3 M parameters, 12.1 G multiply-adds for 256 x 256 pixels.
    """

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        self.generator = Generator(plan)

    def forward(self, I_B: Tensor, I_N: Tensor) -> Tensor:
        """Restore the sharp picture at the time of the noisy shot."""
        return self.generator(I_B, I_N)


class Generator(nn.Module):
    """Two encoders, the merger, and a decoder."""

    def __init__(self, plan: PublishedPlan) -> None:
        super().__init__()
        *finer, coarsest = plan.widths
        self.multiple = 2 ** len(plan.widths)
        self.noisy = StridedEncoder(3, plan.widths, spectral=plan.spectral)
        self.blurry = StridedEncoder(3, plan.widths, spectral=plan.spectral)
        skips = [2 * width for width in finer]
        self.decoder = StridedDecoder(2 * coarsest, skips, (3, *finer), spectral=plan.spectral, dropout=plan.dropout)

    def forward(self, I_B: Tensor, I_N: Tensor) -> Tensor:
        """Restore the sharp picture: `(B, 3, H, W)`."""
        height, width = I_N.shape[-2:]
        features = zip(self.noisy(padded(I_N, self.multiple)), self.blurry(padded(I_B, self.multiple)), strict=True)
        *kept, bottom = (torch.cat(both, 1) for both in features)  # (B, 2 widths[-1], H / 2^n, W / 2^n)
        return self.decoder(bottom, kept)[..., :height, :width].to(I_N)
