"""The two generator networks of SelfDeblur: one for the picture and one for the PSF. Their inputs are noise.

`SkipNetwork` is the encoder-decoder with skip connections of Ulyanov et al. 2018 (deep image prior), as in SelfDeblur.
It takes one picture, `(1, C, H, W)`, and normalises over its pixels. The weights are float32. The network computes in
the dtype of its input, bfloat16 for speed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.2  # of the LeakyReLUs
INPUT_CHANNELS = 8
PSF_INPUTS, PSF_HIDDEN = 200, 1000
PSF_FLOOR = 1e-3  # `DensePsf.start_from`: least value of a pixel, as a share of the maximum; chosen by hand


class Convolution(nn.Conv2d):
    """A convolution with reflected borders, in the dtype of its input."""

    def forward(self, input: Tensor) -> Tensor:
        """`(1, C, H, W)` -> `(1, C', ceil(H / stride), ceil(W / stride))`."""
        x = _reflected(input) if self.kernel_size[0] == 3 else input
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.conv2d(x, self.weight.to(x.dtype), bias, self.stride)


def _reflected(x: Tensor) -> Tensor:
    """Pad by one pixel on each side: reflected, or repeated if a side has only one pixel."""
    return F.pad(x, (1, 1, 1, 1), "reflect" if min(x.shape[-2:]) > 1 else "replicate")


class Normalised(nn.Module):
    """Normalise each channel to mean 0 and variance 1, then apply a learned scale and shift, and LeakyReLU."""

    def __init__(self, channels: int, *, scale: float = 1.0, activate: bool = True) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels))
        self.shift = nn.Parameter(torch.empty(channels))
        self.first_scale, self.activate = scale, activate
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the initial scale and shift."""
        nn.init.constant_(self.scale, self.first_scale)
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor) -> Tensor:
        """`(1, C, H, W)` -> same shape."""
        normalised = F.batch_norm(x, None, None, self.scale, self.shift, training=True)
        normalised = normalised.to(x.dtype)  # under `vmap` it is float32
        return F.leaky_relu_(normalised, SLOPE) if self.activate else normalised


def convolved(before: int, after: int, side: int, stride: int = 1) -> list[nn.Module]:
    """Create a convolution and its normalisation, without a bias, which the normalisation would remove."""
    return [Convolution(before, after, side, stride, bias=False), Normalised(after)]


class NonLocal(nn.Module):
    """Residual non-local block with dot-product affinity (Wang et al. 2018, Eq. 6), initially the identity."""

    # Without a softmax the matrix of affinities is not needed: `(theta^T phi) g = theta^T (phi g)`. So time and memory
    # are proportional to the number of pixels.

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (Convolution(channels, inner, 1) for _ in range(3))
        self.out = nn.Sequential(
            Convolution(inner, channels, 1, bias=False), Normalised(channels, scale=0.0, activate=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(1, C, H, W)` -> same shape."""
        theta, phi, g = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))  # (1, c, n)
        context = g @ phi.transpose(1, 2) / theta.shape[-1]  # (1, c, c)
        return x + self.out((context @ theta).unflatten(2, x.shape[-2:]))


class _Scale(nn.Module):
    """One scale of the network, which contains the coarser scales."""

    def __init__(self, before: int, widths: Sequence[int], skip: int, non_local: Sequence[bool]) -> None:
        super().__init__()
        width = widths[0]
        deeper = widths[1] if len(widths) > 1 else width
        self.skip = nn.Sequential(*convolved(before, skip, 1))
        self.down = nn.Sequential(
            *convolved(before, width, 3, stride=2),
            *([NonLocal(width)] if non_local[0] else []),
            *convolved(width, width, 3),
            *([_Scale(width, widths[1:], skip, non_local[1:])] if len(widths) > 1 else []),
        )
        self.join = Normalised(skip + deeper, activate=False)
        self.up = nn.Sequential(*convolved(skip + deeper, width, 3), *convolved(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(1, C, H, W)` -> `(1, widths[0], H, W)`."""
        deep = F.interpolate(self.down(x), scale_factor=2, mode="bilinear")[..., : x.shape[-2], : x.shape[-1]]
        return self.up(self.join(torch.cat([self.skip(x), deep], 1)))


class SkipNetwork(nn.Module):
    """Encoder-decoder with skip connections: noise `(1, 8, H, W)` -> a picture `(1, channels, H, W)` in (0, 1).

    Args:
        channels: channels of the picture.
        widths: channels of each scale, finest first; each scale halves the sides.
        skip: channels of the skip connections.
        non_local: number of the coarsest scales that have a non-local block.
    """

    def __init__(self, channels: int, widths: Sequence[int], *, skip: int = 16, non_local: int = 3) -> None:
        super().__init__()
        blocks = [index >= len(widths) - non_local for index in range(len(widths))]
        self.scales = _Scale(INPUT_CHANNELS, widths, skip, blocks)
        self.out = Convolution(widths[0], channels, 1)

    def forward(self, noise: Tensor) -> Tensor:
        """Compute the picture, in float32."""
        return self.logits(noise).sigmoid()

    def logits(self, noise: Tensor) -> Tensor:
        """Compute the picture before the sigmoid."""
        return self.out(self.scales(noise)).float()


class DensePsf(nn.Module):
    """A PSF network of fully connected layers and a softmax: noise `(200,)` -> a PSF `(1, 1, h, w)`.

    Args:
        size: `(h, w)`.
        hidden: number of hidden layers of 1000 units: 1 in the paper, 0 and 2 in its ablation (Table 2).
    """

    def __init__(self, size: tuple[int, int], hidden: int = 1) -> None:
        super().__init__()
        self.size = size
        sides = [PSF_INPUTS, *[PSF_HIDDEN] * hidden]
        layers = [part for pair in pairwise(sides) for part in (nn.Linear(*pair), nn.ReLU6())]
        self.hidden = nn.Sequential(*layers)
        self.out = nn.Linear(sides[-1], size[0] * size[1])

    def forward(self, noise: Tensor) -> Tensor:
        """Non-negative, sums to 1."""
        return self.out(self.hidden(noise)).softmax(0).view(1, 1, *self.size)

    @torch.no_grad()
    def start_from(self, psf: Tensor) -> None:
        """Change the weights so that the output is about `psf` `(h, w)`, with a least value above 0."""
        # From the least value, dark pixels can become brighter.
        self.out.weight.mul_(0.1)  # so that the bias determines the output
        self.out.bias.copy_((psf / psf.max() + PSF_FLOOR).log().flatten())


class SkipPsf(nn.Module):
    """A PSF network (Double-DIP in Table 2): skip network and softmax, noise `(1, 8, h, w)` -> PSF `(1, 1, h, w)`.

    Args:
        size: `(h, w)`.
        widths: channels of each scale, finest first. Scales of a single pixel, which cannot be normalised, are omitted.
    """

    def __init__(self, size: tuple[int, int], widths: Sequence[int]) -> None:
        super().__init__()
        scales = (max(size) - 1).bit_length() - 1
        self.picture = SkipNetwork(1, widths[:scales], non_local=0)

    def forward(self, noise: Tensor) -> Tensor:
        """Non-negative, sums to 1."""
        logits = self.picture.logits(noise)
        return logits.flatten().softmax(0).view_as(logits)


def initialised(build: Callable[[], nn.Module], generator: torch.Generator) -> nn.Module:
    """Create a network with torch's default initial weights, from `generator`, on the CPU.

    torch's global random generator, which other threads may use, is neither used nor changed.
    """
    with torch.device("meta"):  # no weights yet
        network = build()
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):  # as in their `reset_parameters`
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, Normalised):
            module.reset_parameters()
    return network
