"""Non-local means denoising (Buades, Coll & Morel 2005), see `solvers.non_local_means`.

On 26 photos with noise of sigma 0.02, 0.06 and 0.12 it takes 1.0 to 1.2 times as long as OpenCV's
`fastNlMeansDenoising` on colour and 1.2 to 1.5 times on grey, one thread each, and its PSNR is 0.1 to 0.2 dB higher on
colour and 0.9 to 1.3 dB on grey: `python benchmarks/nlm.py PHOTOS --crop 400` and the same with `--grey`.
"""

from __future__ import annotations

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers.data_term import noise_sigma
from unblur.solvers.non_local_means import PATCH, SEARCH, non_local_means
from unblur.types import Observation, Progress, Restoration


class NlmSettings(Settings):
    """Settings of `nlm`."""

    strength: float = setting(1.0, "multiplies the noise level; higher is smoother", probe=(0.6, 1.5), ge=0.01, le=10)
    patch: int = setting(PATCH, "side of the patches in pixels, odd", probe=(3, 7), ge=1, le=9)
    search: int = setting(SEARCH, "side of the search window in pixels; higher is slower", probe=(7, 21), ge=3, le=41)


def restore(observation: Observation, settings: NlmSettings, progress: Progress) -> Restoration:
    """Denoise `observation.blurry`, with the same weights for all channels; see `NlmSettings`."""
    blurry = observation.blurry
    assert blurry is not None
    sigmas = settings.strength * noise_sigma(observation, blurred=False)
    image = non_local_means(blurry, sigmas, progress, patch=settings.patch, search=settings.search)
    return Restoration(image=image)


METHOD = Method(
    Card(
        name="nlm",
        title="Non-local means: removes noise, not blur",
        paper="Buades, Coll & Morel 2005",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"noise"}),
        tiling=True,
    ),
    NlmSettings,
    restore,
    quick={"search": 9},
)
