"""Which label columns should be learned together: affinities from one training run, groups, alone against together, and advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.data.reading.label_table import LabelTable
from fewtune.errors import InputError, unknown
from fewtune.joint.adapt import USUAL, JointSettings, judge_columns
from fewtune.joint.advice import Advice, Findings, advice
from fewtune.joint.folds import fold_of_rows
from fewtune.joint.groups import gains_over_alone, trained_groups
from fewtune.joint.judged import INDEPENDENT, TOGETHER, TaskJudged
from fewtune.joint.networks import joint_ground, joint_space, joint_tasks
from fewtune.joint.outcome import JointJudgement
from fewtune.joint.rows import JointRows
from fewtune.keys import Key, key
from fewtune.learning.affinity import EVERY, Affinity, run_affinity
from fewtune.learning.laid_out import laid_out
from fewtune.learning.linearised import Linearised, linearised_affinity
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.learning.train import train
from fewtune.recipes.sharing import shared_bottom
from fewtune.sides.job import HERE, Workplace
from fewtune.statistics import Grouping, Interval, choose_groups, shared_features
from fewtune.statistics.sample import Floats

WIDTH, WIDER = 64, 4  # of the usual shared network; how many times as wide the one of `wider` is


@final
@dataclass(frozen=True, kw_only=True)
class RelationSettings:
    """`groups`: networks that may be trained at most. `every`: steps between two looks. `affinity`: by what columns are put into groups,
    looks ahead (TAG) or also a linearised network that is retrained on many sets of columns (Grad-TAG). `wider`: also train a shared
    network `WIDER` times as wide; `widths`: or of these numbers of hidden units. `train_groups`: also train the groups that are found.
    `minutes`, `folds`, `skip_bad`, `seed`: as for `adapt`.
    """

    groups: int = 2
    every: int = EVERY
    affinity: Literal["look_ahead", "linearised"] = "look_ahead"
    wider: bool = False
    widths: tuple[int, ...] = ()
    train_groups: bool = True
    minutes: float = 5.0
    folds: int = 5
    skip_bad: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise InputError(f"expected at least 1 group, found {self.groups}.")
        if self.every < 1:
            raise InputError(f"expected at least 1 step between two looks, found {self.every}.")
        if self.affinity not in ("look_ahead", "linearised"):
            raise unknown("affinity", self.affinity, ("look_ahead", "linearised"))
        if any(width < 1 for width in self.widths):
            raise InputError(f"expected --widths of 1 hidden unit or more, found {min(self.widths)}.")

    @property
    def swept(self) -> tuple[int, ...]:
        """The widths that are tried beside the usual one, the narrowest first."""
        return tuple(sorted({*self.widths, *([WIDTH * WIDER] if self.wider else [])} - {WIDTH}))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Relations:
    """`outcome`: each column alone and together, on held-out rows. `affinity`: from one run of the shared network. `linearised`: from the
    retraining of a linearised one, where that was asked for; then `grouping` goes by its help, else by that of `affinity`.
    `grouped`: what a network for each group gets, column by column; None where that was not trained. `widths`: of the shared networks that
    were tried. `features` [T, T]: the first look at frozen features (see `shared_features`)."""

    outcome: JointJudgement
    affinity: Affinity
    grouping: Grouping
    features: Floats
    advice: tuple[Advice, ...]
    grouped: tuple[TaskJudged, ...] | None = None
    widths: tuple[int, ...] = ()
    linearised: Linearised | None = None


def relate_columns(
    table: LabelTable, backbone: Backbone | None, settings: RelationSettings | None = None, at: Workplace = HERE
) -> Relations:
    """Who helps whom among the label columns of a table. Raises InputError for fewer than two of them."""
    how = settings or RelationSettings()
    if len(table.examples.columns) < 2:
        raise InputError("expected at least two label columns: repeat --label.")
    wide = {width_name(width): shared_bottom(width=width) for width in how.swept}
    asked = JointSettings(methods={**USUAL, **wide}, minutes=how.minutes, folds=how.folds, skip_bad=how.skip_bad, seed=how.seed)
    outcome = judge_columns(table, backbone, asked, at)
    rows, root = outcome.rows, key(how.seed, "relations")
    clock = outcome.clock
    with clock.stage("looking at who helps whom"):
        affinity = _affinity(rows, USUAL[TOGETHER], root.child("together"), how.every, how.seed)
    linearised = None
    if how.affinity == "linearised":
        with clock.stage("retraining a linearised network"):
            linearised = _linearised(rows, root.child("linearised"), how.seed)
    grouping = choose_groups(np.nan_to_num((linearised or affinity).help.mean), how.groups)
    with clock.stage("training each column alone"):
        overfits = _overfits(outcome, root.child("alone"), how.seed)
    with clock.stage("comparing features of columns"):
        targets = [task.column_targets(len(rows)) for task in rows.tasks]
        features = shared_features(rows.features.numpy(), targets, how.seed)
    grouped, notes = trained_groups(outcome, grouping, root.child("groups"), how.seed) if how.train_groups else (None, ())
    found = Findings(
        affinity=affinity,
        grouping=grouping,
        gains=[None if task.sharing is None else task.sharing.gain for task in outcome.tasks],
        overfits=overfits,
        wider=_wider(outcome, how.swept),
        grouped=gains_over_alone(outcome, grouped or ()),
    )
    return Relations(
        outcome=replace(outcome, details=(*notes, *outcome.details)),
        affinity=affinity,
        grouping=grouping,
        features=features,
        advice=advice(found),
        grouped=grouped,
        linearised=linearised,
        widths=how.swept if all(width_name(width) in outcome.tasks[0].ways for width in how.swept) else (),
    )


def width_name(width: int) -> str:
    """The name of the way of a shared network of so many hidden units."""
    return TOGETHER if width == WIDTH else f"{TOGETHER}, {width} wide"


def _affinity(rows: JointRows, method: Method, key: Key, every: int | None, seed: int) -> Affinity:
    """Of one run on all rows to learn from; `every` None: one look, at the end."""
    (phase,) = phases_of(laid_out(method, rows.outputs, seed).phases)
    space = joint_space(rows)
    return run_affinity(joint_ground(space), phase, joint_tasks(rows, space, rows.train), key, every=every or phase.steps)[0]


def _linearised(rows: JointRows, key: Key, seed: int) -> Linearised:
    """The shared network is trained on two thirds of the rows to learn from; the others judge."""
    (phase,) = phases_of(laid_out(USUAL[TOGETHER], rows.outputs, seed).phases)
    space, fold = joint_space(rows), fold_of_rows(rows, 3, key.child("rows"))
    ground = joint_ground(space)
    fit, judged = (joint_tasks(rows, space, np.flatnonzero(part)) for part in (fold > 0, fold == 0))
    weights = train(ground, (phase,), fit, key).weights
    return linearised_affinity(ground, phase, weights, fit, judged, key)


def _overfits(outcome: JointJudgement, key: Key, seed: int) -> list[float]:
    """For each column: the held-out loss of its own network over the training loss at the end of a run on all rows."""
    if any(INDEPENDENT not in task.ways for task in outcome.tasks):
        return []
    losses = _affinity(outcome.rows, USUAL[INDEPENDENT], key, None, seed).losses[-1]
    return [task.ways[INDEPENDENT].loss / max(float(loss), 1e-12) for task, loss in zip(outcome.tasks, losses, strict=True)]


def _wider(outcome: JointJudgement, widths: Sequence[int]) -> list[Interval | None]:
    """The gain of the widest shared network over the usual one, where it is wider."""
    wide = width_name(max(widths, default=0))
    if max(widths, default=0) <= WIDTH or any(wide not in task.ways for task in outcome.tasks):
        return []
    return [task.over(wide, TOGETHER, outcome.folds).gain for task in outcome.tasks]
