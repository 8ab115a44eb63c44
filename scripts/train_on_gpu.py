"""Train the compact `two_way` or `nidf` with photos, synthesis and network on one accelerator.

    python scripts/train_on_gpu.py two_way --photos DIR -o RUN --minutes 12
    python scripts/train_on_gpu.py nidf --photos DIR -o RUN2 --minutes 12 --init RUN/weights.safetensors

A CPU cannot synthesise samples as fast as an accelerator trains on them. So tiles of the photos are kept on the device,
together with a pool of several thousand samples, whose oldest samples are replaced continuously. Noise and JPEG are
added anew whenever a sample is used. Photos whose names end in 0 or 1 are for validation. The folder RUN gets
`weights.safetensors` (half precision), `average.safetensors` (single precision, for `--init`) and `log.csv`. The
learning rate depends on the elapsed share of `--minutes`, so a faster device does more steps, and two runs are not
identical.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from unblur.imaging.synthesis import drawn
from unblur.imaging.synthesis.camera import CameraRecipe, photograph
from unblur.imaging.synthesis.moving import SceneRecipe, blur_each, render, shaken_paths, shaken_psfs
from unblur.losses import log_error
from unblur.methods.nidf.network import Nidf, NidfPlan
from unblur.methods.two_way.network import TwoWay, TwoWayPlan, at_scale

TILE, SIDE, PSF = 384, 256, 49  # px
KINDS = {"two_way": (0.60, 0.25, 0.15), "nidf": (0.18, 0.72, 0.10)}  # shares of moving, uniform and sharp samples
CAMERAS = {
    "two_way": CameraRecipe(sigma=0.03 * 255, skew=3.0, photons=0.35, demosaicked=0.35, clipped=0.7, jpeg=0.5),
    "nidf": CameraRecipe(plain=0.65, clipped=0.7),
}


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=sorted(KINDS))
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--init", type=Path, help="weights.safetensors of a run of either method")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--fresh", type=int, default=16, help="samples replaced per step")
    parser.add_argument("--pool", type=int, default=12288, help="samples in the pool")
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--tiles", type=int, default=10**9, help="largest number of tiles, for tests")
    parser.add_argument(
        "--drawn", type=int, default=300, help="tiles with text, and as many with leaves, beside those of photos"
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the network; takes a minute, and training is faster"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    random.seed(args.seed)
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    args.out.mkdir(parents=True, exist_ok=True)
    Run(args).train()


class Run:
    """One training run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.device = args, torch.device(args.device)
        started = time.time()
        paths = sorted(args.photos.glob("*.jpg"))
        training = [path for path in paths if path.stem[-1] not in "01"]
        validation = [path for path in paths if path.stem[-1] in "01"]
        tiles = drawn_tiles(args.drawn) + tiles_of(training)[: args.tiles]
        self.plan = TwoWayPlan() if args.method == "two_way" else NidfPlan()
        network = TwoWay(self.plan) if isinstance(self.plan, TwoWayPlan) else Nidf(self.plan)
        if args.init:
            begin_with(network, load_file(args.init))
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        self.compiled = torch.compile(self.network) if args.compile else self.network
        self.average = deepcopy(self.network).requires_grad_(False)
        self.generator = torch.Generator(self.device).manual_seed(args.seed)
        self.pool = Pool(torch.stack(tiles).to(self.device), args, self.generator)
        fixed = torch.Generator(self.device).manual_seed(1)
        held_out = Pool(torch.stack(tiles_of(validation)).to(self.device), args, fixed, capacity=96)
        for kind, count in enumerate((40, 32, 24)):
            held_out.make(kind, count)
        self.validation = held_out.everything()
        self.noisy_validation = self.degrade(*self.validation, fixed)
        print(f"{len(tiles)} tiles after {time.time() - started:.0f} s", flush=True)

    def train(self) -> None:
        """Train until the time is over."""
        args = self.args
        optimizer = torch.optim.AdamW(self.network.parameters(), args.rate, (0.9, 0.99), weight_decay=0.0)
        self.pool.fill(args.pool // 3)
        log = csv.writer((args.out / "log.csv").open("w", newline=""))
        log.writerow(("step", "minutes", "loss", "per_second", *self.scores()))
        started = reported = time.time()
        step, longest, losses = 0, 0.0, []
        self.report(log, step, 0.0, math.nan, 0.0)
        while (share := (time.time() - started) / (60 * args.minutes)) < 1:
            for group in optimizer.param_groups:
                group["lr"] = (
                    args.rate * min(1.0, (step + 1) / 300) * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
                )
            if step % 4 == 0:  # many samples at a time, since small batches would wait for the CPU
                self.pool.refresh(4 * args.fresh)
            sharp, blurry = self.pool.batch(args.batch)
            observed = self.degrade(sharp, blurry, self.generator)
            with torch.autocast(self.device.type, torch.bfloat16):
                loss = self.loss(*observed)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            limit = 2 * longest if step > 50 else 1e9
            length = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
            optimizer.step()
            step += 1
            losses.append(loss.detach())
            self.follow(step)
            if step % 50 == 0:
                longest = float(length.clamp_max(2 * longest if longest else 1e9))
            if time.time() - reported > 30 or step == 100:
                mean, passed = float(torch.stack(losses).mean()), time.time() - reported
                self.report(log, step, (time.time() - started) / 60, mean, len(losses) * args.batch / passed)
                self.save(step)
                losses, reported = [], time.time()
        self.report(log, step, args.minutes, math.nan, 0.0)
        self.save(step)

    def degrade(self, sharp: Tensor, blurry: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The sharp pictures, the blurry ones, and the blurry ones after noise, rounding and JPEG."""
        return sharp, blurry, photograph(blurry, CAMERAS[self.args.method], generator)

    def loss(self, sharp: Tensor, blurry: Tensor, taken: Tensor) -> Tensor:
        """Minus the PSNR, in units of 8.7 dB."""
        made = self.compiled(taken)
        if isinstance(made, tuple):  # Eq. 5 of NIDF, with logarithms of the errors
            return 0.5 * error(made[0], blurry) + error(made[1], sharp)
        weights = (*(1.0 for _ in made[1:]), 5.0)  # Eq. 2 of the two-way network
        coarsest = len(made) - 1
        errors = [
            w * error(m.I, at_scale(sharp, coarsest - i)) for i, (w, m) in enumerate(zip(weights, made, strict=True))
        ]
        return torch.stack(errors).sum() / sum(weights)

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Mean PSNR in dB on the validation samples, by kind of sample.

        `taken`: network input; `clean`: blurry without noise; `made`: output; `denoised`: output of the denoiser.
        """
        sharp, blurry, taken = self.noisy_validation
        made: list[list[Tensor]] = []
        for part in taken.split(16):
            with torch.autocast(self.device.type, torch.bfloat16):
                result = self.average(part)
            made.append(list(result) if isinstance(result, tuple) else [result[-1].I])
        pictures = [torch.cat(parts).float() for parts in zip(*made, strict=True)]
        result = {}
        for kind, place in (("moving", slice(0, 40)), ("uniform", slice(40, 72)), ("sharp", slice(72, 96))):
            columns = {"taken": (taken, sharp), "clean": (blurry, sharp), "made": (pictures[-1], sharp)}
            if len(pictures) == 2:
                columns["denoised"] = (pictures[0], blurry)
            for name, (one, truth) in columns.items():
                result[f"{kind}_{name}"] = float(psnr(one[place], truth[place]))
        return result

    def report(self, log: object, step: int, minutes: float, loss: float, rate: float) -> None:
        """Write a line to the log and to the terminal."""
        scores = {name: round(score, 3) for name, score in self.scores().items()}
        log.writerow((step, round(minutes, 3), round(loss, 5), round(rate), *scores.values()))  # pyright: ignore
        shown = " ".join(f"{name} {score:.2f}" for name, score in scores.items() if "made" in name or "den" in name)
        print(
            f"{self.args.method} step {step} at {minutes:.1f} min, loss {loss:.4f}, {rate:.0f}/s: {shown}", flush=True
        )

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Update the running average of the weights."""
        share = 1 - min(0.999, step / (9 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), share)

    def save(self, step: int) -> None:
        """Write the average weights; a file appears only when it is complete."""
        facts = {
            "method": self.args.method,
            "preset": "compact",
            "step": step,
            "network": self.plan.model_dump(mode="json"),
        }
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in self.average.state_dict().items()}
        prefix = "network." if self.args.method == "two_way" else ""
        state = {prefix + name: tensor for name, tensor in state.items()}
        about = {name: json.dumps(fact) for name, fact in facts.items()}
        for name, tensors in (
            ("weights", {key: tensor.half() for key, tensor in state.items()}),
            ("average", state),
        ):
            save_file(tensors, self.args.out / f"{name}.partial", about)
            (self.args.out / f"{name}.partial").replace(self.args.out / f"{name}.safetensors")


class Pool:
    """Samples on the device: sharp and blurry pictures. The oldest samples are replaced first."""

    def __init__(
        self, tiles: Tensor, args: argparse.Namespace, generator: torch.Generator, capacity: int | None = None
    ) -> None:
        self.tiles, self.generator, self.device = tiles, generator, tiles.device
        self.recipe = SceneRecipe(side=SIDE, instants=24, crooked=0.15)
        self.shares = KINDS[args.method]
        self.psfs = shaken_psfs(256 if capacity else min(args.pool, 8192), (3, PSF), generator)
        self.paths = shaken_paths(len(self.psfs), self.recipe.instants, generator)
        shape = (capacity or args.pool, 3, SIDE, SIDE)
        self.sharp, self.blurry = (torch.zeros(shape, dtype=torch.uint8, device=self.device) for _ in range(2))
        self.next, self.count = 0, 0

    def fill(self, count: int) -> None:
        """Make the first samples."""
        while self.count < count:
            self.refresh(32)

    def refresh(self, count: int) -> None:
        """Replace the `count` oldest samples by new ones of one random kind."""
        self.make(random.choices(range(3), self.shares)[0], count)

    def make(self, kind: int, count: int) -> None:
        """Make `count` samples of a kind: 0 moving scenes, 1 blurred by one PSF, 2 sharp."""
        tiles = self.some_tiles(count)
        edge = (TILE - SIDE) // 2
        middle = (..., slice(edge, edge + SIDE), slice(edge, edge + SIDE))
        if kind == 0:
            sharp, blurry = render(
                tiles, [self.some_tiles(count), self.some_tiles(count)], self.paths, self.recipe, self.generator
            )
        elif kind == 1:
            chosen = torch.randint(len(self.psfs), (count,), generator=self.generator, device=self.device)
            reach = PSF // 2
            area = tiles[..., edge - reach : edge + SIDE + reach, edge - reach : edge + SIDE + reach]
            sharp, blurry = tiles[middle], blur_each(area, self.psfs[chosen])
        else:
            sharp = blurry = tiles[middle]
        capacity = len(self.sharp)
        places = torch.arange(self.next, self.next + count, device=self.device) % capacity
        self.sharp[places], self.blurry[places] = to_bytes(sharp), to_bytes(blurry)
        self.next = (self.next + count) % capacity
        self.count = min(self.count + count, capacity)

    def some_tiles(self, count: int) -> Tensor:
        """Random tiles `(count, 3, TILE, TILE)` in [0, 1], mirrored, rotated and slightly changed in brightness."""
        chosen = torch.randint(len(self.tiles), (count,), generator=self.generator, device=self.device)
        tiles = self.tiles[chosen].float() / 255
        if random.random() < 0.5:
            tiles = tiles.flip(-1)
        tiles = tiles.rot90(random.randrange(4), (-2, -1))
        gain = 1 + 0.3 * (torch.rand(count, 3, 1, 1, generator=self.generator, device=self.device) - 0.7)
        return (tiles * gain).clamp(0, 1)

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """`count` random samples, all mirrored and rotated in the same way."""
        chosen = torch.randint(self.count, (count,), generator=self.generator, device=self.device)
        turns, mirrored = random.randrange(4), random.random() < 0.5
        pair = []
        for pictures in (self.sharp[chosen], self.blurry[chosen]):
            turned = pictures.rot90(turns, (-2, -1))
            pair.append((turned.flip(-1) if mirrored else turned).float() / 255)
        return pair[0], pair[1]

    def everything(self) -> tuple[Tensor, Tensor]:
        """All samples in their order."""
        return self.sharp[: self.count].float() / 255, self.blurry[: self.count].float() / 255


def error(made: Tensor, truth: Tensor) -> Tensor:
    """Half the logarithm of the mean squared error of each picture, averaged over pictures."""
    return 0.5 * log_error(made.float(), truth).mean()


def psnr(made: Tensor, truth: Tensor) -> Tensor:
    """Mean PSNR in dB."""
    return (-10 * (made.clamp(0, 1) - truth).square().mean((1, 2, 3)).clamp_min(1e-10).log10()).mean()


def to_bytes(pictures: Tensor) -> Tensor:
    """Pictures in [0, 1] as uint8."""
    return (pictures * 255).round().clamp(0, 255).byte()


def begin_with(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the weights of a run of the same method, or those of `two_way` into the deblurring network of `nidf`."""
    if isinstance(network, TwoWay):
        network.load_state_dict(
            {name.removeprefix("network."): tensor.float() for name, tensor in weights.items()}, True
        )
        return
    assert isinstance(network, Nidf)
    if any(name.startswith("net1.") for name in weights):
        network.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
        return
    own = network.net2.network.state_dict()
    taken = {name.removeprefix("network.network."): tensor.float() for name, tensor in weights.items()}
    head = taken["head.1.weight"]  # (width, 6 * 4, 3, 3): for the blurry picture and the coarser result
    taken["head.1.weight"] = head[:, :12] + head[:, 12:]
    network.net2.network.load_state_dict({name: taken[name] for name in own})


def tiles_of(paths: list[Path]) -> list[Tensor]:
    """Tiles `(3, TILE, TILE)` uint8 of photos at full size and at 0.6 of it, without those that have little detail."""
    with ThreadPoolExecutor(16) as pool:
        return [tile for tiles in pool.map(lambda path: list(_tiles(path)), paths) for tile in tiles]


def _tiles(path: Path) -> Iterator[Tensor]:
    photo = Image.open(path).convert("RGB")
    for scale in (1.0, 0.6):
        size = round(photo.width * scale), round(photo.height * scale)
        if min(size) < TILE:
            continue
        pixels = np.asarray(photo if scale == 1 else photo.resize(size, Image.Resampling.LANCZOS))
        for top in range(0, pixels.shape[0] - TILE + 1, TILE // 2):
            for left in range(0, pixels.shape[1] - TILE + 1, TILE // 2):
                tile = pixels[top : top + TILE, left : left + TILE]
                if np.abs(np.diff(tile[::2, :, 1].astype(np.int16), axis=1)).mean() > 2:
                    yield torch.from_numpy(tile.transpose(2, 0, 1).copy())


def drawn_tiles(count: int) -> list[Tensor]:
    """`count` tiles with dead leaves (random shapes that hide each other), and `count` with lines of text."""
    with ProcessPoolExecutor(16) as pool:
        return [torch.from_numpy(tile) for tile in pool.map(_drawn, range(2 * count))]


def _drawn(number: int) -> np.ndarray:
    generator = torch.Generator().manual_seed(number)
    return to_bytes(drawn.draw(drawn.KINDS[number % 2], TILE, generator)).numpy()


if __name__ == "__main__":
    main()
