"""Camera noise: adding it to a clean picture, and measuring it in one that has it.

Levels are on the [0, 1] scale of the picture's own values: 10 levels of an 8-bit picture are
`sigma = 10 / 255`.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

# Chosen by hand; benchmarks/noise_estimation.py measures the whole.
_BLOCK = 8  # px, side of the blocks that `estimate_noise_sigma` looks at
_MAX_BLOCKS = 49152  # per channel: bounds time and memory whatever the picture's size
_SMOOTHEST = 0.004  # share of the blocks that is taken for free of texture
_MIN_BLOCKS = 64
_HIGH_FREQUENCY = 10  # u + v of the DCT coefficients (0..7 each) that measure the noise ...
_LOW_FREQUENCY = 5  # ... and of those that choose the blocks, none of them shared
_AT_LIMIT = 0.002  # a block this near to 0 or 1 is saturated: no noise survives in it
_LEAST_KEPT = 0.3  # share of the noise variance that clipping must have left in a block
_EQUAL_NEIGHBOURS = 0.6  # share of equal neighbours above which a picture is a drawing, not a photo
_FLAT_LINES = 3  # rows or columns of one value that make a block suspect
_MAX_ROUNDS = 8


def add_gaussian_noise(image: Tensor, sigma: float, generator: torch.Generator, *, clip: bool = False) -> Tensor:
    """Add white Gaussian noise, independent in every pixel and channel: `var = sigma**2`.

    Args:
        image: any shape, [0, 1].
        sigma: standard deviation on the [0, 1] scale; more is noisier.
        generator: the only source of randomness.
        clip: True cuts the result to [0, 1], as a file would.

    Returns:
        Noisy copy of the same shape and dtype.

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
        peak: photons that the value 1 stands for; more is **less** noisy.
        generator: the only source of randomness.
        clip: True cuts the result to [0, 1].

    Returns:
        Noisy picture of the same shape and dtype, its mean unchanged.

    Raises:
        ValueError: a peak not above 0.
    """
    if peak <= 0:
        raise ValueError(f"peak is the photon count of the value 1 and must be above 0, got {peak}")
    return _finish(torch.poisson(image.clamp(min=0) * peak, generator=generator) / peak, clip)


def add_poisson_gaussian_noise(
    image: Tensor, peak: float, sigma: float, generator: torch.Generator, *, clip: bool = False
) -> Tensor:
    """Photon noise and the sensor's read-out noise together: `var = image / peak + sigma**2`.

    The model of Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
    raw-data", IEEE TIP 2008, eq. 3 with `a = 1 / peak`, `b = sigma**2`.

    Args:
        image: any shape, linear light, [0, 1].
        peak: photons that the value 1 stands for; more is less noisy.
        sigma: standard deviation of the read-out noise on the [0, 1] scale; more is noisier.
        generator: the only source of randomness.
        clip: True cuts the result to [0, 1].

    Returns:
        Noisy picture of the same shape and dtype.

    Raises:
        ValueError: a peak not above 0, or a negative sigma.
    """
    return add_gaussian_noise(add_poisson_noise(image, peak, generator), sigma, generator, clip=clip)


def quantise(image: Tensor, bits: int = 8, *, clip: bool = False) -> Tensor:
    """Round to the levels of a `bits`-deep file: the nearest `k / (2**bits - 1)`.

    Args:
        image: any shape, [0, 1].
        bits: 1 to 16; more is finer.
        clip: True cuts the result to [0, 1] too, which a file always does.

    Raises:
        ValueError: bits outside 1 to 16.
    """
    if not 1 <= bits <= 16:
        raise ValueError(f"bits must be 1 to 16, got {bits}")
    levels = 2**bits - 1
    return _finish((image * levels).round() / levels, clip)


def estimate_noise_sigma(image: Tensor) -> Tensor:
    """Measure the standard deviation of white Gaussian noise in one picture, sharp or blurred.

    After Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images", IGARSS 2007:
    of the 8 x 8 blocks, those with the least **low**-frequency DCT energy are taken for free of texture;
    their **high**-frequency coefficients, which had no say in the choice, then hold the noise and nothing
    else, and it is read off without bias. Blocks near black or white have lost part of their noise to
    clipping; how much follows from their mean (see `_kept_by_clipping`), is made up for, and blocks
    that lost too much are left out. Blocks with several constant rows (borders, saturated sky) are left
    out too, and a picture whose smoothest parts have mostly equal neighbours (text, a drawing) has no
    noise. Large pictures are sampled on a regular grid, so the time does not grow.

    Args:
        image: `(B, C, H, W)`, [0, 1], of any number of channels. A picture with values below 0 (above
            1) is taken not to be clipped there.

    Returns:
        `(B,)` float32: sigma per channel value as given (sRGB for a photo), the root mean square over
        the channels; 0 for a constant picture. Includes the rounding noise of the file (0.29 levels).
        Where noise was smoothed or JPEG-compressed away it comes out too low, and where everything is
        texture too high.

    Raises:
        ValueError: not four dimensions, or a picture smaller than 8 x 8.
    """
    if image.ndim != 4 or min(image.shape[2:]) < _BLOCK:
        raise ValueError(f"need (B, C, H, W) with sides of at least {_BLOCK} px, got {tuple(image.shape)}")
    variances = [[_plane_sigma(plane) ** 2 for plane in picture] for picture in image.detach().float()]
    return torch.tensor(variances, device=image.device).mean(1).sqrt()  # (B,)


def estimate_noise_under_blur(image: Tensor) -> Tensor:
    """`estimate_noise_sigma` for a blurred picture that may have been a JPEG: `(B,)`.

    JPEG wipes out the finest frequencies, where noise is measured, but not coarser ones, which deblurring amplifies.
    At half size those are the finest, and averaging 2 x 2 pixels has halved white noise; so the larger of the
    estimate and twice the one at half size is taken. A sharp picture's texture would be taken for noise there.

    Args:
        image: `(B, C, H, W)`, [0, 1].

    Raises:
        ValueError: see `estimate_noise_sigma`.
    """
    sigma = estimate_noise_sigma(image)
    if min(image.shape[2:]) < 2 * _BLOCK:
        return sigma
    return torch.maximum(sigma, 2 * estimate_noise_sigma(torch.nn.functional.avg_pool2d(image, 2)))


def _plane_sigma(plane: Tensor) -> float:
    """Noise standard deviation of one channel `(H, W)`."""
    height, width = plane.shape
    count = (height - _BLOCK + 1) * (width - _BLOCK + 1)
    step = math.ceil(math.sqrt(count / _MAX_BLOCKS))
    blocks = plane.unfold(0, _BLOCK, step).unfold(1, _BLOCK, step).reshape(-1, _BLOCK, _BLOCK)  # (n, 8, 8)
    flat_rows, flat_columns = ((blocks.amax(along) == blocks.amin(along)).sum(1) for along in (2, 1))  # (n,)
    varied = flat_rows + flat_columns < 2 * _BLOCK  # (n,)
    # Noise leaves hardly a row flat: blocks with several straddle a border or a saturated part, unless
    # most blocks are like that, which then is how the picture is.
    whole = torch.maximum(flat_rows, flat_columns) < _FLAT_LINES  # (n,)
    blocks = blocks[whole if 2 * whole.sum() >= varied.sum() else varied]
    if len(blocks) == 0:
        return 0.0
    dct = _dct_matrix().to(plane.device)
    coefficients = dct @ blocks @ dct.T  # (n, 8, 8)
    frequency = torch.arange(_BLOCK)[:, None] + torch.arange(_BLOCK)  # (8, 8), u + v
    texture = coefficients[:, (frequency > 0) & (frequency <= _LOW_FREQUENCY)].square().sum(1)  # (n,)
    noise = coefficients[:, frequency >= _HIGH_FREQUENCY].square()  # (n, k)
    mean = coefficients[:, 0, 0] / _BLOCK  # (n,)
    to_black = mean if plane.min() >= 0 else torch.full_like(mean, torch.inf)
    to_white = 1 - mean if plane.max() <= 1 else torch.full_like(mean, torch.inf)
    usable = (to_black > _AT_LIMIT) & (to_white > _AT_LIMIT)  # (n,)

    # Which blocks are clipped depends on sigma and the other way round. Starting from no noise, blocks
    # drop out as sigma grows, until it stands still.
    sigma = 0.0
    for _ in range(_MAX_ROUNDS):
        kept = _kept_by_clipping(to_black, sigma) * _kept_by_clipping(to_white, sigma)  # (n,)
        chosen = _smoothest(texture / kept, kept, usable & (kept > _LEAST_KEPT))
        if sigma == 0 and (blocks[chosen].diff(dim=2) == 0).float().mean() > _EQUAL_NEIGHBOURS:
            return 0.0  # noise of half a level or more leaves few neighbours exactly alike
        # The median over frequencies ignores those with remaining texture.
        variance = noise[chosen].mean(0).median() / kept[chosen].mean()
        previous, sigma = sigma, float(variance.sqrt())
        if abs(sigma - previous) <= 0.002 * sigma:
            break
    return sigma


def _smoothest(texture: Tensor, kept: Tensor, usable: Tensor) -> Tensor:
    """Indices of the blocks with the least texture; the least clipped ones when few are usable."""
    fewest = min(_MIN_BLOCKS, len(texture))
    if int(usable.sum()) < fewest:
        return kept.topk(fewest).indices
    number = max(fewest, int(_SMOOTHEST * int(usable.sum())))
    return torch.where(usable, texture, torch.inf).topk(number, largest=False).indices


def _kept_by_clipping(distance: Tensor, sigma: float) -> Tensor:
    """Share of the noise variance that a limit leaves in blocks whose mean lies `distance` inside it.

    For normal noise of mean u (in sigmas inside the limit, negative beyond it) cut off at 0, with the
    normal density p and distribution P: the mean is `m = u P(u) + p(u)` and the variance
    `(u^2 + 1) P(u) + u p(u) - m^2`. What a block shows is m; the table gives the variance for it.
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
