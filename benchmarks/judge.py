"""Measure the learned judge and the hand-made one on the same candidates, made from photos that nothing learns from.

    python benchmarks/judge.py PHOTOS [--each 2] [--keep FOLDER] [--weights FILE]

Makes pictures of all kinds (`imaging/synthesis/shaken.py`) from the photos in a folder, such as `kodak24`, and restores
each in six ways (`training/judge_candidates.py`). For both judges are printed

- of the pictures that one of the four PSFs from the search improves by 1 dB or more, how often the chosen one of these
  PSFs is within 0.3 dB of the best;
- of the accepted candidates, how many are nearer to the sharp picture than the photo;
- of the candidates that gain 1 dB or more, how many are accepted.

The learned judge accepts a candidate whose predicted gain, minus `--caution` times the predicted standard deviation, is
above `--least` dB. `--keep` stores the candidates with what the hand-made judge says, and reuses stored ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.imaging.noise import estimate_noise_sigma
from unblur.imaging.synthesis.shaken import KINDS, ShakenRecipe, shaken_picture
from unblur.pipeline.judge import CAUTION, LEAST_GAIN, LEAST_GAIN_IN_DOUBT, LEAST_GAIN_WITHOUT_PSF, judge
from unblur.solvers.blind import implausibility
from unblur.solvers.gain import JUDGE, mean_estimate
from unblur.solvers.gain.views import BORDER, views_of
from unblur.solvers.psf_tiles import holds_tiles, most_plausible, turned_margin
from unblur.training.judge_candidates import Candidate, gain_of, make_candidates
from unblur.training.pictures import PictureCache, cut_area
from unblur.types import Observation, Progress, Restoration

SEARCHED = 4  # the first candidates, with PSFs from the search
NEAR, HELPED = 0.3, 1.0  # dB


@dataclass(frozen=True)
class Verdicts:
    """What one judge says of all pictures.

    Attributes:
        chosen: number of the chosen one of the searched PSFs of each picture.
        accepted: whether each of the six candidates of each picture is accepted, `(N, 6)`.
    """

    chosen: list[int]
    accepted: Tensor


def main(
    folder: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photographs.")],
    each: Annotated[int, typer.Option(help="Pictures made of each photo.")] = 2,
    keep: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Folder for the candidates.")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Weights of the judge; else those there.")
    ] = None,
    caution: Annotated[float, typer.Option(help="Standard deviations that are subtracted from a gain.")] = 1.0,
    least: Annotated[float, typer.Option(help="Gain in dB from which a candidate is accepted.")] = 0.0,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one row per picture, and the figures of both judges."""
    torch.set_num_threads(threads)
    photos = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".png", ".jpg"))
    made = []
    for number in range(each * len(photos)):
        path = photos[number % len(photos)]
        file = None if keep is None else keep / f"{number:03d}-{path.stem}.safetensors"
        if file is not None and file.is_file():
            made.append(stored(file))
        else:
            made.append(measured(path, number))
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                save_file(made[-1] | {"kind": torch.tensor(KINDS.index(made[-1]["kind"]))}, file)
        print(number, path.stem, made[-1]["kind"], *(f"{gain:+.2f}" for gain in made[-1]["gain"].tolist()), flush=True)
    gains = torch.stack([one["gain"] for one in made])  # (N, 6)
    by_hand = Verdicts([int(one["chosen"]) for one in made], torch.stack([one["accepted"] for one in made]))
    report("hand-made", gains, by_hand)
    if weights is not None or JUDGE.presets():
        report("learned", gains, learned(made, weights, caution, least))
        report("both, as `restore` uses them", gains, both(made, weights))


def stored(file: Path) -> dict[str, Any]:
    """What `measured` gave, from a file."""
    one = load_file(file)
    return one | {"kind": KINDS[int(one["kind"])]}


def measured(path: Path, number: int) -> dict[str, Any]:
    """One picture: its kind, the gains and the views of its candidates, and what the hand-made judge says."""
    generator = torch.Generator().manual_seed(31_000 + number)
    recipe = ShakenRecipe(half=(3, 30), faint=0.0)  # the pictures behind the figures of docs/noharm.md
    area = cut_area([PictureCache().read(path)], recipe.area, generator, smallest_scale=0.85)
    sharp, photo, kind = shaken_picture(area, recipe, generator)
    candidates = make_candidates(photo, sharp, generator)
    grey, truth = luminance(photo), luminance(sharp)
    psfs = [one.psf for one in candidates[:SEARCHED] if one.psf is not None]
    margins = [turned_margin(grey, psf) if holds_tiles(grey, psf) else 0.0 for psf in psfs]
    views = [views_of(grey, one.restored, one.psf) for one in candidates]
    return {
        "kind": kind,
        "gain": torch.tensor([gain_of(one.restored, grey, truth, BORDER) for one in candidates]),
        "chosen": torch.tensor(most_plausible([implausibility(grey, psf) for psf in psfs], margins)),
        "accepted": torch.tensor([accepted_by_hand(grey, one) for one in candidates]),
        "pictures": torch.stack([one.pictures[:, BORDER:-BORDER, BORDER:-BORDER].half() for one in views]),
        "facts": torch.stack([one.facts for one in views]),
    }


def accepted_by_hand(grey: Tensor, candidate: Candidate) -> bool:
    """Whether the hand-made judge accepts the photo, the PSF and the restored picture."""
    sigma = float(estimate_noise_sigma(grey))
    photo = Observation(blurry=grey)
    stages = [(photo, Restoration())]
    if candidate.psf is not None:
        psf = candidate.psf[None, None]
        stages.append((photo, Restoration(psf=psf)))
        photo = Observation(blurry=grey, psf=psf, psf_estimated=True)
    stages.append((photo, Restoration(image=candidate.restored)))
    deblurs, never_asked = frozenset({"blur"}), -math.inf
    return all(judge(seen, made, deblurs, sigma, Progress(), least_gain=never_asked) is None for seen, made in stages)


def learned(made: list[dict[str, Any]], weights: Path | None, caution: float, least: float) -> Verdicts:
    """What the learned judge says."""
    network = JUDGE.load(weights)
    chosen, accepted = [], []
    for one in made:
        gain, spread = mean_estimate(network, one["pictures"].float(), one["facts"])
        chosen.append(int(gain[:SEARCHED].argmax()))
        accepted.append(gain - caution * spread > least)
    return Verdicts(chosen, torch.stack(accepted))


def both(made: list[dict[str, Any]], weights: Path | None) -> Verdicts:
    """What both say together: a result with a PSF that the hand-made judge refused needs a larger predicted gain."""
    sure, doubtful, without_psf = (
        learned(made, weights, CAUTION, least).accepted
        for least in (LEAST_GAIN, LEAST_GAIN_IN_DOUBT, LEAST_GAIN_WITHOUT_PSF)
    )
    by_hand = torch.stack([one["accepted"] for one in made])
    has_psf = torch.stack([one["facts"][:, -1] == 1 for one in made])
    accepted = torch.where(has_psf, torch.where(by_hand, sure, doubtful), by_hand & without_psf)
    return Verdicts([int(one["chosen"]) for one in made], accepted)


def report(name: str, gains: Tensor, verdicts: Verdicts) -> None:
    """Print the three figures of one judge."""
    best = gains[:, :SEARCHED].amax(1)
    lost = best - gains[torch.arange(len(gains)), torch.tensor(verdicts.chosen)]
    worth, accepted, helped = best >= HELPED, verdicts.accepted, gains >= HELPED
    near = int((lost[worth] <= NEAR).sum())
    print(
        f"{name}: {near} of {int(worth.sum())} choices within {NEAR} dB of the best, {lost[worth].mean():.2f} dB lost"
    )
    gaining = int((gains > 0)[accepted].sum())
    worst = float(gains[accepted].min()) if accepted.any() else 0.0
    print(f"{name}: {gaining} of {int(accepted.sum())} accepted candidates gain; the worst {worst:+.2f} dB")
    print(f"{name}: {int(accepted[helped].sum())} of {int(helped.sum())} that gain {HELPED} dB or more are accepted")


if __name__ == "__main__":
    typer.run(main)
