"""Camera shake: random hand motion, and the point spread functions it leaves on the sensor.

The model is Boracchi and Foi, "Modeling the Performance of Image Restoration from Motion Blur",
IEEE Trans. Image Processing 21(8), 2012, section III: a particle with inertia is pushed by a Gaussian
tremor, pulled back to where it began, and sometimes pushed nearly backwards (when the button is
pressed, or by a correction). Its speed is constant, so equal exposures give equally long paths.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.psf import splat_points

# Largest values of the random parameters of a trajectory (Boracchi and Foi).
_MAX_CENTRIPETAL = 0.7
_MAX_IMPULSE_RATE = 0.2
_MAX_TREMOR = 10.0


@dataclass(frozen=True, slots=True)
class ShakePreset:
    """A published distribution of camera-shake PSFs.

    Attributes:
        name: key in `PRESETS`.
        size_range: smallest and largest side of the PSF in pixels, odd; uniform.
        max_length: length of the path in pixels over a full exposure.
        fill: True scales each path until it touches the sides of its PSF; False leaves it
            `max_length` long.
        anxiety: smallest and largest anxiety (see `trajectory`); log-uniform.
        exposures: shares of the path, rising; one PSF each.
        num_steps: positions in a path.
    """

    name: str
    size_range: tuple[int, int]
    max_length: float
    fill: bool
    anxiety: tuple[float, float]
    exposures: tuple[float, ...]
    num_steps: int = 2000


PRESETS = {
    # Gilbert et al.: four exposure times of one shake, each longer than the last. A path of 60 px
    # never reaches more than 30 px from its centre of mass, so 65 px (the paper's 64, made odd) hold it.
    "wiener_stack": ShakePreset("wiener_stack", (65, 65), 60.0, False, (0.005, 0.005), (0.0625, 0.25, 0.5, 1.0)),
    # Miao and Zhu (NIDF): sides 2l + 1 with 3 <= l <= 24; the anxieties are those of DeblurGAN.
    "random_walk": ShakePreset("random_walk", (7, 49), 60.0, True, (0.003, 0.01), (1.0,)),
}


def trajectory(
    generator: torch.Generator, *, num_steps: int = 2000, max_length: float = 60.0, anxiety: float = 0.005
) -> Tensor:
    """Draw the path a point of light takes over the sensor while the camera shakes.

    With speed `s = max_length / (num_steps - 1)`, each step changes the velocity v at position p by
    `anxiety * s * (tremor * (n_x, n_y) - centripetal * p)`, n standard normal, and with probability
    `anxiety * impulse_rate` by `2 |v|` in a direction within half a radian of `-v`; then v is scaled
    back to length s. Tremor, centripetal pull, impulse rate and first direction are drawn per path.

    Args:
        generator: the only source of randomness.
        num_steps: positions in the path; more is a finer path of a longer-lasting shake (the tremor
            acts per step).
        max_length: length of the path in pixels; more is a longer path, more strongly pulled back.
        anxiety: at least 0; more is a more crooked path with more sudden turns, 0 a straight line.

    Returns:
        `(num_steps, 2)` float64: x to the right and y downwards, in pixels, from the first position.

    Raises:
        ValueError: fewer than 2 steps, a length not above 0, or a negative anxiety.
    """
    if num_steps < 2 or max_length <= 0 or anxiety < 0:
        raise ValueError(
            "a trajectory needs num_steps >= 2, max_length > 0 and anxiety >= 0, "
            f"got {num_steps}, {max_length}, {anxiety}"
        )
    steps = num_steps - 1
    speed = max_length / steps
    character = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    pull = anxiety * speed * _MAX_CENTRIPETAL * character[0]
    impulse_chance = anxiety * _MAX_IMPULSE_RATE * character[1]
    tremor = torch.randn(steps, 2, generator=generator, dtype=torch.float64)
    tremor_pushes = torch.view_as_complex(anxiety * speed * _MAX_TREMOR * character[2] * tremor).tolist()
    thrown = (torch.rand(steps, generator=generator, dtype=torch.float64) < impulse_chance).tolist()
    turns = (math.pi + torch.rand(steps, generator=generator, dtype=torch.float64) - 0.5).tolist()

    # Each step depends on the last, so this is a loop; plain complex numbers are the fastest way.
    position = 0j
    velocity = cmath.rect(speed, 2 * math.pi * character[3])
    path = [position]
    for push, is_thrown, turn in zip(tremor_pushes, thrown, turns, strict=True):
        impulse = 2 * velocity * cmath.rect(1.0, turn) if is_thrown else 0j
        velocity += impulse + push - pull * position
        velocity *= speed / abs(velocity)
        position += velocity
        path.append(position)
    return torch.view_as_real(torch.tensor(path, dtype=torch.complex128))


def rasterise(
    path: Tensor,
    size: int,
    *,
    exposure: float = 1.0,
    start: float = 0.0,
    origin: tuple[float, float] | None = None,
) -> Tensor:
    """The PSF left by a path while the shutter is open, bilinear between pixels.

    Args:
        path: `(T, 2)` x and y in pixels, equally spaced in time.
        size: odd side of the PSF in pixels.
        exposure: share of the path's time for which the shutter is open, in (0, 1]; more is blurrier.
        start: share of the time that is over when it opens; `start + exposure <= 1`.
        origin: `(x, y)` of the path that falls on the middle pixel; None takes the centre of mass of
            the exposed part, which makes the PSF centred to a fraction of a pixel.

    Returns:
        `(size, size)` float32, summing to 1.

    Raises:
        ValueError: an exposed part that is empty, outside the path, or too large for `size`.
    """
    end = start + exposure
    if exposure <= 0 or start < 0 or end > 1 + 1e-9:
        raise ValueError(f"need exposure > 0, start >= 0 and start + exposure <= 1, got {exposure}, {start}")
    path = path.double()
    time = torch.arange(len(path), dtype=torch.float64)  # (T,)
    # Share of each step during which the shutter is open; the first and last may be open in part.
    opened, closed = start * len(path), end * len(path)
    light = (closed - time).clamp(0, 1) - (opened - time).clamp(0, 1)  # (T,)
    path, light = path[light > 0], light[light > 0]  # (t, 2), (t,)
    middle = light @ path / light.sum() if origin is None else torch.tensor(origin, dtype=torch.float64)
    x, y = (path - middle).unbind(1)  # (t,), (t,)
    return splat_points(x, y, light, size)


def shake_psfs(generator: torch.Generator, preset: str | ShakePreset, *, centred: bool = True) -> list[Tensor]:
    """Draw one shake and rasterise it at each of the preset's exposures.

    Args:
        generator: the only source of randomness.
        preset: a key of `PRESETS`, or your own.
        centred: True puts each PSF's centre of mass at its middle pixel; False places all of them
            as the longest one is placed, so that each exposure lies within the next.

    Returns:
        One `(size, size)` float32 PSF per exposure, all of one size.

    Raises:
        ValueError: no preset of that name.
    """
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"no shake preset '{preset}'; there are {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    smallest, largest = (side // 2 for side in preset.size_range)
    half = int(torch.randint(smallest, largest + 1, (), generator=generator))
    low, high = (math.log(value) for value in preset.anxiety)
    anxiety = math.exp(low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64)))
    path = trajectory(generator, num_steps=preset.num_steps, max_length=preset.max_length, anxiety=anxiety)  # (T, 2)
    if preset.fill:
        path = fill_square(path, half)
    x, y = path.mean(0).tolist()
    origin = None if centred else (x, y)
    return [rasterise(path, 2 * half + 1, exposure=share, origin=origin) for share in preset.exposures]


def shake_psf(generator: torch.Generator, size: int, *, anxiety: float = 0.005) -> Tensor:
    """Draw one camera-shake PSF that fills `size` pixels.

    Args:
        generator: the only source of randomness.
        size: odd side in pixels, at least 3; more is blurrier.
        anxiety: see `trajectory`; more is more crooked.

    Returns:
        `(size, size)` float32, its centre of mass at the middle pixel; the path ends half a pixel
        short of the side it comes nearest to.

    Raises:
        ValueError: an even size, or one below 3.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"a shake PSF's size must be odd and at least 3, got {size}")
    return rasterise(fill_square(trajectory(generator, anxiety=anxiety), size // 2), size)


def fill_square(path: Tensor, half: int) -> Tensor:
    """A path `(T, 2)` scaled until it reaches half a pixel short of `half` from its centre of mass, which is 0."""
    offsets = path - path.mean(0)
    return offsets * ((half - 0.5) / offsets.abs().max())
