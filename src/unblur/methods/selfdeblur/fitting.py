"""SelfDeblur's optimisation: two generator networks fitted to one blurry picture, jointly or in turn.

    minimise over the weights of both networks   |G_k * G_x - y|^2 + lambda TV(G_x)          (Eq. 6)

`G_x` is larger than the photo by half the PSF's size on every side, so that its valid convolution with `G_k` has the
size of the photo. Several pictures are fitted together by stacking the weights of their networks. These are `B`
independent problems.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from unblur.imaging.convolution import convolve
from unblur.losses import ssim_loss, total_variation
from unblur.methods.selfdeblur.networks import INPUT_CHANNELS, PSF_INPUTS, DensePsf, SkipNetwork, SkipPsf, initialised
from unblur.types import Progress

SCALES = 5  # of the skip networks
INPUT_RANGE = 0.1  # the inputs of both networks are uniform noise from 0 to this
PERTURBATION = 0.001  # standard deviation of the noise that each iteration adds to the picture network's input
HIDDEN_LAYERS = {"shallow": 0, "dense": 1, "deep": 2}
PREVIEW_EVERY = 50  # iterations between two previews


@dataclass(frozen=True)
class Plan:
    """Parameters of a fit.

    Attributes:
        iterations: steps of Adam.
        halve_at: shares of the iterations after which the learning rates are halved.
        learning_rate: learning rate of the picture's network.
        psf_learning_rate: learning rate of the PSF network.
        ssim_from: iteration from which the loss is 1 - SSIM; None: it is always the squared error.
        tv: lambda of Eq. 6 for each picture, `(B,)`, relative to the mean squared error.
        alternating: SelfDeblur-A (Algorithm 1): each iteration optimises first one network, then the other.
        psf_network: "dense" (one hidden layer), "shallow" (none), "deep" (two) or "skip" (Table 2's Double-DIP).
        width: channels of each scale of the skip network.
        non_local: number of its coarsest scales that have a non-local block.
        dtype: number format of the picture's network.
        seconds: time after which to stop early; None: no limit.
    """

    iterations: int
    halve_at: tuple[float, ...]
    learning_rate: float
    psf_learning_rate: float
    ssim_from: int | None
    tv: Tensor
    alternating: bool
    psf_network: str
    width: int
    non_local: int
    dtype: torch.dtype
    seconds: float | None


@dataclass(frozen=True)
class Fit:
    """The result of a fit: the last outputs of both networks.

    Attributes:
        canvas: sharp pictures with a margin of half the PSF's size, `(B, C, H + h - 1, W + w - 1)`.
        psf: PSFs, `(B, 1, h, w)`.
        losses: mean squared reblurring error of each picture, `(B,)`.
    """

    canvas: Tensor
    psf: Tensor
    losses: Tensor


class Copies:
    """Several networks of one architecture with different weights and the same input."""

    def __init__(self, networks: list[nn.Module], inputs: Tensor) -> None:
        self.network, self.inputs = networks[0], inputs
        state, _ = stack_module_state(networks)  # type: ignore[arg-type]
        self.weights = {name: weight.detach().clone().requires_grad_() for name, weight in state.items()}

    @property
    def parameters(self) -> list[Tensor]:
        """The stacked weights, `(B, ...)` each."""
        return list(self.weights.values())

    def __call__(self, inputs: Tensor | None = None) -> Tensor:
        """Apply the networks to `inputs` (None: `self.inputs`): `(B, C, H, W)`."""
        x = self.inputs if inputs is None else inputs
        if len(self.parameters[0]) == 1:
            return functional_call(self.network, {name: weight[0] for name, weight in self.weights.items()}, (x,))
        return vmap(lambda weights: functional_call(self.network, weights, (x,)))(self.weights)[:, 0]


def fit(
    blurry: Tensor,
    size: tuple[int, int],
    plan: Plan,
    *,
    seed: int,
    progress: Progress,
    start: Tensor | None = None,
    known_psf: Tensor | None = None,
) -> Fit:
    """Fit both networks to each picture.

    Args:
        blurry: `(B, C, H, W)` in [0, 1].
        size: `(h, w)` of the PSF, odd.
        plan: parameters.
        seed: seed of the initial weights, the inputs and their noise.
        progress: advanced once per iteration, with the mean loss; previews the pictures.
        start: first outputs of the PSF networks, `(B, 1, h, w)`; None: nearly uniform.
        known_psf: if given, `(B, 1, h, w)`: use this PSF and fit only the picture's network.

    Returns:
        The last outputs of both networks.
    """
    generator = torch.Generator().manual_seed(seed)
    image, psf = _generators(blurry, size, plan, seed, generator, start)
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(image.parameters, lr=plan.learning_rate, fused=_fused(blurry)),
        torch.optim.Adam(psf.parameters, lr=plan.psf_learning_rate, fused=_fused(blurry)),
    ]
    if known_psf is not None:
        optimizers = optimizers[:1]
    milestones = [round(share * plan.iterations) for share in plan.halve_at]
    schedules = [torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, 0.5) for optimizer in optimizers]
    started = time.monotonic()
    found = None
    for iteration in range(plan.iterations):
        noise = image.inputs + PERTURBATION * torch.randn(image.inputs.shape, generator=generator).to(blurry.device)
        noise = noise.to(plan.dtype, memory_format=torch.channels_last)
        for turn in [[optimizer] for optimizer in optimizers] if plan.alternating else [optimizers]:
            canvas = image(noise)  # (B, C, H + h - 1, W + w - 1)
            kernel = psf() if known_psf is None else known_psf  # (B, 1, h, w)
            reblurred = convolve(canvas, kernel, "valid")  # (B, C, H, W)
            loss = _loss(canvas, reblurred, blurry, plan, iteration)  # (B,)
            _learn(loss.sum(), turn)
            found = _Step(canvas.detach(), kernel.detach(), reblurred.detach(), loss.detach())
        assert found is not None
        for schedule in schedules:
            schedule.step()
        progress.advance(loss=float(found.loss.mean()))
        if iteration % PREVIEW_EVERY == 0:
            progress.preview(image=found.canvas, psf=found.psf)
        if plan.seconds is not None and time.monotonic() - started > plan.seconds:
            progress.advance(plan.iterations - iteration - 1)
            break
    assert found is not None
    return Fit(found.canvas, found.psf, (found.reblurred - blurry).square().mean((1, 2, 3)))


class _Step(NamedTuple):
    """The results of one iteration, detached from the computation graph."""

    canvas: Tensor
    psf: Tensor
    reblurred: Tensor
    loss: Tensor


def _learn(loss: Tensor, optimizers: list[torch.optim.Optimizer]) -> None:
    """Do one step of each optimizer."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def _loss(canvas: Tensor, reblurred: Tensor, blurry: Tensor, plan: Plan, iteration: int) -> Tensor:
    """Compute the loss of each picture, `(B,)`: Eq. 6 per pixel, or with 1 - SSIM from iteration `ssim_from`."""
    if plan.ssim_from is not None and iteration >= plan.ssim_from:
        fidelity = ssim_loss(reblurred, blurry)
    else:
        fidelity = (reblurred - blurry).square().mean((1, 2, 3))
    return fidelity + plan.tv * total_variation(canvas) if plan.tv.any() else fidelity


def _generators(
    blurry: Tensor, size: tuple[int, int], plan: Plan, seed: int, generator: torch.Generator, start: Tensor | None
) -> tuple[Copies, Copies]:
    """Create `G_x` and `G_k`, with initial weights from the CPU, so that they are the same on all devices."""
    count, channels, height, width = blurry.shape
    widths = (plan.width,) * SCALES
    skip = plan.psf_network == "skip"
    weights = torch.Generator().manual_seed(seed)
    image_network = initialised(lambda: SkipNetwork(channels, widths, non_local=plan.non_local), weights)
    psf_network = initialised(
        lambda: SkipPsf(size, widths) if skip else DensePsf(size, HIDDEN_LAYERS[plan.psf_network]), weights
    )
    psf_networks = [copy.deepcopy(psf_network) for _ in range(count)]
    if start is not None:
        for network, own in zip(psf_networks, start, strict=True):
            if isinstance(network, DensePsf):
                network.start_from(own[0])
    canvas = (1, INPUT_CHANNELS, height + size[0] - 1, width + size[1] - 1)
    image_noise = INPUT_RANGE * torch.rand(canvas, generator=generator)
    psf_shape = (1, INPUT_CHANNELS, *size) if skip else (PSF_INPUTS,)
    psf_noise = INPUT_RANGE * torch.rand(psf_shape, generator=generator)
    image = Copies([image_network.to(blurry.device)] * count, image_noise.to(blurry.device))
    psf = Copies([network.to(blurry.device) for network in psf_networks], psf_noise.to(blurry.device))
    return image, psf


def _fused(like: Tensor) -> bool:
    """Whether Adam has a fused kernel for the tensors' device."""
    return like.device.type in ("cpu", "cuda")
