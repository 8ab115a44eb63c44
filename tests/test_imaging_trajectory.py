"""Camera shake: the random path obeys its model, and its PSF is the path seen by the sensor."""

import dataclasses
from itertools import pairwise

import pytest
import torch

from unblur.imaging.psf import centre_psf, linear_motion_psf, psf_centroid
from unblur.imaging.trajectory import PRESETS, rasterise, shake_psf, shake_psfs, trajectory


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def end_distance(anxiety: float, seed: int) -> float:
    return float(trajectory(seeded(seed), anxiety=anxiety)[-1].norm())


def test_a_seed_fixes_the_path_and_another_changes_it() -> None:
    assert torch.equal(trajectory(seeded(1)), trajectory(seeded(1)))
    assert not torch.allclose(trajectory(seeded(1)), trajectory(seeded(2)))


def test_a_path_starts_at_the_origin_and_has_the_length_asked_for() -> None:
    path = trajectory(seeded(5), num_steps=700, max_length=42.0)
    assert path.shape == (700, 2)
    assert path.dtype == torch.float64
    assert path[0].tolist() == [0, 0]
    steps = path.diff(dim=0).norm(dim=1)
    torch.testing.assert_close(steps, torch.full_like(steps, 42 / 699))


def test_no_anxiety_is_a_straight_line() -> None:
    assert end_distance(0.0, seed=3) == pytest.approx(60)


def test_more_anxiety_ends_nearer_to_the_start() -> None:
    """Inertia carries a calm camera far; tremor, pull and impulses keep an anxious one close."""
    reach = {a: sum(end_distance(a, seed) for seed in range(25)) / 25 for a in (0.0005, 0.005, 0.05)}
    assert reach[0.0005] > 1.5 * reach[0.005] > 1.5 * 1.2 * reach[0.05]


def test_impulses_throw_the_camera_nearly_backwards() -> None:
    """Sharp turns are rare, and about as rare as the mean impulse rate of 0.1 x anxiety says."""
    turned, steps = 0, 0
    for seed in range(40):
        velocity = trajectory(seeded(seed), anxiety=0.01).diff(dim=0)
        cosine = torch.cosine_similarity(velocity[1:], velocity[:-1], dim=1)
        turned += int((cosine < -0.5).sum())
        steps += len(cosine)
    assert 0.0005 < turned / steps < 0.0015


def test_rasterising_equals_a_slow_obvious_reference() -> None:
    path = trajectory(seeded(8), num_steps=150, max_length=20.0)
    size, start, exposure = 25, 0.1, 0.455
    light = torch.tensor([max(0.0, min(t + 1, 150 * 0.555) - max(t, 150 * 0.1)) for t in range(150)]).double()
    middle = (path * light[:, None]).sum(0) / light.sum()
    wanted = torch.zeros(size, size, dtype=torch.float64)
    for (px, py), amount in zip((path - middle + size // 2).tolist(), light.tolist(), strict=True):
        for row in range(size):
            for column in range(size):
                wanted[row, column] += amount * max(0, 1 - abs(py - row)) * max(0, 1 - abs(px - column))
    psf = rasterise(path, size, start=start, exposure=exposure)
    torch.testing.assert_close(psf.double(), wanted / wanted.sum(), atol=1e-7, rtol=0)


def test_a_straight_path_is_linear_motion() -> None:
    along = torch.linspace(-7.5, 7.5, 4000, dtype=torch.float64)
    path = torch.stack([along * 0.8, -along * 0.6], 1) + torch.tensor([3.3, -1.2])
    angle = 36.8699  # up and to the right
    assert (rasterise(path, 17) - linear_motion_psf(15, angle)).abs().max() < 1e-3


def test_origin_places_the_path_on_the_canvas() -> None:
    still = torch.tensor([[4.0, 1.0]])
    psf = rasterise(still, 7, origin=(2.0, 2.0))
    assert psf[3 - 1, 3 + 2] == 1


@pytest.mark.parametrize("seed", range(5))
def test_exposures_of_one_shake_lie_within_each_other(seed: int) -> None:
    psfs = shake_psfs(seeded(seed), "wiener_stack", centred=False)
    shares = PRESETS["wiener_stack"].exposures
    assert len(psfs) == len(shares) == 4
    for (short, short_share), (long, long_share) in pairwise(zip(psfs, shares, strict=True)):
        # The longer exposure holds all the light of the shorter one, and then some.
        assert (long * long_share - short * short_share).min() > -1e-7
        assert (long > 0).sum() > (short > 0).sum()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_give_centred_asymmetric_psfs_of_their_sizes(name: str) -> None:
    smallest, largest = PRESETS[name].size_range
    sides = set()
    asymmetric = 0
    longest = torch.empty(0)
    for seed in range(60 if name == "random_walk" else 10):
        for psf in shake_psfs(seeded(seed), name):
            side = psf.shape[0]
            sides.add(side)
            assert psf.shape == (side, side)
            assert side % 2 == 1
            assert smallest <= side <= largest
            assert psf.min() >= 0
            assert psf.sum().item() == pytest.approx(1, abs=1e-5)
            assert psf_centroid(psf) == pytest.approx((side // 2, side // 2), abs=1e-4)
            longest = psf
        asymmetric += bool((longest - longest.flip(0, 1)).abs().max() > 0.1 * longest.max())
    assert asymmetric >= 9
    assert len(sides) >= min(15, (largest - smallest) // 2 + 1), "sides are spread over their range"


def test_a_preset_of_ones_own() -> None:
    mine = dataclasses.replace(PRESETS["random_walk"], size_range=(11, 11), exposures=(0.3, 1.0))
    assert [tuple(psf.shape) for psf in shake_psfs(seeded(0), mine)] == [(11, 11), (11, 11)]


@pytest.mark.parametrize("size", [3, 9, 31])
def test_shake_psf_fills_the_size_asked_for(size: int) -> None:
    psf = shake_psf(seeded(size), size)
    border = torch.cat([psf[0], psf[-1], psf[:, 0], psf[:, -1]])
    assert psf.shape == (size, size)
    assert border.max() > 0
    assert centre_psf(psf)[1] == (0, 0)
    assert torch.equal(psf, shake_psf(seeded(size), size))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: trajectory(seeded(0), num_steps=1), "num_steps >= 2"),
        (lambda: trajectory(seeded(0), anxiety=-1), "anxiety >= 0"),
        (lambda: rasterise(trajectory(seeded(0)), 5), "too far for size=5"),
        (lambda: rasterise(trajectory(seeded(0)), 65, exposure=0), "exposure > 0"),
        (lambda: rasterise(trajectory(seeded(0)), 65, start=0.5), r"start \+ exposure <= 1"),
        (lambda: shake_psfs(seeded(0), "random_wlak"), "there are wiener_stack, random_walk"),
        (lambda: shake_psf(seeded(0), 8), "odd"),
    ],
)
def test_bad_arguments_are_explained(make, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()
