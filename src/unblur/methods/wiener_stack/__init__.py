"""Gilbert, Messinger & Patel, "Non-Blind Image Deblurring using Neural Networks": a stack of Wiener filters.

A Wiener filter needs to be told the signal-to-noise ratio, which no one knows, and which is another at every edge. So
the picture is reconstructed under several assumed ratios, and a network combines the stack. `published` is the network
of the paper, `network` the compact one whose weights ship, `refinement` corrects the PSF by what that one makes of the
picture, `training` says what both learn from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from unblur.contract import Card, Method, setting
from unblur.methods.wiener_stack.build import TRAINED, load_network
from unblur.methods.wiener_stack.network import DOUBT_ESTIMATED, DOUBT_GIVEN, DOUBT_REFINED, PASSES
from unblur.methods.wiener_stack.planes import centred, restore_planes
from unblur.methods.wiener_stack.published import PublishedStack
from unblur.methods.wiener_stack.refinement import refined_psf
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.solvers.observed import unclipped
from unblur.trained import TrainedSettings
from unblur.types import Observation, Progress, Restoration, UnblurError

_HALF_FROM = 4_000_000  # pixels
_ROUNDS_GIVEN, _ROUNDS_ESTIMATED = 2, 1
_FINEST_GIVEN, _FINEST_ESTIMATED = 1.5, 0.4  # pixels: measured PSFs are wrong less abruptly than estimated ones

SHIPPED = Path(__file__).parent / "weights" / "compact.safetensors"


class WienerStackSettings(TrainedSettings):
    """Settings of `wiener_stack`."""

    psf_is: Literal["auto", "measured", "estimated"] = setting(
        "auto",
        "how the PSF came about: the errors of an estimated one are larger and as fine as a pixel, those of a measured "
        "one small and smooth; auto: measured, unless it was estimated just before",
        probe=("measured", "estimated"),
    )
    doubt: float | None = setting(
        None,
        "how wrong the PSF may be at a frequency, as a share of a point's spectrum: less brings out more detail, more "
        f"leaves fewer artefacts; None: {DOUBT_GIVEN} for a measured PSF, {DOUBT_ESTIMATED} for an estimate and "
        f"{DOUBT_REFINED} for a corrected one",
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
    refinements: int | None = setting(
        None,
        "times that the PSF is corrected by what was restored with it, before all is restored with the last; many make "
        f"an estimate too thin; 0: it is believed as it is; None: {_ROUNDS_GIVEN} for a measured PSF, "
        f"{_ROUNDS_ESTIMATED} for an estimate",
        probe=(0, 2),
        ge=0,
        le=4,
    )
    chroma: Literal["auto", "full", "half"] = setting(
        "auto",
        "size at which colour is restored; half takes half the time and blurs edges between colours; auto: half for a "
        f"photo of more than {_HALF_FROM / 1e6:.0f} megapixels, since cameras and JPEG do not record more",
        probe=("half", "full"),
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "bfloat16", "the network's arithmetic; float32 takes twice the time", probe=("float32", "bfloat16")
    )
    mask_clipped: bool = setting(True, "leave clipped highlights out of the data term", probe=(True, False))


def prepare(
    observation: Observation, settings: WienerStackSettings, progress: Progress
) -> tuple[Observation, WienerStackSettings]:
    """What is to be found out of the photo as a whole: a better PSF, and how big its colours are to be restored."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    network = load_network(settings.weights or SHIPPED, str(blurry.device))
    if isinstance(network, PublishedStack):
        return observation, settings
    chroma = settings.chroma
    if chroma == "auto":
        chroma = "half" if blurry.shape[-2] * blurry.shape[-1] > _HALF_FROM else "full"
    estimated = observation.psf_estimated if settings.psf_is == "auto" else settings.psf_is == "estimated"
    first, last = (DOUBT_ESTIMATED, DOUBT_REFINED) if estimated else (DOUBT_GIVEN, DOUBT_GIVEN)
    doubt = first if settings.doubt is None else settings.doubt
    rounds = settings.refinements
    if rounds is None:
        rounds = _ROUNDS_ESTIMATED if estimated else _ROUNDS_GIVEN
    if rounds and doubt > 0:
        with torch.no_grad():
            photos = zip(blurry.split(1), psf.split(1), strict=True)
            refined = [
                refined_psf(
                    network,
                    photo,
                    one,
                    sigma=observation.sigma,
                    doubt=doubt,
                    finest=_FINEST_ESTIMATED if estimated else _FINEST_GIVEN,
                    rounds=rounds,
                    mask_clipped=settings.mask_clipped,
                    passes=settings.passes,
                    quick=settings.precision == "bfloat16",
                    progress=progress,
                )
                for photo, one in photos
            ]
        psf = torch.cat(refined)
        doubt = last if settings.doubt is None else doubt
    known: dict[str, Any] = {"chroma": chroma, "doubt": doubt, "refinements": 0}
    return replace(observation, psf=psf), settings.model_copy(update=known)


def restore(observation: Observation, settings: WienerStackSettings, progress: Progress) -> Restoration:
    """Through the network; see `WienerStackSettings`."""
    observation, settings = prepare(observation, settings, progress)
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
            assert settings.doubt is not None
            image = restore_planes(
                network,
                blurry,
                psf,
                sigma=observation.sigma,
                doubt=settings.doubt,
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
        undoes=frozenset({"blur"}),
        tiling=True,
        tile=1024,  # an eighth quicker than 768, with 2.3 GB
    ),
    WienerStackSettings,
    restore,
    WienerStackTraining,
    prepare,
    weakest={"doubt": 0, "passes": 1},
    trained=TRAINED,
)
