"""Sinusoid regression, as in the paper of MAML, by the engine: tasks, methods, and their errors after steps on a support.

A task is y = a sin(x - p): a uniform in [0.1, 5], p in [0, pi], x in [-5, 5]. 5,000 tasks of 40 points to learn from, 200 to choose by and
600 to be tested on, of 100 query points beside the support. The network has two hidden layers of 40 with ReLU. Methods are asked before,
after 1 and after 10 gradient steps on the support; the rate of these steps is chosen on the 200 tasks, from the same five for all of them.
`race` runs MAML and ERM at growing budgets of points.
Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning", ICML 2017, section 5.1.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import unknown
from fewtune.keys import check_seeds, key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt, Learner, Phase
from fewtune.learning.train import Trained, train
from fewtune.machine import Machine
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Displacement, SquaredError
from fewtune.parts.optimizers import SGD, Adam
from fewtune.parts.plan import Plan, everything
from fewtune.parts.rates import LinearDecay
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.points import Points
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.target_rows import target_tasks
from fewtune.tasks.task import Tasks

Floats = np.ndarray[Any, np.dtype[np.float64]]

TRAIN, VALIDATION, TEST = (5000, 40), (200, 110), (600, 110)  # tasks and points of each
QUERIES, STEPS = 100, (1, 10)
RATES = (0.001, 0.003, 0.01, 0.02, 0.05)
HEAD = Linear(start="shared", init="random", ways=1)
LOSS = (SquaredError(),)


def waves(name: str, tasks: int, points: int, seed: int) -> Examples:
    """Sinusoids: a group is a task."""
    random = np.random.default_rng(seed)
    amplitude, phase = random.uniform(0.1, 5, (tasks, 1)), random.uniform(0, np.pi, (tasks, 1))
    x = random.uniform(-5, 5, (tasks, points))
    y = amplitude * np.sin(x - phase)
    groups = [f"{name} {task:04}" for task in range(tasks) for _ in range(points)]
    return make_examples(Vectors(x.reshape(-1, 1).astype(np.float32)), Column("float", y.reshape(-1, 1)), name=name, groups=groups)


def families(count: int, tasks: int, windows: int = 4, seed: int = 0) -> tuple[Floats, Floats]:
    """((amplitude, phase) of tasks [count, tasks, 2], what a family shares [count, 2]): the ranges of both are cut into `windows`, and the
    tasks of a family come from one window of each, whose middle is what they share. For `fewtune.transfer.task_entropy`: H(phi) is
    log(4.9 pi), and H(phi | theta) is less by 2 log windows."""
    random = np.random.default_rng(seed)
    low, size = np.array([0.1, 0.0]), np.array([4.9, np.pi]) / windows
    begins = low + size * random.integers(windows, size=(count, 2))
    return begins[:, None] + size * random.random((count, tasks, 2)), begins + size / 2


@final
@dataclass(frozen=True, eq=False)
class Waves:
    """All tasks: `train` to draw from, and one episode of each of the others."""

    ground: Ground
    train: Tasks

    @staticmethod
    def made(seed: int) -> Waves:
        """Tasks are the same for every seed; the network starts anew."""
        backbone = load_backbone(f"mlp,inputs=1,width=40,depth=2,seed={seed}", machine=Machine(device="cpu", chunk=4096))
        parts = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
        space = RowSpace([waves(name, *size, seed=number) for number, (name, size) in enumerate(parts.items())])
        return Waves(Ground(backbone, space), target_tasks(space, rows=np.arange(space.starts[1])))

    def episodes(self, part: Literal["validation", "test"], shots: int) -> Episodes:
        """The first `shots` points of every task, and its last 100."""
        source = {"validation": 1, "test": 2}[part]
        tasks, points = {"validation": VALIDATION, "test": TEST}[part]
        rows = self.ground.space.starts[source] + torch.arange(tasks * points).view(tasks, points)
        label = torch.from_numpy(self.ground.space.sources[source].column.values).view(tasks, points, 1)
        ends = slice(points - QUERIES, points)
        places = torch.zeros(tasks, 1, dtype=torch.long)
        return Episodes(rows[:, :shots], label[:, :shots], rows[:, ends], label[:, ends], places, torch.arange(tasks))


def steps_on_support(steps: int, rate: float, batch: int = 0) -> Phase:
    return Phase(sampler=Pooled(batch=batch), learner=HEAD, plan=everything(rate), steps=steps, losses=LOSS, optimizer=SGD())


def adapting(steps: int, rate: float, through: Literal["unroll", "first_order"] = "first_order", batch: int = 0) -> Adapt:
    return Adapt(phases=(steps_on_support(steps, rate, batch),), then=HEAD, through=through)


def phase_of(method: str, shots: int, iterations: int) -> Phase:
    """The source phase of a method. MAML as in the paper: 25 tasks a step, one inner step of 0.01 on as many points as in testing, Adam.

    Reptile and pretraining look at all points of a task, whatever the shots of a test task.
    """
    match method:
        case "maml" | "fomaml":
            learner = adapting(1, 0.01, "unroll" if method == "maml" else "first_order")
            points = Points(shots=shots, queries=10)
            return Phase(sampler=points, learner=learner, plan=falling(1e-2), steps=iterations, batch=25, losses=LOSS, optimizer=Adam())
        case "reptile":
            learner, points = adapting(16, 0.02), Points(shots=39, queries=1)
            return Phase(sampler=points, learner=learner, plan=falling(1.0), steps=iterations, batch=10, losses=(Displacement(),))
        case "pretrained":
            return Phase(sampler=Pooled(batch=250), learner=HEAD, plan=falling(2e-3), steps=iterations, losses=LOSS, optimizer=Adam())
    raise unknown("method", method, ("maml", "fomaml", "reptile", "pretrained"))


def falling(rate: float) -> Plan:
    return everything(LinearDecay(lr=rate))


def costs(ground: Ground, learner: Learner, trained: Trained, episodes: Episodes) -> Tensor:
    """The mean squared error of every episode's query."""
    with torch.no_grad():
        return SquaredError()(respond(ground, learner, trained.weights, episodes, key(0)))


def chosen_rate(ground: Ground, trained: Trained, steps: int, episodes: Episodes) -> float:
    """The rate with the least error after `steps` steps."""
    return min(RATES, key=lambda rate: float(torch.nan_to_num(costs(ground, adapting(steps, rate), trained, episodes).mean(), torch.inf)))


def learned(data: Waves, method: str, shots: int, seed: int, iterations: int) -> tuple[Trained, float]:
    """(what training ends with, its processor seconds)."""
    began = time.process_time()
    return train(data.ground, (phase_of(method, shots, iterations),), data.train, key(seed, method)), time.process_time() - began


def asked(data: Waves, trained: Trained, shots: int, part: Literal["validation", "test"]) -> dict[str, object]:
    """The errors of what was learned, and the rates that were chosen."""
    validation, episodes = data.episodes("validation", shots), data.episodes(part, shots)
    line: dict[str, object] = {"part": part, "before": summary(costs(data.ground, HEAD, trained, episodes))}
    for steps in STEPS:
        rate = chosen_rate(data.ground, trained, steps, validation)
        line |= {f"after_{steps}": summary(costs(data.ground, adapting(steps, rate), trained, episodes)), f"rate_{steps}": rate}
    return line


def summary(errors: Tensor) -> list[float]:
    """The mean over tasks and half of its 95% interval."""
    return [round(float(errors.mean()), 3), round(1.96 * float(errors.std()) / len(errors) ** 0.5, 3)]


@final
@dataclass(frozen=True)
class Run:
    """One training run of `method` that looked at `points`, by `seed`: the mean squared error on the test tasks after ten steps on a
    support."""

    method: str
    points: int
    seed: int
    error: float


def race(
    budgets: Sequence[int], *, shots: int = 10, seeds: Sequence[int] = (0, 1, 2), methods: Sequence[str] = ("pretrained", "maml")
) -> list[Run]:
    """ERM (one network for all tasks, "pretrained") and MAML, trained on as many points as each of `budgets` says.

    The rate of the ten steps is chosen on the validation tasks for each run. Raises InputError for an unknown method.
    """
    check_seeds(seeds)
    found = []
    for seed in seeds:
        data = Waves.made(seed)
        validation, test = data.episodes("validation", shots), data.episodes("test", shots)
        for method in methods:
            for budget in budgets:
                phase = phase_of(method, shots, max(1, round(budget / _points_of_a_step(method, shots))))
                trained = train(data.ground, (phase,), data.train, key(seed, method))
                rate = chosen_rate(data.ground, trained, max(STEPS), validation)
                errors = costs(data.ground, adapting(max(STEPS), rate), trained, test)
                found.append(Run(method, trained.visits, seed, float(errors.mean())))
    return found


def _points_of_a_step(method: str, shots: int) -> int:
    return {"pretrained": 250, "reptile": 10 * 16 * 39}.get(method, 25 * (shots + 10))
