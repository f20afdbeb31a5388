"""Networks that tasks share, trained by the engine on the features of the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import Integers
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.joint.finetuned import Below, base_ground, moving_below, on_rows
from fewtune.joint.folds import fold_of_rows
from fewtune.joint.rows import JointRows
from fewtune.keys import Key
from fewtune.keys import key as key_of
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.laid_out import laid_out
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.learning.train import Trained, train
from fewtune.models.joint.model import Fitted, Floats
from fewtune.parts.aggregators import Mean
from fewtune.parts.heads.head import State
from fewtune.parts.losses import ByKind
from fewtune.parts.sharing import Independent
from fewtune.tasks.label_columns import label_tasks
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.task import Tasks

EVERY = 25  # steps between two looks at the rows held back
SHARE = 7  # one row in so many is held back
_ANY = key_of(0)  # nothing is drawn by it that matters


@final
@dataclass(frozen=True, eq=False)
class Network:
    """A trained network: its `method` as it was laid out for the tasks, an answer for each task, and what training took. `below`: the
    backbone that was trained with it; None where it reads the features as they are."""

    method: Method
    fitted: tuple[Fitted, ...]
    trained: Trained
    below: Below | None = None

    def features(self, rows: JointRows, asked: Integers) -> Tensor:
        """The features [n, D] of some rows that it answers."""
        asked_rows = torch.from_numpy(asked)
        return rows.features[asked_rows] if self.below is None else self.below.features(asked_rows)

    def outputs(self, rows: JointRows, asked: Integers) -> tuple[Floats, ...]:
        """The outputs of every task for some rows, [N, outputs] each; NaN for all other rows."""
        features, found = self.features(rows, asked), []
        for one, count in zip(self.fitted, rows.outputs, strict=True):
            outputs = np.full((len(rows), count), np.nan)
            outputs[asked] = one.outputs(features)
            found.append(outputs)
        return tuple(found)


def joint_space(rows: JointRows) -> RowSpace:
    """The features of all rows as vectors, with the label columns beside them."""
    return RowSpace([replace(rows.table.examples, items=Vectors(rows.features.nan_to_num().numpy()))])


def joint_tasks(rows: JointRows, space: RowSpace, train_rows: Integers) -> Tasks:
    """Every label column as a task, with the rows to learn from. Numbers are on the scale of all rows that are learned from."""
    return label_tasks(space, [task.name for task in rows.tasks], train_rows, [task.scale for task in rows.tasks])


def joint_ground(space: RowSpace) -> Ground:
    """What networks over given features are trained on."""
    return Ground(load_backbone("precomputed"), space)


def fit_network(
    rows: JointRows, method: Method, train_rows: Integers, key: Key, *, seed: int = 0, place: int = 0, base: Ground | None = None
) -> Network:
    """A sharing method trained on some rows. `seed`: of its initial weights; `place`: its number among the networks of one model; `base`:
    where its backbone is trained (`base_ground`), by default a new one.

    A seventh of the rows is held back, and every 25 steps the network is asked for it: the weights with the least mean loss over tasks are
    kept, and of a network for each task (also where a penalty ties them) those with the least loss of each task. Raises InputError for a
    method that is none for label columns, and for one that trains a backbone where there is none.
    """
    laid = laid_out(method, rows.outputs, seed)
    moving = method.moves_backbone
    ground = on_rows(base or base_ground(rows, laid), rows) if moving else joint_ground(joint_space(rows))
    space = ground.space
    inside, watched = held_back(train_rows, rows, key.child("held back"))
    watch = Watch(rows, space, ground, laid, watched, apart=not moving)
    found = train(ground, laid.phases, joint_tasks(rows, space, inside), key, validate=watch, watch=EVERY)
    answering, fitted = Method(learner=laid.learner), []
    for task, state in enumerate(_asking(rows)):
        weights = watch.best(task) or found.weights
        parameters = {n: t.detach().cpu() for n, t in ground.read(laid.head, weights).items()}
        fitted.append(Fitted(answering, state, parameters, unit=False, network=None if watch.apart else place))
    below = Below(ground, watch.best(0) or found.weights) if moving else None
    return Network(laid, tuple(fitted), found, below)


def _asking(rows: JointRows) -> list[State]:
    """For each task the state of a sharing head that asks for it: its number and the ids of its outputs."""
    ids = torch.split(torch.arange(sum(rows.outputs)), list(rows.outputs))
    return [{"task": torch.tensor([task]), "classes": mine[None]} for task, mine in enumerate(ids)]


def is_alone(method: Method) -> bool:
    """Whether a sharing method shares nothing."""
    return isinstance(method.learner, Independent) and all(phase.losses == (ByKind(),) for phase in phases_of(method.phases))


def alone_like(method: Method) -> Method:
    """A network for each column, as wide and as deep as that of a sharing method, and trained as it is: as many steps on as many rows, by
    the same optimizer at the same rate. So nothing but the sharing is compared."""
    phases: Any = phases_of(method.phases)
    shared: Any = method.learner
    head = Independent(width=shared.width, depth=shared.depth, activation=shared.activation)
    rules = tuple(rule for rule in phases[0].plan.rules if rule[0] in ("head.*", "*"))
    phase = replace(phases[0], learner=head, losses=(ByKind(),), aggregator=Mean(), plan=replace(phases[0].plan, rules=rules))
    return Method(phases=(replace(phase, steps=sum(one.steps for one in phases)),), learner=head)


def held_back(train_rows: Integers, rows: JointRows, key: Key) -> tuple[Integers, Integers]:
    """(rows to train on, rows that say when to stop): a seventh, dealt out as folds are; none where a task would be without a row in one
    of them."""
    share = replace(rows, train=train_rows, tasks=tuple(replace(t, train=np.intersect1d(t.train, train_rows)) for t in rows.tasks))
    fold = fold_of_rows(share, SHARE, key)
    inside, watched = np.flatnonzero(fold > 0), np.flatnonzero(fold == 0)
    both = all(np.isin(task.train, part).any() for task in share.tasks for part in (inside, watched))
    return (inside, watched) if both else (train_rows, train_rows[:0])


@final
class Watch:
    """The validation of a training run: it measures the loss of every task on rows held back, and remembers the best weights. `apart`:
    whether each task of a network for each task may keep weights of its own time."""

    def __init__(self, rows: JointRows, space: RowSpace, ground: Ground, laid: Method, watched: Integers, *, apart: bool = True) -> None:
        self._ground, self._method = ground, laid
        self.apart = apart and isinstance(laid.learner, Independent) and len(rows.tasks) > 1
        tasks = joint_tasks(rows, space, watched) if len(watched) else None
        self._asked = None if tasks is None else PerTask(batch=int(tasks.sizes().max())).draw(tasks, _ANY, 0, len(tasks))
        self._least = [math.inf] * len(rows.tasks)
        self._best: list[dict[str, Tensor] | None] = [None] * len(rows.tasks)

    def __call__(self, weights: Mapping[str, Tensor]) -> float:
        """Minus the mean loss over tasks (more is better); 0 where nothing is held back."""
        if self._asked is None:
            return 0.0
        with torch.inference_mode():
            losses = ByKind()(respond(self._ground, self._method.learner, weights, self._asked, _ANY)).double()
        each = losses.tolist() if self.apart else [float(losses.mean())] * len(losses)
        snapshot: dict[str, Tensor] | None = None
        for task, loss in enumerate(each):
            if loss < self._least[task]:
                snapshot = snapshot or self._copied(weights)
                self._least[task], self._best[task] = loss, snapshot
        return -float(losses.mean())

    def _copied(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights as they are now. What no step changes stays the same tensors: what is kept of the frozen part goes by them."""
        still = self._ground.names - moving_below(self._ground, weights, self._method)
        return {n: t if n in still else t.detach().clone() for n, t in weights.items()}

    def best(self, task: int) -> dict[str, Tensor] | None:
        """The best weights for a task; None where nothing was measured."""
        return self._best[task]
