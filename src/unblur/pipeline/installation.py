"""What of unblur works on this machine: packages, torch, weights, and a small picture that is restored.

Nothing of torch or numpy is imported before it is needed, so that a broken package is reported and not raised.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, requires, version
from time import perf_counter
from typing import Any

PACKAGE = "unblur"
PURPOSES = {
    "heif": "HEIC photos",
    "raw": "camera RAW",
    "web": "unblur web",
    "batch": "unblur restore --ray",
    "train": "unblur train",
    "onnx": "unblur export",
    "bench": "comparison with scikit-image",
    "docs": "the documentation site",
    "test": "the tests",
    "dev": "development",
}
"""What the extras are for. An extra that is not named here is shown without a purpose."""


@dataclass(frozen=True)
class Package:
    """A package that unblur requires.

    Attributes:
        name: its name on PyPI.
        wanted: the versions that are accepted, such as `>=2`; "" for any.
        version: the version that is installed; None: it is missing.
        fits: whether it is installed in an accepted version.
    """

    name: str
    wanted: str
    version: str | None
    fits: bool


@dataclass(frozen=True)
class Extra:
    """An optional part of unblur.

    Attributes:
        name: as in `unblur[name]`.
        purpose: what it is for.
        packages: what it requires.
        install: the command that installs what is missing; None: nothing is missing.
    """

    name: str
    purpose: str
    packages: tuple[Package, ...]
    install: str | None


@dataclass(frozen=True)
class Torch:
    """How torch computes.

    Attributes:
        version: its version.
        threads: how many threads it uses.
        bfloat16: whether the processor has instructions for bfloat16, in which training is faster.
        devices: names for `--device`, the processor first.
    """

    version: str
    threads: int
    bfloat16: bool
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Weights:
    """A file of weights that ships.

    Attributes:
        method: the method that uses it.
        preset: its name.
        megabytes: its size in millions of bytes.
    """

    method: str
    preset: str
    megabytes: float


@dataclass
class Examination:
    """What was found.

    Attributes:
        unblur: version of unblur; None: it is not installed as a package.
        python: version of Python.
        system: operating system and processor.
        processors: number of processors.
        core: the packages without which nothing works.
        extras: the optional parts.
        torch: how torch computes; None: it cannot be imported.
        weights: the files of weights that could be read.
        temporary: the folder of temporary files, which `unblur web` uses.
        temporary_gb: free space there in GB.
        trial_seconds: time for restoring a small picture; None: it failed.
        troubles: what does not work, with the remedy; empty if everything works that every user needs.
    """

    unblur: str | None
    python: str
    system: str
    processors: int
    core: tuple[Package, ...]
    extras: tuple[Extra, ...]
    torch: Torch | None = None
    weights: list[Weights] = field(default_factory=list)
    temporary: str = ""
    temporary_gb: float | None = None
    trial_seconds: float | None = None
    troubles: list[str] = field(default_factory=list)

    @property
    def works(self) -> bool:
        """Whether photos can be restored here."""
        return not self.troubles

    def as_json(self) -> dict[str, Any]:
        """All attributes under their names, and `works`."""
        return {"works": self.works, **asdict(self)}


def examine() -> Examination:
    """Find out what works. Nothing is changed, and nothing is downloaded."""
    core, extras = packages()
    try:
        own = version(PACKAGE)
    except PackageNotFoundError:
        own = None
    found = Examination(
        unblur=own,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processors=os.cpu_count() or 1,
        core=core,
        extras=extras,
    )
    if own is None:
        found.troubles.append("unblur is not installed as a package: pip install unblur")
    wrong = [f"{package.name}{package.wanted}" for package in core if not package.fits]
    if wrong:
        found.troubles.append(f"packages are missing or have another version: {_pip(wrong)}")
    steps = {
        "torch cannot be used": _look_at_torch,
        "the weights cannot be read": _look_at_weights,
        "temporary files cannot be written": _look_at_temporary_files,
        "a small picture cannot be restored": _restore_a_picture,
    }
    for trouble, step in steps.items():
        try:
            step(found)
        except Exception as error:  # whatever a broken package raises
            found.troubles.append(f"{trouble} ({type(error).__name__}: {error}).")
    return found


def packages() -> tuple[tuple[Package, ...], tuple[Extra, ...]]:
    """The packages that every user needs, and the extras, as the metadata of the installed unblur name them."""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(line) for line in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        wanted = []
    core: list[Package] = []
    of_extra: dict[str, list[Requirement]] = {}
    for requirement in wanted:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra[1] if extra else ""}):
            continue  # for another system or Python
        if extra is None:
            core.append(_installed(requirement))
        else:
            of_extra.setdefault(extra[1], []).append(requirement)
    return tuple(core), tuple(_extra(name, of_extra) for name in sorted(of_extra))


def _extra(name: str, of_extra: dict[str, list[Any]]) -> Extra:
    found = {package.name: package for package in map(_installed, _flat(name, of_extra, set()))}
    complete = all(package.fits for package in found.values())
    install = None if complete else _pip([f"{PACKAGE}[{name}]"])
    return Extra(name, PURPOSES.get(name, ""), tuple(found.values()), install)


def _flat(name: str, of_extra: dict[str, list[Any]], seen: set[str]) -> list[Any]:
    """The requirements of an extra, with those of the extras that it names as `unblur[other]`."""
    if name in seen:
        return []
    seen.add(name)
    flat = []
    for requirement in of_extra.get(name, ()):
        if requirement.name == PACKAGE:
            for other in sorted(requirement.extras):
                flat += _flat(other, of_extra, seen)
        else:
            flat.append(requirement)
    return flat


def _installed(requirement: Any) -> Package:
    try:
        there = version(requirement.name)
    except PackageNotFoundError:
        there = None
    fits = there is not None and requirement.specifier.contains(there, prereleases=True)
    return Package(requirement.name, str(requirement.specifier), there, fits)


def _pip(names: Sequence[str]) -> str:
    return "pip install " + " ".join(f"'{name}'" for name in names)


def _look_at_torch(found: Examination) -> None:
    import torch

    from unblur.layers.precision import computes_bfloat16
    from unblur.pipeline.device import CPU, device_names

    found.torch = Torch(torch.__version__, torch.get_num_threads(), computes_bfloat16(CPU), tuple(device_names()))


def _look_at_weights(found: Examination) -> None:
    from unblur import methods
    from unblur.types import UnblurError

    for name in methods.names():
        trained = methods.get(name).trained
        if trained is None or trained.method != name:  # a method that is built on the network of another one
            continue
        if not trained.presets():
            found.troubles.append(f"the weights of '{name}' are missing. Install unblur again.")
        for preset in trained.presets():
            try:
                trained.read(trained.shipped(preset))
            except UnblurError as error:
                found.troubles.append(f"{error} Install unblur again.")
            else:
                found.weights.append(Weights(name, preset, trained.shipped(preset).stat().st_size / 1e6))


def _look_at_temporary_files(found: Examination) -> None:
    found.temporary = tempfile.gettempdir()
    with tempfile.TemporaryFile() as file:
        file.write(b"unblur")
    found.temporary_gb = round(shutil.disk_usage(found.temporary).free / 1e9, 1)


def _restore_a_picture(found: Examination) -> None:
    """Restore a small picture in memory, from the bytes of a PNG to those of a PNG."""
    import numpy as np

    from unblur.image_io import Photo, encode_photo
    from unblur.pipeline.in_memory import restore_bytes
    from unblur.pipeline.options import Options

    started = perf_counter()
    ramp = np.linspace(0, 1, 64, dtype=np.float32)
    photo = Photo(np.broadcast_to(ramp[None, :, None], (64, 64, 3)).copy())
    content, _ = restore_bytes(encode_photo(photo, "PNG")[0], Options(method="nlm", force=True))
    if not content.startswith(b"\x89PNG"):
        raise ValueError("the result is no PNG")
    found.trial_seconds = round(perf_counter() - started, 2)
