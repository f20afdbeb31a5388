"""The memory that `adapt` with a source of photos takes beyond the bare backbone. Prints a JSON line; exit code 1 above the bar of 2 GB.

    python benchmarks/memory.py [--source 200] [--backbone conv4,size=224] [--weights FILE]

Photos of 640 x 480 are made on the spot: a source of 20 classes, and a target of 8 classes with 8 photos each. Two processes run: one loads
the backbone and embeds a batch of 64 photos; the other runs the whole command with episodes of 144 photos, larger than any default.
The figures are the peaks of their resident memory in MB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# what is imported here stays small: a child's peak begins at the size of the process that starts it
BAR = 2000  # MB beyond the bare backbone
CLASSES, TARGET_CLASSES, TARGET_ROWS, BATCH = 20, 8, 8, 64
RECIPE = "multitask(ways=8, shots=9, queries=9)"
VISITS = 10 * 8 * (9 + 9)  # rows of the ten steps that a run has at least: with fewer nothing is learned


def main() -> None:
    options = parser().parse_args()
    if options.only == "photos":
        photographs(Path(options.folder), options.source)
        return
    if options.only == "bare":
        bare(Path(options.folder), options)
        return
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        again = [sys.executable, __file__, *sys.argv[1:], "--folder", made, "--only"]
        subprocess.run([*again, "photos"], check=True)
        least, _ = peak([*again, "bare"])
        most, seconds = peak(command(folder, options))
    line = {
        "benchmark": "memory of adapt with a source",
        "backbone": options.backbone,
        "photos": options.source,
        "bare_mb": round(least),
        "adapt_mb": round(most),
        "beyond_mb": round(most - least),
        "bar_mb": BAR,
        "seconds": round(seconds),
    }
    print(json.dumps(line))
    sys.exit(most - least > BAR)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--source", type=int, default=200, help="photos of the source")
    found.add_argument("--backbone", default="conv4,size=224")
    found.add_argument("--weights")
    found.add_argument("--only", choices=("photos", "bare"), help=argparse.SUPPRESS)
    found.add_argument("--folder", help=argparse.SUPPRESS)
    return found


def peak(words: list[str]) -> tuple[float, float]:
    """(MB at the peak, seconds) of a command; ends with it where it fails."""
    began = time.perf_counter()
    child = subprocess.Popen(words, stdout=sys.stderr)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{' '.join(words)} ended with {child.returncode}")
    return usage.ru_maxrss / 1000, time.perf_counter() - began


def command(folder: Path, options: argparse.Namespace) -> list[str]:
    weights = ["--weights", options.weights] if options.weights else []
    return [
        *(sys.executable, "-m", "fewtune", "adapt", str(folder / "target"), "--source", str(folder / "source")),
        *("--backbone", options.backbone, *weights, "--device", "cpu", "--cache", str(folder / "cache"), "--select", "all"),
        *("--method", RECIPE, "--rates", "0.001", "--budget", f"visits={VISITS}", "--out", str(folder / "out"), "--quiet"),
    ]


def photographs(folder: Path, count: int) -> None:
    """JPEGs of soft patterns, a pattern a class, with noise."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    for name, classes, rows in (("source", CLASSES, -(-count // CLASSES)), ("target", TARGET_CLASSES, TARGET_ROWS)):
        for k in range(classes):
            here = folder / name / f"{name}{k}"
            here.mkdir(parents=True)
            pattern = random.integers(0, 256, (8, 8, 3))
            for i in range(rows):
                noisy = np.clip(pattern + random.integers(-60, 61, pattern.shape), 0, 255).astype(np.uint8)
                Image.fromarray(noisy).resize((640, 480), Image.Resampling.BICUBIC).save(here / f"{i}.jpg", quality=80)


def bare(folder: Path, options: argparse.Namespace) -> None:
    """Load the backbone and embed one batch."""
    import numpy as np
    import torch

    from fewtune.backbones.load import load_backbone
    from fewtune.data.reading.read import read_examples
    from fewtune.data.row_space import RowSpace
    from fewtune.machine import Machine

    backbone = load_backbone(options.backbone, weights=options.weights and Path(options.weights), machine=Machine(device="cpu"))
    with torch.no_grad():
        backbone.embed(backbone.start(), RowSpace([read_examples(folder / "source")]), np.arange(BATCH))


if __name__ == "__main__":
    main()
