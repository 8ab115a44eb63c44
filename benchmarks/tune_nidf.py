"""Measure what the final step of `nidf` gains, to choose its constants `_NO_BETTER`, `_MARGIN` and `_WEIGHT`.

    python benchmarks/tune_nidf.py --photos DIR [--sigmas 10,30] [--count 16]

DIR holds the photos; only validation photos (names ending in hex digit 0 or 1) are used. They are observed as by
`unblur bench nidf`: 256 x 256 px at the centre, blurred by a camera shake of 7 to 49 px. For each picture one line
shows the gain in PSNR over the blurry picture without noise, of

- `network`: the sharp picture of the networks (four orientations);
- `deconvolved`: the noisy picture, deconvolved by `wiener_stack` with the PSF that the final step chooses;
- their weighted means, with the weight of the deconvolved picture;

then the share and the margin of `solvers.psf_evidence`, and the kernel similarity of this PSF to the true one. Where
the final step chooses no PSF, the share is 1 and all gains are those of the network. At the end come the means over
the pictures of each range of shares, and over those of each noise level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from validation import validation_photos

from unblur import methods as registry
from unblur.datasets.base import Sample
from unblur.datasets.nidf import Nidf
from unblur.imaging.colour import luminance
from unblur.methods.nidf.final_step import explaining_psf
from unblur.methods.nidf.restoring import denoise_and_deblur
from unblur.metrics import kernel_similarity, psnr
from unblur.solvers.psf_evidence import evidence_for
from unblur.types import Observation, Progress

WEIGHTS = (0.3, 0.5, 0.7, 0.85)  # of the deconvolved picture in the mean
SHARES = (0.1, 0.25, 0.5, 1.0)  # upper ends of the ranges of shares that are averaged

Figures = dict[str, float]


class ValidationPhotos(Nidf):
    """The data set `nidf` of some validation photos."""

    def __init__(self, count: int) -> None:
        self.most = count

    def _photos(self, root: Path) -> dict[str, Path]:
        """At most `most` validation photos at equal distances in the list of all, by their names."""
        paths = validation_photos(root)
        step = max(len(paths) // self.most, 1)
        return {path.stem: path for path in paths[::step][: self.most]}


def main(
    photos: Annotated[Path, typer.Option(metavar="DIR", help="Folder of photos.")],
    sigmas: Annotated[str, typer.Option(help="Some of 10, 20, 30, 40, of 255.")] = "10,30",
    count: Annotated[int, typer.Option(min=1, help="Number of photos.")] = 16,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one line per picture, and the means."""
    torch.set_num_threads(threads)
    groups = {f"sigma {sigma}" for sigma in sigmas.split(",")}
    rows: list[tuple[str, Figures]] = []
    for sample in ValidationPhotos(count).samples(photos):
        if sample.group in groups:
            rows.append((str(sample.group), figures_of(sample)))
            print(sample.name, in_words(rows[-1][1]), flush=True)
    least = -1.0
    for most in SHARES:
        show_mean(f"share {max(least, 0):g} to {most:g}", rows, lambda _, row, a=least, b=most: a < row["share"] <= b)
        least = most
    for group in sorted(groups):
        show_mean(group, rows, lambda name, _, group=group: name == group)


def figures_of(sample: Sample) -> Figures:
    """All figures of one picture."""
    noisy, sharp, noise_free, true_psf = sample.blurry, sample.sharp, sample.noise_free, sample.psf
    assert sharp is not None and noise_free is not None and true_psf is not None
    progress = Progress()
    denoised, network = denoise_and_deblur(noisy, None, precision="auto", orientations=4, progress=progress)
    before = float(psnr(noise_free.clamp(0, 1), sharp))
    psf = explaining_psf(luminance(denoised), luminance(network), progress)
    deconvolved = network
    if psf is not None:
        seen = Observation(blurry=noisy, psf=psf[None, None], psf_estimated=True, sigma=sample.sigma)
        deconvolved = registry.get("wiener_stack")(seen).image
        assert deconvolved is not None
    pictures = {
        "network": network,
        "deconvolved": deconvolved,
        **{f"{weight:g}": network.lerp(deconvolved, weight) for weight in WEIGHTS},
    }
    return {
        **{name: float(psnr(picture.clamp(0, 1), sharp)) - before for name, picture in pictures.items()},
        "share": 1.0 if psf is None else evidence_for(luminance(denoised), psf).share_no_better,
        "margin": 0.0 if psf is None else evidence_for(luminance(denoised), psf).margin,
        "similarity": 0.0 if psf is None else float(kernel_similarity(psf, true_psf)),
    }


def show_mean(name: str, rows: Sequence[tuple[str, Figures]], belongs: Callable[[str, Figures], bool]) -> None:
    """Print the mean figures of those rows for which `belongs` is true."""
    chosen = [row for group, row in rows if belongs(group, row)]
    if chosen:
        means = {key: sum(row[key] for row in chosen) / len(chosen) for key in chosen[0]}
        print(f"mean of {len(chosen)} pictures, {name}:", in_words(means))


def in_words(figures: Figures) -> str:
    """The figures in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in figures.items())


if __name__ == "__main__":
    typer.run(main)
