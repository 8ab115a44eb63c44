"""GOPRO2 is made from any frames: which frames, how dark and noisy, the same every time."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from helpers import structured_picture
from unblur import datasets
from unblur.datasets.base import seeded
from unblur.types import UnblurError

GOPRO2 = datasets.get("gopro2")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    picture = structured_picture(40, 112, 3)[0].movedim(0, -1)
    for clip, count in (("a", 18), ("b", 13), ("short", 12)):
        for number in range(count):
            path = root / clip / f"{number:03}.png"
            path.parent.mkdir(exist_ok=True)
            frame = picture[:, 2 * number : 2 * number + 56]  # two pixels a frame
            Image.fromarray((frame * 255).byte().numpy()).save(path)
    return root


def frame(folder, clip, number):
    picture = torch.frombuffer(bytearray(Image.open(folder / clip / f"{number:03}.png").tobytes()), dtype=torch.uint8)
    return picture.view(40, 56, 3).movedim(-1, 0)[None] / 255


def test_a_window_starts_at_every_fourth_frame_from_which_thirteen_are_left(folder):
    assert [sample.name for sample in GOPRO2.samples(folder)] == ["a/000", "a/004", "b/000"]
    assert GOPRO2.count(folder) == 3 and GOPRO2.count(folder / "b") == 1
    assert [sample.name for sample in GOPRO2.samples(folder, 1)] == ["a/000"]


def test_the_first_frame_is_sharp_and_the_mean_of_the_third_to_the_last_is_blurry(folder):
    for sample in GOPRO2.samples(folder):
        clip, first = sample.name.split("/")
        length = int(torch.randint(7, 14, (), generator=seeded(0, sample.name)))
        frames = [frame(folder, clip, int(first) + number) for number in range(length)]
        torch.testing.assert_close(sample.sharp, frames[0])
        residual = sample.blurry - sum(frames[2:]) / (length - 2)
        assert 0.05 / 11**0.5 * 0.8 < float(residual.std()) < 0.1 / 5**0.5 * 1.1  # sigma_r / sqrt(N)


def test_the_noisy_shot_is_the_sharp_picture_as_bright_and_noisier_than_the_blurry_one(folder):
    for sample in GOPRO2.samples(folder):
        assert sample.exposure_ratio is None and sample.noisy.shape == sample.sharp.shape
        noise = sample.noisy - sample.sharp
        assert abs(float(noise.mean())) < 0.03 and 0.03 < float(noise.std()) < 0.3
        assert sample.noisy.min() >= 0 and sample.noisy.max() <= 1


def test_the_burst_shows_the_same_moments_as_the_pair_with_the_noise_of_the_noisy_shot(folder):
    for sample in GOPRO2.samples(folder):
        clip, first = sample.name.split("/")
        assert torch.equal(sample.frames[:, 0], sample.noisy)
        level = float((sample.noisy - sample.sharp).std())
        for number, short in enumerate(sample.frames[0, 1:], start=int(first) + 2):
            noise = short - frame(folder, clip, number)[0]
            assert abs(float(noise.mean())) < 0.03
            assert float(noise.std()) == pytest.approx(level, rel=0.15)


def test_the_random_numbers_depend_on_the_seed_and_the_name(folder):
    first, again = (next(GOPRO2.samples(root)) for root in (folder, folder / "a"))
    assert torch.equal(first.noisy, again.noisy) and torch.equal(first.blurry, again.blurry)
    other = next(GOPRO2.with_options({"seed": 1}).samples(folder))
    assert not torch.equal(first.noisy, other.noisy)


def test_the_score_is_that_of_the_8_bit_file(folder):
    sample = next(GOPRO2.samples(folder))
    assert GOPRO2.score(sample.sharp + 0.3 / 255, sample)["psnr"] > 100


def test_what_is_missing_or_does_not_fit_is_named(folder, tmp_path):
    with pytest.raises(UnblurError, match="there is no folder"):
        GOPRO2.count(tmp_path / "none")
    with pytest.raises(UnblurError, match=r"holds no folder of 13 frames. Expected: folders"):
        GOPRO2.count(folder / "short")
    for number in range(13):
        Image.new("RGB", (40 + (number == 3), 40)).save(tmp_path / f"{number:02}.png")
    with pytest.raises(UnblurError, match=r"03\.png and .*00\.png differ in size"):
        list(GOPRO2.samples(tmp_path))
