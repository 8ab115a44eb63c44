"""What a method says about itself: its card, its settings, and how it restores.

Everything that a person sees of a method (`--set`, `unblur methods`, a benchmark row, the table in the documentation)
and the contract tests are generated from the `METHOD` object of its module:

    METHOD = Method(Card(name="wiener", ...), WienerSettings, restore)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from unblur.types import Observation, Progress, Restoration, UnblurError

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from unblur.trained import Trained

Input = Literal["blurry", "noisy", "frames", "psf", "exposure_ratio"]
Output = Literal["image", "psf"]
Defect = Literal["blur", "noise"]
SourceKind = Literal["photos", "pairs", "frames"]


@dataclass(frozen=True)
class Card:
    """What a method says about itself, so that nothing else has to guess it.

    Attributes:
        name: what a person types; equal to the module's name.
        title: one line for a table.
        paper: who published it, or "" if nobody did.
        needs: the fields of `Observation` that it cannot work without.
        gives: the fields of `Restoration` that it fills.
        undoes: the defects that it removes: blur, noise, or both. Empty for a method that gives no image.
        takes: further fields of `Observation` that it uses if they are there. A PSF that it only takes is where it
            begins: its picture is judged as if there were none.
        channels: the numbers of channels it accepts.
        multiple_of: the sides of a picture must be multiples of this; the pipeline pads.
        grid: the first row and column of a tile are multiples of this. For a network that reduces the picture by this
            factor, so that it groups the same pixels as in the whole picture. At least `multiple_of`.
        tiling: True if a large picture may be restored in overlapping tiles: the result at a pixel then depends on
            its surroundings only.
        reach: how far those surroundings go, in pixels. The margin of a tile is the largest of this, of one and a half
            times the side of the PSF, and of 32 pixels.
        tile: largest side of a tile in pixels, without its margin. Larger tiles need more memory, but compute less of
            their neighbours again. None: what suits most methods.
        whole_when: values of settings with which tiles are not allowed, such as `{"boundary": "circular"}`.
        presets: named groups of settings.
        undoes_when: what it undoes instead with some values of settings, by the setting's name and value, such as
            `{"output": {"denoised": frozenset({"noise"})}}`. A part of `undoes`.
        has_evidence: True if the method checks itself whether a photo is blurred and whether its PSF is right, and
            changes nothing otherwise. So neither is judged again, only the picture.
    """

    name: str
    title: str
    paper: str
    needs: frozenset[Input]
    gives: frozenset[Output]
    undoes: frozenset[Defect] = frozenset()
    takes: frozenset[Input] = frozenset()
    channels: tuple[int, ...] = (1, 3)
    multiple_of: int = 1
    grid: int = 1
    tiling: bool = False
    reach: int = 0
    tile: int | None = None
    whole_when: Mapping[str, Any] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    undoes_when: Mapping[str, Mapping[Any, frozenset[Defect]]] = field(default_factory=dict)
    has_evidence: bool = False

    def __post_init__(self) -> None:
        """Refuse a card that contradicts itself.

        Raises:
            ValueError: naming the method and what is wrong.
        """
        if ("image" in self.gives) != bool(self.undoes):
            raise ValueError(
                f"the card of '{self.name}': a method that gives an image says in `undoes` what the image no longer "
                "has, blur or noise; a method that gives none leaves `undoes` out."
            )
        if self.needs & self.takes:
            twice = ", ".join(sorted(self.needs & self.takes))
            raise ValueError(f"the card of '{self.name}': {twice} stands in `needs` and in `takes`.")
        for key, undone in self.undoes_when.items():
            for value, defects in undone.items():
                if not defects or not defects <= self.undoes:
                    raise ValueError(
                        f"the card of '{self.name}': what it undoes with {key}={value} must be a part of `undoes`, and "
                        "not empty."
                    )

    def tiles(self, settings: Settings) -> bool:
        """Whether a large picture may be restored in tiles with these settings."""
        return self.tiling and not any(getattr(settings, key) == value for key, value in self.whole_when.items())

    def under(self, settings: Settings) -> Card:
        """The card of the method with these settings: `undoes` is what it then undoes."""
        for key, undone in self.undoes_when.items():
            if getattr(settings, key) in undone:
                return replace(self, undoes=undone[getattr(settings, key)], undoes_when={})
        return self


class Settings(BaseModel):
    """Base of every method's settings. Immutable; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


@dataclass(frozen=True)
class Probe:
    """How the contract tests see that a setting has an effect. It is no part of the settings' JSON schema.

    Attributes:
        values: two values that must give different results.
        given: other settings with which they do.
    """

    values: tuple[Any, Any]
    given: Mapping[str, Any] = field(default_factory=dict)


def probe_of(declared: FieldInfo) -> Probe | None:
    """The probe of a setting that was declared with `setting`, or None if it has none."""
    return next((entry for entry in declared.metadata if isinstance(entry, Probe)), None)


def setting(
    default: Any,
    help: str,
    *,
    probe: tuple[Any, Any] | None,
    ge: float | None = None,
    le: float | None = None,
    given: Mapping[str, Any] | None = None,
) -> Any:
    """Declare one setting.

    Args:
        default: its value when the person says nothing.
        help: what it is, in which unit, and what raising it does.
        probe: two values that must give different results (the contract tests try them); None: the method's own
            tests do.
        ge: smallest value allowed.
        le: largest value allowed.
        given: other settings under which the probe makes sense.
    """
    declared: Any = Field(default=default, description=help, ge=ge, le=le)
    if probe is not None:
        declared.metadata.append(Probe(probe, dict(given or {})))
    return declared


class Trainable(Protocol):
    """What `unblur train` is told by a method with networks.

    The training loop knows nothing of pictures: it asks for samples and for losses, and changes the weights. A class
    that inherits from this one gets the values given here.

    Attributes:
        modules: the networks by the names that the recipe uses. The training loop replaces each by a copy on its
            device, and during a validation by one with averaged weights; so look it up as `self.modules[name]` each
            time.
        stages: the stages that a recipe may have, each with the names of the optimisers that `losses` yields for it.
        area: side in pixels of the pictures that `observe` is given.
        sources: the kinds of source that `observe` accepts.
        frames: how many consecutive frames `observe` is given of a source of frames.
    """

    modules: dict[str, nn.Module]
    stages: Mapping[str, set[str]]
    area: int
    sources: frozenset[SourceKind] = frozenset({"photos"})
    frames: int = 1

    def observe(self, sample: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """What the networks learn from, made of one sample of a source.

        Args:
            sample: pictures in [0, 1]. Of photos: `sharp`, `(3, area, area)`. Of pairs: `sharp` and `blurry`, each
                `(3, area, area)`, and whatever else was stored of the pair. Of frames: `frames`,
                `(frames, 3, area, area)`, consecutive and sharp.
            generator: where all randomness comes from.

        Returns:
            Tensors that stack to a batch. `sharp` is what `restore` should give back, `blurry` is shown beside it;
            both `(C, H, W)`.
        """
        ...

    def losses(self, stage: str, batch: Mapping[str, Tensor]) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Pairs of an optimiser's name and its losses by name, each a mean over the batch, `()`.

        The optimiser minimises the sum of its losses. The loop steps it before it asks for the next pair.
        """
        ...

    def restore(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What the networks as they are make of a batch: `(B, C, H, W)`, to be compared with its `sharp`."""
        ...


@dataclass(frozen=True)
class Method:
    """A card, a settings model, the function that restores, and what training needs.

    Attributes:
        card: what it is.
        settings: what can be set.
        restore: does the work.
        trainable: makes a `Trainable` of a recipe's tables `network` and `observations`; None: nothing is learned.
        prepare: called once with the whole photo before it is cut into tiles, for what a tile alone does not show. It
            returns the observation and settings with which every tile is restored. Not called for a photo that is
            restored in one piece. None: nothing is prepared.
        quick: settings with which it is fast enough for the contract tests.
        trained: its networks and their files of weights; None: it has none.
        weakest: settings with the weakest regularisation. The contract tests check that the picture is returned with
            them when the PSF is a single point.
    """

    card: Card
    settings: type[Settings]
    restore: Callable[[Observation, Any, Progress], Restoration]
    trainable: Callable[[Mapping[str, Any], Mapping[str, Any]], Trainable] | None = None
    prepare: Callable[[Observation, Any, Progress], tuple[Observation, Any]] | None = None
    quick: Mapping[str, Any] = field(default_factory=dict)
    trained: Trained | None = None
    weakest: Mapping[str, Any] = field(default_factory=dict)

    def __call__(
        self,
        observation: Observation,
        settings: Mapping[str, Any] | Settings | None = None,
        progress: Progress | None = None,
    ) -> Restoration:
        """Check the observation against the card, then restore. One PSF serves all pictures of a batch.

        Raises:
            UnblurError: when something the card needs is missing or a setting is wrong.
        """
        for need in sorted(self.card.needs):
            if getattr(observation, need) is None:
                raise UnblurError(f"method '{self.card.name}' needs a {need}, and none was given.")
        if not isinstance(settings, Settings):
            settings = self.configure(settings or {})
        return self.restore(_with_a_psf_each(observation), settings, progress or Progress())

    def configure(self, values: Mapping[str, Any]) -> Settings:
        """Settings from `values`; the key `preset` names a group to start from.

        Raises:
            UnblurError: naming the nearest key, or the range a value must lie in.
        """
        values = dict(values)
        preset = values.pop("preset", None)
        if preset is not None:
            preset = str(preset)
            if preset not in self.card.presets:
                raise UnblurError(f"'{self.card.name}' has no preset '{preset}'.{nearest(preset, self.card.presets)}")
            values = {**self.card.presets[preset], **values}
        try:
            return self.settings(**values)
        except ValidationError as error:
            raise UnblurError(self._explain(error)) from None

    def _explain(self, error: ValidationError) -> str:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            return f"'{self.card.name}' has no setting '{key}'.{nearest(key, self.settings.model_fields)}"
        return f"setting '{key}' of '{self.card.name}': {first['msg']} (got {first['input']!r})."


def _with_a_psf_each(observation: Observation) -> Observation:
    """The same observation with a PSF for every picture of the batch, where one was given for all of them."""
    psf, batch = observation.psf, max((len(picture) for picture in observation.pictures().values()), default=1)
    if psf is None or len(psf) == batch or len(psf) != 1:
        return observation
    return replace(observation, psf=psf.expand(batch, -1, -1, -1))


_T = TypeVar("_T", bound=BaseModel)


def checked(
    model: type[_T], values: Mapping[str, Any], source: str, tables: Mapping[str, type[BaseModel]] | None = None
) -> _T:
    """`model` from the values of a table in a file.

    Args:
        model: what the values must fit.
        values: by key.
        source: where they come from, for the message.
        tables: models of the tables inside, by their keys.

    Raises:
        UnblurError: naming the key that is wrong, and the nearest one that there is.
    """
    try:
        return model(**values)
    except ValidationError as error:
        # A misspelt key is also a missing one; the spelling is what helps.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            inside = [tables[part] for part in first["loc"][:-1] if tables and isinstance(part, str) and part in tables]
            hint = nearest(str(first["loc"][-1]), (inside or [model])[-1].model_fields)
            raise UnblurError(f"{source}: there is no key '{place}'.{hint}") from None
        if first["type"] == "missing":
            raise UnblurError(f"{source}: the key '{place}' is missing.") from None
        raise UnblurError(f"{source}: '{place}': {first['msg']} (got {first['input']!r}).") from None


def nearest(name: str, names: Any) -> str:
    """' Did you mean ...?' for the closest of `names`, else ' There is: ...'."""
    names = sorted(names)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There is: {', '.join(names)}." if names else ""
