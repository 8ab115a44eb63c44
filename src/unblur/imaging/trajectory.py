"""Camera shake: random trajectories of a hand-held camera, and their PSFs.

The model is that of Boracchi and Foi, "Modeling the Performance of Image Restoration from Motion Blur",
IEEE Trans. Image Processing 21(8), 2012, section III. A particle with inertia is moved by a Gaussian tremor, by a force
towards its start (the centripetal force), and by rare impulses that nearly reverse its direction (such as pressing
the button). The speed is constant, so equal exposures give trajectories of equal length.
"""

from __future__ import annotations

import cmath
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.psf import splat_points

# Largest values of the random parameters of a trajectory, without unit (Boracchi and Foi).
_MAX_CENTRIPETAL = 0.7
_MAX_IMPULSE_RATE = 0.2
_MAX_TREMOR = 10.0


@dataclass(frozen=True, slots=True)
class ShakePreset:
    """A published distribution of camera-shake PSFs.

    Attributes:
        name: key in `PRESETS`.
        size_range: smallest and largest side of the PSF in pixels, odd; uniformly distributed.
        max_length: length of the trajectory in pixels during a full exposure.
        fill: True: scale each trajectory until it fills its PSF (see `fill_square`); False: keep its length.
        anxiety: smallest and largest anxiety (see `trajectory`); its logarithm is uniformly distributed.
        exposures: exposure times as shares of the trajectory, increasing; each gives one PSF.
        num_steps: number of positions in a trajectory.
    """

    name: str
    size_range: tuple[int, int]
    max_length: float
    fill: bool
    anxiety: tuple[float, float]
    exposures: tuple[float, ...]
    num_steps: int = 2000


PRESETS = {
    # Gilbert et al.: four exposure times of one trajectory, each longer than the one before. A trajectory of 60 px
    # stays within 30 px of its centre of mass, so a side of 65 px is enough (the paper's 64, made odd).
    "wiener_stack": ShakePreset("wiener_stack", (65, 65), 60.0, False, (0.005, 0.005), (0.0625, 0.25, 0.5, 1.0)),
    # Miao and Zhu (NIDF): sides 2 l + 1 with 3 <= l <= 24; the range of anxiety is that of DeblurGAN.
    "random_walk": ShakePreset("random_walk", (7, 49), 60.0, True, (0.003, 0.01), (1.0,)),
}


def trajectory(
    generator: torch.Generator, *, num_steps: int = 2000, max_length: float = 60.0, anxiety: float = 0.005
) -> Tensor:
    """Create a random trajectory: the path of a point of light on the sensor while the camera shakes.

    Let s = max_length / (num_steps - 1) be the speed. At position p, each step adds
    `anxiety * s * (tremor * (n_x, n_y) - centripetal * p)` to the velocity v, with n standard normal. With probability
    `anxiety * impulse_rate` it also adds an impulse of size `2 |v|` in a direction within half a radian of `-v`. Then v
    is scaled to length s. Tremor, centripetal force, impulse rate and first direction are random for each trajectory.

    Args:
        generator: random generator.
        num_steps: number of positions; higher is finer and lasts longer, since the tremor acts in each step.
        max_length: length of the trajectory in pixels; higher is longer, with a stronger centripetal force.
        anxiety: at least 0; higher is more crooked, with more sudden turns; 0 gives a straight line.

    Returns:
        `(num_steps, 2)` float64: x to the right and y downwards, in pixels, relative to the first position.

    Raises:
        ValueError: fewer than 2 steps, a length of 0 or less, or a negative anxiety.
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
    has_impulse = (torch.rand(steps, generator=generator, dtype=torch.float64) < impulse_chance).tolist()
    turns = (math.pi + torch.rand(steps, generator=generator, dtype=torch.float64) - 0.5).tolist()

    # Each step depends on the one before, so this is a loop. Python's complex numbers are faster here than tensors.
    position = 0j
    velocity = cmath.rect(speed, 2 * math.pi * character[3])
    path = [position]
    for push, impulsive, turn in zip(tremor_pushes, has_impulse, turns, strict=True):
        impulse = 2 * velocity * cmath.rect(1.0, turn) if impulsive else 0j
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
    """Compute the PSF of a trajectory, with bilinear interpolation between pixels.

    Args:
        path: trajectory, `(T, 2)`: x and y in pixels, equally spaced in time.
        size: odd side of the PSF in pixels.
        exposure: share of the trajectory's time during which the shutter is open, in (0, 1]; higher is blurrier.
        start: time at which the shutter opens, as a share of the trajectory's time; `start + exposure <= 1`.
        origin: point `(x, y)` of the trajectory that is placed at the middle pixel; None: the centre of mass of the
            exposed part.

    Returns:
        `(size, size)` float32; sums to 1.

    Raises:
        ValueError: an exposed part that is empty, exceeds the trajectory, or is too large for `size`.
    """
    end = start + exposure
    if exposure <= 0 or start < 0 or end > 1 + 1e-9:
        raise ValueError(f"need exposure > 0, start >= 0 and start + exposure <= 1, got {exposure}, {start}")
    path = path.double()
    time = torch.arange(len(path), dtype=torch.float64)  # (T,)
    # Share of each step during which the shutter is open; it may be a fraction in the first and the last step.
    opened, closed = start * len(path), end * len(path)
    light = (closed - time).clamp(0, 1) - (opened - time).clamp(0, 1)  # (T,)
    path, light = path[light > 0], light[light > 0]  # (t, 2), (t,)
    middle = light @ path / light.sum() if origin is None else torch.tensor(origin, dtype=torch.float64)
    x, y = (path - middle).unbind(1)  # (t,), (t,)
    return splat_points(x, y, light, size)


def shake_psfs(generator: torch.Generator, preset: str | ShakePreset, *, centred: bool = True) -> list[Tensor]:
    """Create one random trajectory, and its PSF at each exposure of a preset.

    Args:
        generator: random generator.
        preset: a key of `PRESETS`, or a `ShakePreset`.
        centred: True: the centre of mass of each PSF is at its middle pixel. False: all PSFs have the same origin, so
            that the trajectory of each exposure is part of the next.

    Returns:
        One `(size, size)` float32 PSF per exposure, all of the same size.

    Raises:
        ValueError: an unknown name.
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
    """Create one random camera-shake PSF that fills `size` pixels.

    Args:
        generator: random generator.
        size: odd side in pixels, at least 3; higher is blurrier.
        anxiety: see `trajectory`; higher is more crooked.

    Returns:
        `(size, size)` float32, with its centre of mass at the middle pixel. The distance between the trajectory and
        the nearest border is half a pixel.

    Raises:
        ValueError: an even size, or one below 3.
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"a shake PSF's size must be odd and at least 3, got {size}")
    return rasterise(fill_square(trajectory(generator, anxiety=anxiety), size // 2), size)


def fill_square(path: Tensor, half: int) -> Tensor:
    """Scale a trajectory `(T, 2)` so that its largest coordinate is `half - 0.5` px; its centre of mass moves to 0."""
    offsets = path - path.mean(0)
    return offsets * ((half - 0.5) / offsets.abs().max())
