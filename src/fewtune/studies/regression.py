"""Few-shot regression: methods on the same tasks whose rows are labelled with numbers, judged by RMSE.

`fewtune.compare` draws its episodes from classes; here a task is a group of the data (a sinusoid, a patient, a machine) and an episode some
of its rows. The same recipes serve, with numbers in the place of classes (`in_numbers`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import Diverged, InputError
from fewtune.keys import check_seeds, key
from fewtune.learning.declared import for_testing
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.train import train
from fewtune.parts.heads import Linear, Ridge
from fewtune.parts.losses import CrossEntropy, SquaredError
from fewtune.recipes import named, read_method
from fewtune.spec import text
from fewtune.statistics import Interval, paired_interval, seeds_interval, t_interval
from fewtune.tasks.points import Points
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.target_rows import target_tasks

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]

HEADS = (Ridge, Linear)  # that predict numbers


@final
@dataclass(frozen=True, eq=False)
class Errors:
    """A method at one number of `shots`. `rmse` [training seeds, episodes], in the units of the targets, of the same episodes for all
    methods. `visits`: rows looked at in training, by one seed."""

    method: str
    shots: int
    rmse: Floats
    visits: int

    @property
    def over_episodes(self) -> Interval:
        """The mean over episodes of the RMSE, itself the mean over seeds; 95%, by Student's t."""
        return t_interval(self.rmse.mean(0))

    @property
    def over_seeds(self) -> Interval:
        """The same mean with what another training run would give; NaN bounds for one seed."""
        means = self.rmse.mean(1)
        return seeds_interval(means, np.arange(len(means)))

    def above(self, other: Errors) -> Interval:
        """By how much the error is above that of another method, paired over episodes; below 0 where it is better."""
        return paired_interval(self.rmse.mean(0) - other.rmse.mean(0))


def in_numbers(method: Method, width: int = 1) -> Method:
    """A method for classes as one for `width` numbers: squared error for cross-entropy, points of a task for rows of drawn classes, linear
    heads with an output for each number. What has no classes in it stays as it is.

    Raises InputError for a head that predicts classes only, or a table of classes.

    >>> in_numbers(maml(shots=5)).phases[0].sampler
    Points(shots=5, queries=5, task='collection')
    """
    for head in method.heads:
        if not isinstance(head, HEADS) or (isinstance(head, Linear) and (head.rows == "class" or head.start in ("centroid", "text"))):
            raise InputError(
                f"its head {text(head)} is for classes: expected one that predicts numbers, as in ridge, r2d2, maml or reptile."
            )
    found = _mapped(method, width)
    assert isinstance(found, Method)
    return found


def _mapped(part: Any, width: int) -> Any:
    match part:
        case Sampled():
            return Points(shots=part.shots, queries=part.queries)
        case CrossEntropy():
            return SquaredError()
        case Linear(start="shared"):
            return replace(part, ways=width)
        case tuple():
            return tuple(_mapped(one, width) for one in part)
    if not is_dataclass(part) or isinstance(part, type):
        return part
    inside = {f.name: getattr(part, f.name) for f in fields(part) if f.init}
    changed = {name: new for name, value in inside.items() if (new := _mapped(value, width)) is not value and new != value}
    return dataclasses.replace(part, **changed) if changed else part


def compare_regression(
    target: Examples,
    methods: Mapping[str, Method | str] | Sequence[str],
    backbone: Backbone,
    *,
    source: Examples | None = None,
    shots: Sequence[int] = (5, 10),
    queries: int = 100,
    episodes: int = 600,
    seeds: Sequence[int] = (0,),
    episode_seed: int = 0,
) -> list[Errors]:
    """Methods on the same few-shot episodes of tasks whose labels are numbers, a task for each group of the data.

    `target`: what episodes are drawn from; its label column holds floats [N, L]. `methods`: as in `fewtune.compare`; each is taken
    `in_numbers`. `source`: what methods that train learn from, groups that are not in the target. `shots` and `queries`: rows of a task to
    learn from and to be asked. `seeds`: of the training. Raises InputError for labels that are classes, other widths of targets, methods
    that train without a source, or tasks with too few rows, and Diverged where errors are not finite.

    >>> from fewtune.studies.sinusoid import waves
    >>> new, plain = waves("new", 20, 30, seed=1), load_backbone("precomputed")
    >>> found = compare_regression(new, ["ridge(penalty=0.1)"], plain, queries=10, episodes=20)
    >>> [(one.method, one.shots, one.rmse.shape) for one in found]
    [('ridge(penalty=0.1)', 5, (1, 20)), ('ridge(penalty=0.1)', 10, (1, 20))]
    """
    check_seeds(seeds, "training seeds")
    space = RowSpace([target])
    tasks = target_tasks(space)
    width = _width(target)
    given = _methods(methods, width)
    if source is not None and (shared := set(source.group_names) & set(target.group_names)):
        raise InputError(f"task {sorted(shared)[0]!r} is in the source and in the target: expected tasks that were never trained on.")
    drawn = {n: Points(shots=n, queries=queries).draw(tasks, key(episode_seed, "episodes"), 0, episodes) for n in shots}
    found = []
    for name, method in given.items():
        if method.phases and source is None:
            raise InputError(f"{name} trains on a source, but none is given: add other tasks with source=...")
        ends = [_trained(method, backbone, source, target, seed) for seed in (seeds if method.phases else seeds[:1])]
        for n, asked in drawn.items():
            ground = Ground(backbone, space, method.edits)
            each = [_rmse(ground, method, weights, asked, seed) for (weights, _), seed in zip(ends, seeds, strict=False)]
            if not np.isfinite(each).all():
                raise Diverged(f"{name}: errors are not finite at {n} shots: give smaller rates.")
            found.append(Errors(name, n, np.stack(each), ends[0][1]))
    return found


def _methods(methods: Mapping[str, Method | str] | Sequence[str], width: int) -> dict[str, Method]:
    pairs = methods.items() if isinstance(methods, Mapping) else map(named, methods)
    found = {}
    for name, given in pairs:
        try:
            found[name] = in_numbers(given if isinstance(given, Method) else read_method(str(given)), width)
        except InputError as problem:
            raise InputError(f"{name}: {problem}") from None
    return found


def _width(target: Examples) -> int:
    return int(target.column.values.shape[1])


def _trained(method: Method, backbone: Backbone, source: Examples | None, target: Examples, seed: int) -> tuple[Any, int]:
    """(the weights that a method is tested with, rows that training looked at)."""
    if not method.phases or source is None:
        return Ground(backbone, RowSpace([target]), method.edits).start(), 0
    if _width(source) != _width(target):
        raise InputError(f"{source.name} has {_width(source)} numbers a row, {target.name} {_width(target)}: expected as many.")
    space = RowSpace([source])
    ended = train(Ground(backbone, space, method.edits), method.phases, target_tasks(space), key(seed, "training"), quiet=True)
    return ended.weights, ended.visits


def _rmse(ground: Ground, method: Method, weights: Any, asked: Any, seed: int) -> Floats:
    """Of each episode [E]."""
    held = for_testing(ground, method.learner, {n: t.detach() for n, t in weights.items()})
    with torch.no_grad():
        squared = SquaredError()(respond(ground, method.learner, held, asked, key(seed, "testing")))
    found: Floats = squared.double().sqrt().cpu().numpy()
    return found
