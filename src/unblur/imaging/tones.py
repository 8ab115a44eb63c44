"""Match the brightness and the colours of two registered shots of one scene."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.equal_blur import equally_blurred_copies
from unblur.imaging.synthesis.camera import to_linear, to_srgb

# Chosen by hand; benchmarks/registration.py measures the errors of the curves.
_CELLS = 96  # cells along the longer side, whose means are compared
_DARK, _BRIGHT = 0.004, 0.97  # sRGB: a cell with a darker mean or a brighter pixel may be clipped
_LEAST_CELLS = 40  # fewer cells than this give a gain and no curve
_ROUNDS = 25  # of the weighted least squares
_CONTRAST = 0.05  # relative contrast of 3 x 3 cells of half the weight: blur and curves change the mean there
_EXPONENT, _OFFSET = 0.15, 0.003  # standard deviations of the prior: logarithm of the exponent, and offset in sRGB
_ENTRIES = 1024  # of the table of a curve


@dataclass(frozen=True)
class ToneCurves:
    """A curve for each channel, from the sRGB values of one shot to those of the other.

    Attributes:
        table: `(C, n)`, the values for n equidistant values from 0 to 1; not decreasing.
        gain: `(C,)`, the ratio of linear light at the median brightness.
    """

    table: Tensor
    gain: Tensor

    def __call__(self, picture: Tensor) -> Tensor:
        """Apply the curves to a picture `(B, C, H, W)` of sRGB values in [0, 1]; the result is in [0, 1]."""
        last = self.table.shape[1] - 1
        position = picture.clamp(0, 1) * last
        below = position.floor().clamp_max(last - 1)
        channels = []
        for table, low, place in zip(self.table, below.unbind(1), position.unbind(1), strict=True):
            first = low.long()
            channels.append(torch.lerp(table[first], table[first + 1], place - low))
        return torch.stack(channels, 1)


def match_tones(source: Tensor, target: Tensor, shown: Tensor | None = None) -> ToneCurves:
    """Fit the curves that make `source` as bright and as coloured as `target`.

    For each channel, a power curve with an offset, `y = a x^e + b`, is fitted to the means of cells by weighted least
    squares. The source is blurred like the target for that. Cells with contrast, and cells that deviate (something
    moved, a reflection) get a low weight, and those that are clipped get none. Priors keep the exponent near 1 and the
    offset near 0, so that what the cells do not determine is a gain.

    Args:
        source: `(1, C, H, W)`, sRGB, [0, 1], registered onto `target`.
        target: same shape.
        shown: `(1, 1, H, W)` bool, where the source shows the scene; None: everywhere.
    """
    cells = _cells(source, target, shown)
    tables, gains = zip(*(_curve(*channel) for channel in zip(*cells, strict=True)), strict=True)
    return ToneCurves(torch.stack(tables).float().to(source.device), torch.stack(gains).float())


def _cells(source: Tensor, target: Tensor, shown: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The mean of each cell in both pictures, as sRGB, and whether it is used: `(C, n)` each."""
    height, width = source.shape[-2:]
    factor = min(1.0, _CELLS / max(height, width))
    size = max(1, round(factor * height)), max(1, round(factor * width))
    hidden = torch.zeros_like(source[:, :1]) if shown is None else (~shown).float()
    clipped = torch.maximum((torch.maximum(source, target) >= _BRIGHT).float(), hidden)
    share = F.adaptive_avg_pool2d(clipped, size)
    copies = equally_blurred_copies(source, target, 1 - hidden)
    x, y = (to_srgb(F.adaptive_avg_pool2d(to_linear(picture), size)) for picture in copies)
    used = (share < 0.01) & (x > _DARK) & (y > _DARK)
    contrast = torch.maximum(_contrast(x), _contrast(y))
    weight = used / (1 + (contrast / _CONTRAST).square())
    return x[0].flatten(1).double().cpu(), y[0].flatten(1).double().cpu(), weight[0].flatten(1).double().cpu()


def _contrast(cells: Tensor) -> Tensor:
    """The standard deviation of 3 x 3 cells, relative to their mean."""
    padded = F.pad(cells, (1, 1, 1, 1), "replicate")
    mean = F.avg_pool2d(padded, 3, 1)
    return (F.avg_pool2d(padded.square(), 3, 1) - mean.square()).clamp_min(0).sqrt() / mean.clamp_min(1e-3)


def _curve(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Table and gain of a channel, from the means of its cells and their weights `(n,)`."""
    levels = torch.linspace(0, 1, _ENTRIES, dtype=torch.float64)
    x, y, weight = (values[weight > 0] for values in (x, y, weight))
    if len(x) == 0:
        return levels, levels.new_tensor(1.0)
    if len(x) < _LEAST_CELLS:
        gain = to_linear(y).sum() / to_linear(x).sum()
        return to_srgb(to_linear(levels) * gain).clamp(0, 1), gain
    a, e, b = _power_curve(x, y, weight)
    table = (a * levels**e + b).clamp(0, 1)
    middle = x.median()
    return table, to_linear(a * middle**e + b) / to_linear(middle)


def _power_curve(x: Tensor, y: Tensor, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Factor, exponent and offset of `y = a x^e + b`, by Gauss-Newton steps with weights that follow the residuals."""
    log_a, log_e, b = (y.median() / x.median()).log(), x.new_tensor(0.0), x.new_tensor(0.0)
    prior = torch.tensor([0.0, 1 / _EXPONENT**2, 1 / _OFFSET**2], dtype=x.dtype).diag()
    for _ in range(_ROUNDS):
        curve = log_a.exp() * x ** log_e.exp()
        residual = y - curve - b
        weight, spread = given * _cauchy(residual), _spread(residual)
        jacobian = torch.stack((curve, curve * x.log() * log_e.exp(), torch.ones_like(x)), 1)
        normal = (jacobian * weight[:, None]).T @ jacobian / spread**2 + prior
        gradient = (jacobian * weight[:, None]).T @ residual / spread**2
        gradient = gradient - prior @ torch.stack((log_a, log_e, b))
        step = torch.linalg.solve(normal + 1e-6 * torch.eye(3, dtype=x.dtype), gradient).clamp(-0.5, 0.5)
        log_a, log_e, b = log_a + step[0], (log_e + step[1]).clamp(-1.2, 1.2), b + step[2]
    return log_a.exp(), log_e.exp(), b


def _spread(residual: Tensor) -> Tensor:
    """A robust standard deviation, at least that of rounding."""
    return (1.48 * residual.abs().median()).clamp_min(0.002)


def _cauchy(residual: Tensor) -> Tensor:
    return 1 / (1 + (residual / (2 * _spread(residual))).square())
