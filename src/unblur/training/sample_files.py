"""Samples in a folder: each has a folder of its own, and `samples.json` says how they were made.

Numbers are stored as JSON. Pictures of 8 bits are stored as PNG, other pictures in [0, 1] as 16-bit TIFF (with a
rounding error below 1e-5), all others and PSFs as 32-bit float TIFF.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from PIL import Image
from torch import Tensor

from unblur.contract import Trainable
from unblur.training.recipe import difference
from unblur.training.sources import Source
from unblur.types import UnblurError

MANIFEST = "samples.json"
_CONTENT = "sample.json"
HELD_OUT = 20  # every twentieth sample is for validation, beginning with number 0
_NUMBERS = 16  # largest number of entries of a tensor that is written to JSON


def write_sample(folder: Path, sample: Mapping[str, Tensor]) -> None:
    """Write the tensors of a sample to a new folder. The folder appears only when it is complete.

    A tensor whose name ends in `psf` is also written as `NAME.view.png`, scaled to its maximum, to look at.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    content: dict[str, Any] = {}
    for name, tensor in sample.items():
        array = tensor.detach().cpu().numpy()
        if array.size <= _NUMBERS:
            content[name] = array.tolist()
        else:
            stored = array.astype(np.float32) if name.endswith("psf") else _levels(array)
            content[name] = {"file": _write_picture(partial, name, stored), "shape": array.shape}
        if name.endswith("psf"):
            _write_picture(partial, f"{name}.view", np.rint(255 * array / array.max()).astype(np.uint8))
    (partial / _CONTENT).write_text(json.dumps(content) + "\n")
    partial.rename(folder)


def read_sample(folder: Path) -> dict[str, Tensor]:
    """The tensors of a sample by name, as they were passed to `write_sample`.

    Raises:
        UnblurError: when the sample does not exist or is damaged.
    """
    try:
        content = json.loads((folder / _CONTENT).read_text())
        return {name: _read(folder, entry) for name, entry in content.items()}
    except Exception as error:  # decoders raise many kinds of exceptions
        raise UnblurError(
            f"{folder}: not a whole sample ({error}). Delete it; `unblur synth --resume` makes it again."
        ) from None


def _levels(array: np.ndarray) -> np.ndarray:
    """An array in [0, 1] as uint8 where this is exact, else as uint16; any other array as float32."""
    if array.min() < 0 or array.max() > 1:
        return array.astype(np.float32)
    levels = np.rint(255 * array)
    if np.abs(255 * array - levels).max() < 1e-3:
        return levels.astype(np.uint8)
    return np.rint(65535 * array).astype(np.uint16)


def _write_picture(folder: Path, name: str, stored: np.ndarray) -> str:
    """Write an array and return the name of the file. Grey and RGB arrays become pictures that can be displayed."""
    if _is_picture(stored.shape):
        stored = stored.transpose(1, 2, 0).squeeze(-1) if len(stored) == 1 else stored.transpose(1, 2, 0)
        if stored.dtype == np.uint8:
            Image.fromarray(stored).save(folder / f"{name}.png")
            return f"{name}.png"
        photometric = "rgb" if stored.ndim == 3 else "minisblack"
    else:
        photometric = "minisblack"
    tifffile.imwrite(folder / f"{name}.tif", stored, photometric=photometric, compression="zlib")
    return f"{name}.tif"


def _read(folder: Path, entry: Any) -> Tensor:
    if not isinstance(entry, dict):
        return torch.tensor(entry)
    path, shape = folder / entry["file"], entry["shape"]
    stored = tifffile.imread(path) if path.suffix == ".tif" else np.asarray(Image.open(path))
    if _is_picture(shape):
        stored = stored.reshape(*shape[1:], shape[0]).transpose(2, 0, 1)
    tensor = torch.from_numpy(stored.reshape(shape).astype(np.float32))
    return tensor if stored.dtype == np.float32 else tensor / np.iinfo(stored.dtype).max


def _is_picture(shape: Any) -> bool:
    return len(shape) == 3 and shape[0] in (1, 3)


# --- a folder of samples --------------------------------------------------------------------------


def sample_name(number: int) -> str:
    """The name of a sample's folder."""
    return f"{number:07d}"


def is_for_validation(number: int) -> bool:
    """Whether a sample is for validation. It is then made from the validation part of the source."""
    return number % HELD_OUT == 0


def begin(folder: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Make a folder for samples or, with `resume`, check that its samples were made in the same way.

    Raises:
        UnblurError: when the folder holds anything else or, without `resume`, anything at all.
    """
    path = folder / MANIFEST
    facts = {**facts, "validation": f"every {HELD_OUT}th"}
    if path.is_file():
        check_facts(folder, _manifest(folder), facts)
        if not resume:
            raise UnblurError(f"{folder} holds samples of this recipe already. Add --resume to make what is missing.")
    elif folder.is_dir() and any(folder.iterdir()):
        raise UnblurError(f"{folder} is not empty. Name a new folder with -o.")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(facts, indent=1) + "\n")
        partial.replace(path)


def check_facts(folder: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the samples of a folder were made in the same way.

    Raises:
        UnblurError: when they were not; the message names the difference.
    """
    for key, value in json.loads(json.dumps(now)).items():
        if was.get(key) != value:
            said = difference(was.get(key), value) or f" (was {was.get(key)}, is {value})"
            raise UnblurError(f"{folder} holds samples that were made differently: not the same {key}{said}.")


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        raise UnblurError(f"{path}: missing or damaged. --samples names a folder that `unblur synth` wrote.") from None


@dataclass(frozen=True)
class StoredSamples(Source):
    """Samples written by `unblur synth`, every twentieth for validation. An entry is a sample's folder.

    Samples of the trained method are used directly. Samples of another method are passed to `Trainable.observe` as
    pairs.

    Attributes:
        own: whether the samples were made for the method that is trained.
    """

    own: bool = True
    kind = "pairs"

    @classmethod
    def of(cls, folder: Path, method: str, observations: Mapping[str, Any]) -> StoredSamples:
        """The samples of a folder, for a method and its recipe's table `observations`.

        Raises:
            UnblurError: when there are too few, or they were made for this method with other `observations`.
        """
        manifest = _manifest(folder)
        own = manifest.get("method") == method
        if own:
            check_facts(folder, manifest, {"observations": observations})
        paths = sorted(path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
        training = [path for path in paths if not is_for_validation(int(path.name))]
        validation = [path for path in paths if is_for_validation(int(path.name))]
        if not training or not validation:
            raise UnblurError(f"{folder}: {len(paths)} samples are too few. `unblur synth --resume` makes more.")
        return cls(training, validation, own=own)

    def sample(self, entry: Path, area: int, generator: torch.Generator) -> dict[str, Tensor]:
        """`sharp` and `blurry`, `(3, area, area)`, of a sample that was made for another method.

        Raises:
            UnblurError: when the sample has no such pictures, or smaller ones.
        """
        stored = read_sample(entry)
        pictures = [stored[name] for name in ("sharp", "blurry") if name in stored]
        if len(pictures) < 2 or min(min(picture.shape[-2:]) for picture in pictures) < area:
            raise UnblurError(
                f"{entry}: this sample of another method has no blurry and sharp picture of at least {area} x {area} "
                "pixels. Make samples for this method with `unblur synth`."
            )
        sharp, blurry = (picture.expand(3, -1, -1) for picture in pictures)
        offset = [(side - area) // 2 for side in sharp.shape[-2:]]
        place = (..., slice(offset[0], offset[0] + area), slice(offset[1], offset[1] + area))
        return {"sharp": sharp[place].contiguous(), "blurry": blurry[place].contiguous()}

    def observed(self, entry: Path, trainable: Trainable, generator: torch.Generator) -> dict[str, Tensor]:
        """See `Source`."""
        return read_sample(entry) if self.own else super().observed(entry, trainable, generator)

    def files(self) -> Iterator[Path]:
        """See `Source`."""
        yield from (path / _CONTENT for path in (*self.training, *self.validation))

    def digest(self) -> str:
        """A digest of `samples.json` and of the number of samples."""
        count = len(self.training) + len(self.validation)
        made = (self.training[0].parent / MANIFEST).read_text()
        return hashlib.sha256(f"{count} {made}".encode()).hexdigest()[:16]
