"""Miao & Zhu, "Handling Noise in Image Deblurring via Joint Learning" (NIDF): one photo that is blurred and noisy.

`network` defines the network, and `training` its samples and losses. The noise level and the PSF are not needed.
Differences from the paper: the result is the mean over several orientations of the picture, and with the setting
`final` a deconvolution follows (`final_step`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from unblur.contract import Card, Method, setting
from unblur.layers.precision import Precision
from unblur.methods.nidf.final_step import FinalStep, prepared
from unblur.methods.nidf.restoring import MULTIPLE, TRAINED, denoise_and_deblur, informative_part
from unblur.methods.nidf.training import NidfTraining
from unblur.trained import TrainedSettings
from unblur.types import Observation, Progress, Restoration

SEVERAL, FEW = 4, 2  # orientations; 4 take 3.5 s for 1280 x 720 pixels on two cores
_PART = 480  # pixels: side of the part of each quarter of a photo that the PSF must explain; chosen by hand


class NidfSettings(TrainedSettings):
    """Settings of `nidf`."""

    output: Literal["sharp", "denoised"] = setting(
        "sharp",
        "sharp: the picture without noise and blur; denoised: the picture without noise, as blurred as the photo",
        probe=("sharp", "denoised"),
    )
    final: bool = setting(
        False,
        "for output=sharp: estimate a PSF with the sharp picture as exemplar, and deconvolve the noisy photo with it, "
        "if the PSF explains the blur; better where the blur is the same everywhere, and slower",
        probe=None,
    )
    orientations: int | None = setting(
        None,
        "number of rotated and mirrored copies of the picture that are restored and averaged; higher is better and "
        f"slower; None: {SEVERAL}, or {FEW} for a photo that is restored in tiles",
        probe=(1, 4),
        ge=1,
        le=8,
    )
    precision: Precision = setting(
        "auto",
        "number format of the network; auto: bfloat16 if the processor is faster with it, else float32",
        probe=("float32", "bfloat16"),
    )


@dataclass(frozen=True)
class PhotoSettings:
    """Settings for all tiles of one photo: those of the method, and the final step if there is one."""

    method: NidfSettings
    final_step: FinalStep | None


def prepare(observation: Observation, settings: NidfSettings, progress: Progress) -> tuple[Observation, PhotoSettings]:
    """Estimate the PSF of a large photo from a part of it, if there is to be a final step."""
    photo = observation.blurry
    assert photo is not None
    settings = settings.model_copy(update={"orientations": settings.orientations or FEW})
    if settings.final and settings.output == "sharp":
        denoised, sharp = _pictures(informative_part(photo), settings, progress)
        quick = settings.model_copy(update={"output": "denoised", "orientations": 1})
        quarters = [quarter for half in photo.tensor_split(2, -2) for quarter in half.tensor_split(2, -1)]
        elsewhere = [_pictures(informative_part(quarter, _PART), quick, progress)[0] for quarter in quarters]
        found = prepared(observation, denoised, sharp, settings.precision, progress, elsewhere)
        if found is not None:
            return found[0], PhotoSettings(settings, found[1])
    return observation, PhotoSettings(settings, None)


def restore(observation: Observation, settings: NidfSettings | PhotoSettings, progress: Progress) -> Restoration:
    """Compute `B1, I1 = NIDF(N)` (Eq. 2): `I1` is the image, `B1` the stage `denoised`.

    After a final step the image is its result, and `I1` the stage `network`. For a tile, `settings` are the
    `PhotoSettings` of its photo.
    """
    noisy = observation.blurry
    assert noisy is not None
    method = settings if isinstance(settings, NidfSettings) else settings.method
    final = method.final and method.output == "sharp"
    if isinstance(settings, NidfSettings) and final and len(noisy) > 1:
        return _one_by_one(observation, settings, progress)
    denoised, sharp = _pictures(noisy, method, progress)
    if method.output == "denoised":
        return Restoration(image=denoised)
    final_step = None
    if isinstance(settings, PhotoSettings):
        final_step = settings.final_step
    elif final:
        found = prepared(observation, denoised, sharp, method.precision, progress)
        if found is not None:
            observation, final_step = found
    if final_step is None:
        notes = ["No PSF was found that explains the photo, so it was not deconvolved."] if final else []
        return Restoration(image=sharp, stages={"denoised": denoised}, notes=notes)
    return Restoration(
        image=final_step.apply(observation, sharp, progress),
        psf=observation.psf,
        stages={"denoised": denoised, "network": sharp},
        notes=["One PSF explains the blur, so the photo was also deconvolved with it."],
    )


def _pictures(noisy: Tensor, settings: NidfSettings, progress: Progress) -> tuple[Tensor, Tensor]:
    """`B1` and `I1` with these settings; `B1` twice with `output=denoised`. Both `(B, 3, H, W)`."""
    return denoise_and_deblur(
        noisy,
        settings.weights,
        precision=settings.precision,
        orientations=settings.orientations or SEVERAL,
        progress=progress,
        deblur=settings.output == "sharp",
    )


def _one_by_one(observation: Observation, settings: NidfSettings, progress: Progress) -> Restoration:
    """Restore each picture of a batch by itself, since some may have a final step and others not.

    The stage `network` of a picture without final step is its image. No PSF is returned, since some have none.
    """
    assert observation.blurry is not None
    alone = [replace(observation, blurry=picture, psf=None) for picture in observation.blurry.split(1)]
    results = [restore(one, settings, progress) for one in alone]
    images = [result.image for result in results if result.image is not None]
    networks = [result.stages.get("network", image) for result, image in zip(results, images, strict=True)]
    denoised = [result.stages["denoised"] for result in results]
    return Restoration(
        image=torch.cat(images), stages={"denoised": torch.cat(denoised), "network": torch.cat(networks)}
    )


METHOD = Method(
    Card(
        name="nidf",
        title="Two networks trained together: one denoises, one deblurs",
        paper="Miao & Zhu",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur", "noise"}),
        undoes_when={"output": {"denoised": frozenset({"noise"})}},
        channels=(3,),
        grid=MULTIPLE,
        tiling=True,
        reach=128,  # pixels; a tile then agrees with the whole to 59 dB
    ),
    NidfSettings,
    restore,
    NidfTraining,
    prepare,
    quick={"orientations": 1},
    trained=TRAINED,
)
