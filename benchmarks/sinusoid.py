"""Sinusoid regression, as in the paper of MAML, by the engine. Prints a JSON line a run.

    OMP_NUM_THREADS=1 python benchmarks/sinusoid.py [--methods maml fomaml reptile pretrained] [--shots 5 10] [--seeds 0 1 2]
        [--iterations 6000] [--validation]

`fewtune.studies.sinusoid` says what the tasks are. With --validation the test tasks are left alone, and the 200 are reported: for whoever
chooses settings.
"""

from __future__ import annotations

import argparse
import json
from typing import Literal

import torch

from fewtune.learning.phase import Phase
from fewtune.learning.train import Trained
from fewtune.studies.sinusoid import Waves, asked, learned, phase_of


def main() -> None:
    torch.set_num_threads(1)
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--methods", nargs="+", default=["maml", "fomaml", "reptile", "pretrained"])
    found.add_argument("--shots", nargs="+", type=int, default=[5, 10])
    found.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    found.add_argument("--iterations", type=int, default=6000)
    found.add_argument("--validation", action="store_true")
    options = found.parse_args()
    part: Literal["validation", "test"] = "validation" if options.validation else "test"
    for seed in options.seeds:
        data = Waves.made(seed)
        for method in options.methods:
            known: dict[Phase, tuple[Trained, float]] = {}
            for shots in options.shots:
                phase = phase_of(method, shots, options.iterations)
                if phase not in known:
                    known[phase] = learned(data, method, shots, seed, options.iterations)
                trained, seconds = known[phase]
                line = {"method": method, "shots": shots, "seed": seed, "iterations": options.iterations, "cpu_seconds": round(seconds)}
                print(json.dumps(line | {"rows_seen": trained.visits} | asked(data, trained, shots, part)), flush=True)


if __name__ == "__main__":
    main()
