"""A file of thirty lines that restores from a pair, through every entrance: whole and in tiles it gives the same.

Here the short shot lies on the long one already; `test_pipeline_aligning.py` is about pairs that do not.
"""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

import unblur
from fakes import pair_method
from helpers import blurred_scene, structured_picture
from unblur.cli import app
from unblur.pipeline import steps as pipeline
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.types import Observation, Progress, UnblurError

LONG = blurred_scene(90, 130, channels=3).blurry
SHORT = (
    structured_picture(90, 130, 3) + 0.05 * torch.randn(LONG.shape, generator=torch.Generator().manual_seed(0))
).clamp(0, 1)
MEAN = 0.5 * (LONG + SHORT)


@pytest.fixture(params=[False, True], ids=["whole", "tiled"])
def method(request, tmp_path, monkeypatch) -> str:
    """The method's file; photos are larger than a tile, or not."""
    if request.param:
        monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 1000)
        monkeypatch.setattr(pipeline, "TILE", 50)
        monkeypatch.setattr(pipeline, "tiled", counting := _counting(pipeline.tiled))
        request.addfinalizer(lambda: counting.calls or pytest.fail("nothing was tiled"))
    return pair_method(tmp_path)


def _counting(function):
    def counting(*arguments, **named):
        counting.calls += 1
        return function(*arguments, **named)

    counting.calls = 0
    return counting


def save(path, picture: torch.Tensor, **options):
    tifffile.imwrite(path, picture[0].permute(1, 2, 0).numpy(), photometric="rgb", **options)
    return path


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_file_has_thirty_lines(tmp_path):
    with open(pair_method(tmp_path)) as file:  # noqa: PTH123
        assert len(file.readlines()) <= 32


def test_on_the_command_line(method, tmp_path):
    save(tmp_path / "long.tif", LONG), save(tmp_path / "short.tif", SHORT)
    out = tmp_path / "out.tif"
    done = run(
        "restore",
        tmp_path / "long.tif",
        "--noisy",
        tmp_path / "short.tif",
        "-m",
        method,
        "--no-align",
        "--force",
        "-o",
        out,
    )
    assert done.exit_code == 0, done.output
    assert "restored by mine (it was asked for) in" in done.stdout
    np.testing.assert_allclose(tifffile.imread(out), MEAN[0].permute(1, 2, 0), atol=1e-6)


def test_in_python(method):
    as_torch = unblur.restore(LONG, noisy=SHORT, method=method, align=False, force=True)
    torch.testing.assert_close(as_torch, MEAN)
    long, short, mean = (picture[0].permute(1, 2, 0).numpy() for picture in (LONG, SHORT, MEAN))
    np.testing.assert_allclose(
        unblur.restore(long, noisy=short, method=method, align=False, force=True), mean, atol=1e-6
    )


def test_every_picture_of_a_batch_has_its_own_short_shot(method):
    both = unblur.restore(
        torch.cat([LONG, SHORT]), noisy=torch.cat([SHORT, SHORT]), method=method, align=False, force=True
    )
    torch.testing.assert_close(both, torch.cat([MEAN, SHORT]))


def test_frames_are_cut_and_moved_like_the_photo(tmp_path, monkeypatch, stand_in):
    path = tmp_path / "frames.py"
    source = (tmp_path / "mine.py").read_text() if pair_method(tmp_path) else ""
    path.write_text(
        source.replace('"blurry", "noisy"', '"blurry", "frames"')
        .replace("settings.share * observation.noisy", "settings.share * observation.frames.mean(1)")
        .replace("tiling=True", "tiling=True, multiple_of=16")
    )
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 1000)
    monkeypatch.setattr(pipeline, "TILE", 50)
    frames = torch.stack([SHORT, SHORT * 0.5, SHORT * 0.75], dim=1)
    options = Options(method=str(path), force=True, device=stand_in)
    result = restore_picture(Observation(blurry=LONG, frames=frames), options, Progress())
    torch.testing.assert_close(result.image, 0.5 * LONG + 0.5 * 0.75 * SHORT)


def test_without_aligning_a_short_shot_of_another_size_is_refused_with_both_sizes(tmp_path):
    method = pair_method(tmp_path)
    save(tmp_path / "long.tif", LONG), save(tmp_path / "short.tif", SHORT[..., 10:])
    done = run("restore", tmp_path / "long.tif", "--noisy", tmp_path / "short.tif", "-m", method, "--no-align")
    assert done.exit_code == 2
    assert "short.tif: it is 120 x 90 px, and" in done.stderr and "is 130 x 90 px" in done.stderr
    assert not (tmp_path / "long.restored.tif").exists()
    with pytest.raises(UnblurError, match=r"\(torch, \(1, 3, 90, 120\)\) must be .* \(torch, \(1, 3, 90, 130\)\)"):
        unblur.restore(LONG, noisy=SHORT[..., 10:], method=method, align=False)


def test_the_size_counts_after_the_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its side
    pixels = (LONG[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "long.png")
    Image.fromarray(np.rot90(pixels)).save(tmp_path / "short.png", exif=exif)
    method, out = pair_method(tmp_path), tmp_path / "out.png"
    done = run(
        "restore",
        tmp_path / "long.png",
        "--noisy",
        tmp_path / "short.png",
        "-m",
        method,
        "--no-align",
        "--force",
        "-o",
        out,
    )
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(np.asarray(Image.open(out)), pixels)


def test_a_short_shot_belongs_to_one_photo(tmp_path):
    save(tmp_path / "long.tif", LONG), save(tmp_path / "short.tif", SHORT)
    done = run("restore", tmp_path / "long.tif", tmp_path / "short.tif", "--noisy", tmp_path / "short.tif")
    assert done.exit_code == 2
    assert "belongs to one photo, not to 2" in done.stderr


def test_a_short_shot_of_no_use_is_refused_before_any_work(tmp_path):
    with pytest.raises(UnblurError, match="'nlm' makes no use of a short, noisy shot"):
        unblur.restore(LONG, noisy=SHORT, method="nlm")
    done = run("restore", tmp_path / "none.tif", "--noisy", tmp_path / "none.tif", "-m", "nlm")
    assert "makes no use of a short, noisy shot" in done.stderr
