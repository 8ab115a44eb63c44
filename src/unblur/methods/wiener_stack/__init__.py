"""Gilbert, Messinger & Patel, "Non-Blind Image Deblurring using Neural Networks": a stack of Wiener filters.

A Wiener filter needs the signal-to-noise ratio (SNR), which is not known and varies over the picture. So the picture is
reconstructed with several assumed SNRs, and a network combines these reconstructions (the stack). `published` defines
the network of the paper, and `network` the compact one whose weights are included. `photo` applies the compact network
to colour photos and tiles, `psf_correction` corrects the PSF, and `training` defines the samples and losses.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from unblur.contract import Card, Method, setting
from unblur.layers.precision import Precision, dtype_for
from unblur.methods.wiener_stack.build import TRAINED, load_network
from unblur.methods.wiener_stack.network import ERROR_CORRECTED, ERROR_ESTIMATED, ERROR_MEASURED, PASSES
from unblur.methods.wiener_stack.photo import (
    LARGE_FROM,
    Parameters,
    centred,
    has_coarse_chroma,
    parameters_for,
    restore_photo,
)
from unblur.methods.wiener_stack.psf_correction import corrected_psf
from unblur.methods.wiener_stack.published import PublishedStack
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.trained import TrainedSettings
from unblur.types import Observation, Progress, Restoration, UnblurError

_TILE = 1024  # pixels; takes 1/8 less time than 768, and needs 2.3 GB (benchmarks/large_photo.py)
_ROUNDS_MEASURED, _ROUNDS_ESTIMATED = 2, 1  # corrections of the PSF (benchmarks/tune_wiener_stack.py)
# Passes of luma, and of chroma at half size, for large photos. On 26 validation photos of 640 x 480 px with estimated
# PSFs, three passes gain .06 dB less than four; with chroma in one pass instead of two, .04 dB less (800 x 600 px).
_PASSES_LARGE, _CHROMA_PASSES_LARGE = 3, 1
# `finest` of `correct_psf`, in pixels (benchmarks/tune_wiener_stack.py). The errors of measured PSFs are smoother.
_FINEST_MEASURED, _FINEST_ESTIMATED = 1.5, 0.4


class WienerStackSettings(TrainedSettings):
    """Settings of `wiener_stack`."""

    psf_is: Literal["auto", "measured", "estimated"] = setting(
        "auto",
        "origin of the PSF: the errors of an estimated PSF are larger, and as fine as a pixel; those of a measured PSF "
        "are small and smooth; auto: estimated if a method estimated it in this run, else measured",
        probe=("measured", "estimated"),
    )
    psf_error: float | None = setting(
        None,
        "expected error of the PSF's transfer function, relative to its maximum 1; lower restores more detail, "
        f"higher gives fewer artefacts; None: {ERROR_MEASURED} for a measured PSF, {ERROR_ESTIMATED} for an "
        f"estimated PSF, {ERROR_CORRECTED} for a corrected estimate",
        probe=(0.0, 1.0),
        ge=0,
        le=1,
    )
    passes: int | None = setting(
        None,
        "how often the picture is reconstructed and the network applied; higher is better and slower; "
        f"chroma at half size takes half as many; None: {PASSES}, and for photos of more than {LARGE_FROM / 1e6:.0f} "
        f"megapixels {_PASSES_LARGE} (half-size chroma {_CHROMA_PASSES_LARGE})",
        probe=(2, 4),
        ge=1,
        le=30,
    )
    refinements: int | None = setting(
        None,
        "how often the PSF is corrected, each time from a restored picture; with too many an estimated PSF becomes too "
        f"thin; 0: no correction; None: {_ROUNDS_MEASURED} for a measured PSF, {_ROUNDS_ESTIMATED} for an estimated "
        "PSF",
        probe=(0, 2),
        ge=0,
        le=4,
    )
    chroma: Literal["auto", "full", "half"] = setting(
        "auto",
        "size at which colour (chroma) is restored; half takes half the time, and edges between colours are less "
        f"sharp; auto: half for photos of more than {LARGE_FROM / 1e6:.0f} megapixels, and for most that were JPEG "
        "files, since their chroma holds little more",
        probe=("half", "full"),
    )
    precision: Precision = setting(
        "auto",
        "number format of the network; auto: bfloat16 if the processor is faster with it, else float32",
        probe=("float32", "bfloat16"),
    )
    mask_clipped: bool = setting(True, "do not fit saturated pixels", probe=(True, False))


def prepare(
    observation: Observation, settings: WienerStackSettings, progress: Progress
) -> tuple[Observation, WienerStackSettings | Parameters]:
    """Compute what depends on the whole photo: the corrected PSF, and the `Parameters` of all tiles.

    For the published network, the observation and the settings are returned unchanged.
    """
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    network = load_network(settings.weights, blurry.device)
    if isinstance(network, PublishedStack):
        return observation, settings
    dtype = dtype_for(settings.precision, blurry.device)
    estimated = observation.psf_estimated if settings.psf_is == "auto" else settings.psf_is == "estimated"
    first, last = (ERROR_ESTIMATED, ERROR_CORRECTED) if estimated else (ERROR_MEASURED, ERROR_MEASURED)
    psf_error = first if settings.psf_error is None else settings.psf_error
    large = settings.passes is None and blurry.shape[-2] * blurry.shape[-1] > LARGE_FROM
    passes = settings.passes or (_PASSES_LARGE if large else PASSES)
    half_chroma = settings.chroma == "half" or (settings.chroma == "auto" and has_coarse_chroma(blurry))
    fewer = _CHROMA_PASSES_LARGE if large else (passes + 1) // 2
    rounds = settings.refinements
    if rounds is None:
        rounds = _ROUNDS_ESTIMATED if estimated else _ROUNDS_MEASURED
    if rounds and psf_error > 0:
        with torch.no_grad():
            corrected = [
                corrected_psf(
                    network,
                    photo,
                    one,
                    sigma=observation.sigma,
                    psf_error=psf_error,
                    finest=_FINEST_ESTIMATED if estimated else _FINEST_MEASURED,
                    rounds=rounds,
                    mask_clipped=settings.mask_clipped,
                    passes=passes,
                    dtype=dtype,
                    progress=progress,
                )
                for photo, one in zip(blurry.split(1), psf.split(1), strict=True)
            ]
        psf = torch.cat(corrected)
        psf_error = last if settings.psf_error is None else psf_error
    parameters = parameters_for(
        network,
        blurry,
        observation.sigma,
        psf_error=psf_error,
        passes=passes,
        chroma_passes=fewer if half_chroma else passes,
        half_chroma=half_chroma,
        mask_clipped=settings.mask_clipped,
        dtype=dtype,
    )
    return replace(observation, psf=psf), parameters


def restore(observation: Observation, settings: WienerStackSettings | Parameters, progress: Progress) -> Restoration:
    """Restore with the network; see `WienerStackSettings`. For a tile, `settings` are the `Parameters` of its photo."""
    if isinstance(settings, WienerStackSettings):
        observation, settings = prepare(observation, settings, progress)
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    with torch.no_grad():
        if isinstance(settings, Parameters):
            image = restore_photo(settings, blurry, psf, progress)
        else:
            image = _restore_as_published(blurry, psf, settings, progress)
    return Restoration(image=image, psf=psf)


def _restore_as_published(blurry: Tensor, psf: Tensor, settings: WienerStackSettings, progress: Progress) -> Tensor:
    ignored = sorted(settings.model_fields_set - {"weights"})
    if ignored:
        raise UnblurError(f"{settings.weights}: the published network has no '{ignored[0]}'. Leave it out.")
    network = load_network(settings.weights, blurry.device)
    assert isinstance(network, PublishedStack)
    progress.stage("reconstructing")
    moved, shifts = centred(psf)
    image = network(blurry.expand(-1, 3, -1, -1), moved)  # (B, 3, H, W)
    image = torch.stack([one.roll(shift, (-2, -1)) for one, shift in zip(image, shifts, strict=True)])
    return image if blurry.shape[1] == 3 else image.mean(1, keepdim=True)


METHOD = Method(
    Card(
        name="wiener_stack",
        title="A stack of Wiener reconstructions, combined by a trained network",
        paper="Gilbert, Messinger & Patel",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        tiling=True,
        tile=_TILE,
        grid=2,  # chroma is restored at half size
    ),
    WienerStackSettings,
    restore,
    WienerStackTraining,
    prepare,
    weakest={"psf_error": 0, "passes": 1},
    trained=TRAINED,
)
