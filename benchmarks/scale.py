"""Large data in bounded memory: seconds and peak memory of whole jobs, a JSON line each, on made data. Exit code 1 above a bar.

    python benchmarks/scale.py adapt [--rows 200000] [--classes 1000]     a bar of 10 minutes and 6 GB at these sizes
    python benchmarks/scale.py near [--rows 1000000] [--kind images]      images or texts: 10 minutes and 8 GB
    python benchmarks/scale.py source [--rows 1000000] [--folder FOLDER]  16 GB at 10 million rows of 384 features

adapt: features of 384 numbers in an .npz, the whole command with its page. near: all near-duplicates within one collection; one row in a
hundred is a copy of another one, changed a little, and each of these must be found. source: the whole `compare` command draws
and answers 2,000 episodes of 5 ways, 5 shots and 15 queries from an .npz of features. Data is made before the clock starts. `peak_gb` is
the resident memory of the process; `own_gb` is that without pages of files, which the system takes back when it needs them.
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
from typing import Any

# what is imported here stays small: a child's peak begins at the size of the process that starts it
WIDTH = 384
BARS = {"adapt": (600, 6.0), "near": (600, 8.0), "source": (600, 16.0)}  # seconds, GB
ROWS = {"adapt": 200_000, "near": 1_000_000, "source": 1_000_000}


def main() -> None:
    options = parser().parse_args()
    rows = options.rows or ROWS[options.what]
    if options.step:
        globals()[f"{options.step}_{options.what}"](Path(options.folder), rows, options)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as made:
        again = [sys.executable, __file__, options.what, "--rows", str(rows), "--classes", str(options.classes)]
        again += ["--kind", options.kind, "--folder", made, "--step"]
        subprocess.run([*again, "make"], check=True)
        line, said = measured({"adapt": adapt, "source": compare}.get(options.what, lambda _: [*again, "run"])(Path(made)))
    of_kind = {"kind": options.kind} if options.what == "near" else {"classes": options.classes}
    print(json.dumps({"benchmark": options.what, "rows": rows} | of_kind | line | (json.loads(said) if options.what == "near" else {})))
    most_seconds, most_gigabytes = BARS[options.what]
    sys.exit(line["cpu_seconds"] > most_seconds or line["own_gb" if options.what == "source" else "peak_gb"] > most_gigabytes)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("what", choices=tuple(BARS))
    found.add_argument("--rows", type=int, default=0)
    found.add_argument("--classes", type=int, default=1000)
    found.add_argument("--kind", choices=("images", "texts"), default="images")
    found.add_argument("--folder", help="where the data is made, by default the folder for temporary files")
    found.add_argument("--step", choices=("make", "run"), help=argparse.SUPPRESS)
    return found


def measured(words: list[str]) -> tuple[dict[str, float], str]:
    """Seconds, seconds of the processor and GB of a command, and the last line that it said; ends with it where it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(words, stdout=said)
        own = 0.0
        while not (ended := os.wait4(child.pid, os.WNOHANG))[0]:
            own = max(own, own_memory(child.pid))
            time.sleep(0.1)
        child.returncode = os.waitstatus_to_exitcode(ended[1])
        if child.returncode:
            sys.exit(f"{' '.join(words)} ended with {child.returncode}")
        seconds, usage = time.perf_counter() - began, ended[2]
        said.seek(0)
        lines = said.read().strip().splitlines()
    found = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_gb": round(usage.ru_maxrss / 1e6, 2),
        "own_gb": round(own, 2),
    }
    return found, lines[-1] if lines else ""


def own_memory(process: int) -> float:
    """GB of a running process that no file backs; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e6 for line in lines if line.startswith("RssAnon")), 0.0)


def adapt(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "fewtune", "adapt", str(folder / "data.npz"), "--out", str(folder / "out")),
        *("--cache", str(folder / "cache"), "--device", "cpu", "--quiet"),
    ]


def compare(folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "fewtune", "compare", str(folder / "data.npz"), "--out", str(folder / "out"), "--method", "centroid"),
        *("--ways", "5", "--shots", "5", "--queries", "15", "--episodes", "2000"),
        *("--cache", str(folder / "cache"), "--device", "cpu", "--quiet"),
    ]


def make_adapt(folder: Path, rows: int, options: argparse.Namespace) -> None:
    """Features around the mean of their class, at a distance at which about nine in ten can be told."""
    import numpy as np

    random = np.random.default_rng(0)
    means = random.normal(size=(options.classes, WIDTH)).astype(np.float32)
    y = random.permutation(np.arange(rows) % options.classes)
    x = means[y] + 3.5 * random.normal(size=(rows, WIDTH)).astype(np.float32)
    np.savez(folder / "data.npz", x=x, y=y, names=np.array([f"class {k}" for k in range(options.classes)]))


def make_near(folder: Path, rows: int, options: argparse.Namespace) -> None:
    import numpy as np

    random = np.random.default_rng(0)
    originals = rows - rows // 100
    if options.kind == "images":
        made = np.lib.format.open_memmap(folder / "pixels.npy", mode="w+", dtype=np.uint8, shape=(rows, 32, 32))
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            coarse = random.integers(0, 256, (count, 8, 8)).astype(np.float32)
            smooth = np.stack([soft(one) for one in coarse])
            made[start : start + count] = smooth
        made[originals:] = np.clip(made[: rows - originals].astype(np.float32) * 0.9 + 5, 0, 255)  # darker copies
    else:
        words = np.array(["".join(chr(97 + letter) for letter in random.integers(0, 26, random.integers(3, 9))) for _ in range(20_000)])
        with open(folder / "texts.txt", "w", encoding="utf-8") as file:
            kept = []
            for row in range(originals):
                text = " ".join(words[(random.random(12) ** 3 * len(words)).astype(np.int64)])  # some words are common
                kept += [text] if row < rows - originals else []
                file.write(text + "\n")
            for text in kept:
                file.write(f"{text} {text[:3].upper()}\n")


def soft(coarse: Any) -> Any:
    """8 x 8 values as 32 x 32, blended."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.fromarray(coarse.astype(np.uint8)).resize((32, 32), Image.Resampling.BICUBIC))


def run_near(folder: Path, rows: int, options: argparse.Namespace) -> None:
    import numpy as np

    from fewtune.data.examples import make_examples
    from fewtune.data.items import Pixels, Texts
    from fewtune.data.near import near_pairs

    if options.kind == "images":
        items: Any = Pixels(np.load(folder / "pixels.npy", mmap_mode="r"))
    else:
        items = Texts((folder / "texts.txt").read_text(encoding="utf-8").splitlines())
    every, whole = np.arange(rows), make_examples(items)
    pairs = near_pairs(whole, every, whole, every)
    copies = rows // 100
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    right = found & set(zip(range(copies), range(rows - copies, rows), strict=True))
    print(json.dumps({"pairs": len(pairs), "copies": copies, "found": len(right)}))


def make_source(folder: Path, rows: int, options: argparse.Namespace) -> None:
    """Features in an .npz, written row by row: ten million rows are 15 GB."""
    import zipfile

    import numpy as np

    random, classes = np.random.default_rng(0), options.classes
    means = random.normal(size=(classes, WIDTH)).astype(np.float32)
    y = random.permutation(np.arange(rows) % classes)
    with zipfile.ZipFile(folder / "data.npz", "w") as archive:
        with archive.open("x.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, WIDTH)})
            for start in range(0, rows, 1 << 14):
                some = y[start : start + (1 << 14)]
                file.write((means[some] + 3.5 * random.normal(size=(len(some), WIDTH)).astype(np.float32)).tobytes())
        for name, array in (("y", y), ("names", np.array([f"class {k}" for k in range(classes)]))):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)


if __name__ == "__main__":
    main()
