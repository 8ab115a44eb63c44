"""The source from which `unblur train` and `unblur synth` make samples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unblur.types import UnblurError

if TYPE_CHECKING:
    from unblur.contract import Trainable
    from unblur.training.sources import Source

PhotosOption = Annotated[Path | None, typer.Option("--photos", metavar="DIR", help="Sharp photos, in any subfolders.")]
PairsOption = Annotated[
    Path | None, typer.Option("--pairs", metavar="DIR", help="Pairs: SCENE/blur/*.png and SCENE/sharp/*.png.")
]
FramesOption = Annotated[
    Path | None, typer.Option("--frames", metavar="DIR", help="Sharp consecutive frames, one folder per clip.")
]
DrawnOption = Annotated[
    float,
    typer.Option("--drawn", metavar="SHARE", help="Share of the samples that show drawn shapes and text, not photos."),
]
CacheOption = Annotated[
    float,
    typer.Option("--cache", min=0, metavar="GB", help="Memory for decoded pictures, in GB for all workers together."),
]


def chosen_source(
    trainable: Trainable,
    method: str,
    *,
    out: Path,
    cache: float,
    photos: Path | None = None,
    drawn: float = 0.0,
    pairs: Path | None = None,
    frames: Path | None = None,
    samples: Path | None = None,
    observations: Any = None,
) -> Source:
    """The source that was named on the command line.

    Args:
        trainable: states which kinds of sources the method accepts.
        method: name of the method.
        out: folder of the results; it must not lie in the source.
        cache: memory for decoded pictures, in GB.
        photos: folder of sharp photos.
        drawn: share of the samples that are drawn at random, beside those of photos.
        pairs: folder of pairs.
        frames: folder of frames.
        samples: folder of samples.
        observations: the recipe's table `observations`, with which the samples must have been made.

    Raises:
        UnblurError: when none or several folders were named, or the method does not accept this kind.
    """
    from dataclasses import replace

    from unblur.training.pictures import PictureCache
    from unblur.training.sample_files import StoredSamples
    from unblur.training.sources import Frames, Pairs, Photos

    source: Source
    if sum(folder is not None for folder in (photos, pairs, frames, samples)) != 1:
        options = ", ".join(f"--{kind}" for kind in sorted(trainable.sources))
        raise UnblurError(f"Name one folder to learn from. '{method}' learns from {options}, or from --samples.")
    if drawn and photos is None:
        raise UnblurError("--drawn is a share beside --photos. Name a folder of photos, or leave it out.")
    if samples is not None:
        source = StoredSamples.of(samples, method, observations)
        if source.own:
            return source
    elif photos is not None:
        source = Photos.of(photos, drawn=drawn, out=out)
    elif pairs is not None:
        source = Pairs.of(pairs, out=out)
    else:
        assert frames is not None
        source = Frames.of(frames, trainable.frames, out=out)
    if source.kind not in trainable.sources:
        options = ", ".join(f"--{kind}" for kind in sorted(trainable.sources))
        raise UnblurError(f"'{method}' learns from {options}, not from {source.kind}.")
    return replace(source, cache=PictureCache(round(cache * 2**30)))
