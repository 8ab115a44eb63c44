"""Make docs/gallery.md: photos with synthesised blur before and after `unblur restore`, failures included.

    python benchmarks/gallery.py PHOTOS DOCS [--side 320]

PHOTOS is a folder of free photos with the `manifest.json` that names the licence of each; the validation photos are
used. Pictures of several kinds are made from them (`shaken_scenes.py`) and restored as by `unblur bench real`. DOCS
gets `gallery.md` and `gallery/*.jpg`, which replace those of an earlier run.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from kodak import read, write
from PIL import Image
from shaken_scenes import shaken_scene

from unblur.benchmark.real import Done, run_real
from unblur.image_io import read_psf
from unblur.metrics import psnr_aligned
from unblur.pipeline.options import Options
from unblur.pipeline.report import psf_square

PICTURES = ("shaken", "shaken", "text", "shaken", "lights", "shaken", "sharp", "shaken", "shallow", "shaken", "lights")
QUALITY = 72  # of the JPEG files

HEAD = """# Gallery

What `unblur restore` does to {count} pictures: the picture, the result, and the PSF that was found. This page, failures
included, was made by

```console
$ python benchmarks/gallery.py photos docs
```

**The blur is synthesised.** The pictures were made from free photos that nothing was trained on, with shakes drawn at
random, noise, JPEG and lights (`benchmarks/shaken_scenes.py`), {side} x {side} px each. The gain is that of the PSNR at
the best shift. The seconds are those of one thread. {changed} of {count} pictures were changed.
"""


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="The folder of free photos.")],
    docs: Annotated[Path, typer.Argument(metavar="DOCS", help="The folder of the documentation.")],
    side: Annotated[int, typer.Option(min=64, help="Side of a picture in pixels.")] = 320,
) -> None:
    """Write the page and its pictures."""
    torch.set_num_threads(1)
    licences = {one["file"]: one for one in json.loads((photos / "manifest.json").read_text())}
    free = sorted(path for path in photos.glob("*.jpg") if path.stem[-1] in "01" and path.name in licences)
    used = [free[number * len(free) // len(PICTURES)] for number in range(len(PICTURES))]
    (docs / "gallery").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        blurry, out = Path(folder, "blurry"), Path(folder, "out")
        blurry.mkdir()
        scenes = [
            shaken_scene([photo], kind, number, side)
            for number, (photo, kind) in enumerate(zip(used, PICTURES, strict=True))
        ]
        for number, (kind, made) in enumerate(zip(PICTURES, scenes, strict=True)):
            write(made.blurry, blurry / f"{number + 1:02}-{kind}.png")
        done = run_real(blurry, out, Options(), report=lambda one: typer.echo(one.line))
        sections = []
        for one, made, photo in zip(done, scenes, used, strict=True):
            name = f"gallery/{one.photo.stem}.jpg"
            panel(one, side).save(docs / name, quality=QUALITY, optimize=True)
            before, after = (
                float(psnr_aligned(read(path), made.sharp, crop=24, search=16, step=0.5))
                for path in (one.photo, one.picture)
            )
            sections.append(section(one, name, after - before, licences[photo.name]))
    changed = sum(bool(one.figures["changed"]) for one in done)
    text = "\n".join([HEAD.format(count=len(done), side=side, changed=changed), *sections])
    (docs / "gallery.md").write_text(text)
    size = sum(path.stat().st_size for path in (docs / "gallery").glob("*.jpg"))
    print(f"{docs / 'gallery.md'}: {len(done)} pictures, {size / 1000:.0f} kB")


def panel(done: Done, side: int) -> Image.Image:
    """The picture, the result, and the PSF if there is one, side by side."""
    square = Image.new("RGB", (side, side)) if done.psf is None else psf_square(read_psf(done.psf), side)
    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in (done.photo, done.picture)]
    return Image.fromarray(np.concatenate([*pictures, np.asarray(square)], 1))


def section(done: Done, name: str, gain: float, photo: dict[str, str]) -> str:
    """The text about one picture."""
    figures = done.figures
    kind = done.photo.stem.partition("-")[2]
    made = f"restored with `{figures['method']}`, {gain:+.1f} dB" if figures["changed"] else "left alone"
    why = figures["reason"] if figures["changed"] else figures["notes"][0].rstrip(".")
    psf = "no PSF" if figures["psf_size"] is None else f"a PSF of {figures['psf_size']} px"
    return (
        f"## {done.photo.stem[:2]} {kind}\n\n![{kind}: before, after, PSF]({name})\n\n"
        f"{made[0].upper()}{made[1:]}; {psf}; {figures['seconds']:.0f} s. Reason: {why}.\n\n"
        f"Made from {photo['source']}, `{photo['path']}`, {photo['licence']}; this picture has the same licence.\n"
    )


if __name__ == "__main__":
    typer.run(main)
