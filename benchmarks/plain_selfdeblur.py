"""A direct implementation of SelfDeblur's released configuration in float32, to compare `selfdeblur` with.

It is not optimised: standard modules, `Conv2d(padding_mode="reflect")`, the full dot-product matrix of the non-local
blocks, the SSIM with its full 11 x 11 window. `benchmarks/selfdeblur_speed.py` runs both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCALES, WIDTH, SKIP, INPUT = 5, 128, 16, 8


class NonLocal(nn.Module):
    """Non-local block (Wang et al. 2018), dot-product version with half the channels; initially the identity."""

    def __init__(self, channels: int):
        super().__init__()
        inner = channels // 2
        self.theta, self.phi, self.g = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.out[1].weight)
        nn.init.zeros_(self.out[1].bias)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        theta, phi, g = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))  # (1, c, n)
        affinity = theta.transpose(1, 2) @ phi / theta.shape[-1]  # (1, n, n)
        y = (affinity @ g.transpose(1, 2)).transpose(1, 2)  # (1, c, n)
        return x + self.out(y.reshape(1, -1, *x.shape[-2:]))


def convolved(before: int, after: int, side: int, stride: int = 1) -> list[nn.Module]:
    """The layers of a convolution with reflected borders, batch norm and LeakyReLU."""
    return [
        nn.Conv2d(before, after, side, stride, side // 2, padding_mode="reflect"),
        nn.BatchNorm2d(after),
        nn.LeakyReLU(0.2),
    ]


class Scale(nn.Module):
    """One scale of the U-shaped network, with all deeper scales and a skip connection."""

    def __init__(self, depth: int):
        super().__init__()
        before = INPUT if depth == 0 else WIDTH
        self.skip = nn.Sequential(*convolved(before, SKIP, 1))
        self.down = nn.Sequential(
            *convolved(before, WIDTH, 3, 2),
            *([NonLocal(WIDTH)] if depth > 1 else []),
            *convolved(WIDTH, WIDTH, 3),
            *([Scale(depth + 1)] if depth < SCALES - 1 else []),
        )
        self.norm = nn.BatchNorm2d(SKIP + WIDTH)
        self.up = nn.Sequential(*convolved(SKIP + WIDTH, WIDTH, 3), *convolved(WIDTH, WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        deep = F.interpolate(self.down(x), size=x.shape[-2:], mode="bilinear", align_corners=False)
        return self.up(self.norm(torch.cat([self.skip(x), deep], 1)))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004) with an 11 x 11 Gaussian window (sigma 1.5) on zero-padded pictures."""
    line = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, padding=5)

    mu_a, mu_b = mean(a), mean(b)
    var_a, var_b, cov = mean(a * a) - mu_a**2, mean(b * b) - mu_b**2, mean(a * b) - mu_a * mu_b
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mu_a * mu_b + c1) * (2 * cov + c2) / ((mu_a**2 + mu_b**2 + c1) * (var_a + var_b + c2))).mean()


class Recipe:
    """The optimisation for one picture; `step` does one iteration."""

    def __init__(self, blurry: Tensor, psf_size: int, *, ssim_from: int = 1000, seed: int = 0):
        torch.manual_seed(seed)
        height, width = blurry.shape[-2] + psf_size - 1, blurry.shape[-1] + psf_size - 1
        self.blurry, self.psf_size, self.ssim_from = blurry, psf_size, ssim_from
        self.image_input = torch.rand(1, INPUT, height, width) * 0.1
        self.psf_input = torch.rand(200) * 0.1
        self.image_network = nn.Sequential(Scale(0), nn.Conv2d(WIDTH, 1, 1), nn.Sigmoid())
        self.psf_network = nn.Sequential(
            nn.Linear(200, 1000), nn.ReLU6(), nn.Linear(1000, psf_size**2), nn.Softmax(dim=0)
        )
        self.optimizer = torch.optim.Adam(
            [
                {"params": self.image_network.parameters(), "lr": 0.01},
                {"params": self.psf_network.parameters(), "lr": 1e-4},
            ]
        )
        self.schedule = torch.optim.lr_scheduler.MultiStepLR(self.optimizer, [2000, 3000, 4000], 0.5)
        self.iteration = 0

    def step(self) -> tuple[Tensor, Tensor, float]:
        """Do one iteration; return the picture (1, 1, H, W), the PSF (1, 1, h, w), and the loss."""
        self.optimizer.zero_grad()
        image = self.image_network(self.image_input + 0.001 * torch.randn_like(self.image_input))
        psf = self.psf_network(self.psf_input).view(1, 1, self.psf_size, self.psf_size)
        reblurred = F.conv2d(image, psf.flip(-2, -1))  # valid: the size of the blurry picture
        late = self.iteration >= self.ssim_from
        loss = 1 - ssim(reblurred, self.blurry) if late else F.mse_loss(reblurred, self.blurry)
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        self.iteration += 1
        reach = self.psf_size // 2
        return image.detach()[..., reach:-reach, reach:-reach], psf.detach(), float(loss.detach())
