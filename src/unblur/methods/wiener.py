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
        "how the assumed noise-to-signal ratio depends on the frequency f: 'gradient': f^2, as in photos; "
        "'laplacian': f^4, as in Hunt's constrained least squares; 'flat': constant, as in textbooks",
        probe=("gradient", "flat"),
    )
    strength: float = setting(
        1.0, "multiplies the noise-to-signal ratio; higher is smoother", probe=(0.3, 3.0), ge=1e-4, le=1e4
    )
    snr_db: float | None = setting(
        None,
        "signal-to-noise ratio in dB for the flat prior; None: computed from the noise level",
        probe=(15.0, 35.0),
        given={"prior": "flat"},
        ge=-20,
        le=120,
    )
    boundary: Literal["open", "circular"] = setting(
        "open",
        "what is outside the picture: 'open': the rest of the scene, unknown; 'circular': the opposite side "
        "(synthetic data)",
        probe=("open", "circular"),
    )
    bilateral: bool = setting(
        False,
        "apply a bilateral filter (7 px, 40/255, 10 px) to the result; with prior=flat and the same SNR for all "
        "pictures this is the baseline of Gilbert et al.",
        probe=(False, True),
    )
    mask_clipped: bool = setting(True, "do not fit saturated pixels (with the open boundary)", probe=(True, False))


def restore(observation: Observation, settings: WienerSettings, progress: Progress) -> Restoration:
    """Deconvolve with a Wiener filter; see `WienerSettings`."""
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


# Exponents of the Fourier symbol of the squared gradient, which is also that of minus the Laplacian.
_ORDER = {"gradient": 1, "laplacian": 2, "flat": 0}

# Root mean square of a photo's gradient, its Laplacian, and its difference from its mean, on the [0, 1] scale. Chosen
# by hand, close to the means over 20 photos: 0.07, 0.11 and 0.17.
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
