"""What a step of multi-task learning costs: processor time and memory of the plain mean and of gradient methods, beside TorchJD.

    OMP_NUM_THREADS=1 python benchmarks/gradient_methods.py [--tasks 2 4 8 16] [--steps 15] [--rounds 3] [--out costs.jsonl]

An MLP (256-1024-1024-1024-1024, 3.4 million shared weights) on one batch of 64 rows, T tasks of 10 classes, each a head on the shared
features; random rows and labels. Ours runs through the engine as a source phase does; TorchJD (pip install torchjd) on the same network
written out, by `mtl_backward` (one task at a time, and all at once), and by its Gram engine. One thread. Methods take turns, and the least
median of `rounds` is reported: milliseconds of processor time a step, and the most memory that a step holds at once, in copies of the
shared weights, activations and the gradient itself included. One JSON line a measurement; at the end the ratios.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.direction import direction
from fewtune.learning.engine import answering
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.machine import Machine
from fewtune.parts.aggregators import CaGrad, Mean, MinNorm, PcGrad
from fewtune.parts.heads.linear import Linear
from fewtune.parts.plan import everything
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.per_task import PerTask

ROWS, INPUTS, WIDTH, CLASSES = 64, 256, 1024, 10
Step = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("gradient_methods.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[int, dict[str, dict[str, float]]] = {}
    with given.out.open("a") as out:
        for T in given.tasks:
            found[T] = measured({**ours(T), **torch_jd(T)}, given.steps, given.rounds)
            for name, line in found[T].items():
                print(line_of(T, name, line), flush=True)
                out.write(json.dumps({"tasks": T, "method": name, **line}) + "\n")
                out.flush()
    for T, lines in found.items():
        print(ratios(T, lines))


def line_of(T: int, name: str, line: dict[str, float]) -> str:
    return f"T={T:2} {name:28} {line['ms']:7.1f} ms {line['gradients']:6.1f} gradients"


def ratios(T: int, lines: dict[str, dict[str, float]]) -> str:
    """Each of ours against the plain mean and against the fastest of TorchJD."""
    theirs = min((line["ms"] for name, line in lines.items() if name.startswith("TorchJD")), default=float("nan"))
    plain = lines["plain mean"]["ms"]
    mine = {n: line["ms"] for n, line in lines.items() if not n.startswith("TorchJD")}
    said = [f"{n} {ms / plain:.2f} x plain, {ms / theirs:.2f} x TorchJD" for n, ms in mine.items()]
    return f"T={T}: TorchJD's best {theirs:.0f} ms; " + "; ".join(said)


def measured(steps: dict[str, Step], count: int, rounds: int) -> dict[str, dict[str, float]]:
    """{"ms", "gradients"} of every step."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            step()
            each = []
            for _ in range(count):
                began = time.process_time()
                step()
                each.append(1000 * (time.process_time() - began))
            found[name].append(statistics.median(each))
    return {name: {"ms": min(found[name]), "gradients": most_held(step)} for name, step in steps.items()}


def most_held(step: Step) -> float:
    """The most bytes that a step holds at once beyond what was there before it, in copies of the shared weights."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    shared = sum(p.numel() * p.element_size() for p in network().parameters())
    return float(held.max()) / shared


def network() -> nn.Sequential:
    torch.manual_seed(0)
    widths = (INPUTS, WIDTH, WIDTH, WIDTH, WIDTH)
    layers = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def data(T: int) -> tuple[np.ndarray[Any, Any], Tensor]:
    """(rows [64, 256], labels [T, 64])."""
    random = np.random.default_rng(0)
    return random.normal(size=(ROWS, INPUTS)).astype(np.float32), torch.from_numpy(random.integers(0, CLASSES, (T, ROWS)))


def ours(T: int) -> dict[str, Step]:
    rows, labels = data(T)
    names = [f"{t}.{c}" for t in range(T) for c in range(CLASSES)]
    space = RowSpace([make_examples(Vectors(rows), np.zeros(ROWS, dtype=np.int64), class_names=names)])
    ground = Ground(Backbone.of(network(), inputs=INPUTS, machine=Machine(device="cpu")), space)
    none = torch.zeros(T, 0, dtype=torch.int64)
    classes = torch.arange(T * CLASSES).view(T, CLASSES)
    episodes = Episodes(none, none, torch.arange(ROWS).expand(T, ROWS), labels, classes, torch.arange(T))
    head = Linear(rows="class", start="random")
    weights = {**ground.start(), **ground.declared(head)}
    leaves = {n: t.clone().requires_grad_() for n, t in weights.items() if t.is_floating_point()}

    def step(aggregator: Any) -> Step:
        phase = Phase(sampler=PerTask(), learner=head, plan=everything(0.1), steps=1, batch=T, aggregator=aggregator)
        answer = answering(ground, phase, {**weights, **leaves}, key(0))
        return lambda: direction(phase, answer, leaves, episodes, key(0), origin=weights)

    found = {"plain mean": step(Mean())}
    for kind in (PcGrad, MinNorm, CaGrad):
        for form in ("exact", "layer", "representation"):
            found[f"{kind.__name__} {form}"] = step(kind(gram=form))
    return found


def torch_jd(T: int) -> dict[str, Step]:
    """PCGrad and MGDA of TorchJD; CAGrad where cvxpy is installed. Nothing where TorchJD is not."""
    try:
        import torchjd.aggregation as there
        from torchjd.autogram import Engine
        from torchjd.autojac import mtl_backward
    except ImportError:
        return {}
    rows, labels = data(T)
    x, trunk = torch.from_numpy(rows), network()
    heads = nn.ModuleList(nn.Linear(WIDTH, CLASSES) for _ in range(T))
    watched = copy.deepcopy(trunk)  # every pass through it must be followed by a backward pass of its engine
    engine = Engine(watched, batch_dim=None)

    def losses(features: Tensor) -> list[Tensor]:
        return [nn.functional.cross_entropy(head(features), label) for head, label in zip(heads, labels, strict=True)]

    def plain() -> None:
        sum(losses(trunk(x)), torch.zeros(())).backward()
        clear()

    def clear() -> None:
        for p in [*trunk.parameters(), *watched.parameters(), *heads.parameters()]:
            p.grad = None

    def by_gradients(aggregator: Any, chunk: int | None) -> Step:
        def step() -> None:
            features = trunk(x)
            each = losses(features)
            options = {"features": features, "parallel_chunk_size": chunk}
            mtl_backward(each, **options)
            torchjd.autojac.jac_to_grad(trunk.parameters(), aggregator)
            clear()

        return step

    def by_gram(weighting: Any) -> Step:
        def step() -> None:
            each = torch.stack(losses(watched(x)))
            each.backward(weighting(engine.compute_gramian(each)))
            clear()

        return step

    import torchjd.autojac

    found: dict[str, Step] = {"torch, plain sum": plain}
    for name, make in (("PCGrad", there.PCGrad), ("MGDA", there.MGDA), ("CAGrad", lambda: there.CAGrad(c=0.5))):
        try:
            aggregator = make()
        except ImportError:
            continue
        found[f"TorchJD {name} one by one"] = by_gradients(aggregator, 1)
        found[f"TorchJD {name} at once"] = by_gradients(aggregator, None)
        found[f"TorchJD {name} Gram"] = by_gram(aggregator.weighting)
    return found


if __name__ == "__main__":
    main()
