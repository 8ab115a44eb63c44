"""Gilbert, Messinger & Patel, "Non-Blind Image Deblurring using Neural Networks": a stack of Wiener filters.

A Wiener filter needs to be told the signal-to-noise ratio, which no one knows, and which is another at every edge. So
the picture is reconstructed under several assumed ratios, and a network combines the stack. `published` is the network
of the paper, `network` the compact one whose weights ship, `training` what both learn from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from pydantic import FilePath

from unblur.contract import Card, Method, Settings, setting
from unblur.methods.wiener_stack.build import load_network
from unblur.methods.wiener_stack.network import DOUBT_ESTIMATED, DOUBT_GIVEN, PASSES
from unblur.methods.wiener_stack.planes import centred, restore_planes
from unblur.methods.wiener_stack.published import PublishedStack
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.solvers.observed import unclipped
from unblur.types import Observation, Progress, Restoration, UnblurError

SHIPPED = Path(__file__).parent / "weights" / "compact.safetensors"


class WienerStackSettings(Settings):
    """Settings of `wiener_stack`."""

    weights: FilePath | None = setting(None, "file of weights from `unblur train`; None: those that ship", probe=None)
    doubt: float | None = setting(
        None,
        "how wrong the PSF may be at a frequency, as a share of a point's spectrum: less brings out more detail, more "
        f"leaves fewer artefacts; None: {DOUBT_GIVEN} for a PSF that is given, {DOUBT_ESTIMATED} for an estimate",
        probe=(0.0, 1.0),
        ge=0,
        le=1,
    )
    passes: int = setting(
        PASSES,
        "times that the picture is reconstructed and shown to the network; more is better, and slower",
        probe=(2, 4),
        ge=1,
        le=30,
    )
    chroma: Literal["full", "half"] = setting(
        "full",
        "size at which colour is restored; half takes half the time and blurs edges between colours",
        probe=("half", "full"),
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "bfloat16", "the network's arithmetic; float32 takes twice the time", probe=("float32", "bfloat16")
    )
    mask_clipped: bool = setting(True, "leave clipped highlights out of the data term", probe=(True, False))


def restore(observation: Observation, settings: WienerStackSettings, progress: Progress) -> Restoration:
    """Through the network; see `WienerStackSettings`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    channels = blurry.shape[1]
    if (blurry == blurry[:, :1]).all():  # a colour picture may be grey all the same
        blurry = blurry[:, :1]
    network = load_network(settings.weights or SHIPPED, str(blurry.device))
    with torch.no_grad():
        if isinstance(network, PublishedStack):
            ignored = sorted(settings.model_fields_set - {"weights"})
            if ignored:
                raise UnblurError(f"{settings.weights}: the published network has no '{ignored[0]}'. Leave it out.")
            progress.stage("reconstructing")
            moved, shifts = centred(psf)
            image = network(blurry.expand(-1, 3, -1, -1), moved)  # (B, 3, H, W)
            image = torch.stack([one.roll(shift, (-2, -1)) for one, shift in zip(image, shifts, strict=True)])
            image = image if blurry.shape[1] == 3 else image.mean(1, keepdim=True)
        else:
            default = DOUBT_ESTIMATED if observation.psf_estimated else DOUBT_GIVEN
            image = restore_planes(
                network,
                blurry,
                psf,
                sigma=observation.sigma,
                doubt=default if settings.doubt is None else settings.doubt,
                trusted=unclipped(blurry, settings.mask_clipped),
                passes=settings.passes,
                half=settings.chroma == "half",
                quick=settings.precision == "bfloat16",
                progress=progress,
            )
    return Restoration(image=image.expand(-1, channels, -1, -1), psf=psf)


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
