"""Make docs/web.png: the page of `unblur web` with a restored photo, in a headless Chromium.

    python scripts/web_screenshot.py [--photo examples/shaken.jpg] [--psf FILE] [--method NAME] [--output docs/web.png]

Needs `pip install '.[dev]'` and Chromium (`apt-get install chromium`, or --chromium FILE). The page shows how long the
restoration took, so run nothing else at the same time.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

ROOT = Path(__file__).parents[1]
PATIENCE = 1_800_000  # ms
COLOURS = 128  # of the picture, so that it stays below 200 kB


def main(
    photo: Annotated[Path, typer.Option(help="The photo.")] = ROOT / "examples" / "shaken.jpg",
    psf: Annotated[Path | None, typer.Option(help="Its PSF, if it is to be given.")] = None,
    method: Annotated[str, typer.Option(help="What is chosen in the form.")] = "auto",
    output: Annotated[Path, typer.Option(help="The picture.")] = ROOT / "docs" / "web.png",
    chromium: Annotated[str | None, typer.Option(help="The browser.")] = shutil.which("chromium"),
) -> None:
    """Start a server, restore the photo in a browser, and write the picture of the page."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-u", "-m", "unblur", "web", "--port", "0", "--no-open"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
        sync_playwright() as playwright,
    ):
        assert server.stdout is not None
        address = re.findall(r"http://\S+", server.stdout.readline())[0]
        # Chromium as root needs --no-sandbox.
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1080, "height": 805}, color_scheme="light")
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.get_by_label("Method", exact=True).select_option(method)
        if psf is not None:
            page.get_by_label("Known PSF", exact=True).set_input_files(psf)
            page.get_by_label("Remove: Known PSF").wait_for()
        page.locator("#files").set_input_files(photo)
        page.locator("#headline").wait_for()
        page.wait_for_timeout(1000)  # until the pictures are drawn
        screenshot = Image.open(io.BytesIO(page.screenshot()))
        screenshot.convert("RGB").quantize(COLOURS, kmeans=1).save(output, optimize=True)
        print(page.locator("#told").inner_text())
        browser.close()
        server.terminate()


if __name__ == "__main__":
    typer.run(main)
