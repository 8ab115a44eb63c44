"""Camera noise: add it to a picture, and estimate its standard deviation from a picture.

Standard deviations are on the [0, 1] scale of the pixel values: 10 levels of an 8-bit picture are
`sigma = 10 / 255`.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# Chosen by hand; benchmarks/noise_estimation.py measures the error of the estimate.
_BLOCK = 8  # pixels: side of the blocks of `estimate_noise_sigma`
_MAX_BLOCKS = 49152  # per channel; limits time and memory for large pictures
_SMOOTHEST = 0.004  # share of the blocks that are assumed to have no texture
_MIN_BLOCKS = 64  # least number of blocks that an estimate uses
_HIGH_FREQUENCY = 10  # smallest u + v (0..7 each) of the DCT coefficients that measure the noise
_LOW_FREQUENCY = 5  # largest u + v of the DCT coefficients by which blocks are chosen
_AT_LIMIT = 0.002  # distance from 0 or 1, on the [0, 1] scale, below which a block is saturated and shows no noise
_LEAST_KEPT = 0.3  # share of the noise variance that a block must keep after clipping
_EQUAL_NEIGHBOURS = 0.6  # share of equal neighbouring pixels above which a picture is a drawing, not a photo
_FLAT_LINES = 3  # number of constant rows or columns from which a block is left out
_MAX_ROUNDS = 8  # most iterations between sigma and the choice of blocks


def add_gaussian_noise(image: Tensor, sigma: float, generator: torch.Generator, *, clip: bool = False) -> Tensor:
    """Add white Gaussian noise, independent in every pixel and channel: `var = sigma**2`.

    Args:
        image: any shape, [0, 1].
        sigma: standard deviation on the [0, 1] scale; higher is noisier.
        generator: random generator.
        clip: True clips the result to [0, 1].

    Returns:
        Noisy picture of the same shape and dtype.

    Raises:
        ValueError: a negative sigma.
    """
    if sigma < 0:
        raise ValueError(f"the noise's sigma cannot be negative, got {sigma}")
    return _finish(image + sigma * _normal_like(image, generator), clip)


def add_poisson_noise(image: Tensor, peak: float, generator: torch.Generator, *, clip: bool = False) -> Tensor:
    """Replace each value by a Poisson count of photons: `var = image / peak`.

    Args:
        image: any shape, linear light, [0, 1]; negative values count as 0.
        peak: number of photons at the value 1; higher is **less** noisy.
        generator: random generator.
        clip: True clips the result to [0, 1].

    Returns:
        Noisy picture of the same shape and dtype. Its expected value is `image`.

    Raises:
        ValueError: a peak of 0 or less.
    """
    if peak <= 0:
        raise ValueError(f"peak is the number of photons at the value 1 and must be above 0, got {peak}")
    return _finish(torch.poisson(image.clamp(min=0) * peak, generator=generator) / peak, clip)


def add_poisson_gaussian_noise(
    image: Tensor, peak: float, sigma: float, generator: torch.Generator, *, clip: bool = False
) -> Tensor:
    """Add photon noise and the sensor's read-out noise: `var = image / peak + sigma**2`.

    The model of Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
    raw-data", IEEE TIP 2008, eq. 3 with `a = 1 / peak`, `b = sigma**2`.

    Args:
        image: any shape, linear light, [0, 1].
        peak: number of photons at the value 1; higher is less noisy.
        sigma: standard deviation of the read-out noise on the [0, 1] scale; higher is noisier.
        generator: random generator.
        clip: True clips the result to [0, 1].

    Returns:
        Noisy picture of the same shape and dtype.

    Raises:
        ValueError: a peak of 0 or less, or a negative sigma.
    """
    return add_gaussian_noise(add_poisson_noise(image, peak, generator), sigma, generator, clip=clip)


def quantise(image: Tensor, bits: int = 8, *, clip: bool = False) -> Tensor:
    """Round to the values of a file with `bits` bits: the nearest `k / (2**bits - 1)`.

    Args:
        image: any shape, [0, 1].
        bits: bits per value, 1 to 16; higher is finer.
        clip: True also clips the result to [0, 1].

    Returns:
        Rounded picture of the same shape.

    Raises:
        ValueError: bits outside 1 to 16.
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"bits must be 1 to 16, got {bits}")
    levels = 2**bits - 1
    return _finish((image * levels).round() / levels, clip)


def estimate_noise_sigma(image: Tensor) -> Tensor:
    """Estimate the standard deviation of the white Gaussian noise in each picture, sharp or blurred.

    The method follows Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", IGARSS 2007.
    The 8 x 8 blocks with the least energy at **low** DCT frequencies are assumed to have no texture. Their
    coefficients at **high** frequencies, which were not used for the choice, contain only noise, so the estimate has
    no bias. Clipping at 0 and 1 removes part of the noise of dark and bright blocks. That part is computed from the
    mean of each block (see `_kept_by_clipping`) and corrected; blocks that lost too much are left out. Blocks with
    several constant rows or columns (borders, saturated sky) are left out too. If most neighbouring pixels in the
    smoothest blocks are equal (text, a drawing), the picture has no noise. In large pictures only the blocks on a
    regular grid are used, so the time does not grow with the size.

    Args:
        image: `(B, C, H, W)`, [0, 1], any number of channels. If a picture has values below 0 (above 1), it is
            assumed not to be clipped at 0 (at 1).

    Returns:
        `(B,)` float32: the root mean square over the channels, on the scale of the given values (sRGB for a photo);
        0 for a constant picture. It includes the rounding noise of the file (0.29 levels). The estimate is too low
        if smoothing or JPEG removed noise, and too high if all of the picture is texture.

    Raises:
        ValueError: not four dimensions, or a picture smaller than 8 x 8 pixels.
    """
    if image.ndim != 4 or min(image.shape[2:]) < _BLOCK:
        raise ValueError(f"need (B, C, H, W) with sides of at least {_BLOCK} px, got {tuple(image.shape)}")
    variances = [[_plane_sigma(plane) ** 2 for plane in picture] for picture in image.detach().float()]
    return torch.tensor(variances, device=image.device).mean(1).sqrt()  # (B,)


def estimate_noise_under_blur(image: Tensor) -> Tensor:
    """Estimate the standard deviation of the noise in each blurred picture, which may have been stored as JPEG.

    The result is the larger of `estimate_noise_sigma` of the picture and twice that of the picture at half size. Do
    not use it for sharp pictures: at half size it would measure their texture.

    Args:
        image: `(B, C, H, W)`, [0, 1].

    Returns:
        `(B,)` float32, on the [0, 1] scale.

    Raises:
        ValueError: see `estimate_noise_sigma`.
    """
    # JPEG removes noise at the finest frequencies, where it is estimated, but not at coarser ones, which deblurring
    # amplifies. At half size those are the finest. The mean of 2 x 2 pixels halves white noise, hence the factor 2.
    sigma = estimate_noise_sigma(image)
    if min(image.shape[2:]) < 2 * _BLOCK:
        return sigma
    return torch.maximum(sigma, 2 * estimate_noise_sigma(F.avg_pool2d(image, 2)))


def _plane_sigma(plane: Tensor) -> float:
    """Estimate the standard deviation of the noise of one channel `(H, W)`."""
    height, width = plane.shape
    count = (height - _BLOCK + 1) * (width - _BLOCK + 1)
    step = math.ceil(math.sqrt(count / _MAX_BLOCKS))
    blocks = plane.unfold(0, _BLOCK, step).unfold(1, _BLOCK, step).reshape(-1, _BLOCK, _BLOCK)  # (n, 8, 8)
    # Sums of floats, since those of truth values take longer.
    flat_rows, flat_columns = ((blocks.amax(along) == blocks.amin(along)).float().sum(1) for along in (2, 1))  # (n,)
    varied = flat_rows + flat_columns < 2 * _BLOCK  # (n,)
    # With noise, constant rows are rare. A block with several of them contains a border or a saturated area. If most
    # blocks of a picture have them (a drawing), these blocks are kept.
    whole = torch.maximum(flat_rows, flat_columns) < _FLAT_LINES  # (n,)
    blocks = blocks[whole if 2 * whole.sum() >= varied.sum() else varied]
    if len(blocks) == 0:
        return 0.0
    dct = _dct_matrix().to(plane.device)
    basis = torch.kron(dct, dct)  # (64, 64): all coefficients of a block are one product with a matrix
    frequency = (torch.arange(_BLOCK)[:, None] + torch.arange(_BLOCK)).flatten()  # (64,), u + v
    pixels = blocks.flatten(1)  # (n, 64)
    texture = (pixels @ basis[(frequency > 0) & (frequency <= _LOW_FREQUENCY)].T).square().sum(1)  # (n,)
    noise = (pixels @ basis[frequency >= _HIGH_FREQUENCY].T).square_()  # (n, k)
    mean = pixels @ basis[0] / _BLOCK  # (n,)
    to_black = mean if plane.min() >= 0 else torch.full_like(mean, torch.inf)
    to_white = 1 - mean if plane.max() <= 1 else torch.full_like(mean, torch.inf)
    usable = (to_black > _AT_LIMIT) & (to_white > _AT_LIMIT)  # (n,)

    # Which blocks are clipped depends on sigma, and sigma depends on the blocks. So both are computed in turn, from
    # sigma = 0 until sigma no longer changes.
    sigma = 0.0
    for _ in range(_MAX_ROUNDS):
        kept = _kept_by_clipping(to_black, sigma) * _kept_by_clipping(to_white, sigma)  # (n,)
        chosen = _smoothest(texture / kept, kept, usable & (kept > _LEAST_KEPT))
        if sigma == 0 and (blocks[chosen].diff(dim=2) == 0).float().mean() > _EQUAL_NEIGHBOURS:
            return 0.0  # with noise of half a level or more, few neighbours are equal
        # Some frequencies still contain texture; the median over all frequencies is not affected by them.
        variance = noise[chosen].mean(0).median() / kept[chosen].mean()
        previous, sigma = sigma, float(variance.sqrt())
        if abs(sigma - previous) <= 0.002 * sigma:
            break
    return sigma


def _smoothest(texture: Tensor, kept: Tensor, usable: Tensor) -> Tensor:
    """Indices `(k,)` of the blocks with the least texture; of the least clipped blocks if few are usable."""
    fewest = min(_MIN_BLOCKS, len(texture))
    if int(usable.sum()) < fewest:
        return kept.topk(fewest).indices
    number = max(fewest, int(_SMOOTHEST * int(usable.sum())))
    return torch.where(usable, texture, torch.inf).topk(number, largest=False).indices


def _kept_by_clipping(distance: Tensor, sigma: float) -> Tensor:
    """Share of the noise variance that remains after clipping, for blocks whose mean is `distance` from the limit.

    Let u be the mean before clipping, as a distance from the limit in units of sigma (negative beyond the limit), p the
    standard normal density and P its distribution function. After clipping at 0 the mean is `m = u P(u) + p(u)` and the
    variance is `(u^2 + 1) P(u) + u p(u) - m^2`. A block's mean is m; the variance for it is interpolated in a table.

    Args:
        distance: `(n,)`, on the [0, 1] scale.
        sigma: standard deviation of the noise before clipping.

    Returns:
        `(n,)`, in [0, 1].
    """
    if sigma == 0:
        return torch.ones_like(distance)
    means, variances = (column.to(distance.device) for column in _clipping_table())
    seen = (distance / sigma).clamp(float(means[0]), float(means[-1]))  # (n,)
    above = torch.searchsorted(means, seen).clamp(1, len(means) - 1)  # (n,)
    low, high = means[above - 1], means[above]
    return torch.lerp(variances[above - 1], variances[above], (seen - low) / (high - low))


@cache
def _clipping_table() -> tuple[Tensor, Tensor]:
    """The means and variances of normal noise clipped at 0, for u = -3 ... 5 (see `_kept_by_clipping`)."""
    u = torch.linspace(-3, 5, 1601, dtype=torch.float64)  # (1601,)
    density = torch.exp(-(u**2) / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(u)
    mean = u * below + density
    return mean.float(), ((u**2 + 1) * below + u * density - mean**2).float()


@cache
def _dct_matrix() -> Tensor:
    """Orthonormal DCT-II, `(8, 8)`: row u is the cosine of frequency u."""
    position, frequency = torch.arange(_BLOCK) + 0.5, torch.arange(_BLOCK)[:, None]
    rows = torch.cos(math.pi / _BLOCK * position * frequency) * math.sqrt(2 / _BLOCK)
    rows[0] /= math.sqrt(2)
    return rows


def _normal_like(image: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(image.shape, generator=generator, device=generator.device, dtype=image.dtype)
    return noise.to(image.device)


def _finish(image: Tensor, clip: bool) -> Tensor:
    return image.clamp(0, 1) if clip else image


def estimate_noise_of_short_shot(noisy: Tensor, blurry: Tensor) -> Tensor:
    """Estimate the standard deviation of the noise of the short shot of a pair, also if neighbours are correlated.

    White noise is measured by `estimate_noise_sigma`. Of correlated noise, which resampling, demosaicking and JPEG
    make, this would find a part only. If `estimate_noise_under_blur` shows that there is more at coarser frequencies,
    the estimate is the median absolute deviation of the difference of both shots from its local mean, in the tenth of
    the pixels where the long shot is flattest: there, both show the same but for noise. The noise of the long shot, and
    texture that its blur has removed, raise this estimate.

    Args:
        noisy: `(B, C, H, W)`, [0, 1], lying on the long shot and as bright.
        blurry: the long shot, same shape.

    Returns:
        `(B,)`.
    """
    difference = noisy - blurry
    difference = difference - _local_mean(difference, _TONES)
    smooth = _local_mean(blurry, _STEPS)
    padded = F.pad(smooth, (0, 1, 0, 1), "replicate")
    slopes = (padded[..., :-1, 1:] - smooth).square() + (padded[..., 1:, :-1] - smooth).square()
    slopes = slopes.masked_fill((smooth < _CLIPPED) | (smooth > 1 - _CLIPPED), torch.inf)  # clipped noise
    estimates = []
    for deviation, slope in zip(difference, slopes.mean(1), strict=True):  # (C, H, W) and (H, W)
        count = max(int(_FLATTEST * slope.numel()), 1)
        flattest = slope <= slope.flatten().kthvalue(count).values
        estimates.append(_MAD * deviation[:, flattest].abs().median())
    by_both = torch.stack(estimates)
    if min(noisy.shape[-2:]) < 2 * _BLOCK:
        return by_both
    fine, coarse = (estimate(noisy).to(by_both) for estimate in (estimate_noise_sigma, estimate_noise_under_blur))
    return torch.where(coarse > _CORRELATED * fine, by_both, fine)


# Chosen by hand.
_TONES = 15  # pixels, side of the squares in which a difference of the tones is not noise
_STEPS = 5  # pixels, side of the squares whose means show where the long shot is flat
_FLATTEST = 0.1  # share of the pixels
_CLIPPED = 0.05  # distance from 0 or 1 below which noise may be clipped
_CORRELATED = 1.3  # ratio of the noise at half size and at full size above which it is not white
_MAD = 1.4826  # standard deviation of a normal distribution relative to its median absolute deviation


def _local_mean(picture: Tensor, side: int) -> Tensor:
    return F.avg_pool2d(picture, side, 1, side // 2, count_include_pad=False)
