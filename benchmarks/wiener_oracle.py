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
from unblur.methods.wiener_stack.published import SNRS
from unblur.types import Observation


def main(kodak: Path, limit: int = 96) -> None:
    """Print the means."""
    dataset, wiener = datasets.get("kodak_shaken"), methods.get("wiener")
    rows = {name: [] for name in ("flat", "laplacian", "baseline")}
    for sample in dataset.samples(kodak, limit):
        observation = Observation(blurry=sample.blurry, psf=sample.psf)
        for name, figures in rows.items():
            row = []
            for snr in SNRS:
                if name == "laplacian":
                    # Its noise-to-signal ratio is strength (sigma / 0.08)^2: that of the flat one for pixels of 0.2.
                    quiet = Observation(blurry=sample.blurry, psf=sample.psf, sigma=0.01)
                    image = wiener(quiet, {"prior": "laplacian", "strength": 400 * 10 ** (-snr / 10)}).image
                else:
                    settings = {"prior": "flat", "snr_db": snr, "bilateral": name == "baseline"}
                    image = wiener(observation, settings).image
                row.append(dataset.score(image, sample)["psnr"])
            figures.append(row)
    figures = {name: torch.tensor(values) for name, values in rows.items()}  # (pictures, SNRs)
    for name in ("flat", "laplacian"):
        print(f"oracle-best single filter per picture, {name:9}: {figures[name].max(1).values.mean():.2f} dB")
    means = figures["baseline"].mean(0)
    print(f"one SNR for all ({SNRS[int(means.argmax())]} dB) and bilateral: {means.max():.2f} dB")


if __name__ == "__main__":
    typer.run(main)
