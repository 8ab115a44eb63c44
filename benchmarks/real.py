"""Restore each photo of a folder, say what was done, and put the results on contact sheets to look at.

    python benchmarks/real.py FOLDER OUT [--method auto] [--most 0.4] [--force]

FOLDER holds blurred photos (`*.jpg`, `*.png`) without known sharp pictures. A line is printed for each: its size,
what was done or why it was left alone, and the seconds. OUT gets `NAME.png`, the photo, the result and the PSF side by
side, and `sheet-1.png`, ... with twelve of them each. A photo that was left alone is shown with its PSF, if one was
found. `--most` limits the megapixels: of a larger photo, the part with the most edges is restored.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from kodak import read, write
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.solvers.blind import informative_place
from unblur.types import Observation, Progress, Result

ROWS, CELL = 12, (300, 400)  # of a sheet; height and width of a picture on it


def main(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of photos.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder for the pictures.")],
    method: Annotated[str, typer.Option(help="A method or a chain.")] = "auto",
    most: Annotated[float, typer.Option(min=0.01, help="Most megapixels of a photo.")] = 100.0,
    force: Annotated[bool, typer.Option("--force", help="Keep results that are not credible.")] = False,
    name: Annotated[list[str] | None, typer.Option(help="Only this photo, without suffix; may be repeated.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print one line per photo, and write the pictures."""
    torch.set_num_threads(threads)
    files = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png"))
    files = [path for path in files if not name or path.stem in name]
    if not files:
        raise typer.BadParameter(f"no such *.jpg or *.png in {folder}")
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Tensor] = []
    changed = 0
    for path in files:
        photo = part_of(read(path), most)
        start = time.monotonic()
        result = restore_picture(Observation(blurry=photo), Options(method, force=force), Progress())
        changed += result.changed
        done = f"restored with {result.method}" if result.changed else f"left alone: {' '.join(result.notes)}"
        size = f"{photo.shape[-1]} x {photo.shape[-2]}"
        print(f"{path.stem}, {size}: {done} ({time.monotonic() - start:.0f} s)", flush=True)
        panels = side_by_side(photo, result)
        write(panels, out / f"{path.stem}.png")
        rows.append(F.interpolate(panels, size=(CELL[0], 3 * CELL[1]), mode="bilinear", antialias=True))
        sheet = rows[(len(rows) - 1) // ROWS * ROWS :]
        write(torch.cat(sheet, -2), out / f"sheet-{(len(rows) - 1) // ROWS + 1}.png")
    print(f"{changed} of {len(files)} were restored")


def part_of(photo: Tensor, most: float) -> Tensor:
    """The photo `(1, 3, H, W)`, or its part with the most edges of at most `most` megapixels."""
    if photo[0, 0].numel() <= most * 1e6:
        return photo
    rows, columns = informative_place(luminance(photo), int((most * 1e6) ** 0.5))
    return photo[..., rows, columns].contiguous()


def side_by_side(photo: Tensor, result: Result[Tensor]) -> Tensor:
    """Photo, result and PSF, `(1, 3, H, 3 W)`; the PSF as large as it fits."""
    panel = torch.zeros_like(photo)
    if result.psf is not None:
        psf = (result.psf / result.psf.max())[None, None]
        times = max(min(photo.shape[-2] // psf.shape[-2], photo.shape[-1] // psf.shape[-1]), 1)
        large = F.interpolate(psf, scale_factor=times)[..., : photo.shape[-2], : photo.shape[-1]]
        panel[..., : large.shape[-2], : large.shape[-1]] = large
    return torch.cat((photo, result.image.clamp(0, 1), panel), -1)


if __name__ == "__main__":
    typer.run(main)
