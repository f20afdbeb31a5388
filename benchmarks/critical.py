"""Do networks whose modules are more critical in sum err more on new photos?

    OMP_NUM_THREADS=1 python benchmarks/critical.py KIT OUT.jsonl     # a JSON line a network, about 3 minutes in all

Written down before it was run. The claim of Chatterji, Neyshabur and Sedghi (ICLR 2020, section 4), on eight small networks: conv4 at 24
pixels, 8, 16, 32 or 64 channels, from random weights, 20 classes of Tiny ImageNet with 20 or 60 rows of each to learn from, 400 updates of
64 (all else as in `family.py`). Criticality of the stages is measured on 256 of the training rows (two draws of noise), the error on 100
other rows of each class, by the network's own head. Asked: Spearman's correlation of the sum over stages with that error, and with the gap
between it and the training error, over the eight networks and over the four of each number of rows. (A first start, with noise of .25 at
least, was stopped at its first network: no such noise left it as it was.)
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_seed import parser_of
from family import SIZE, Upstream, embedded, few

from fewtune.backbones.load import load_backbone
from fewtune.data.row_space import RowSpace
from fewtune.machine import Machine
from fewtune.transfer import criticality, rank_trend

WIDTHS, ROWS, STEPS, MEASURED = (8, 16, 32, 64), (20, 60), 400, 256
ALPHAS, SIGMAS = (0.0, 0.25, 0.5, 0.75, 1.0), (4.0, 2.0, 1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015)


def line_of(upstream: Upstream, width: int, rows: int) -> dict[str, Any]:
    """One network: its errors, and how critical each stage is."""
    began = time.process_time()
    backbone = load_backbone(f"conv4,size={SIZE},width={width},seed=0", machine=Machine(device="cpu"))
    end = upstream.trained(backbone, rows, STEPS, 0.0, 0)
    learned = few(upstream.learned.labels, np.ones(len(upstream.learned), dtype=bool), rows, "rows")
    some = upstream.learned.take(learned[:: max(1, len(learned) // MEASURED)][:MEASURED])
    space = RowSpace([some], remember=1 << 28)

    def error(weights: Mapping[str, torch.Tensor]) -> float:
        logits = embedded(backbone, dict(weights), space) @ weights["source.weight"].T + weights["source.bias"]
        return float((upstream.classes[logits[:, upstream.classes].argmax(1).numpy()] != some.labels).mean())

    found = criticality({**end, **backbone.start()}, end, backbone.groups, error, alphas=ALPHAS, sigmas=SIGMAS, samples=2)
    modules = {title: module.value for title, module in found.modules.items()}
    facts = {"train": error(end), "test": upstream.errors(backbone, end)[0], "seconds": time.process_time() - began}
    return {"width": width, "rows": rows, **facts, "total": found.total, "modules": modules}


def tables(lines: Sequence[Mapping[str, Any]]) -> None:
    titles = list(lines[0]["modules"])
    print(
        f"| channels | rows a class | training error | test error | criticality | {' | '.join(titles)} |\n|---|"
        + "--:|" * (4 + len(titles))
    )
    for one in lines:
        each = " | ".join(f"{value:.2f}" for value in one["modules"].values())
        print(f"| {one['width']} | {one['rows']} | {100 * one['train']:.1f} | {100 * one['test']:.1f} | {one['total']:.2f} | {each} |")
    for title, some in (("all", lines), *((f"{rows} rows", [one for one in lines if one["rows"] == rows]) for rows in ROWS)):
        for what in ("error", "gap"):
            trend = rank_trend([x["total"] for x in some], [x["test"] - (x["train"] if what == "gap" else 0) for x in some])
            print(f"{title}, {what}: rho {trend.rho:.2f}, p {trend.p:.3f}, {trend.n} networks")


def main() -> None:
    asked = parser_of(__doc__, ()).parse_args()
    torch.set_num_threads(1)
    out: Path = asked.out
    made = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(one["width"], one["rows"]) for one in made}
    coming = [] if asked.table else [one for one in product(WIDTHS, ROWS) if one not in known]
    upstream = Upstream(asked.kit, max(ROWS)) if coming else None
    for width, rows in coming:
        assert upstream is not None
        made.append(line_of(upstream, width, rows))
        with out.open("a") as file:
            file.write(json.dumps(made[-1]) + "\n")
        print(made[-1], flush=True)
    tables(made)


if __name__ == "__main__":
    main()
