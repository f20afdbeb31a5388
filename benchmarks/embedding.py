"""Embedding a folder of photos against its bare parts. Prints JSON lines.

    python benchmarks/embedding.py [--count 400] [--backbone NAME] [--weights FILE] [--photos FOLDER] [--device cpu] [--chunk 64]

One line for speed: images a second of a plain loop (read, decode, prepare, forward; one thing after another), of its parts, and of
`feature_table` from nothing, and the ratio of the last to the first (the bar is 0.9; threads may bring it above 1). One line for memory:
the peak of a process that embeds N images and of one that embeds 4 N, beyond what one chunk takes; both should be alike. Without --photos,
JPEGs of 640 x 480 are made on the spot.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.images import decode
from fewtune.data.items import Files
from fewtune.data.row_space import RowSpace
from fewtune.machine import Machine

ROUNDS = 3


def main() -> None:
    options = parser().parse_args()
    if options.only:
        print(json.dumps(peak(options)))
        return
    with tempfile.TemporaryDirectory() as made:
        photos = Path(options.photos) if options.photos else photographs(Path(made), 4 * options.count)
        paths = sorted(p for p in photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        print(json.dumps(speed(options, paths[: options.count])))
        peaks = [in_a_process(options, photos, n) for n in (options.count, 4 * options.count)]
        line = {
            "benchmark": "embedding memory",
            "images": [p["images"] for p in peaks],
            "peak_mb_beyond_loading": [p["peak_mb"] for p in peaks],
        }
        print(json.dumps(line))


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--count", type=int, default=400)
    found.add_argument("--backbone", default="timm:mobilenetv2_100,pretrained=false,size=160,crop_pct=1")
    found.add_argument("--weights", type=Path)
    found.add_argument("--photos")
    found.add_argument("--device", default="auto")
    found.add_argument("--chunk", type=int, default=64)
    found.add_argument("--only", type=int, default=0, help=argparse.SUPPRESS)
    return found


def photographs(folder: Path, count: int) -> Path:
    """JPEGs with the detail of photographs: noise of every size."""
    generator = np.random.default_rng(0)
    for i in range(count):
        layers = [generator.integers(0, 256, (s * 3, s * 4, 3), dtype=np.uint8) for s in (4, 20, 160)]
        mixed = (
            sum(np.asarray(Image.fromarray(layer).resize((640, 480), Image.Resampling.BICUBIC), dtype=np.float32) for layer in layers) / 3
        )
        Image.fromarray(mixed.astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=88)
    return folder


def loaded(options: argparse.Namespace) -> Backbone:
    return load_backbone(options.backbone, weights=options.weights, machine=Machine(device=options.device, chunk=options.chunk))


def speed(options: argparse.Namespace, paths: list[Path]) -> dict[str, object]:
    backbone = loaded(options)
    preparation, network, device = backbone.preparation, backbone.network, backbone.machine.device
    hint = preparation.size_hint  # type: ignore[attr-defined]

    def decoded(part: list[Path]) -> list[object]:
        return [preparation.prepare(decode(p.read_bytes(), name=p.name, size_hint=hint)) for p in part]

    # a pass of the bare loop has as many rows as one of ours: on the CPU few are faster, and that shall not be our advantage
    rows = backbone.cpu_rows if device == "cpu" else options.chunk
    parts = [paths[i : i + rows] for i in range(0, len(paths), rows)]

    def bare() -> None:
        with torch.no_grad():
            for part in parts:
                network(preparation.batch(decoded(part)).to(device)).cpu()

    def decoding() -> None:
        for part in parts:
            decoded(part)

    batch = preparation.batch(decoded(parts[0]))

    def forwards() -> None:
        with torch.no_grad():
            for part in parts:
                network(batch[: len(part)].to(device)).cpu()

    def table() -> None:
        with tempfile.TemporaryDirectory() as cache:
            feature_table(backbone, RowSpace([make_examples(Files(paths), name="photos")]), folder=Path(cache), quiet=True)

    backbone.digest()  # once a process, whatever is embedded
    taken = interleaved({"bare": bare, "decode": decoding, "forward": forwards, "table": table})
    rates = {f"{name}_images_per_s": round(len(paths) / seconds, 1) for name, seconds in taken.items()}
    threads = {"torch_threads": torch.get_num_threads(), "workers": backbone.machine.workers, "device": device}
    ratio = round(taken["bare"] / taken["table"], 3)
    return {
        "benchmark": "embedding speed",
        "backbone": options.backbone,
        "images": len(paths),
        **rates,
        "table_over_bare": ratio,
        **threads,
    }


def interleaved(jobs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """The median seconds of each job, round by round, so that a busy machine is unfair to none."""
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    for round_ in range(ROUNDS + 1):
        for name, job in jobs.items():
            began = time.perf_counter()
            job()
            if round_:  # the first round warms up
                taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def in_a_process(options: argparse.Namespace, photos: Path, count: int) -> dict[str, float]:
    given = [
        f"--only={count}",
        f"--photos={photos}",
        f"--backbone={options.backbone}",
        f"--device={options.device}",
        f"--chunk={options.chunk}",
    ]
    given += [f"--weights={options.weights}"] if options.weights else []
    said = subprocess.run([sys.executable, __file__, *given], capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(said)
    return found


def peak(options: argparse.Namespace) -> dict[str, float]:
    paths = sorted(p for p in Path(options.photos).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[: options.only]
    backbone = loaded(options)
    warm = RowSpace([make_examples(Files(paths[: options.chunk]), name="warm")])
    with tempfile.TemporaryDirectory() as cache:
        feature_table(backbone, warm, memory=True, quiet=True)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        feature_table(backbone, RowSpace([make_examples(Files(paths), name="photos")]), folder=Path(cache), quiet=True)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"images": len(paths), "peak_mb": round((after - before) / 1024, 1)}


if __name__ == "__main__":
    main()
