"""What a person may ask for, as opposed to what the camera gave (`unblur.Observation`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from unblur.pipeline.auto import AUTO, NOISY, NON_BLIND, Choice, choose
from unblur.pipeline.chain import Chain, complete, setting_keys
from unblur.pipeline.device import find_device
from unblur.types import UnblurError


@dataclass(frozen=True)
class Options:
    """What a person may ask for.

    Attributes:
        method: a method, a chain `a+b`, a Python file, or "auto": `unblur.pipeline.auto` chooses.
        psf_size: odd side in pixels of the PSF to estimate; None: found automatically.
        settings: `key` or `method.key`, as `Chain.parse` takes them.
        strength: 0 (the picture as it was) to 1 (fully restored).
        force: True keeps a result that is not credible.
        device: where the work is done, `cpu`, `cuda`, `cuda:1`, ...; None: where the picture is.
        allow_files: False for input that is not trusted, such as that of a web page: the method is then one of the
            package, and no setting names a file. A method in a file is a program, which would be run.
        align: whether the short shot of a pair is moved onto the long one and made as bright; False: it is used as is.
        region: the part of the photo from which the PSF is estimated, as `(left, top, width, height)` in pixels of the
            upright photo; None: all of it. The PSF is then used for the whole photo.

    Raises:
        UnblurError: a strength out of range, a device that is not there, or an empty region.
    """

    method: str = AUTO
    psf_size: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    strength: float = 1.0
    force: bool = False
    device: str | torch.device | None = None
    allow_files: bool = True
    align: bool = True
    region: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of range, and a device that is not there."""
        if not 0 <= self.strength <= 1:
            raise UnblurError(f"strength goes from 0 (as it was) to 1 (fully restored), not {self.strength:g}.")
        if self.device is not None:
            find_device(self.device)
        if self.region is not None and (min(self.region[:2]) < 0 or min(self.region[2:]) < 1):
            raise UnblurError(f"a region is left, top, width, height in pixels, not {','.join(map(str, self.region))}.")

    def plan(self, given: Collection[str]) -> tuple[Chain, Choice]:
        """The methods to run, and why these; for "auto" those that are tried first on a photo without much noise.

        Args:
            given: the fields of `Observation` that are there, as `Observation.given()` says.

        Raises:
            UnblurError: an unknown method or setting, a setting out of range, something that is needed and was not
                given, or a picture or PSF that was given and of which no step makes use.
        """
        return self.plans(given, 0.0)[0]

    def plans(
        self, given: Collection[str], sigma: float, *, grain: bool = False, streaks: bool = False
    ) -> list[tuple[Chain, Choice]]:
        """As `plan`, for a photo with this noise (see `auto.choose`): all plans, in the order in which they are tried.

        If settings, a PSF's size or a region are given, "auto" considers only chains that have them: those for this
        photo, or if there are none, those for other photos.
        """
        choices = choose(self.method, given, sigma, grain=grain, streaks=streaks)
        if self.method != AUTO or not (self.settings or self.psf_size or self.region):
            return [self._plan(choice, given) for choice in choices]
        fitting = [choice for choice in choices if self._fits(choice)]
        if not fitting:
            others = [*choose(AUTO, given), *choose(AUTO, given, NOISY)]
            fitting = [choice for choice in others if self._fits(choice)][:1]
        if fitting and fitting[0] is not choices[0]:  # its own reason may be that the first choice was tried
            fitting[0] = replace(fitting[0], reason="it has the settings that were given")
        return [self._plan(choice, given) for choice in fitting or choices[:1]]

    def _fits(self, choice: Choice) -> bool:
        """Whether the chain has all settings that were given, and estimates a PSF if its size or a region was given."""
        unknown = set(self.settings) - setting_keys(choice.name, self.allow_files)
        no_psf = self.psf_size is None and self.region is None
        return not unknown and (no_psf or bool(_estimators(Chain.parse(choice.name))))

    def _plan(self, choice: Choice, given: Collection[str]) -> tuple[Chain, Choice]:
        own = {key.rpartition(".")[2] for key in self.settings}
        chosen = {key: value for key, value in choice.settings.items() if key.rpartition(".")[2] not in own}
        settings = {**chosen, **self.settings}
        name = complete(choice.name, psf_known="psf" in given, settings=settings, allow_files=self.allow_files)
        chain = self.chain(name, settings)
        used = chain.needs | chain.takes
        for field_name, words in (
            ("noisy", "a short, noisy shot; leave out --noisy"),
            ("exposure_ratio", "an exposure ratio; leave out --exposure-ratio"),
            ("frames", "several frames"),
        ):
            if field_name in given and field_name not in used:
                raise UnblurError(f"'{self.method}' makes no use of {words}.")
        if "psf" in given and "psf" not in used:
            does = "estimates a PSF and takes none" if "psf" in chain.gives else "makes no use of a PSF"
            raise UnblurError(f"'{self.method}' {does}; leave out --psf or use --method {NON_BLIND}.")
        chain.check(given)
        self.check_region(chain)
        return chain, choice

    def check_region(self, chain: Chain) -> None:
        """Refuse a region for a chain that has no use for it.

        Raises:
            UnblurError: a region was given, and no step of the chain only estimates a PSF.
        """
        if self.region is not None and not any(step.method.card.gives == {"psf"} for step in chain.steps):
            raise UnblurError(
                f"a region is of no use to '{chain.name}', in which no step only estimates a PSF. Leave it out."
            )

    def chain(self, name: str, settings: Mapping[str, Any] | None = None) -> Chain:
        """The chain called `name` with these settings, the PSF's size among them.

        Args:
            name: a chain.
            settings: None: those of the options.

        Raises:
            UnblurError: an unknown method or setting, a setting out of range, or a PSF's size that is of no use.
        """
        settings = dict(self.settings if settings is None else settings)
        if self.psf_size is not None:
            estimators = _estimators(Chain.parse(name, settings, allow_files=self.allow_files))
            if not estimators:
                raise UnblurError(f"a PSF size is of no use to '{name}', which estimates no PSF. Leave it out.")
            sizes = {"size", f"{estimators[0]}.size"} & settings.keys()
            if sizes:
                raise UnblurError(f"the PSF's size is given twice, as psf_size and as the setting {min(sizes)}.")
            settings[f"{estimators[0]}.size"] = self.psf_size
        return Chain.parse(name, settings, allow_files=self.allow_files)


def _estimators(chain: Chain) -> list[str]:
    """The names of the methods in a chain that estimate a PSF as they are told: of some size, or in some region."""
    cards = [step.method.card for step in chain.steps]
    return [card.name for card in cards if "psf" in card.gives and not card.has_evidence]
