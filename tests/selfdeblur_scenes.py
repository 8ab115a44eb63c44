"""Small scenes and a quick plan to fit SelfDeblur with."""

import torch

from helpers import Scene, hook_psf, observe, structured_picture
from unblur import methods
from unblur.imaging.psf import centre_psf, pad_psf
from unblur.methods.selfdeblur.fitting import Plan
from unblur.types import Observation, Progress, Restoration

PSF = centre_psf(pad_psf(hook_psf(), 11))[0].float()
QUICK = {"image": "network", "start": "noise", "size": 11, "width": 4, "iterations": 2, "restarts": 0}
PLAN = Plan(
    iterations=4,
    halve_at=(),
    learning_rate=0.01,
    psf_learning_rate=0.01,
    ssim_from=None,
    tv=torch.zeros(1),
    alternating=False,
    psf_network="dense",
    width=4,
    non_local=3,
    dtype=torch.float32,
    seconds=None,
)


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene_of(height: int = 48, width: int = 52, channels: int = 1, seed: int = 0) -> tuple[Scene, torch.Tensor]:
    """A scene blurred by `PSF`, and the whole canvas that it shows the inside of."""
    canvas = structured_picture(height + 10, width + 10, channels, seed)
    return observe(canvas, PSF), canvas


def run(blurry: torch.Tensor, progress: Progress | None = None, **settings) -> Restoration:
    return methods.get("selfdeblur")(Observation(blurry=blurry), {**QUICK, **settings}, progress)
