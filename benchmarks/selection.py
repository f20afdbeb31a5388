"""Seconds and peak memory of choosing among many candidate tasks: `OMP_NUM_THREADS=2 python benchmarks/selection.py`. A JSON line a job.

100,000 candidates of 15 classes x 10 rows, 512 float32 features: 2,000 classes in 20 sources, each around a middle of its own. Every job
runs in a process of its own, so that peaks do not mix; `peak_mb` is the whole process (Python, torch and the features among it). `skip`
looks at the `--looks` nearest candidates; classes that are chosen already cost nothing, so the first looks are the dearest. `--scores`
measures the other scores on 1,000 candidates instead.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np
import torch

from fewtune.keys import key
from fewtune.tasks.candidates import candidate_tasks
from fewtune.tasks.selection import SCORES, ConsistencyDiversity, Evidence, Trace
from fewtune.tasks.task import Tasks

STOPS = {
    "stop": ConsistencyDiversity(),
    "stop, no consistency": ConsistencyDiversity(order="random"),
    "stop where nothing stops it": ConsistencyDiversity(p=-0.9),
}
SOURCES, CLASSES, ROWS, WIDTH, WAYS, SHOTS = 20, 100, 10, 512, 15, 5


def many() -> tuple[Tasks, Evidence]:
    """The sources as tasks, and the evidence of a target near the first of them."""
    random = np.random.default_rng(0)
    centres = 1 + random.normal(size=(SOURCES, 1, 1, WIDTH)) * 0.5
    classes = random.normal(size=(SOURCES, CLASSES, 1, WIDTH)) * 0.5
    features = (centres + classes + random.normal(size=(SOURCES, CLASSES, ROWS, WIDTH))).reshape(-1, WIDTH).astype(np.float32)
    target = centres[0, 0] + 0.5 * random.normal(size=(WAYS, 1, WIDTH)) + random.normal(size=(WAYS, SHOTS, WIDTH))
    every = np.arange(SOURCES * CLASSES)
    bounds, names = np.arange(SOURCES + 1) * CLASSES, tuple(f"s{i}" for i in range(SOURCES))
    tasks = Tasks(np.arange(len(features)), every * ROWS, np.full(len(every), ROWS), every, every, bounds, names)
    table = torch.from_numpy(features)
    labels = torch.arange(WAYS).repeat_interleave(SHOTS)
    support = torch.from_numpy(target.reshape(-1, WIDTH).astype(np.float32))
    return tasks, Evidence(lambda rows: table[torch.from_numpy(rows)], support, labels)


def measure(what: str, count: int, looks: int) -> None:
    """One line for one job."""
    torch.set_num_threads(1)  # gathering rows by two threads is many times slower beside other work
    sources, evidence = many()
    began = time.perf_counter()
    candidates = candidate_tasks(sources, WAYS, count // SOURCES, key(0, "bench"))
    made = time.perf_counter() - began
    rest = ConsistencyDiversity(mode="skip").trace
    began, worked = time.perf_counter(), time.process_time()
    found: dict[str, object] = {}
    if what == "rank":
        ConsistencyDiversity(diversity=False, most=50).trace(candidates, evidence)
    elif what == "skip":
        nearest = candidates.take(ConsistencyDiversity(diversity=False, most=looks).trace(candidates, evidence).taken)
        began, worked = time.perf_counter(), time.process_time()
        found = seen(rest(nearest, evidence))
    elif what in STOPS:
        found = seen(STOPS[what].trace(candidates, evidence))
    else:
        next(s for s in SCORES if s.__name__ == what)().score(candidates, evidence)
    seconds, cpu = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = {"what": what, "candidates": len(candidates), "s": round(seconds, 2), "cpu_s": round(cpu, 2), "make_s": round(made, 1)}
    print(json.dumps({**line, "peak_mb": round(peak), **found}), flush=True)


def seen(trace: Trace) -> dict[str, object]:
    return {"looked_at": len(trace), "taken": len(trace.taken)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--looks", type=int, default=2000)
    parser.add_argument("--scores", action="store_true")
    parser.add_argument("--one", default="")
    given = parser.parse_args()
    if given.one:
        return measure(given.one, 1_000 if given.scores else 100_000, given.looks)
    jobs = [s.__name__ for s in SCORES] if given.scores else ["rank", *STOPS, "skip"]
    for job in jobs:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", job], check=True)
    return None


if __name__ == "__main__":
    main()
