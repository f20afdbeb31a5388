"""Embedding many short texts, against the bare model. Prints one JSON line.

    FEWTUNE_KIT=... OMP_NUM_THREADS=1 python benchmarks/texts.py [--count 10000] [--backbone hf:FOLDER] [--rounds 2]

CPU seconds (they hardly depend on what else the machine does) of `feature_table` from nothing, without a file, beside the bare model of
transformers: tokens and passes of 64 texts in the order given, and of texts sorted by length, the best that a plain script does. `share`:
the bare sorted model's time by fewtune's (the bar is 0.95). Texts are those of HWU64, some of them twice with another word.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Texts
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace

KIT = Path(os.environ.get("FEWTUNE_KIT", "../shared/kit"))
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--backbone", default=str(KIT / "weights" / "all-minilm-l6-v2"))
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    items = read_examples(KIT / "text" / "hwu64.jsonl").items
    texts = [f"{items.fetch(i % len(items))}{' now' * (i // len(items))}" for i in range(given.count)]
    backbone = load_backbone(f"hf:{given.backbone}")
    features: dict[str, Any] = {}

    def ours() -> None:
        table = feature_table(backbone, RowSpace([make_examples(Texts(texts))]), memory=True, quiet=True)
        features["ours"] = table.features

    model, tokenizer = backbone.network, backbone.preparation.tokenizer  # type: ignore[attr-defined]

    def bare(order: Sequence[int]) -> Callable[[], None]:
        def run() -> None:
            parts = []
            with torch.no_grad():
                for i in range(0, len(order), BATCH):
                    batch = [texts[j] for j in order[i : i + BATCH]]
                    parts.append(model(dict(tokenizer(batch, padding=True, truncation=True, max_length=256, return_tensors="pt"))))
            features["bare"] = torch.cat(parts)[torch.from_numpy(np.argsort(order))]

        return run

    by_length = np.argsort([len(text) for text in texts], kind="stable").tolist()
    taken: dict[str, list[float]] = {}
    for _ in range(given.rounds):
        for name, run in (("fewtune", ours), ("bare", bare(range(len(texts)))), ("bare_sorted", bare(by_length))):
            began = time.process_time()
            run()
            taken.setdefault(name, []).append(time.process_time() - began)
    best = {name: round(min(seconds), 2) for name, seconds in taken.items()}
    apart = float((features["ours"] - features["bare"]).abs().max())
    share = best["bare_sorted"] / best["fewtune"]
    print(json.dumps({"texts": given.count, "cpu_seconds": best, "share": round(share, 3), "apart": apart}))


if __name__ == "__main__":
    main()
