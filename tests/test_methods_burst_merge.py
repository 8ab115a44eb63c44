"""A burst is merged as Hasinoff et al. write it; what moved is aligned, and what cannot be aligned stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unblur
from helpers import structured_picture
from unblur import methods
from unblur.metrics import psnr
from unblur.pipeline.options import Options
from unblur.pipeline.picture import restore_picture
from unblur.types import Observation, Progress, UnblurError

BURST_MERGE = methods.get("burst_merge")
SIGMA = 0.06


def burst(sharp: torch.Tensor, count: int = 6, step: tuple[int, int] = (0, 0)) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy frames `(1, T, C, H, W)` of a picture of which each shows another part, and the first without noise."""
    generator = torch.Generator().manual_seed(0)
    height, width = (side - count * max(map(abs, step)) for side in sharp.shape[-2:])
    parts = [sharp[..., step[0] * n : step[0] * n + height, step[1] * n : step[1] * n + width] for n in range(count)]
    frames = torch.stack(parts, 1)
    return frames + SIGMA * torch.randn(frames.shape, generator=generator), parts[0]


def merge(frames: torch.Tensor, sigma: float | None = SIGMA, **settings: object) -> torch.Tensor:
    image = BURST_MERGE(Observation(frames=frames, sigma=sigma), settings).image
    assert image is not None
    return image


def by_the_formula(frames: np.ndarray, sigma: float, c: float, n: int) -> np.ndarray:
    """Eq. 7 and 8 tile by tile in double precision, without alignment; `(T, H, W)` -> `(H, W)`."""
    height, width = frames.shape[1:]
    padded = np.pad(frames.astype(np.float64), ((0, 0), (n, 2 * n), (n, 2 * n)), mode="edge")
    total = np.zeros(padded.shape[1:])
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(n) + 0.5) / n)
    for y in range(n // 2, n + height, n // 2):
        for x in range(n // 2, n + width, n // 2):
            spectra = [np.fft.fft2(frame[y : y + n, x : x + n]) for frame in padded]
            merged = np.zeros((n, n), complex)
            for spectrum in spectra:
                difference = np.abs(spectra[0] - spectrum) ** 2
                shrinkage = difference / (difference + c * 2 * n**2 * sigma**2)
                merged += spectrum + shrinkage * (spectra[0] - spectrum)
            tile = np.fft.ifft2(merged / len(spectra)).real
            total[y : y + n, x : x + n] += tile * wave[:, None] * wave
    return total[n : n + height, n : n + width]


@pytest.mark.parametrize("tile", [8, 16])
def test_it_is_the_average_that_the_paper_describes(tile):
    frames, _ = burst(structured_picture(37, 43), 3)
    expected = by_the_formula(frames[0, :, 0].numpy(), SIGMA, 5.0, tile)
    actual = merge(frames, strength=5.0, tile=tile, align=False)[0, 0]
    np.testing.assert_allclose(actual.numpy(), expected, atol=1e-5)


def test_frames_of_a_still_scene_lose_nearly_the_noise_that_their_mean_loses():
    frames, sharp = burst(structured_picture(80, 96, 3))
    assert psnr(merge(frames), sharp) > psnr(frames.mean(1), sharp) - 0.5


def test_frames_of_a_moving_camera_are_aligned():
    frames, sharp = burst(structured_picture(120, 130, 3), step=(3, 2))
    aligned, in_place = (psnr(merge(frames, align=align), sharp) for align in (True, False))
    assert aligned > psnr(frames[:, 0], sharp) + 5
    assert aligned > in_place + 2


def test_what_another_frame_does_not_show_stays_as_in_the_first():
    frames, sharp = burst(structured_picture(64, 72), 2)
    frames[:, 1] = 0.9 - frames[:, 1]
    assert psnr(merge(frames), sharp) > psnr(frames[:, 0], sharp) - 0.5
    assert psnr(merge(frames, strength=1e6), sharp) < psnr(frames[:, 0], sharp) - 3


def test_one_frame_is_returned():
    frames, _ = burst(structured_picture(40, 46), 1)
    torch.testing.assert_close(merge(frames), frames[:, 0])


def test_without_noise_nothing_is_averaged():
    frames = torch.rand(1, 4, 1, 24, 30, generator=torch.Generator().manual_seed(0))
    clean = merge(frames, sigma=0.0, strength=0.0)
    torch.testing.assert_close(clean, frames[:, 0], atol=1e-5, rtol=0)


def test_a_burst_is_restored_by_default_and_its_first_frame_is_the_photo():
    frames, sharp = burst(structured_picture(96, 104, 3))
    result = restore_picture(Observation(frames=frames), Options(), Progress())
    assert result.method == "burst_merge" and result.changed
    assert result.reason == "several frames were given"
    assert psnr(result.image, sharp) > psnr(frames[:, 0], sharp) + 4


def test_a_burst_of_arrays_comes_back_as_its_first_frame_with_less_noise():
    frames, sharp = burst(structured_picture(120, 130, 3), step=(1, 2))
    levels = (frames[0].clamp(0, 1) * 255).round().byte()  # (T, C, H, W)
    pictures = [frame.movedim(0, -1).numpy() for frame in levels]
    before = pictures[0].copy()
    result = unblur.restore(pictures[0], frames=pictures[1:], full=True)
    assert (result.method, result.reason, result.changed) == ("burst_merge", "several frames were given", True)
    assert (result.image.dtype, result.image.shape) == (np.uint8, before.shape)
    np.testing.assert_array_equal(pictures[0], before)
    noisy, merged = (torch.from_numpy(image).movedim(-1, 0)[None] / 255 for image in (before, result.image))
    assert psnr(merged, sharp) > psnr(noisy, sharp) + 5
    from_torch = unblur.restore(levels[0], frames=levels[1:])  # a tensor is a sequence of its frames
    assert torch.equal(from_torch.movedim(0, -1), torch.from_numpy(result.image))


@pytest.mark.parametrize(
    ("others", "options", "message"),
    [
        ([], {}, "one frame only"),
        ([np.zeros((40, 41))], {}, r"frame 2 \(numpy, \(40, 41\)\) must be of the kind and shape of the first one"),
        ([np.zeros((40, 50)), torch.zeros(40, 50)], {}, r"frame 3 \(torch"),
        ([np.zeros((40, 50))], {"noisy": np.zeros((40, 50))}, "Give one of them"),
        ([np.zeros((40, 50))], {"method": "two_way"}, "makes no use of several frames"),
        ([np.zeros((40, 50))], {"psf": np.ones((3, 3))}, "makes no use of a PSF"),
    ],
)
def test_what_is_no_burst_is_refused_in_one_line(others, options, message):
    with pytest.raises(UnblurError, match=message):
        unblur.restore(np.zeros((40, 50)), frames=others, **options)


def test_a_burst_is_not_a_batch():
    with pytest.raises(UnblurError, match="a batch of 2"):
        unblur.restore(torch.zeros(2, 3, 40, 50), frames=[torch.zeros(2, 3, 40, 50)])
