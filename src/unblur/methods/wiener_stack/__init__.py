"""Gilbert, Messinger & Patel, "Non-Blind Image Deblurring using Neural Networks": a stack of Wiener filters.

A Wiener filter needs to be told the signal-to-noise ratio, which no one knows, and which is another at every edge. So
the picture is reconstructed under several assumed ratios, and a network combines the stack. `published` is the network
of the paper, `network` the compact one whose weights ship, `training` what both learn from.
"""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import FilePath
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.psf import centre_psf, pad_psf
from unblur.methods.wiener_stack.build import load_network
from unblur.methods.wiener_stack.published import PublishedStack
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.solvers.observed import noise_sigma, unclipped
from unblur.types import Observation, Progress, Restoration

SHIPPED = Path(__file__).parent / "weights" / "compact.safetensors"


_DOUBT_GIVEN, _DOUBT_ESTIMATED = 0.1, 0.6


class WienerStackSettings(Settings):
    """Settings of `wiener_stack`."""

    weights: FilePath | None = setting(None, "file of weights from `unblur train`; None: those that ship", probe=None)
    doubt: float | None = setting(
        None,
        "how wrong the PSF may be, from 0 to 1: less brings out more detail, more leaves fewer artefacts; None: "
        f"{_DOUBT_GIVEN} for a PSF that was given, {_DOUBT_ESTIMATED} for one that was estimated",
        probe=(0.0, 1.0),
        ge=0,
        le=1,
    )
    mask_clipped: bool = setting(True, "leave clipped highlights out of the data term", probe=(True, False))


def restore(observation: Observation, settings: WienerStackSettings, progress: Progress) -> Restoration:
    """Through the network, colour channels one by one; see `WienerStackSettings`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    progress.stage("combining Wiener reconstructions")
    network = load_network(settings.weights or SHIPPED, str(blurry.device))
    trusted = unclipped(blurry, settings.mask_clipped)
    centred, shifts = _centred(psf)
    with torch.no_grad():
        if isinstance(network, PublishedStack):
            image = network(blurry.expand(-1, 3, -1, -1), psf)[:, : blurry.shape[1]]
        else:
            sigma = noise_sigma(observation)  # (B, 1, 1, 1)
            default = _DOUBT_ESTIMATED if observation.psf_estimated else _DOUBT_GIVEN
            doubt = torch.full_like(sigma, default if settings.doubt is None else settings.doubt)
            images = [
                network.restore(
                    blurry[:, [c]], centred, sigma, doubt, None if trusted is None else trusted[:, [c]], shifts
                )
                for c in range(blurry.shape[1])
            ]
            image = torch.cat(images, 1)
    return Restoration(image=image, psf=psf)


def _centred(psf: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """PSFs `(B, 1, h, w)` with their centres of mass at their middle pixels, and how far the results must be moved."""
    moved = [centre_psf(one[0]) for one in psf]
    side = max(max(one.shape) for one, _ in moved)
    centred = torch.stack([pad_psf(one, side) for one, _ in moved])[:, None]
    return centred, [(round(y), round(x)) for _, (y, x) in moved]


METHOD = Method(
    Card(
        name="wiener_stack",
        title="A stack of Wiener reconstructions, combined by a trained network",
        paper="Gilbert, Messinger & Patel",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        tiling=True,
    ),
    WienerStackSettings,
    restore,
    WienerStackTraining,
)
