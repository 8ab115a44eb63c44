"""Measure methods on photos of a camera that turned, along recorded shakes of a hand.

    python benchmarks/turned.py KODAK_DIR --gyro GYRO_DIR [--method l0_psf+wiener_stack,camera_path] [--limit 24]

GYRO_DIR holds the traces of Lai et al. 2016: `*_gyro.txt` with the rates of rotation about three axes in radians per
second in the first three columns and the time in the last one, and `*_info.txt` with the times at which the exposure
begins and ends in its last two. Photo number i is blurred along trace i, i modulo their number, by a lens whose focal
length is the photo's longer side. A share of the exposure is used, so that the PSF in the middle has a side of at most
31 px. Noise of 0.5 % is added. The valid part is scored after the best half-pixel shift within 8 px.

The method is run by itself: nothing is judged. No parameter is tuned on these photos.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer
from kodak import read
from rich.console import Console
from rich.table import Table
from torch import Tensor

from unblur.imaging.camera_rotation import blur_by_rotation
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.metrics import psnr_aligned
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.types import Observation, Progress

SIGMA, STEPS = 0.005, 48
LARGEST = 15.0  # px, the largest shift in the middle to either side
MARGIN = 32  # px of the photo that only the moving camera sees


def main(
    photos: Annotated[Path, typer.Argument(metavar="KODAK_DIR", help="The folder of kodim01.png ... kodim24.png.")],
    gyro: Annotated[Path, typer.Option(metavar="GYRO_DIR", help="The folder of *_gyro.txt and *_info.txt.")],
    method: Annotated[str, typer.Option(help="Methods or chains, separated by commas.")] = (
        "l0_psf+wiener_stack,camera_path"
    ),
    limit: Annotated[int, typer.Option(min=1, help="Number of photos, from the first.")] = 24,
    threads: Annotated[int, typer.Option(min=1, help="Number of threads.")] = 1,
) -> None:
    """Print the gain of each method for each photo, and the means."""
    torch.set_num_threads(threads)
    files, traces = sorted(photos.glob("kodim*.png"))[:limit], sorted(gyro.glob("*_gyro.txt"))
    if not files or not traces:
        raise typer.BadParameter(f"no kodim*.png in {photos}, or no *_gyro.txt in {gyro}")
    names = method.split(",")
    table, gains = Table("photo", "roll", "before", *names), []
    for number, path in enumerate(files):
        sharp = read(path)
        poses = recorded(traces[number % len(traces)], max(sharp.shape[-2:]))
        blurry = blur_by_rotation(sharp, poses, max(sharp.shape[-2:]))
        inside = (..., slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
        noise = torch.Generator().manual_seed(number)
        observed = quantise(add_gaussian_noise(blurry[inside].clamp(0, 1), SIGMA, noise, clip=True), clip=True)
        observation = Observation(blurry=observed)
        before = score(observed, sharp[inside])
        made = [restore_picture(observation, Options(name, force=True), Progress()).image for name in names]
        gains.append([score(image, sharp[inside]) - before for image in made])
        roll = float(poses[:, 2].max() - poses[:, 2].min()) * 180 / torch.pi
        row = (path.stem, f"{roll:.2f}", f"{before:.2f}", *(f"{gain:+.2f}" for gain in gains[-1]))
        table.add_row(*row)
        Console(stderr=True).print(*row, highlight=False)
    Console().print(table)
    means = torch.tensor(gains).mean(0).tolist()
    print(f"{len(gains)} photos: mean gain " + ", ".join(f"{n} {m:+.2f}" for n, m in zip(names, means, strict=True)))


def recorded(trace: Path, focal_length: float) -> Tensor:
    """The poses of a recorded shake, `(STEPS, 3)`: shift x, y in pixels in the middle, and roll in radians."""
    rows = torch.tensor([[float(x) for x in line.split()] for line in trace.read_text().splitlines()]).double()
    info = trace.with_name(trace.name.replace("_gyro", "_info")).read_text().split()
    start, end = (float(value) for value in info[-2:])
    times = torch.tensor([float(line.split()[-1]) for line in trace.read_text().splitlines()], dtype=torch.float64)
    rates = rows[:, :3]
    angles = torch.cat((rates.new_zeros(1, 3), (rates[1:] * times.diff()[:, None]).cumsum(0)))  # (T, 3)
    exposed = angles[(times >= start) & (times <= end)]
    part = exposed
    while len(part) > 2 and float((part - part.mean(0))[:, :2].abs().max()) * focal_length > LARGEST:
        part = part[:-1]  # a shorter exposure
    part = part - part.mean(0)
    place = torch.linspace(0, len(part) - 1, STEPS, dtype=torch.float64)
    low = place.floor().long().clamp_max(len(part) - 2)
    poses = torch.lerp(part[low], part[low + 1], (place - low)[:, None])
    pitch, yaw, roll = poses.unbind(1)
    return torch.stack((yaw * focal_length, -pitch * focal_length, roll), 1)


def score(picture: Tensor, sharp: Tensor) -> float:
    """PSNR in dB after the best half-pixel shift within 8 px, with 20 px cropped."""
    return float(psnr_aligned(picture.clamp(0, 1), sharp, crop=20, search=8, step=0.5))


if __name__ == "__main__":
    typer.run(main)
