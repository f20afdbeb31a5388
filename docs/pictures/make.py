"""The pictures of the README, made anew from data that comes with scikit-learn.

    python docs/pictures/make.py [--chromium chromium]

Hand-written digits are written as photos, eight of each class, two of them under a wrong label, and `fewtune adapt` learns from them.
terminal.svg shows the first lines of the terminal, desktop.png (1,280 pixels wide) and phone.png (390) the top of the report.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.text import Text
from sklearn.datasets import load_digits

HERE = Path(__file__).parent
SHOTS, WRONG = 8, 2
COMMAND = ["adapt", "digits", "--backbone", "pixels,size=16", "--finetune", "never", "--out", "runs/digits", "--quiet"]
WIDE = 100


def digits(folder: Path) -> None:
    """The photos, a folder for each class."""
    data = load_digits()
    random = np.random.default_rng(0)
    for label in range(10):
        rows = random.permutation(np.flatnonzero(data.target == label))[:SHOTS]
        for number, row in enumerate(rows.tolist()):
            said = (label + 3) % 10 if label < WRONG and number == 0 else label
            place = folder / f"digit {said}"
            place.mkdir(parents=True, exist_ok=True)
            small = Image.fromarray((255 - 15 * data.images[row]).astype(np.uint8))
            small.resize((96, 96), Image.Resampling.BICUBIC).save(place / f"{row}.png")


def terminal(said: str, path: Path) -> None:
    """What the command printed, as a picture of a terminal."""
    console = Console(record=True, width=WIDE, file=io.StringIO())
    console.print(Text(f"$ fewtune {' '.join(COMMAND[:-1])}\n"))
    console.print(Text(said[: said.index("Learners on")] + "..."))
    drawn = console.export_svg(title="fewtune")
    path.write_text(re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", drawn, flags=re.S), encoding="utf-8")  # no font from elsewhere


def photographed(chromium: str, page: Path, path: Path, width: int, height: int) -> None:
    """A screenshot of the top of a page."""
    subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}",
         f"--screenshot={path}", page.as_uri()],
        check=True, capture_output=True,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", default="chromium")
    chromium = parser.parse_args().chromium
    with tempfile.TemporaryDirectory() as work:
        digits(Path(work) / "digits")
        environment = {**os.environ, "COLUMNS": str(WIDE)}
        made = subprocess.run(
            [sys.executable, "-m", "fewtune", *COMMAND], cwd=work, env=environment, check=True, capture_output=True, text=True
        )
        terminal(made.stdout, HERE / "terminal.svg")
        page = Path(work) / "runs" / "digits" / "report.html"
        photographed(chromium, page, HERE / "desktop.png", 1280, 1180)
        photographed(chromium, page, HERE / "phone.png", 390, 1180)


if __name__ == "__main__":
    main()
