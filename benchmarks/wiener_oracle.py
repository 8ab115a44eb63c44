"""Measure the best single Wiener filter for each picture, chosen with the sharp picture.

    python benchmarks/wiener_oracle.py KODAK_DIR [--limit 96]

The pictures are those of `unblur bench kodak_shaken`. For each, the best of the fifteen filters of Gilbert et al. is
taken (a constant SNR of 9, 13, ... 65 dB), once with constant SNRs and once with SNRs that fall with frequency as in
photos. Both use the border treatment of `wiener`, unlike the paper. The baseline of the paper is computed too: one SNR
for all pictures (the best one, also chosen with the sharp pictures) and a bilateral filter. Compare the results with
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
        # With this prior the noise-to-signal ratio is strength (sigma / 0.08)^2; these values are for a signal of 0.2.
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
