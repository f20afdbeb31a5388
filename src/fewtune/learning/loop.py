"""The steps of one source phase, with torch.optim; interrupted and resumed bit for bit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from fewtune.backbones.edits import settled
from fewtune.errors import Diverged
from fewtune.keys import Key
from fewtune.learning import declared
from fewtune.learning.ahead import Ahead
from fewtune.learning.checkpoints import Checkpoints, Saved
from fewtune.learning.direction import Spread, direction, look_back
from fewtune.learning.engine import answering
from fewtune.learning.fitting_memory import parts_of
from fewtune.learning.ground import Ground
from fewtune.learning.marks import Marks
from fewtune.learning.phase import Phase
from fewtune.learning.run_log import RunLog
from fewtune.learning.weighing import weighing_of
from fewtune.learning.world import World
from fewtune.parts import keep
from fewtune.parts.losses.at_most import upwards
from fewtune.parts.outer import OuterOptimizer, outer
from fewtune.parts.plan import ResolvedPlan
from fewtune.progress import Progress
from fewtune.stopping import Stopped, finishing
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import Tasks

Weights: TypeAlias = Mapping[str, Tensor]
Validate: TypeAlias = Callable[[Weights], float]


@final
@dataclass(frozen=True, eq=False)
class Course:
    """What all phases of one training run use."""

    ground: Ground
    tasks: Tasks
    key: Key
    validate: Validate | None
    checkpoints: Checkpoints
    world: World
    watch: int
    marks: Marks
    progress: Progress
    log: RunLog


@final
class Loop:
    """The steps of one phase."""

    def __init__(self, run: Course, phase: Phase, name: str, plan: ResolvedPlan, weights: Weights, key: Key) -> None:
        self.its, self.phase, self.name, self.plan, self.key = run, phase, name, plan, key
        self.origin = dict(weights)
        self.leaves = {n: weights[n].detach().clone().requires_grad_() for n in plan.moving}
        self.fixed = {n: t for n, t in weights.items() if n not in self.leaves}
        moving = {*plan.moving, *declared.inner_moving(run.ground, phase.learner, weights)}
        self.ground = run.ground.holding(weights, moving).metered()
        self.optimizer = self._optimizer()
        self.weighing = weighing_of(phase.aggregator, phase.sampler, run.tasks)
        self.kept = keep.begin(phase.keep, self._watched())
        self.seconds, self.visits = run.log.seconds, run.log.visits

    def run(self) -> dict[str, Tensor]:
        """All steps that are left; the weights to hand on, of the names that may move."""
        first = self._resume()
        began = time.perf_counter()
        ahead = Ahead(self.ground)
        with finishing() as asked, ahead:
            episodes = self._draw(first)
            for number in range(first, self.phase.steps):
                coming = self._draw(number + 1) if number + 1 < self.phase.steps else None
                if coming is not None:
                    ahead.fetch(coming)
                self._step(number, episodes, began)
                stop = self.its.world.any(asked())
                if stop or self.its.checkpoints.due:
                    self._save(number + 1)
                if stop:
                    raise Stopped(self._farewell(number + 1))
                episodes = coming if coming is not None else episodes
        if not self._finite():
            last = self.its.checkpoints.named(self.name)
            raise Diverged(f"phase {self.name} ends with weights that are no numbers: lower the learning rate, or set clip=1.0; {last}.")
        ends = {**{n: self.origin[n] for n in self.leaves}, **keep.end(self.phase.keep, self.kept, self._watched())}
        return {n: t.detach() for n, t in ends.items()}

    def _watched(self) -> Mapping[str, Tensor]:
        """The weights to keep: the leaves. Where steps are averaged, the weights that edits change, whose factors stay at the start."""
        edits = self.its.ground.edits
        if not edits or not isinstance(self.phase.keep, keep.Ema | keep.Swa):
            return self.leaves
        with torch.no_grad():
            whole = settled(edits, {**self.fixed, **self.leaves}, self.origin)
        return {n: t for n, t in whole.items() if t is not self.origin[n]}

    def _finite(self) -> bool:
        return all(bool(torch.isfinite(leaf).all()) for leaf in self.leaves.values())

    def _optimizer(self) -> OuterOptimizer:
        return outer(self.phase.optimizer, self.leaves, self.plan, clip=self.phase.clip)

    def _draw(self, number: int) -> Episodes:
        return self.phase.sampler.draw(self.its.tasks, self.key.child("draw"), number * self.phase.batch, self.phase.batch)

    def _step(self, number: int, episodes: Episodes, began: float) -> None:
        phase, log, run = self.phase, self.its.log, self.its
        if phase.restart and number and number % phase.restart == 0:
            self.optimizer = self._optimizer()
        key = self.key.child("step", number)
        weights = {**self.fixed, **self.leaves}
        answer = answering(self.ground, phase, weights, key, origin=self.origin)
        look = answering(self.ground.metered(), phase, weights, key, origin=self.origin)
        parts = parts_of(self.ground, phase, weights, episodes[run.world.share(len(episodes))])
        spread: Spread = {"parts": parts, "world": run.world, "look": look, "weighing": self.weighing}
        gradients, losses = direction(phase, answer, self.leaves, episodes, key, origin=self.origin, **spread)
        if not bool(torch.isfinite(losses).all()):
            raise Diverged(self._diverged(number, episodes, losses))
        self.optimizer.step(upwards(gradients, self.leaves), number, phase.steps)
        if self.weighing.looks_back:
            look_back(phase, self.leaves, episodes, origin=self.origin, **spread)
        self.kept = keep.observe(phase.keep, self.kept, self._watched(), number, phase.steps)
        log.steps += 1
        log.visits = self.visits + int(run.world.sum(torch.tensor(self.ground.meter.visits)))
        row: dict[str, Any] = {"phase": self.name, "step": number, "loss": float(losses.mean()), "visits": log.visits}
        if weights_of_tasks := self.weighing.last:
            row["task_weights"] = weights_of_tasks
        if (residual := self.ground.meter.residual) is not None:
            row["residual"], self.ground.meter.residual = residual, None
        log.seconds = self.seconds + time.perf_counter() - began
        self._judge(number, row)
        log.curve.append(row)
        said = f"loss {row['loss']:.3f}" + (f", validation {100 * row['validation']:.1f}%" if "validation" in row else "")
        run.progress.advance(1, said)

    def _judge(self, number: int, row: dict[str, Any]) -> None:
        """Measure validation accuracy if it is due at this step, by the phase or by `watch`; look at the run if the step is marked."""
        run, phase = self.its, self.phase
        if run.log.steps in run.marks.steps:
            row |= run.marks.look(run.log.steps, self._now())
        wanted = keep.wants_validation(phase.keep, number, phase.steps)
        if run.validate is None or not (wanted or (run.watch and (number + 1) % run.watch == 0)):
            return
        row["validation"] = run.validate(self._now())
        if wanted:
            self.kept = keep.judged(phase.keep, self.kept, self.leaves, row["validation"])

    def _now(self) -> dict[str, Tensor]:
        """All weights as they are at this step."""
        return {**self.fixed, **{n: t.detach() for n, t in self.leaves.items()}}

    def _save(self, step: int) -> None:
        if not self._finite():  # the next loss will say so; the last good checkpoint stays
            return
        leaves = {f"weights/{n}": t for n, t in self.leaves.items()}
        state = {f"optimizer/{n}": t for n, t in self.optimizer.state().items()}
        kept = {f"keep/{n}": t for n, t in self.kept.tensors().items()}
        weighing = {f"aggregator/{n}": t for n, t in self.weighing.state().items()}
        facts = {"step": step, "keep": dict(self.kept.numbers), **self.its.log.facts()}
        self.its.checkpoints.save_state(self.name, Saved({**leaves, **state, **kept, **weighing}, facts))

    def _resume(self) -> int:
        """Go back to where the phase was left; the step to do next."""
        saved = self.its.checkpoints.state(self.name)
        if saved is None:
            return 0
        parts: dict[str, dict[str, Tensor]] = {"weights": {}, "optimizer": {}, "keep": {}, "aggregator": {}}
        for name, tensor in saved.tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = tensor
        with torch.no_grad():
            for n, leaf in self.leaves.items():
                leaf.copy_(parts["weights"][n])
        self.optimizer.load(parts["optimizer"])
        self.weighing.load(parts["aggregator"])
        held = {n: t.to(self.origin[n].device) for n, t in parts["keep"].items()}
        self.kept = keep.KeepState(held, saved.facts["keep"])
        log = self.its.log
        log.restore(saved.facts)
        self.seconds, self.visits = log.seconds, log.visits
        step = int(saved.facts["step"])
        self.its.progress.skip(step)
        return step

    def _farewell(self, step: int) -> str:
        where = f"stopped after step {step} of {self.phase.steps} of phase {self.name}"
        if self.its.checkpoints.folder is None:
            return f"{where}; nothing was saved, because there is no --out."
        return f"{where}; run the same command again with --resume to go on from there."

    def _diverged(self, number: int, episodes: Episodes, losses: Tensor) -> str:
        bad = (~torch.isfinite(losses)).nonzero()[:, 0]
        query = episodes.query[bad[0]]
        rows = [self.ground.space.row_name(int(r)) for r in query[query >= 0][:5].tolist()]
        last = self.its.checkpoints.named(self.name)
        return (
            f"the loss of step {number} of phase {self.name} is {float(losses[bad[0]])} (rows such as {', '.join(rows)}): "
            f"lower the learning rate, or set clip=1.0; {last}."
        )
