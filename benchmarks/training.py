"""The engine beside loops written by hand, one CPU thread. Prints JSON lines.

    OMP_NUM_THREADS=1 python benchmarks/training.py [multitask] [maml] [memory] [--steps 100] [--meta-steps 40] [--rounds 10]
        [--data FILE] [--weights FILE] [--backbone NAME]

`multitask`: images a second of multitask finetuning through `train`, and of a plain PyTorch loop over the same decoded images with passes
of the same size (5-way, 1 + 9 rows a class, SGD with momentum; wanted: 0.95 of it). `maml`: meta-steps a second of unrolled MAML (Conv4, 28
pixels, grey, 5-way 1-shot, 4 episodes a batch, 5 inner steps), and of torch.func written by hand, vmapped and in a loop (wanted: at least
the better one), and of torch.autograd. All draw the same episodes, and their losses are compared. `memory`: what one meta-step takes
beyond what was there before, with 5, 20 and 80 inner steps, each in a process of its own.

Jobs take turns, round by round, so that a busy machine is unfair to none: --steps are divided among --rounds. A ratio is the median of the
rounds'; "by cpu" goes by the time of the processor, which leaves out what other work on the machine takes. Without --data images are made;
without --weights they are random.
"""

from __future__ import annotations

import argparse
import copy
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn.functional import cross_entropy, linear, normalize

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Pixels
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.recipes import maml, multitask
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks, class_rows

WAYS, CLASSES, EACH = 5, 60, 20
MOBILENET = "timm:mobilenetv2_100,pad_type=same,mean=0.5,std=0.5,size=96,crop_pct=1"
EPISODES, INNER_STEPS, INNER_LR, META_LR = 4, 5, 0.1, 1e-3
Weights = dict[str, Tensor]
Job = Callable[[], list[float]]  # the losses of its steps


def main() -> None:
    torch.set_num_threads(1)
    options = parser().parse_args()
    if options.only:
        print(json.dumps(one_meta_step(options, *options.only.split(":"))))
        return
    for part in options.parts or PARTS:
        for line in PARTS[part](options):
            print(json.dumps(line), flush=True)


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("parts", nargs="*", choices=["multitask", "maml", "memory", []])
    found.add_argument("--steps", type=int, default=100)
    found.add_argument("--meta-steps", type=int, default=40)
    found.add_argument("--rounds", type=int, default=10)
    found.add_argument("--data", type=Path)
    found.add_argument("--weights", type=Path)
    found.add_argument("--backbone", default="")
    found.add_argument("--only", default="", help=argparse.SUPPRESS)
    return found


def loaded(options: argparse.Namespace, name: str, weights: Path | None = None) -> tuple[Ground, Tasks, Tensor]:
    """(where training runs, its tasks, every row as the network takes it), all rows decoded beforehand."""
    backbone = load_backbone(name, weights=weights, machine=Machine(device="cpu"))
    space = RowSpace([few(read_examples(options.data)) if options.data else made()], remember=4 << 30)
    prepared = [space.prepared(row, backbone.preparation) for row in range(len(space))]
    return Ground(backbone, space), class_rows(space), backbone.preparation.batch(prepared)


def few(examples: Examples) -> Examples:
    """The first rows of the first classes."""
    return examples.take(np.concatenate([np.flatnonzero(examples.labels == c)[:EACH] for c in range(CLASSES)]))


def made() -> Examples:
    """Random pictures."""
    pixels = np.random.default_rng(0).integers(0, 256, (CLASSES * EACH, 105, 105, 3), dtype=np.uint8)
    return make_examples(Pixels(pixels), np.repeat(np.arange(CLASSES), EACH), class_names=[str(c) for c in range(CLASSES)])


def ours(ground: Ground, method: Method, tasks: Tasks, steps: int) -> Job:
    (phase,) = method.phases
    assert isinstance(phase, Phase)
    return lambda: [row["loss"] for row in train(ground, (replace(phase, steps=steps),), tasks, key(0)).curve]


def batches(method: Method, tasks: Tasks, steps: int) -> list[Episodes]:
    """What `ours` draws."""
    (phase,) = method.phases
    assert isinstance(phase, Phase)
    at = key(0).child("source", 0).child("draw")
    return [phase.sampler.draw(tasks, at, step * phase.batch, phase.batch) for step in range(steps)]


def interleaved(jobs: dict[str, Job], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The seconds of each job in every round, by the clock and by the processor. Raises AssertionError where losses are not alike."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for round_ in range(rounds):
        order = list(jobs) if round_ % 2 == 0 else list(reversed(jobs))
        losses = {}
        for name in order:
            began, worked = time.perf_counter(), time.process_time()
            losses[name] = jobs[name]()
            taken[name].append((time.perf_counter() - began, time.process_time() - worked))
        for name, mine in losses.items():
            np.testing.assert_allclose(mine[:2], losses["ours"][:2], rtol=1e-3, err_msg=name)  # later ones grow apart by rounding
    return taken


def rates(taken: dict[str, list[tuple[float, float]]], work: int, unit: str) -> dict[str, object]:
    """Medians and ranges of the rates, `work` a round, and how many times faster ours is than each other job."""
    line: dict[str, object] = {}
    for name, rounds in taken.items():
        seconds = [wall for wall, _ in rounds]
        line[f"{name}_{unit}"] = round(work / statistics.median(seconds), 2)
        line[f"{name}_range"] = [round(work / max(seconds), 2), round(work / min(seconds), 2)]
        line[f"{name}_by_cpu"] = round(work / statistics.median(cpu for _, cpu in rounds), 2)
    for name in [other for other in taken if other != "ours"]:
        for clock, title in enumerate((f"ours_over_{name}", f"ours_over_{name}_by_cpu")):
            each = [theirs[clock] / mine[clock] for theirs, mine in zip(taken[name], taken["ours"], strict=True)]
            line |= {title: round(statistics.median(each), 3), f"{title}_range": [round(min(each), 3), round(max(each), 3)]}
    return line


def multitask_speed(options: argparse.Namespace) -> list[dict[str, object]]:
    name = options.backbone or (MOBILENET if options.weights else f"{MOBILENET},pretrained=false")
    ground, tasks, inputs = loaded(options, name, options.weights)
    method = multitask(ways=WAYS, shots=1, queries=9, lr=1e-4)
    steps = max(2, options.steps // options.rounds)
    drawn = batches(method, tasks, steps)
    jobs = {"ours": ours(ground, method, tasks, steps), "bare": lambda: bare_multitask(ground.backbone, inputs, drawn)}
    ours(ground, method, tasks, 2)(), bare_multitask(ground.backbone, inputs, drawn[:2])  # warm
    taken = interleaved(jobs, options.rounds)
    images = sum(part.support.numel() + part.query.numel() for part in drawn)
    line = {"benchmark": "multitask finetuning", "backbone": name, "steps": steps * options.rounds, "rows_a_pass": ground.backbone.cpu_rows}
    return [line | rates(taken, images, "images_per_s")]


def bare_multitask(backbone: Backbone, inputs: Tensor, drawn: list[Episodes]) -> list[float]:
    """Prototypes, cosine, cross-entropy, SGD: as people write it."""
    network = copy.deepcopy(backbone.network).eval().requires_grad_(True)
    temperature = torch.tensor(10.0, requires_grad=True)
    optimizer = torch.optim.SGD([*network.parameters(), temperature], lr=1e-4, momentum=0.9)
    rows, losses = backbone.cpu_rows, []
    for episode in drawn:
        images = inputs[torch.cat([episode.support[0], episode.query[0]])].contiguous(memory_format=torch.channels_last)
        features = normalize(torch.cat([network(part) for part in images.split(rows)]), dim=1)
        support, query = features[:WAYS], features[WAYS:]  # one row a class, in order
        loss = cross_entropy(temperature * query @ support.T, episode.query_label[0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def maml_speed(options: argparse.Namespace) -> list[dict[str, object]]:
    ground, tasks, inputs = loaded(options, "conv4,grey=true")
    method = conv4_maml(INNER_STEPS)
    steps = max(2, options.meta_steps // options.rounds)
    drawn = batches(method, tasks, steps)
    jobs = {"ours": ours(ground, method, tasks, steps)}
    for form in FORMS:
        jobs[form] = lambda form=form: bare_maml(ground.backbone, inputs, drawn, form)
        bare_maml(ground.backbone, inputs, drawn[:1], form)
    ours(ground, method, tasks, 1)()
    line: dict[str, object] = {"benchmark": "MAML", "meta_steps": steps * options.rounds, "episodes": EPISODES, "inner_steps": INNER_STEPS}
    return [line | rates(interleaved(jobs, options.rounds), steps, "meta_steps_per_s")]


def conv4_maml(inner_steps: int, through: Literal["unroll", "first_order"] = "unroll") -> Method:
    return maml(ways=WAYS, inner_steps=inner_steps, inner_lr=INNER_LR, lr=META_LR, batch=EPISODES, through=through)


def bare_maml(backbone: Backbone, inputs: Tensor, drawn: list[Episodes], form: str) -> list[float]:
    """MAML as torch's own tutorials write it; Adam outside."""
    network = backbone.network
    weights = {n: t.detach().clone().requires_grad_() for n, t in network.named_parameters()}
    head = {"head.weight": torch.zeros(WAYS, backbone.width), "head.bias": torch.zeros(WAYS)}
    weights |= {n: t.requires_grad_() for n, t in head.items()}
    optimizer = torch.optim.Adam(weights.values(), lr=META_LR)

    def loss(held: Weights, images: Tensor, label: Tensor) -> Tensor:
        features = functional_call(network, {n: t for n, t in held.items() if n not in head}, (images,))
        return cross_entropy(linear(features, held["head.weight"], held["head.bias"]), label)

    losses = []
    for part in drawn:
        given = (inputs[part.support], part.support_label, inputs[part.query], part.query_label)
        gradients, value = FORMS[form](loss, weights, given)
        for name, weight in weights.items():
            weight.grad = gradients[name].detach()
        optimizer.step()
        losses.append(value.item())
    return losses


Cost = Callable[[Weights, Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def tuned_loss(loss: Cost, weights: Weights, support: Tensor, label: Tensor, query: Tensor, asked: Tensor) -> Tensor:
    for _ in range(INNER_STEPS):
        slope = grad(loss)(weights, support, label)
        weights = {n: t - INNER_LR * slope[n] for n, t in weights.items()}
    return loss(weights, query, asked)


def vmapped(loss: Cost, weights: Weights, given: Batch) -> tuple[Weights, Tensor]:
    """torch.func over all episodes at once."""

    def whole(held: Weights) -> Tensor:
        return vmap(lambda *one: tuned_loss(loss, held, *one))(*given).mean()

    return grad_and_value(whole)({n: t.detach() for n, t in weights.items()})


def looped(loss: Cost, weights: Weights, given: Batch) -> tuple[Weights, Tensor]:
    """torch.func, an episode at a time."""
    plain = {n: t.detach() for n, t in weights.items()}
    found = [grad_and_value(lambda held, one=one: tuned_loss(loss, held, *one))(plain) for one in zip(*given, strict=True)]
    return {n: torch.stack([g[n] for g, _ in found]).mean(0) for n in plain}, torch.stack([v for _, v in found]).mean()


def by_autograd(loss: Cost, weights: Weights, given: Batch) -> tuple[Weights, Tensor]:
    """torch.autograd with create_graph, an episode at a time."""
    total = torch.zeros(())
    for support, label, query, asked in zip(*given, strict=True):
        held = weights
        for _ in range(INNER_STEPS):
            slopes = torch.autograd.grad(loss(held, support, label), list(held.values()), create_graph=True)
            held = {n: t - INNER_LR * slope for (n, t), slope in zip(held.items(), slopes, strict=True)}
        total = total + loss(held, query, asked) / len(given[0])
    return dict(zip(weights, torch.autograd.grad(total, list(weights.values())), strict=True)), total.detach()


FORMS = {"func_vmap": vmapped, "func_loop": looped, "autograd": by_autograd}


def memory(options: argparse.Namespace) -> list[dict[str, object]]:
    lines = []
    for through in ("first_order", "unroll"):
        for steps in (5, 20, 80):
            given = [f"--only={through}:{steps}", *([f"--data={options.data}"] if options.data else [])]
            grown = [json.loads(subprocess.check_output([sys.executable, __file__, *given])) for _ in range(3)]
            mb = [one["grown_mb"] for one in grown]
            line = {"benchmark": "memory of a meta-step", "through": through, "inner_steps": steps}
            lines.append(line | {"peak_mb_beyond_loading": statistics.median(mb), "range": [min(mb), max(mb)]})
    return lines


def one_meta_step(options: argparse.Namespace, through: str, steps: str) -> dict[str, float]:
    """How much a meta-step lifts the peak of this process, after one of a single inner step has loaded what there is to load."""
    ground, tasks, _ = loaded(options, "conv4,grey=true")
    ours(ground, conv4_maml(1, "first_order"), tasks, 1)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ours(ground, conv4_maml(int(steps), through), tasks, 1)()  # type: ignore[arg-type]
    return {"grown_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1)}


PARTS = {"multitask": multitask_speed, "maml": maml_speed, "memory": memory}

if __name__ == "__main__":
    main()
