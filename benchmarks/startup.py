"""Measure the time of `unblur --help`, and check that it does not import torch.

    python benchmarks/startup.py [--runs 5] [--check]

The time is that of a whole process, from start to exit: the median of several runs, after a first one that is not
timed. With --check the exit code is 1 when the time exceeds the budget, or when torch is imported.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

BUDGET = 0.4  # s
HEAVY = ("torch", "scipy", "imagecodecs", "numpy")
ASK_FOR_HELP = """
import sys
from unblur.cli import main
sys.argv = ["unblur", "--help"]
try:
    main()
finally:
    print("LOADED", *sys.modules)
"""


def main(
    runs: Annotated[int, typer.Option(min=1, help="Number of timings.")] = 5,
    check: Annotated[bool, typer.Option("--check", help=f"Fail above {BUDGET} s, or when torch is imported.")] = False,
) -> None:
    """Print the median time and the heavy modules that were imported."""
    command = [str(Path(sys.executable).with_name("unblur")), "--help"]
    seconds = statistics.median([wall_seconds(command) for _ in range(runs + 1)][1:])
    asked = subprocess.run([sys.executable, "-c", ASK_FOR_HELP], capture_output=True, text=True, check=True)
    loaded = set(asked.stdout.rpartition("LOADED")[2].split()).intersection(HEAVY)
    print(f"unblur --help: {seconds:.2f} s (median of {runs}); heavy modules: {', '.join(sorted(loaded)) or 'none'}")
    if check and (seconds > BUDGET or "torch" in loaded):
        print(f"over the budget of {BUDGET} s without torch", file=sys.stderr)
        raise typer.Exit(1)


def wall_seconds(command: list[str]) -> float:
    """Wall time of a command in seconds."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


if __name__ == "__main__":
    typer.run(main)
