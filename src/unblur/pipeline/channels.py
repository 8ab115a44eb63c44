"""Bring an observation into the channels and sides that a method's card asks for, and the result back."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.contract import Method, Settings
from unblur.imaging.colour import luminance
from unblur.types import Observation, Progress, Restoration


def run_on_any_shape(method: Method, observation: Observation, settings: Settings, progress: Progress) -> Restoration:
    """Run a method on an observation of one photo, or of several alike, whatever channels and sides the method takes.

    Every picture of the observation is treated alike. Missing rows and columns repeat the last one. Grey pictures are
    given to a colour method three times over, and the mean of its result is taken; colour pictures are given to a grey
    method channel by channel.
    """
    card = method.card
    first = next(iter(observation.pictures().values()))
    channels, height, width = first.shape[-3:]
    padded = observation.with_pictures(lambda picture: _padded(picture, card.multiple_of))
    if channels in card.channels:
        parts = [padded]
    elif channels == 1:
        parts = [padded.with_pictures(lambda picture: _repeated(picture, card.channels[0]))]
    else:
        parts = [padded.with_pictures(lambda picture, c=c: picture[..., c : c + 1, :, :]) for c in range(channels)]
    results = [method.restore(part, settings, progress) for part in parts]

    def joined(pictures: list[Tensor]) -> Tensor:
        """The parts' pictures as one, with the photo's channels and sides."""
        picture = torch.cat(pictures, dim=1)
        grey = channels == 1 and picture.shape[1] > 1
        return (picture.mean(1, keepdim=True) if grey else picture)[..., :height, :width]

    images = [result.image for result in results if result.image is not None]
    assert "image" not in card.gives or images, f"'{card.name}' says that it gives an image, and gave none"
    return replace(
        results[0],
        image=joined(images) if images else None,
        stages={name: joined([result.stages[name] for result in results]) for name in results[0].stages},
        changed=any(result.changed for result in results),
    )


def on_any_shape(method: Method) -> Method:
    """The same method, run by `run_on_any_shape`."""

    def restore(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
        return run_on_any_shape(method, observation, settings, progress)

    return replace(method, restore=restore)


def in_grey(picture: Tensor) -> Tensor:
    """The luminance of a picture `(B, C, H, W)` or of frames `(B, T, C, H, W)`, with one channel."""
    grey = luminance(picture.reshape(-1, *picture.shape[-3:]))
    return grey.reshape(*picture.shape[:-3], 1, *picture.shape[-2:])


def _padded(picture: Tensor, multiple: int) -> Tensor:
    """A picture or frames with sides that are multiples of `multiple`."""
    rows, columns = (-side % multiple for side in picture.shape[-2:])
    if not rows and not columns:
        return picture
    flat = picture.reshape(-1, *picture.shape[-3:])  # F.pad repeats the border of four axes, not of five
    padded = F.pad(flat, (0, columns, 0, rows), mode="replicate")
    return padded.reshape(*picture.shape[:-2], *padded.shape[-2:])


def _repeated(picture: Tensor, channels: int) -> Tensor:
    """A grey picture or grey frames copied into as many channels."""
    return picture.expand(*picture.shape[:-3], channels, *picture.shape[-2:])
