"""A pair of files that differ in place, size, brightness and colour: what a photographer's two shots are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import IFDRational
from torch.nn.functional import interpolate
from typer.testing import CliRunner

import unblur
from fakes import pair_method
from helpers import observe, structured_picture
from unblur.cli import app
from unblur.imaging.psf import gaussian_psf
from unblur.imaging.short_shot import NotOneScene, align_short
from unblur.imaging.synthesis.camera import to_linear, to_srgb
from unblur.types import Progress, Result, UnblurError

HEIGHT, WIDTH = 150, 200
SCENE = structured_picture(HEIGHT + 40, WIDTH + 40, 3)
LONG = observe(SCENE[..., 14:-14, 14:-14], gaussian_psf(2.5, 13)).blurry  # SCENE from (20, 20)
SHARP = SCENE[..., 20:-20, 20:-20]
TINT = torch.tensor([0.2, 0.12, 0.16]).view(1, 3, 1, 1)
NOISE = torch.randn(SCENE.shape, generator=torch.Generator().manual_seed(0))


def shot(down, right, gain=1.0):
    """The short shot, with a camera that points lower and further right: dark, tinted and noisy."""
    dark = (to_srgb(to_linear(SCENE) * TINT * gain) + 0.01 * NOISE).clamp(0, 1)
    return dark[..., 20 + down : 20 + down + HEIGHT, 20 + right : 20 + right + WIDTH]


def save(path, picture, **options):
    Image.fromarray((picture[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8).squeeze()).save(
        path, **options
    )
    return path


def exif(milliseconds, turned=False):
    block = Image.Exif()
    block.update({0x010F: "A camera"} | ({0x0112: 6} if turned else {}))  # 6: stored lying on its side
    block[0x8769] = {33434: IFDRational(milliseconds, 1000), 34855: 100, 33437: IFDRational(2)}
    return block


def run(folder, *arguments):
    files = (folder / "long.png", "--noisy", folder / "short.png", "-o", folder / "out.png", "-m", pair_method(folder))
    return CliRunner().invoke(app, ["restore", *map(str, (*files, *arguments))])


def inside(picture):
    return picture[..., 16:-16, 16:-16]


def test_the_short_shot_comes_to_lie_on_the_long_one_as_bright_and_as_coloured():
    aligned = align_short(shot(-9, 12), LONG, Progress())
    assert inside(aligned.picture - SHARP).abs().mean() < 0.04
    before = inside(shot(-9, 12) - SHARP).abs().mean()
    assert before > 0.2
    assert "The short shot was moved by up to 15 px and brightened" in aligned.notes[0]


def test_where_the_short_shot_ends_the_long_one_stands_in_its_place():
    aligned = align_short(shot(0, 20), LONG, Progress())
    torch.testing.assert_close(aligned.picture[..., :16], LONG[..., :16])
    assert "It does not show 10% of the photo; there the result is the photo itself." in aligned.notes


def with_a_blot():
    """The long shot with something large that the short one does not show."""
    long = LONG.clone()
    long[..., 50:110, 60:140] = observe(structured_picture(90, 110, 3).flip(-2), gaussian_psf(2.5, 13)).blurry[
        ..., 15:75, 15:95
    ]
    return long


def test_where_the_shots_disagree_the_short_one_is_used_alone_and_the_notes_say_so():
    aligned = align_short(shot(0, 0), with_a_blot(), Progress())
    assert "The shots disagree in" in aligned.notes[-1]
    blot = (..., slice(65, 95), slice(80, 120))
    assert (aligned.long - LONG)[blot].abs().mean() < 0.6 * (with_a_blot() - LONG)[blot].abs().mean()


def test_at_less_than_full_strength_the_rest_is_the_photo_also_where_the_shots_disagree():
    long = with_a_blot()
    aligned = align_short(shot(0, 0), long, Progress())
    half = Result(0.5 * SHARP + 0.5 * aligned.long, None, {}, True, "a method", "", None, [])
    torch.testing.assert_close(aligned.added_to(half, long, 0.5).image, 0.5 * SHARP + 0.5 * long)
    full = Result(SHARP, None, {}, True, "a method", "", None, [])
    assert torch.equal(aligned.added_to(full, long, 1.0).image, SHARP)


def test_a_short_shot_that_is_brighter_is_darkened():
    aligned = align_short(to_srgb(to_linear(SHARP) * 0.9), to_srgb(to_linear(LONG) * 0.3), Progress())
    assert "darkened to 33% of its light" in aligned.notes[0]
    assert inside(aligned.picture - to_srgb(to_linear(SHARP) * 0.3)).abs().mean() < 0.02


def test_with_an_exposure_ratio_only_the_place_is_changed():
    short = to_srgb(to_linear(SHARP) / 4)
    aligned = align_short(short, LONG, Progress(), ratio=4.0)
    assert inside(aligned.picture - short).abs().mean() < 0.01
    assert aligned.notes == ["The short shot was moved by less than 1 px."]


def test_another_scene_is_refused():
    other = structured_picture(HEIGHT, WIDTH, 3, seed=5)
    with pytest.raises(NotOneScene, match="the two shots do not show one scene"):
        align_short(other, LONG, Progress())


def test_files_of_different_size_orientation_and_brightness(tmp_path):
    double = interpolate(shot(6, -8), scale_factor=2.0, mode="bicubic").clamp(0, 1)
    save(tmp_path / "long.png", LONG, exif=exif(500))
    save(tmp_path / "short.png", double.rot90(1, (-2, -1)), exif=exif(80, turned=True))
    done = run(tmp_path, "--set", "share=1", "--force")
    assert done.exit_code == 0, done.output
    assert "The short shot was moved by up to 10 px and brightened" in done.stdout
    result = Image.open(tmp_path / "out.png")
    assert result.size == (WIDTH, HEIGHT) and result.getexif()[0x010F] == "A camera"
    restored = torch.from_numpy(np.asarray(result) / 255).permute(2, 0, 1)[None]
    assert inside(restored - SHARP).abs().mean() < 0.05


def test_an_unlikely_brightness_is_told_from_the_metadata(tmp_path):
    save(tmp_path / "long.png", LONG, exif=exif(500))
    for milliseconds, told in ((80, False), (2, True)):
        save(tmp_path / "short.png", shot(0, 0), exif=exif(milliseconds))
        done = run(tmp_path, "--force", "--overwrite")
        assert ("By the exposures in the metadata, 250.0 times was to be expected." in done.stdout) is told, done.output


def test_another_scene_is_refused_with_both_names_and_nothing_is_written(tmp_path):
    save(tmp_path / "long.png", LONG), save(tmp_path / "short.png", structured_picture(HEIGHT, WIDTH, 3, seed=5))
    done = run(tmp_path)
    assert done.exit_code == 2
    assert "short.png: the two shots do not show one scene, with " in done.stderr and "long.png" in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_grey_and_a_coloured_shot_are_refused(tmp_path):
    save(tmp_path / "long.png", LONG), save(tmp_path / "short.png", shot(0, 0)[:, :1])
    done = run(tmp_path)
    assert done.exit_code == 2 and "must both be grey, or both be in colour" in done.stderr


def test_in_python_the_shots_may_differ_in_size_and_the_aligned_one_is_a_stage(tmp_path):
    long, short = (picture[0].permute(1, 2, 0).numpy() for picture in (LONG, shot(4, 4)[..., 10:-6, 8:-12]))
    method = pair_method(tmp_path)
    result = unblur.restore(long, noisy=short, method=method, settings={"share": 1.0}, force=True, full=True)
    np.testing.assert_array_equal(result.image, result.stages["aligned"])
    assert result.image.shape == long.shape and "The short shot was moved" in result.notes[0]
    with pytest.raises(UnblurError, match=r"must be of the kind and shape of the blurry one .* except for height and"):
        unblur.restore(long, noisy=short[..., :1], method=method)
