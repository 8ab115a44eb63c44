"""Measure the quantities that the judge compares with thresholds, on pictures that restoring helped or harmed.

    python benchmarks/tune_judge.py PHOTOS [PHOTOS ...] [--kinds shake,objects] [--count 12] [--keep FOLDER]

Makes scenes from the validation photos in the folders (`moving_scenes.py`), estimates their PSFs with `l0_psf`,
restores them with `hyper_laplacian`, and prints a row for each: the gain in shift-aligned PSNR and every quantity that
`unblur.pipeline.judge` compares with a threshold. Last comes, for every quantity, its range where restoring gained
1.5 dB or more ("helped"), its range where it lost .3 dB or more ("harmed"), and how many of the harmed ones each
threshold refuses alone, and all together. `--keep` stores the figures of each scene, and reuses stored ones.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from moving_scenes import KINDS, Scene, scene
from validation import camera_crops

from unblur import methods as registry
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import estimate_noise_sigma
from unblur.metrics import psnr_aligned
from unblur.pipeline import judge
from unblur.pipeline.sharpness import sharpness, slope_energy
from unblur.solvers.blind import inner_gradient, normalised_sparsity
from unblur.solvers.data_term import SIGMA_FLOOR
from unblur.solvers.psf_evidence import NO_BETTER_IN_NOISE, evidence_for
from unblur.solvers.psf_tiles import SOME_NOISE, TOLD_APART
from unblur.types import Observation

HELPED, HARMED = 1.5, -0.3  # dB
SIZE = (400, 560)
THRESHOLDS = {
    "turned": -TOLD_APART,
    "no better": NO_BETTER_IN_NOISE,
    "no better, at most": judge._NO_BETTER_IN_FEW_TILES,
    "sharpness": judge._SHARP,
    "beyond": judge._BEYOND,
    "tones": judge._TONES,
    "residual": judge._RESIDUAL,
    "sparser": judge._SPARSER,
    "slopes": -judge._BLURRIER,
}
"""A value above its threshold is refused.

"turned" is minus the margin from the turned copy, "slopes" minus the energy of slopes relative to the photo. "sparser"
is 0 for a PSF that is not symmetric, since it is not asked then.
"""

Figures = dict[str, float]


def main(
    photos: Annotated[list[Path], typer.Argument(metavar="PHOTOS", help="Folders of photographs.")],
    kinds: Annotated[
        str, typer.Option(help=f"Some of {', '.join(KINDS)}, camera.")
    ] = "shake,roll,spin,objects,pan,depth",
    count: Annotated[int, typer.Option(help="Number of scenes of each kind.")] = 12,
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder for the figures of each scene.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one row per scene and one per quantity."""
    torch.set_num_threads(threads)
    rows: dict[str, Figures] = {}
    for number in range(count):
        for kind in kinds.split(","):
            name = f"{kind}-{number}"
            rows[name] = kept(keep, name) or figures_of(picture(photos, kind, number, count))
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}.json").write_text(json.dumps(rows[name]))
            print(name, *(f"{key} {value:.3f}" for key, value in rows[name].items()), flush=True)
    summarise(list(rows.values()))


def picture(photos: list[Path], kind: str, number: int, count: int) -> Scene:
    """One scene or, for the kind `camera`, one picture of `validation.camera_crops`."""
    if kind != "camera":
        return scene(photos, kind, number, size=SIZE)
    crop = camera_crops(photos[0], count=count, size=300)[number]
    assert crop.sharp is not None
    return Scene(crop.name, crop.blurry, crop.sharp)


def kept(folder: Path | None, name: str) -> Figures | None:
    """Stored figures of a scene; None if there are none."""
    file = None if folder is None else folder / f"{name}.json"
    return json.loads(file.read_text()) if file is not None and file.is_file() else None


def figures_of(sample: Scene) -> Figures:
    """The gain in dB and the quantities, by the names of the thresholds."""
    photo = sample.blurry
    grey = luminance(photo)
    sigma = float(estimate_noise_sigma(grey))
    found = registry.get("l0_psf")(Observation(blurry=grey)).psf
    image = registry.get("hyper_laplacian")(Observation(blurry=photo, psf=found)).image
    assert found is not None and image is not None
    restored, psf = luminance(image), found[0, 0]
    y, x = psf.shape[0] // 2, psf.shape[1] // 2
    inside = (..., slice(y, grey.shape[-2] - y), slice(x, grey.shape[-1] - x))
    reblurred = (convolve(restored, psf) - grey)[inside][judge._trusted(grey)[inside]]
    outside = (restored - restored.clamp(min(float(grey.min()), 0.0), max(float(grey.max()), 1.0)))[
        judge._trusted(grey)
    ]
    tones = F.adaptive_avg_pool2d(image.clamp(0, 1), 4) - F.adaptive_avg_pool2d(photo, 4)
    noise = float(estimate_noise_sigma(restored))
    before, after = (
        float(psnr_aligned(luminance(one).clamp(0, 1), luminance(sample.sharp), crop=15, search=6, step=0.5))
        for one in (photo, image)
    )
    evidence = evidence_for(grey, psf, SOME_NOISE)
    sparsity = normalised_sparsity(inner_gradient(restored)) / normalised_sparsity(inner_gradient(grey))
    return {
        "gain": after - before,
        "turned": -evidence.turned,
        "no better": evidence.share_no_better,
        "no better, at most": evidence.largest_share,
        "sharpness": sharpness(grey, sigma),
        "beyond": float(outside.square().mean().sqrt()),
        "tones": float(tones.abs().max()),
        "residual": float(reblurred.square().mean().sqrt()) / max(sigma, SIGMA_FLOOR),
        "sparser": sparsity if judge._is_symmetric(psf) else 0.0,
        "slopes": -slope_energy(restored, noise) / max(slope_energy(grey, sigma), 1e-12),
    }


def summarise(rows: list[Figures]) -> None:
    """Print the range of each quantity, and how many scenes each threshold refuses."""
    helped = [row for row in rows if row["gain"] >= HELPED]
    harmed = [row for row in rows if row["gain"] <= HARMED]
    print(f"{len(helped)} helped (gain of {HELPED} dB or more), {len(harmed)} harmed ({HARMED} dB or less)")
    for key, most in THRESHOLDS.items():
        ranges = []
        for group in (helped, harmed):
            values = sorted(row[key] for row in group)
            ranges.append("none" if not values else f"{values[0]:.3f} .. {values[-1]:.3f}")
        refused = [sum(row[key] > most for row in group) for group in (helped, harmed)]
        print(
            f"{key}: helped {ranges[0]}, harmed {ranges[1]}; above {most:g}: "
            f"{refused[0]} of {len(helped)} helped, {refused[1]} of {len(harmed)} harmed"
        )
    refused = [sum(any(row[key] > most for key, most in THRESHOLDS.items()) for row in g) for g in (helped, harmed)]
    print(f"all together refuse {refused[0]} of {len(helped)} helped, {refused[1]} of {len(harmed)} harmed")


if __name__ == "__main__":
    typer.run(main)
