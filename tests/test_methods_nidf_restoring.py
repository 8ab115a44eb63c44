"""What `nidf` makes of the networks: the mean over orientations, pictures of any size, and the setting `output`."""

from __future__ import annotations

import pytest
import torch

from helpers import CountingProgress, blurred_scene, copied, structured_picture
from unblur import methods
from unblur.methods.nidf.restoring import denoise_and_deblur, informative_part
from unblur.types import Observation, Progress

NIDF = methods.get("nidf")
NETWORK = NIDF.trained.load()
PLAIN = {"orientations": 1, "precision": "float32"}


@pytest.fixture(scope="module")
def noisy():
    return blurred_scene(48, 64, 3, sigma=0.05).blurry


def pictures(noisy, orientations=1, **more):
    more = {"precision": "float32", "progress": Progress(), **more}
    return denoise_and_deblur(noisy, None, orientations=orientations, **more)


# --- orientations ---------------------------------------------------------------------------------


def test_with_one_orientation_they_are_the_pictures_of_the_networks(noisy):
    denoised = NETWORK.net1(noisy)
    for made, expected in zip(pictures(noisy), (denoised, NETWORK.net2(denoised)), strict=True):
        torch.testing.assert_close(made, expected)


def test_with_all_orientations_they_are_the_mean_over_every_way_to_turn_and_mirror(noisy):
    turned = [(quarter, mirrored) for quarter in range(4) for mirrored in (False, True)]
    expected = torch.zeros_like(noisy)
    for quarter, mirrored in turned:
        copy = noisy.rot90(quarter, (-2, -1))
        copy = NETWORK(copy.flip(-2) if mirrored else copy)[1]
        expected += (copy.flip(-2) if mirrored else copy).rot90(-quarter, (-2, -1)) / 8
    torch.testing.assert_close(pictures(noisy, 8)[1], expected, atol=1e-5, rtol=0)


def test_a_turned_photo_gives_a_turned_picture_with_all_orientations(noisy):
    for change in (lambda x: x.rot90(1, (-2, -1)), lambda x: x.flip(-1), lambda x: x.transpose(-2, -1)):
        for made, expected in zip(pictures(change(noisy), 8), pictures(noisy, 8), strict=True):
            torch.testing.assert_close(made, change(expected), atol=1e-5, rtol=0)
    one_way = pictures(noisy.flip(-1), 1)[1]
    assert (one_way - pictures(noisy, 1)[1].flip(-1)).abs().max() > 1e-3, (
        "the networks prefer no direction by themselves"
    )


def test_more_orientations_are_better():
    scene = blurred_scene(96, 112, 3, sigma=0.1)
    errors = [float((pictures(scene.blurry, number)[1] - scene.sharp).square().mean()) for number in (1, 2, 8)]
    assert errors == sorted(errors, reverse=True)


def test_progress_advances_once_per_orientation(noisy):
    progress = CountingProgress()
    pictures(noisy, 3, progress=progress)
    assert (progress.promised, progress.done) == ([3], [3])


# --- sizes and number formats ---------------------------------------------------------------------


@pytest.mark.parametrize("size", [(37, 53), (8, 61), (48, 50)], ids=str)
def test_a_photo_of_any_size_is_restored_as_if_its_last_row_and_column_were_repeated(size):
    noisy = blurred_scene(*size, 3, sigma=0.05).blurry
    rows, columns = (torch.arange(-(-side // 16) * 16).clamp_max(side - 1) for side in size)
    repeated = pictures(noisy[..., rows, :][..., columns], 4)
    for made, expected in zip(pictures(noisy, 4), repeated, strict=True):
        torch.testing.assert_close(made, expected[..., : size[0], : size[1]])


def test_in_bfloat16_the_pictures_are_float32_and_nearly_the_same(noisy):
    for made, expected in zip(pictures(noisy, precision="bfloat16"), pictures(noisy), strict=True):
        assert made.dtype == torch.float32 and not torch.equal(made, expected)
        assert (made - expected).square().mean() < 1e-4  # 40 dB


@pytest.mark.parametrize("channels", [1, 3])
def test_the_part_that_a_psf_is_estimated_from_has_three_channels_and_limited_sides(monkeypatch, channels):
    monkeypatch.setattr("unblur.methods.nidf.restoring.PART", 64)
    photo = torch.full((1, channels, 90, 200), 0.5)
    photo[..., 130:170] = structured_picture(90, 40, channels)
    part = informative_part(photo)
    assert part.shape == (1, 3, 64, 64)
    assert part.std() > 0.05
    small = structured_picture(37, 53, channels)
    assert torch.equal(informative_part(small), small.expand(-1, 3, -1, -1))


# --- output ---------------------------------------------------------------------------------------


def test_the_denoised_output_is_the_stage_of_the_other(noisy):
    sharp = NIDF(Observation(blurry=noisy), PLAIN)
    denoised = NIDF(Observation(blurry=noisy), {**PLAIN, "output": "denoised"})
    assert torch.equal(denoised.image, sharp.stages["denoised"])
    assert denoised.stages == {} and not torch.equal(denoised.image, sharp.image)


def test_for_the_denoised_output_only_one_network_runs_and_there_is_no_final_step(noisy, monkeypatch):
    monkeypatch.setattr(NETWORK.net2, "forward", lambda *_: pytest.fail("not needed"))
    settings = {**PLAIN, "output": "denoised"}
    plain, final = (NIDF(Observation(blurry=noisy), {**settings, "final": final}).image for final in (False, True))
    assert torch.equal(plain, final)


def test_it_removes_noise_and_not_blur():
    scene = blurred_scene(96, 112, 3, sigma=0.1)
    clean = blurred_scene(96, 112, 3, sigma=0.0).blurry
    observation = Observation(blurry=scene.blurry)
    before = copied(observation)
    denoised = NIDF(observation, {**PLAIN, "output": "denoised"}).image
    assert (denoised - clean).square().mean() < 0.1 * (scene.blurry - clean).square().mean()
    assert torch.equal(observation.blurry, before.blurry)
