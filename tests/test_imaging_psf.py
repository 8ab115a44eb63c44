"""The standard PSFs have the shape they promise, and the tools move and resize without losing light."""

import math

import pytest
import torch

from unblur.imaging.psf import (
    centre_psf,
    crop_psf,
    delta_psf,
    describe_psf,
    disk_psf,
    gaussian_psf,
    linear_motion_psf,
    normalize_psf,
    pad_psf,
    psf_centroid,
    resize_psf,
)

SHAPES = {
    "gaussian": gaussian_psf(1.7),
    "slanted gaussian": gaussian_psf(4.0, sigma_y=1.5, angle=25),
    "disk": disk_psf(4.3),
    "motion": linear_motion_psf(13.5, 70),
    "delta": delta_psf(5),
}


@pytest.fixture
def lopsided() -> torch.Tensor:
    """No symmetry at all, off centre, exact float32 fractions."""
    psf = torch.zeros(9, 11)
    psf[1, 2], psf[1, 3], psf[2, 3], psf[4, 3], psf[5, 6] = 4, 2, 3, 1, 6
    return psf / 16


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_a_centred_psf(name: str) -> None:
    psf = SHAPES[name]
    assert psf.dtype == torch.float32
    assert all(side % 2 for side in psf.shape)
    assert psf.min() >= 0
    assert psf.double().sum().item() == pytest.approx(1, abs=1e-6)
    assert psf_centroid(psf) == pytest.approx((psf.shape[0] // 2, psf.shape[1] // 2), abs=1e-6)


def test_gaussian_has_the_sigma_asked_for_along_and_across() -> None:
    seen = describe_psf(gaussian_psf(4.0, sigma_y=2.0, angle=30))
    assert seen.length / math.sqrt(12) == pytest.approx(4.0, rel=2e-3)
    assert seen.width / math.sqrt(12) == pytest.approx(2.0, rel=2e-3)
    assert seen.angle == pytest.approx(30, abs=0.1)


def test_disk_weighs_each_pixel_by_the_area_covered() -> None:
    radius, fine = 3.2, 200
    grid = (torch.arange(7 * fine, dtype=torch.float64) + 0.5) / fine - 3.5
    inside = (grid[:, None] ** 2 + grid**2 <= radius**2).double()
    counted = inside.view(7, fine, 7, fine).mean((1, 3)) / (math.pi * radius**2)
    torch.testing.assert_close(disk_psf(radius).double(), counted, atol=1e-5, rtol=0)


def test_motion_angle_is_counter_clockwise_as_seen() -> None:
    psf = linear_motion_psf(9, 45)
    assert psf[2, -3] > 0.05, "45 degrees goes up and to the right"
    assert psf[2, 2] == 0, "and not up and to the left"
    for angle in (0, 34, 90, 150):
        seen = describe_psf(linear_motion_psf(15, angle))
        assert seen.angle == pytest.approx(angle, abs=0.1)
        assert seen.length == pytest.approx(15, abs=0.1)


def test_level_motion_is_an_even_line_one_pixel_thick() -> None:
    psf = linear_motion_psf(6, 0)
    assert torch.equal(psf[torch.arange(7) != 3], torch.zeros(6, 7))
    torch.testing.assert_close(psf[3, 1:-1], torch.full((5,), 1 / 6), atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [disk_psf(0), linear_motion_psf(0, 40), gaussian_psf(0.01)])
def test_no_extent_is_no_blur(shape: torch.Tensor) -> None:
    assert torch.equal(shape, delta_psf(shape.shape[0]))


def test_centring_moves_the_content_whole_and_says_by_how_much(lopsided: torch.Tensor) -> None:
    centred, (dy, dx) = centre_psf(lopsided)
    y, x = psf_centroid(lopsided)
    middle_y, middle_x = centred.shape[0] // 2, centred.shape[1] // 2
    assert psf_centroid(centred) == pytest.approx((middle_y, middle_x), abs=0.5)
    assert (dy, dx) == (round(4 - y), round(5 - x))
    values = torch.sort(centred[centred > 0]).values
    torch.testing.assert_close(values, torch.sort(lopsided[lopsided > 0]).values)


def test_a_picture_restored_with_the_centred_psf_lies_shift_away(lopsided: torch.Tensor) -> None:
    """Check the documented rule: `psf` equals `centred` moved by `-shift`."""
    centred, (dy, dx) = centre_psf(lopsided)
    margin = 20
    big_centred = pad_psf(centred, 2 * margin + 1)
    big_given = pad_psf(lopsided, 2 * margin + 1)
    moved_back = torch.roll(big_centred, (-int(dy), -int(dx)), (0, 1))
    torch.testing.assert_close(moved_back, big_given)


def test_centring_grows_the_support_rather_than_cutting() -> None:
    corner = torch.zeros(5, 5)
    corner[0, 0], corner[0, 1], corner[4, 4] = 0.8, 0.15, 0.05
    centred, _ = centre_psf(corner)
    assert centred.shape == (9, 9)
    torch.testing.assert_close(centred.max(), torch.tensor(0.8))


def test_subpixel_centring_is_exact_also_for_even_sides() -> None:
    psf = normalize_psf(torch.rand(8, 11, generator=torch.Generator().manual_seed(3)) ** 4)
    centred, (dy, dx) = centre_psf(psf, subpixel=True)
    assert all(side % 2 for side in centred.shape)
    assert psf_centroid(centred) == pytest.approx((centred.shape[0] // 2, centred.shape[1] // 2), abs=1e-5)
    y, x = psf_centroid(psf)
    assert (dy, dx) == pytest.approx((4 - y, 5 - x), abs=1e-6)


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.0, 2**0.5, 2.0, 3.0])
def test_resizing_scales_offset_and_spread(lopsided: torch.Tensor, scale: float) -> None:
    resized = resize_psf(lopsided, scale)
    assert all(side % 2 for side in resized.shape)
    assert resized.sum().item() == pytest.approx(1, abs=1e-6)
    (y, x), (small_y, small_x) = psf_centroid(resized), psf_centroid(lopsided)
    assert y - resized.shape[0] // 2 == pytest.approx(scale * (small_y - 4), abs=1e-5)
    assert x - resized.shape[1] // 2 == pytest.approx(scale * (small_x - 5), abs=1e-5)
    spread, scaled_spread = describe_psf(resized).length, scale * describe_psf(lopsided).length
    added_variance = (spread**2 - scaled_spread**2) / 12  # by the pixels of the new grid
    assert -1e-6 <= added_variance <= (scale**2 / 12 + 1 / 6 if scale > 1 else 1 / 4) + 1e-4


def test_resizing_by_one_changes_nothing(lopsided: torch.Tensor) -> None:
    torch.testing.assert_close(resize_psf(lopsided, 1.0), lopsided)


def test_resizing_a_gaussian_gives_the_gaussian_of_that_size() -> None:
    doubled = resize_psf(gaussian_psf(3.0), 2.0)
    wanted = pad_psf(gaussian_psf(6.0, size=doubled.shape[0]), doubled.shape[0])
    assert (doubled - wanted).abs().max() < 0.03 * wanted.max()


def test_cropping_drops_the_margin_and_keeps_the_mass_asked_for() -> None:
    assert torch.equal(crop_psf(pad_psf(disk_psf(3), (21, 31))), disk_psf(3))
    psf = gaussian_psf(5.0)
    cropped = crop_psf(psf, mass=0.9)
    margin = (psf.shape[0] - cropped.shape[0]) // 2
    kept = psf[margin:-margin, margin:-margin].sum()
    one_less = psf[margin + 2 : -margin - 2, margin + 2 : -margin - 2].sum()
    assert kept >= 0.9 > one_less


def test_cropping_keeps_the_middle_in_the_middle(lopsided: torch.Tensor) -> None:
    cropped = crop_psf(pad_psf(lopsided, 31))
    (y, x), (given_y, given_x) = psf_centroid(cropped), psf_centroid(lopsided)
    assert (y - cropped.shape[0] // 2, x - cropped.shape[1] // 2) == pytest.approx((given_y - 4, given_x - 5))


def test_description_in_words() -> None:
    assert describe_psf(delta_psf(7)).words == "no blur"
    seen = describe_psf(pad_psf(linear_motion_psf(15, 34), 41))
    assert seen.words == "15 x 11 px, spread 15.1 px at 34 degrees (mostly one direction)"
    assert seen.size == (11, 15)
    assert seen.anisotropy > 0.9
    disk = describe_psf(disk_psf(6))
    assert disk.anisotropy < 0.01
    assert "every direction" in disk.words
    assert "longer one way" in describe_psf(gaussian_psf(4, sigma_y=2)).words


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: gaussian_psf(0), "sigma must be above 0"),
        (lambda: gaussian_psf(1, size=8), "odd"),
        (lambda: disk_psf(-1), "negative"),
        (lambda: disk_psf(5, size=7), "size >= 11"),
        (lambda: linear_motion_psf(-3, 0), "negative"),
        (lambda: linear_motion_psf(20, 0, size=9), "size >= 21"),
        (lambda: delta_psf(4), "odd"),
        (lambda: normalize_psf(torch.zeros(3, 3)), "above 0"),
        (lambda: normalize_psf(torch.full((3, 3), torch.nan)), "not finite"),
        (lambda: normalize_psf(torch.ones(1, 1, 3, 3)), r"psf\[0, 0\]"),
        (lambda: pad_psf(delta_psf(5), 3), "not smaller"),
        (lambda: pad_psf(delta_psf(5), 8), "odd"),
        (lambda: crop_psf(delta_psf(5), mass=0), "share of light"),
        (lambda: resize_psf(delta_psf(5), 0), "scale must be above 0"),
        (lambda: resize_psf(torch.ones(4, 5), 2), "odd"),
    ],
)
def test_bad_arguments_are_explained(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    "change",
    [
        normalize_psf,
        lambda psf: centre_psf(psf)[0],
        lambda psf: centre_psf(psf, subpixel=True)[0],
        lambda psf: resize_psf(psf, 0.5),
        crop_psf,
    ],
)
def test_a_psf_stays_on_its_device_even_one_without_float64(stand_in, change):
    psf = gaussian_psf(1.5, 9)
    there = change(psf.to(stand_in))
    assert there.device.type == stand_in
    torch.testing.assert_close(there.cpu(), change(psf))
    assert psf_centroid(psf.to(stand_in)) == psf_centroid(psf)
