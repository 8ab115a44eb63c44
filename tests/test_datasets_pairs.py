"""Folders of short, long and sharp pictures: which belong together, and that colours do not count."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from helpers import blurred_scene, save_photo, structured_picture
from unblur import benchmark, datasets
from unblur.imaging.short_shot import align_short
from unblur.types import Progress, UnblurError

PAIRS = datasets.get("pairs")
SCENE = blurred_scene(96, 128, 3, sigma=0.002)
NOISE = 0.02 * torch.randn(SCENE.sharp.shape, generator=torch.Generator().manual_seed(0))
SHORT = (0.4 * SCENE.sharp + NOISE).clamp(0, 1)


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture[0].movedim(0, -1) * 255).round().byte().numpy().squeeze()).save(path)


def rounded(picture):
    return (picture * 255).round() / 255


@pytest.fixture
def folder(tmp_path):
    """Two pairs with a sharp picture, and one without."""
    for name in ("a", "b", "c"):
        save(tmp_path / "long" / f"{name}.png", SCENE.blurry)
        save(tmp_path / "short" / f"{name}.{'tif' if name == 'b' else 'png'}", SHORT)
    for name in ("a", "b"):
        save(tmp_path / "sharp" / f"{name}.png", SCENE.sharp)
    (tmp_path / "long" / "readme.txt").write_text("about these files")
    return tmp_path


def test_files_of_one_name_are_one_sample(folder):
    assert PAIRS.count(folder) == 3
    samples = list(PAIRS.samples(folder))
    assert [sample.name for sample in samples] == ["a", "b", "c"]
    assert [sample.sharp is None for sample in samples] == [False, False, True]
    torch.testing.assert_close(samples[0].blurry, rounded(SCENE.blurry))
    assert PAIRS.score(SCENE.sharp, samples[1])["psnr"] > 33
    assert [sample.name for sample in PAIRS.samples(folder, 1)] == ["a"]


def test_the_short_shot_is_prepared_as_by_the_command(folder):
    sample = next(PAIRS.samples(folder))
    expected = align_short(rounded(SHORT), rounded(SCENE.blurry), Progress()).picture
    assert torch.equal(sample.noisy, expected)
    assert abs(float((sample.noisy - sample.blurry).mean())) < 0.02, "as bright as the long shot"


def test_neither_colours_nor_a_small_shift_count_and_blur_does(folder):
    sample = next(PAIRS.samples(folder))
    assert PAIRS.score(0.5 * sample.sharp + 0.1, sample)["psnr"] > 55
    assert PAIRS.score(sample.sharp.roll((3, -2), (-2, -1)), sample)["psnr"] > 55
    assert PAIRS.score(SCENE.blurry, sample)["psnr"] < 30


def test_a_sharp_picture_that_lies_elsewhere_is_moved_onto_the_long_shot(folder):
    save(folder / "sharp" / "a.png", SCENE.sharp.roll((8, 11), (-2, -1)))
    moved, plain = (sample for sample in PAIRS.samples(folder, 2))
    inside = (..., slice(16, -16), slice(16, -16))
    assert (moved.sharp - plain.sharp)[inside].square().mean().sqrt() < 0.03


def test_pairs_without_a_sharp_picture_are_restored_and_have_no_scores(folder, tmp_path):
    result = benchmark.run("pairs", folder, ["noisy:nlm[search=3]"], out=tmp_path / "out")
    own = [row for row in result["rows"] if row["method"] != "input"]
    assert [row["psnr"] is None for row in own] == [False, False, True]
    assert [row["error"] for row in own] == [None] * 3
    assert len(list((tmp_path / "out").rglob("*.png"))) == 3


def test_what_is_missing_or_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UnblurError, match=r"holds no long shot. Expected: long/NAME.png"):
        PAIRS.count(tmp_path / "none")
    save_photo(folder / "long" / "d.png", 20, 30)
    with pytest.raises(UnblurError, match=r"1 of 4 long shots have no short one, first .*d\.png"):
        PAIRS.count(folder)


@pytest.mark.parametrize(
    ("kind", "picture", "message"),
    [
        ("sharp", structured_picture(96, 120, 3), r"a\.png and .*a\.png differ in size"),
        ("sharp", structured_picture(96, 128, 3, seed=9), r"sharp/a\.png: it does not show the scene of .*long/a\.png"),
        ("short", SHORT[:, :1], r"must both be grey, or both be in colour"),
        ("short", structured_picture(96, 128, 3, seed=9), r"short/a\.png: the two shots do not show one scene, with"),
    ],
)
def test_files_that_do_not_belong_together_are_named(folder, kind, picture, message):
    save(folder / kind / "a.png", picture)
    with pytest.raises(UnblurError, match=message):
        list(PAIRS.samples(folder))
