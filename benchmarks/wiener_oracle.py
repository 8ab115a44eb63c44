"""How good could one Wiener filter of the stack be, if the truth chose it for each picture?

    python benchmarks/wiener_oracle.py KODAK_DIR [--limit 96]

Over the pictures of `unblur bench kodak_shaken`: the best of the fifteen filters of Gilbert et al. (a constant SNR of
9, 13, ... 65 dB) for each picture, once for constant SNRs and once for those that fall as photos' spectra do, both with
the open border of `wiener`, which the paper's have not; and their
baseline, one SNR for all pictures (the best one, again by the truth) with a bilateral filter. To be compared with
`unblur bench kodak_shaken --data KODAK_DIR --method wiener_stack,hyper_laplacian,tv_admm,sparse`.
"""

from __future__ import annotations

from pathlib import Path

import torch
import typer

from unblur import datasets, methods
from unblur.layers.bilateral import bilateral_filter
from unblur.methods.wiener_stack.published import SNRS
from unblur.metrics import psnr
from unblur.types import Observation


def main(kodak: Path, limit: int = 96) -> None:
    """Print the means."""
    dataset, wiener = datasets.get("kodak_shaken"), methods.get("wiener")
    rows: dict[str, list[list[float]]] = {"flat": [], "gradient": [], "baseline": []}
    for sample in dataset.samples(kodak, limit):
        observation = Observation(blurry=sample.blurry, psf=sample.psf, sigma=0.01)
        flat = [wiener(observation, {"prior": "flat", "snr_db": snr}).image for snr in SNRS]
        # With this prior the noise-to-signal ratio is strength (sigma / 0.08)^2; here that of a signal of 0.2.
        strengths = [400 * 10 ** (-snr / 10) for snr in SNRS]
        pictures = {
            "flat": flat,
            "gradient": [wiener(observation, {"prior": "gradient", "strength": s}).image for s in strengths],
            "baseline": [bilateral_filter(image) for image in flat],
        }
        inside = (..., *[slice(dataset.protocol["crop"], -dataset.protocol["crop"] or None)] * 2)
        for name, images in pictures.items():
            rows[name].append([float(psnr(image.clamp(0, 1)[inside], sample.sharp[inside])) for image in images])
    figures = {name: torch.tensor(values) for name, values in rows.items()}  # (pictures, SNRs)
    for name in ("flat", "gradient"):
        print(f"oracle-best single filter per picture, {name:9}: {figures[name].max(1).values.mean():.2f} dB")
    means = figures["baseline"].mean(0)
    print(f"one SNR for all ({SNRS[int(means.argmax())]} dB) and bilateral: {means.max():.2f} dB")


if __name__ == "__main__":
    typer.run(main)
