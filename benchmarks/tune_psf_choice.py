"""Measure how well PSFs that `l0_psf` really finds are chosen, and right ones told from wrong ones.

    python benchmarks/tune_psf_choice.py PHOTOS [PHOTOS ...] [--count 23] [--keep FOLDER]

Makes pictures like real shaken photos (`shaken_scenes.py`, `moving_scenes.py`) from the photos in the folders that are
not validation photos, and estimates PSFs of several sizes from each. Printed for each PSF are the gain of
`hyper_laplacian` with it, in shift-aligned PSNR, and what `unblur.solvers` measures of it: its implausibility; the
margin by which it is told from its turned copy; and the share of tiles that wrong copies explain as well. Last come,
for the pictures that some PSF improves by 1 dB or more, how often each measure chooses a PSF within 0.3 dB of the best;
and which PSFs pass the judge's thresholds. `--keep` stores what was measured of each picture, and reuses it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from moving_scenes import scene_of
from shaken_scenes import KINDS, shaken_scene

from unblur import methods as registry
from unblur.imaging.colour import luminance
from unblur.metrics import kernel_similarity, psnr_aligned
from unblur.solvers.blind import implausibility
from unblur.solvers.l0 import L0Search, search_psf
from unblur.solvers.psf_evidence import NO_BETTER_IN_NOISE, evidence_for
from unblur.solvers.psf_fit import tidy
from unblur.solvers.psf_tiles import SOME_NOISE, TOLD_APART, most_plausible
from unblur.types import Observation, Progress

CYCLE = (
    *("shake", "objects", "shaken", "roll", "pan", "text", "shake", "depth"),
    *("shaken", "shallow", "roll", "spin", "shaken", "lights", "sharp"),
)
SIZES = (15, 27, 41, 61)  # pixels
WEIGHT, LOW_WEIGHT = 4e-3, 2e-3  # L0 weights; the lower one for 27 px in every other picture
SIDE = 320  # pixels
NEAR, HELPED, HARMED = 0.3, 1.0, -0.3  # dB

Row = dict[str, float]


def main(
    folders: Annotated[list[Path], typer.Argument(metavar="PHOTOS", help="Folders of photographs.")],
    count: Annotated[int, typer.Option(help="Number of pictures.")] = 23,
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder for the figures of each picture.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one row per PSF, and the counts."""
    torch.set_num_threads(threads)
    photos = [path for folder in folders for path in sorted(folder.glob("*.jpg")) if path.stem[-1] not in "01"]
    order = torch.randperm(len(photos), generator=torch.Generator().manual_seed(0)).tolist()
    scenes = []
    for number in range(count):
        kind = CYCLE[number % len(CYCLE)]
        file = None if keep is None else keep / f"{number:04d}-{kind}.json"
        if file is not None and file.is_file():
            rows: list[Row] = json.loads(file.read_text())
        else:
            rows = measure([photos[index] for index in order], kind, number)
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(rows))
        for row in rows:
            print(f"{kind}-{number}", *(f"{key} {value:.3g}" for key, value in row.items()), flush=True)
        scenes.append(rows)
    summarise(scenes)


def measure(photos: list[Path], kind: str, number: int) -> list[Row]:
    """The figures of each PSF that is found in one picture."""
    made = (
        shaken_scene(photos, kind, number, SIDE)
        if kind in KINDS
        else scene_of(photos, kind, number, (SIDE, SIDE), seed=5)
    )
    grey, sharp = luminance(made.blurry), luminance(made.sharp)
    rows = []
    for size in SIZES:
        weight = LOW_WEIGHT if size == 27 and number % 2 else WEIGHT
        psf = tidy(search_psf(grey, L0Search(size, weight, 0.3, 5), Progress()))
        image = registry.get("hyper_laplacian")(Observation(blurry=grey, psf=psf[None, None])).image
        assert image is not None
        before, after = (
            float(psnr_aligned(one.clamp(0, 1), sharp, crop=24, search=16, step=0.5)) for one in (grey, image)
        )
        evidence = evidence_for(grey, psf, SOME_NOISE)
        rows.append(
            {
                "size": size,
                "gain": after - before,
                "implausibility": implausibility(grey, psf),
                "turned": evidence.turned,
                "no better": evidence.share_no_better,
                "symmetry": float(kernel_similarity(psf, psf.flip(0, 1))),
            }
        )
    return rows


def summarise(scenes: list[list[Row]]) -> None:
    """Print how often each measure chooses well, and which PSFs pass."""
    worth = [rows for rows in scenes if max(row["gain"] for row in rows) >= HELPED]
    choices = {
        "implausibility": lambda rows: min(rows, key=lambda row: row["implausibility"]),
        "turned": lambda rows: max(rows, key=lambda row: row["turned"]),
        "both, as in estimate_psf": lambda rows: rows[
            most_plausible([row["implausibility"] for row in rows], [row["turned"] for row in rows])
        ],
    }
    for name, choose in choices.items():
        lost = [max(row["gain"] for row in rows) - choose(rows)["gain"] for rows in worth]
        near = sum(value <= NEAR for value in lost)
        print(f"{name}: {near} of {len(worth)} within {NEAR} dB of the best, {sum(lost) / len(lost):.2f} dB lost")
    every = [row for rows in scenes for row in rows]
    for name, group in (
        (f"gain {HELPED} dB or more", [row for row in every if row["gain"] >= HELPED]),
        (f"lose {-HARMED} dB or more", [row for row in every if row["gain"] <= HARMED]),
    ):
        told = sum(row["turned"] >= TOLD_APART and row["no better"] <= NO_BETTER_IN_NOISE for row in group)
        print(f"of {len(group)} PSFs that {name}, {told} pass")


if __name__ == "__main__":
    typer.run(main)
