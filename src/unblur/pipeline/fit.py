"""Bring a picture into the shape a method's card asks for, and its result back."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.contract import Method, Settings
from unblur.types import Observation, Progress, Restoration


def fitted(method: Method, observation: Observation, settings: Settings, progress: Progress) -> Restoration:
    """Run a method on `observation.blurry` `(1, C, H, W)` whatever number of channels and sides it takes.

    Missing rows and columns repeat the last one. A grey picture is given to a colour method three times over
    and the mean taken; a colour picture is given to a grey method channel by channel.
    """
    card, picture = method.card, observation.blurry
    assert picture is not None
    height, width = picture.shape[-2:]
    whole = F.pad(picture, (0, -width % card.multiple_of, 0, -height % card.multiple_of), mode="replicate")
    channels = whole.shape[1]
    if channels in card.channels:
        given = [whole]
    elif channels == 1:
        given = [whole.expand(-1, card.channels[0], -1, -1)]
    else:
        given = list(whole.split(1, dim=1))
    results = [method.restore(replace(observation, blurry=part), settings, progress) for part in given]
    images = [_image(method, result) for result in results]
    image = torch.cat(images, dim=1)  # (1, C, H, W), or more channels than a grey picture has
    if channels == 1:
        image = image.mean(1, keepdim=True)
    return replace(results[0], image=image[..., :height, :width], changed=any(r.changed for r in results))


def _image(method: Method, result: Restoration) -> Tensor:
    assert result.image is not None, f"'{method.card.name}' says that it gives an image, and gave none"
    return result.image
