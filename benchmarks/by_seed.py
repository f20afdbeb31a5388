"""What studies with a JSON line a seed share: their arguments, going on from the lines that are there, a mean with its interval."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fewtune.statistics import t_interval


def parser_of(doc: str | None, seeds: Sequence[int]) -> argparse.ArgumentParser:
    """KIT OUT.jsonl [--seeds ...] [--table]."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kit", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--table", action="store_true", help="print the tables only")
    return parser


def lines_of(asked: argparse.Namespace, line_of: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """All lines of the file; those of the seeds that it lacks are made first, each written as soon as it is there."""
    torch.set_num_threads(1)
    made = [json.loads(line) for line in asked.out.read_text().splitlines()] if asked.out.exists() else []
    for seed in [] if asked.table else [seed for seed in asked.seeds if seed not in {line["seed"] for line in made}]:
        made.append(line_of(seed))
        with asked.out.open("a") as file:
            file.write(json.dumps(made[-1]) + "\n")
    return made


def shown(values: np.ndarray, digits: int = 1, *, sign: bool = False) -> str:
    """Mean and 95% over seeds."""
    found = t_interval(values)
    return f"{found.mean:{'+' if sign else ''}.{digits}f}" + ("" if np.isnan(found.half_width) else f" ± {found.half_width:.{digits}f}")
