"""Show samples that `unblur synth` wrote on one sheet: a column per sample, blurry above sharp.

    unblur synth two_way --photos DIR -o SAMPLES --count 8
    python scripts/sample_sheet.py SAMPLES -o sheet.jpg

Samples of `nidf` have a third picture between these two, the blurry one without noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from PIL import Image

from unblur.training.sample_files import read_sample

ROWS = ("blurry", "noise_free", "sharp")
GAP = 4  # px


def sheet(folders: list[Path], side: int) -> Image.Image:
    """Draw the sheet; the middle `side` x `side` pixels of each picture are shown at their own size."""
    samples = [read_sample(folder) for folder in folders]
    rows = [name for name in ROWS if name in samples[0]]
    drawn = Image.new("RGB", [count * (side + GAP) - GAP for count in (len(samples), len(rows))], "white")
    for column, sample in enumerate(samples):
        for row, name in enumerate(rows):
            picture = sample[name].clamp(0, 1)
            top, left = ((length - side) // 2 for length in picture.shape[-2:])
            crop = (picture[:, top : top + side, left : left + side] * 255).round().to(torch.uint8)
            drawn.paste(Image.fromarray(crop.permute(1, 2, 0).numpy()), (column * (side + GAP), row * (side + GAP)))
    return drawn


def main() -> None:
    """Read the command line and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", type=Path, help="a folder that `unblur synth` wrote")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--side", type=int, default=224, help="pixels of each picture that are shown")
    parser.add_argument("--only", type=int, nargs="*", help="numbers of the samples; default: all")
    args = parser.parse_args()
    folders = sorted(path for path in args.samples.iterdir() if path.name.isdecimal())
    chosen = [path for path in folders if args.only is None or int(path.name) in args.only]
    if not chosen:
        parser.error(f"{args.samples}: no such samples. `unblur synth` writes some.")
    sheet(chosen, args.side).save(args.out, quality=82)


if __name__ == "__main__":
    main()
