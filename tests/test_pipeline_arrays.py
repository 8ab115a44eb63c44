"""The API for programmers: what goes in comes out, and what cannot is explained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unblur
from fakes import brightening, estimating, fake_method
from helpers import CountingProgress, blurred_scene, structured_picture
from unblur.imaging.psf import gaussian_psf
from unblur.types import Cancelled, UnblurError

NUMPY_SHAPES = [(40, 50), (40, 50, 1), (40, 50, 2), (40, 50, 3), (40, 50, 4)]
TORCH_SHAPES = [(40, 50), (1, 40, 50), (3, 40, 50), (4, 40, 50), (2, 3, 40, 50), (2, 2, 40, 50)]
SHIFT = 0.12  # no half level in 8 or 16 bits, which may be rounded either way
TOPS = {np.uint8: 255, np.uint16: 65535, np.float16: 1, np.float32: 1, np.float64: 1}


def random_array(shape, dtype) -> np.ndarray:
    """A picture whose values leave room for SHIFT."""
    values = np.random.default_rng(0).uniform(0, 0.8, shape)
    return (values * TOPS[dtype]).astype(dtype)


@pytest.mark.parametrize("dtype", list(TOPS))
@pytest.mark.parametrize("shape", NUMPY_SHAPES)
def test_numpy_in_numpy_out(tmp_path, shape, dtype):
    image = random_array(shape, dtype)
    before = image.copy()
    result = unblur.restore(image, method=brightening(tmp_path), settings={"shift": SHIFT}, force=True)
    assert (type(result), result.dtype, result.shape) == (np.ndarray, image.dtype, image.shape)
    np.testing.assert_array_equal(image, before)
    planes, expected = (array.reshape(40, 50, -1).astype(float) / TOPS[dtype] for array in (result, image))
    colours = 3 if planes.shape[2] >= 3 else 1
    step = {np.uint8: 0.5 / 255, np.uint16: 0.5 / 65535, np.float16: 1e-3}.get(dtype, 0)
    np.testing.assert_allclose(planes[..., :colours], expected[..., :colours] + SHIFT, atol=step + 1e-6)
    np.testing.assert_array_equal(planes[..., colours:], expected[..., colours:], "alpha is untouched")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", TORCH_SHAPES)
def test_torch_in_torch_out(tmp_path, shape, dtype):
    numpy_dtype = torch.empty(0, dtype=dtype).numpy().dtype.type
    image = torch.from_numpy(random_array(shape, numpy_dtype))
    result = unblur.restore(image, method=brightening(tmp_path), settings={"shift": SHIFT}, force=True)
    assert (type(result), result.dtype, result.shape) == (torch.Tensor, dtype, image.shape)
    top = TOPS[numpy_dtype]
    channels = shape[-3] if len(shape) > 2 else 1
    planes, expected = (t.double().reshape(-1, channels, 40, 50) / top for t in (result, image))
    colours = 3 if channels >= 3 else 1
    torch.testing.assert_close(
        planes[:, :colours], expected[:, :colours] + SHIFT, atol=(0.5 / top if top > 1 else 0) + 1e-6, rtol=0
    )
    assert torch.equal(planes[:, colours:], expected[:, colours:])


def test_arrays_that_are_read_only_or_seen_backwards_will_do(tmp_path):
    image = random_array((40, 50, 3), np.uint8)[::-1, ::-1]
    image.flags.writeable = False
    result = unblur.restore(image, method=brightening(tmp_path), force=True)
    np.testing.assert_allclose(result.astype(int), image.astype(int) + 26, atol=1)


def test_whole_numbers_stay_in_their_range_and_floats_are_not_clipped(tmp_path):
    options = {"method": brightening(tmp_path), "settings": {"shift": 0.5}, "force": True}
    assert unblur.restore(np.full((40, 40), 250, np.uint8), **options).max() == 255
    assert unblur.restore(np.full((40, 40), 0.9, np.float32), **options).max() > 1.3


def test_deconvolution_with_a_known_psf_sharpens():
    scene = blurred_scene(64, 80, channels=3, sigma=0.005)
    as_numpy = scene.blurry[0].permute(1, 2, 0).numpy()
    psf = scene.psf[0, 0].numpy() * 7  # of any sum
    from_numpy = unblur.deconvolve(as_numpy, psf)
    from_torch = unblur.deconvolve(scene.blurry, scene.psf)
    np.testing.assert_allclose(from_numpy, from_torch[0].permute(1, 2, 0).numpy(), atol=0.01)
    before, after = ((scene.sharp - image).square().mean() for image in (scene.blurry, from_torch))
    assert after < before / 2


def test_a_higher_sigma_and_a_lower_strength_do_less():
    scene = blurred_scene(64, 80, sigma=0.005)

    def change(**options) -> float:
        return float((unblur.deconvolve(scene.blurry, scene.psf, **options) - scene.blurry).abs().mean())

    assert change(sigma=0.1) < change(sigma=0.005)
    assert change(strength=0.5) == pytest.approx(change() / 2, rel=1e-3)


def test_every_picture_of_a_batch_is_restored_by_itself():
    scenes = [blurred_scene(40, 50, seed=seed) for seed in (0, 1)]
    batch = torch.cat([scene.blurry for scene in scenes])
    together = unblur.deconvolve(batch, scenes[0].psf)
    for alone, scene in zip(together, scenes, strict=True):
        torch.testing.assert_close(alone, unblur.deconvolve(scene.blurry[0], scene.psf))


def test_the_estimated_psf_is_of_the_kind_of_the_picture(tmp_path):
    picture = structured_picture(40, 50)[0, 0]
    method = estimating(tmp_path)
    as_torch = unblur.estimate_psf(picture, method, size=5)
    as_numpy = unblur.estimate_psf(picture.numpy(), method, size=5)
    assert isinstance(as_torch, torch.Tensor)
    assert isinstance(as_numpy, np.ndarray)
    np.testing.assert_allclose(as_numpy, np.full((5, 5), 1 / 25, np.float32))
    np.testing.assert_array_equal(as_torch.numpy(), as_numpy)


def test_why_a_picture_was_left_alone_is_logged_every_time_and_no_warning(tmp_path, caplog, recwarn):
    image = structured_picture(60, 80)[0, 0].numpy()  # it is sharp
    caplog.set_level("INFO", "unblur")
    for _ in range(2):
        np.testing.assert_array_equal(unblur.restore(image, method=estimating(tmp_path)), image)
    unblur.estimate_psf(image, estimating(tmp_path))
    assert ["does not look blurred" in record.message for record in caplog.records] == [True] * 3
    assert {record.name for record in caplog.records} == {"unblur"}
    assert not recwarn.list


# --- everything that was found --------------------------------------------------------------------


def staged(tmp_path) -> str:
    """A method with a stage and a note, as wide as its photo."""
    body = (
        "b = observation.blurry; p = b.new_full((1, 1, 3, 3), 1 / 9); "
        "return Restoration(image=b / 2, psf=p, stages={'coarse': b / 4}, notes=['half as bright'])"
    )
    return fake_method(tmp_path, "staged", body, gives=("image", "psf"))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_whole_result_of_an_array_is_in_arrays(tmp_path, dtype):
    image = random_array((40, 50, 3), dtype)
    plain = unblur.restore(image, method=staged(tmp_path), force=True)
    result = unblur.restore(image, method=staged(tmp_path), force=True, full=True)
    assert isinstance(result, unblur.Result)
    np.testing.assert_array_equal(result.image, plain)
    assert (result.image.dtype, result.psf.shape, result.psf.dtype) == (dtype, (3, 3), np.float32)
    assert result.stages["coarse"].shape == (40, 50, 3)
    np.testing.assert_allclose(result.stages["coarse"], image / TOPS[dtype] / 4, atol=1e-6)
    assert (result.method, result.reason) == ("staged", "it was asked for")
    assert (result.changed, result.notes) == (True, ["half as bright"])
    assert 0 <= result.sigma < 0.5


def test_the_whole_result_says_why_nothing_changed(tmp_path):
    image = structured_picture(60, 80)[0, 0].numpy()  # it is sharp
    result = unblur.restore(image, method=estimating(tmp_path), full=True)
    assert not result.changed
    assert "does not look blurred" in result.notes[0]
    np.testing.assert_array_equal(result.image, image)
    assert unblur.restore(image, psf=np.full((3, 3), 1.0), full=True).reason == "the PSF was given"


def test_a_tensor_gives_tensors_and_a_batch_a_result_for_each_picture(tmp_path):
    picture = structured_picture(40, 50, channels=3)
    options = {"method": staged(tmp_path), "force": True, "full": True}
    alone = unblur.restore(picture[0], **options)
    assert (alone.image.shape, alone.psf.shape, alone.stages["coarse"].shape) == ((3, 40, 50), (3, 3), (3, 40, 50))
    both = unblur.restore(torch.cat([picture, picture / 2]), **options)
    assert [result.image.shape for result in both] == [(3, 40, 50)] * 2
    torch.testing.assert_close(both[1].image, picture[0] / 4)
    assert len(unblur.restore(picture, **options)) == 1


def test_restore_with_a_psf_is_deconvolve():
    scene = blurred_scene(40, 50)
    assert torch.equal(unblur.restore(scene.blurry, psf=scene.psf), unblur.deconvolve(scene.blurry, scene.psf))


# --- what cannot be -------------------------------------------------------------------------------


def test_progress_can_cancel():
    scene = blurred_scene(40, 50)
    with pytest.raises(Cancelled):
        unblur.deconvolve(scene.blurry, scene.psf, progress=CountingProgress(cancel_at=2))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((40, 40), np.nan), "NaN"),
        (torch.full((40, 40), torch.inf), "NaN or infinite"),
        (np.zeros((0, 40), np.uint8), "empty"),
        (torch.zeros(0, 3, 40, 40), "empty"),
        (np.zeros(40), "a numpy picture is"),
        (np.zeros((3, 40, 50)), "channels last"),
        (np.zeros((1, 40, 50, 3)), "a numpy picture is"),
        (torch.zeros(40, 50, 3), "a torch picture is"),
        (torch.zeros(1, 1, 1, 40, 40), "a torch picture is"),
        (np.full((40, 40), 300), "not int64. Convert it"),
        (torch.full((40, 40), 300), "not torch.int64. Convert it"),
        (np.full((40, 40), 200.0), "goes from 200 to 200. Divide it"),
        (np.full((40, 40), -3.0), "in \\[0, 1\\]"),
        (np.zeros((40, 40), bool), "not bool"),
        (np.zeros((40, 40), complex), "not complex128"),
        ([[0, 1]], "not a list"),
    ],
)
def test_pictures_that_will_not_do_are_explained(image, message):
    with pytest.raises(UnblurError, match=message):
        unblur.deconvolve(image, np.full((3, 3), 1 / 9))


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        (np.ones((4, 5)), "odd sides"),
        (np.ones((3, 3, 3)), "odd sides"),
        (np.zeros((3, 3)), "above 0"),
        (-np.ones((3, 3)), "non-negative"),
        (np.full((3, 3), np.nan), "finite"),
    ],
)
def test_psfs_that_will_not_do_are_explained(psf, message):
    with pytest.raises(UnblurError, match=message):
        unblur.deconvolve(np.zeros((40, 40)), psf)


def test_a_psf_is_estimated_from_one_picture_only(tmp_path):
    with pytest.raises(UnblurError, match="one picture, not from 2"):
        unblur.estimate_psf(torch.zeros(2, 1, 40, 40), estimating(tmp_path))


def test_a_file_of_ones_own_is_a_method(tmp_path):
    mine = fake_method(tmp_path, "mine", "return Restoration(image=1 - observation.blurry)")
    np.testing.assert_array_equal(unblur.restore(np.full((40, 40), 55, np.uint8), method=mine, force=True), 200)


def test_a_picture_that_is_left_alone_comes_back_exactly():
    """Work is done in float32, which would round a float64 picture."""
    flat = np.full((40, 44, 3), 1 / 3)
    assert np.array_equal(unblur.restore(flat), flat)
    batch = torch.stack([torch.full((3, 40, 44), value, dtype=torch.float64) for value in (1 / 3, 1 / 7)])
    restored = unblur.restore(batch)
    assert torch.equal(restored, batch) and restored.data_ptr() != batch.data_ptr()


def test_arrays_of_another_byte_order_are_read(tmp_path):
    image = np.linspace(0, 1, 48 * 40, dtype=np.float32).reshape(48, 40)
    psf = gaussian_psf(1.0, 5).numpy()
    expected = unblur.deconvolve(image, psf, "hyper_laplacian", force=True)
    swapped = unblur.deconvolve(image.astype(">f4"), psf.astype(">f8"), "hyper_laplacian", force=True)
    np.testing.assert_allclose(swapped, expected, atol=1e-6)


def test_a_psf_that_is_none_is_refused_in_one_line():
    with pytest.raises(UnblurError, match="a PSF is a numpy array or a torch tensor of numbers"):
        unblur.deconvolve(np.zeros((40, 40)), "psf.png")


def test_a_psf_larger_than_the_picture_is_refused():
    with pytest.raises(UnblurError, match=r"the PSF \(31 x 31 px\) is larger than the picture \(16 x 20 px\)"):
        unblur.deconvolve(np.zeros((20, 16)), np.ones((31, 31)))
