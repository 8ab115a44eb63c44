"""A pair of shots as a method needs it: the short one in the place of the long one, as bright and as coloured.

The long shot stays as it is, since the result replaces it: its size, its frame and its metadata. So the short shot is
moved onto it (`imaging.registration`), and its tones are matched (`imaging.tones`). Where the short shot does not show
what the long one shows, the long one stands in its place, and the result there is the long shot. Where both show the
place but disagree (`imaging.disagreement`), the blurred short shot stands in the place of the long one, and the result
there is the short shot without its noise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.disagreement import with_agreement
from unblur.imaging.exposure import brightened
from unblur.imaging.registration import register, warped
from unblur.imaging.tones import match_tones
from unblur.types import Progress, Result, UnblurError

ONE_SCENE = 0.8
"""Agreement of the features below which two shots do not show one scene; benchmarks/registration.py measures it."""

# Chosen by hand; benchmarks/registration.py measures the agreement of right and wrong pairs.
_LEAST_OVERLAP = 0.5  # share of the photo that the short shot must show
_STILL = 0.25  # pixels: a short shot that would move by less is not resampled
_BORDER = 8  # pixels over which the short shot passes into the long one where it ends
_WORTH_A_NOTE = 0.005  # share of the photo
_EXPOSURES_DIFFER = 2.0  # factor between the measured brightness and the exposures that is worth a note


class NotOneScene(UnblurError):
    """Two shots that could not be laid on each other."""


@dataclass(frozen=True)
class AlignedShot:
    """Both shots as the method is given them.

    Attributes:
        picture: the short one, `(1, C, H, W)`, of the size of the long shot, sRGB, [0, 1].
        long: the long one, same shape; where the shots disagree, the blurred short one.
        notes: what was done, as plain sentences.
    """

    picture: Tensor
    long: Tensor
    notes: list[str] = field(default_factory=list)

    def added_to(self, result: Result[Tensor], photo: Tensor, strength: float) -> Result[Tensor]:
        """The result with the shot as stage "aligned", and with the notes.

        Args:
            result: what became of `long`.
            photo: the long shot as it came, `(1, C, H, W)`.
            strength: the share of the restored picture in the result; the rest is the photo, also where the shots
                disagree.
        """
        image = result.image
        if result.changed and strength < 1:
            image = image + (1 - strength) * (photo - self.long).to(image)
        stages = {"aligned": self.picture, **result.stages}
        return replace(result, image=image, stages=stages, notes=[*result.notes, *self.notes])


def align_short(
    short: Tensor, long: Tensor, progress: Progress, *, ratio: float | None = None, exposures: float | None = None
) -> AlignedShot:
    """Move the short shot onto the long one, and make it as bright.

    Args:
        short: `(1, C, h, w)`, sRGB, [0, 1].
        long: `(1, C, H, W)`.
        progress: told of the stage; may cancel.
        ratio: the long exposure divided by the short one, if a person gave it. The tones are then left to the method.
        exposures: the same from the metadata, to compare it with what is measured; None: not known.

    Raises:
        NotOneScene: the shots do not agree well enough, or overlap too little.
    """
    progress.stage("aligning the two shots")
    found = register(short, long)
    if found.agreement < ONE_SCENE:
        raise NotOneScene("the two shots do not show one scene")
    if found.overlap < _LEAST_OVERLAP:
        raise NotOneScene(f"the short shot shows only {found.overlap:.0%} of the photo")
    size = (long.shape[-2], long.shape[-1])
    moved = found.farthest_shift(size)
    resampled = moved >= _STILL or short.shape != long.shape
    notes, share = [], torch.ones_like(long[:, :1])
    picture, shown = short.clamp(0, 1), share.bool()
    if resampled:
        picture, shown = warped(short, found, size)
        picture, share = picture.clamp(0, 1), _share(shown)
    done = f"moved by up to {moved:.0f} px" if moved >= 1 else "moved by less than 1 px"
    substitute = long
    if ratio is None:
        curves = match_tones(picture, long, shown)
        picture = curves(picture)
        gain = float(curves.gain.median())
        brighter = f"brightened {gain:.1f} times" if gain >= 1 else f"darkened to {gain:.0%} of its light"
        notes.append(f"The short shot was {done} and {brighter}.")
        if exposures is not None and not 1 / _EXPOSURES_DIFFER < gain / exposures < _EXPOSURES_DIFFER:
            notes.append(f"By the exposures in the metadata, {exposures:.1f} times was to be expected.")
    else:
        notes.append(f"The short shot was {done}.")
        substitute = brightened(long, 1 / ratio)
    if found.overlap < 0.995:
        notes.append(f"It does not show {1 - found.overlap:.0%} of the photo; there the result is the photo itself.")
    aligned = torch.lerp(substitute, picture, share)
    bright = aligned if ratio is None else brightened(aligned, ratio)
    agreeing, replaced = with_agreement(long, bright, share)
    if replaced >= _WORTH_A_NOTE:
        notes.append(f"The shots disagree in {replaced:.0%} of the photo; there the short shot alone is used.")
    return AlignedShot(aligned, agreeing, notes)


def _share(shown: Tensor) -> Tensor:
    """The share of the short shot in every pixel `(1, 1, H, W)`: 0 where it does not show the scene, 1 well inside."""
    outside = F.max_pool2d((~shown).float(), 2 * _BORDER + 1, 1, _BORDER)
    return 1 - F.avg_pool2d(outside, 2 * _BORDER + 1, 1, _BORDER, count_include_pad=False).clamp_min((~shown).float())
