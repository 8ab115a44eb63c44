"""The sheet of samples: a column per sample, blurry above sharp, nothing else."""

import runpy
from pathlib import Path

import numpy as np
import torch

from helpers import structured_picture
from unblur.training.sample_files import write_sample

SCRIPT = Path(__file__).parents[1] / "scripts" / "sample_sheet.py"


def test_each_sample_is_a_column_with_the_middle_of_its_pictures(tmp_path):
    samples = []
    for number in range(3):
        sharp = (structured_picture(40, 40, 3, number)[0] * 255).round() / 255
        samples.append({"blurry": 1 - sharp, "sharp": sharp, "psf": torch.ones(5, 5) / 25})
        write_sample(tmp_path / f"{number:07d}", samples[-1])
    drawn = runpy.run_path(str(SCRIPT))["sheet"](sorted(tmp_path.iterdir()), 20)
    assert drawn.size == (3 * 20 + 2 * 4, 2 * 20 + 4)
    pixels = np.asarray(drawn)
    for number, sample in enumerate(samples):
        for row, name in enumerate(("blurry", "sharp")):
            expected = (sample[name][:, 10:30, 10:30] * 255).round().byte().permute(1, 2, 0).numpy()
            found = pixels[row * 24 : row * 24 + 20, number * 24 : number * 24 + 20]
            np.testing.assert_array_equal(found, expected)
