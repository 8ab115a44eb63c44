"""Three small scenes as a data set, and stand-ins for methods that estimate, fail, or use what they should not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from helpers import Scene, blurred_scene, hook_psf
from unblur import benchmark, methods
from unblur.contract import Card, Method, Settings
from unblur.datasets.base import Dataset, Sample, Scores, scores_after_shift
from unblur.imaging.psf import gaussian_psf, pad_psf
from unblur.types import Observation, Progress, Restoration

REAL_GET = methods.get
SMALL_PSF, LARGE_PSF = gaussian_psf(1.0, 7), gaussian_psf(1.5, 11)


class Tiny(Dataset):
    """Three small scenes that need no files; `changes` to all of them, or one for each."""

    name = "tiny"
    title = "three scenes"
    layout = "nothing"
    protocol: ClassVar[Mapping[str, Any]] = {"dataset": "tiny", "crop": 6, "clip": [0.0, 1.0]}

    def __init__(self, *each: dict[str, Any], **changes: Any) -> None:
        self.changes = [change | changes for change in each or [{}] * 3]

    def count(self, root: Path) -> int:
        return 3

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        for seed in range(3 if limit is None else limit):
            scene = self.scene(seed)
            sample = Sample(f"group/{seed}", scene.blurry, scene.sharp, scene.psf, sigma=0.01)
            yield replace(sample, **self.changes[seed])

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        return scores_after_shift(restored, sample, reference, crop=6, search=2, step=0.5)

    @staticmethod
    def scene(seed: int) -> Scene:
        return blurred_scene(48, 56, seed=seed)


class CancelsAtAMethodsReport(Progress):
    """Cancels itself at the first report that is not a finished row."""

    rows = 0

    def on_advance(self, steps: int, figures: dict[str, float]) -> None:
        self.rows += steps
        if not steps:
            self.cancel()


class Cast:
    """Real non-blind methods, and stand-ins that estimate, fail or use what they should not; all calls are kept."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Observation]] = {}

    def get(self, name: str) -> Method:
        if name in methods.names() and name != "l0_psf":
            real = REAL_GET(name)
            return replace(real, restore=self._watched(name, real.restore))
        stand_ins = {
            "l0_psf": ("psf", lambda o: Restoration(psf=self._for_each(hook_psf(), o), notes=["a hook"])),
            "flipped": ("psf", lambda o: Restoration(psf=self._for_each(hook_psf().flip(0, 1), o))),
            "fitting": ("psf", self._estimate_of_its_own_size),
            "perfect": ("image", self._truth),
            "nan": ("image", lambda o: Restoration(image=o.blurry * torch.nan)),
            "broken": ("image", self._break_on_the_second),
            "picky": ("image", self._break_on_scene_1),
            "double": ("image", lambda o: Restoration(image=torch.cat([o.blurry, o.blurry]))),
            "single": ("image", lambda o: Restoration(image=o.blurry[:1])),
            "mean": ("image", lambda o: Restoration(image=(o.blurry + o.noisy + o.frames.mean(1)) / 3)),
        }
        gives, work = stand_ins[name]
        needs = {"blurry", "noisy", "frames"} if name == "mean" else {"blurry"}
        takes = {"exposure_ratio", "psf"} if name == "mean" else ()
        undoes = {"blur"} if gives == "image" else ()
        card = Card(name, name, "", *map(frozenset, (needs, {gives}, undoes, takes)))
        return Method(card, Settings, self._watched(name, lambda o, settings, progress: work(o)))

    def _watched(self, name, restore):
        def watched(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
            self.seen.setdefault(name, []).append(observation)
            return restore(observation, settings, progress)

        return watched

    def _truth(self, observation: Observation) -> Restoration:
        return Restoration(image=Tiny.scene(len(self.seen["perfect"]) - 1).sharp)

    @staticmethod
    def _for_each(psf: Tensor, observation: Observation) -> Tensor:
        return psf.expand(len(observation.blurry), 1, -1, -1).to(observation.blurry)

    def _estimate_of_its_own_size(self, observation: Observation) -> Restoration:
        """A large psf for scene 0, a small one for the others; padded to the largest as `l0_psf` does."""
        psfs = [LARGE_PSF if _shows(0, picture) else SMALL_PSF for picture in observation.blurry]
        size = max(len(psf) for psf in psfs)
        return Restoration(psf=torch.stack([pad_psf(psf, size)[None] for psf in psfs]).to(observation.blurry))

    def _break_on_scene_1(self, observation: Observation) -> Restoration:
        if any(_shows(1, picture) for picture in observation.blurry):
            raise RuntimeError("not this one")
        return Restoration(image=observation.blurry)

    def _break_on_the_second(self, observation: Observation) -> Restoration:
        if len(self.seen["broken"]) == 2:
            raise ZeroDivisionError("oh")
        return Restoration(image=observation.blurry)


def _shows(seed: int, picture: Tensor) -> bool:
    return torch.equal(picture.cpu(), Tiny.scene(seed).blurry[0])


def run(*names: str, limit: int | None = 1, **options: Any) -> dict[str, Any]:
    return benchmark.run("tiny", Path("nowhere"), names, limit=limit, **options)


def only_row(*names: str, **options: Any) -> dict[str, Any]:
    (row,) = run(*names, **options)["rows"]
    return row
