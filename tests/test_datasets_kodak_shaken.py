"""The shaken Kodak photos are made by the rules they state, the same ones every time."""

import pytest
import torch
from PIL import Image

from helpers import structured_picture
from unblur import datasets, metrics
from unblur.datasets.kodak_shaken import EXPOSURES, PHOTONS, PICTURES, SIGMA
from unblur.imaging.convolution import convolve
from unblur.types import UnblurError

KODAK = datasets.get("kodak_shaken")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("kodak")
    for number, name in enumerate(PICTURES):
        picture = structured_picture(136, 150, 3).roll(5 * number, -1)[0].movedim(0, -1)
        Image.fromarray((picture * 255).byte().numpy()).save(root / f"{name}.png")
    return root


def test_there_are_four_exposures_of_each_and_the_blur_grows(folder):
    assert KODAK.count(folder) == 96
    samples = list(KODAK.samples(folder))
    assert [sample.name for sample in samples[::24]] == [f"kodim01_{number}" for number in (1, 2, 3, 4)]
    spread = torch.tensor([float((sample.psf > 0).sum()) for sample in samples]).view(len(EXPOSURES), 24)
    assert (spread.diff(dim=0) > 0).all(), "each exposure's path goes on from the one before it"


def test_the_picture_is_the_blurred_photo_with_both_noises(folder):
    for sample in KODAK.samples(folder, 3):
        assert sample.blurry.shape == sample.sharp.shape == (1, 3, 136 - 64, 150 - 64)
        rim = 32
        clean = convolve(sample.sharp, sample.psf, "valid")
        noise = (sample.blurry[..., rim:-rim, rim:-rim] - clean)[(clean > 0.1) & (clean < 0.9)]
        variance = SIGMA**2 + float(clean[(clean > 0.1) & (clean < 0.9)].mean()) / PHOTONS
        assert float(noise.std()) == pytest.approx(variance**0.5, rel=0.15)


def test_it_is_the_same_every_time(folder):
    one, same = (next(iter(KODAK.samples(folder))) for _ in range(2))
    assert torch.equal(one.blurry, same.blurry)


def test_scores_are_taken_in_rgb_where_the_picture_is(folder):
    sample = next(iter(KODAK.samples(folder)))
    scores = KODAK.score(sample.blurry, sample)
    inner = (..., slice(15, -15), slice(15, -15))
    assert scores["psnr"] == pytest.approx(float(metrics.psnr(sample.blurry[inner], sample.sharp[inner])), abs=1e-4)
    assert KODAK.score(sample.sharp.roll(1, -1), sample)["psnr"] < 40, "no shift is searched for"


def test_a_folder_without_them_is_refused(tmp_path):
    with pytest.raises(UnblurError, match=r"lacks kodim01.png. Expected: 24 colour pictures"):
        KODAK.count(tmp_path)
