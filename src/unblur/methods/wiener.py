"""Wiener deconvolution: the linear filter with the least mean square error."""

from __future__ import annotations

from typing import Literal

from unblur.contract import Card, Method, Settings, setting
from unblur.layers.bilateral import bilateral_filter
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas
from unblur.solvers.data_term import noise_sigma, unclipped
from unblur.types import Observation, Progress, Restoration


class WienerSettings(Settings):
    """Settings of `wiener`."""

    prior: Literal["gradient", "laplacian", "flat"] = setting(
        "gradient",
        "what is kept small, and so how the assumed noise-to-signal ratio depends on the frequency f: 'gradient', f^2, "
        "which suits photos; 'laplacian', f^4, the smoothness of Hunt's constrained least squares; 'flat', the "
        "picture itself, a constant SNR as in textbooks",
        probe=("gradient", "flat"),
    )
    strength: float = setting(
        1.0, "multiplies the noise-to-signal ratio; higher is smoother", probe=(0.3, 3.0), ge=1e-4, le=1e4
    )
    snr_db: float | None = setting(
        None,
        "signal-to-noise ratio in dB for the flat prior; None takes it from the picture's noise estimate",
        probe=(15.0, 35.0),
        given={"prior": "flat"},
        ge=-20,
        le=120,
    )
    boundary: Literal["open", "circular"] = setting(
        "open",
        "'open': the scene goes on beyond the border; 'circular': it wraps around (synthetic data)",
        probe=("open", "circular"),
    )
    bilateral: bool = setting(
        False,
        "a bilateral filter afterwards (7 px, 40/255, 10 px): with prior=flat and one SNR for a whole data set, the "
        "baseline of Gilbert et al.",
        probe=(False, True),
    )
    mask_clipped: bool = setting(
        True, "leave clipped highlights out of the data term (with the open boundary)", probe=(True, False)
    )


def restore(observation: Observation, settings: WienerSettings, progress: Progress) -> Restoration:
    """Wiener filtering; see `WienerSettings`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    progress.stage("deconvolving")
    if settings.boundary == "circular":
        canvas = Canvas.circular(blurry, psf)
    else:
        canvas = Canvas.around(blurry, psf, unclipped(blurry, settings.mask_clipped))
    if settings.prior == "flat" and settings.snr_db is not None:
        ratio = 10 ** (-settings.snr_db / 10)
    else:
        ratio = (noise_sigma(observation) / _SIGNAL[settings.prior]) ** 2
    power = canvas.gradient_power ** _ORDER[settings.prior]
    image = deconvolution.wiener(canvas, settings.strength * ratio * power)
    image = canvas.crop(image)
    return Restoration(image=bilateral_filter(image) if settings.bilateral else image, psf=psf)


# Powers of the squared gradient's Fourier symbol, which is also minus the Laplacian's.
_ORDER = {"gradient": 1, "laplacian": 2, "flat": 0}

# Root mean square of a photo's gradient, Laplacian and deviation from its mean, on the [0, 1] scale; chosen by hand
# after the means over 20 photos: 0.07, 0.11 and 0.17.
_SIGNAL = {"gradient": 0.08, "laplacian": 0.11, "flat": 0.2}

METHOD = Method(
    Card(
        name="wiener",
        title="Wiener filter with a gradient, Laplacian or flat prior",
        paper="Wiener 1949; Hunt 1973 (constrained least squares)",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        tiling=True,
        whole_when={"boundary": "circular"},
    ),
    WienerSettings,
    restore,
    weakest={"strength": 1e-4},
)
