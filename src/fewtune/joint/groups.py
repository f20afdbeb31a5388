"""The groups that were found, trained as groups: a shared network for each, on the same folds as one for all and one for each column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fewtune.joint.held_out import on_scale
from fewtune.joint.judged import INDEPENDENT, TOGETHER, TaskJudged, judged_task
from fewtune.joint.networks import fit_network
from fewtune.joint.outcome import JointJudgement
from fewtune.joint.rows import JointRows
from fewtune.keys import Key
from fewtune.models.joint.model import Floats
from fewtune.statistics import Grouping, Interval
from fewtune.words import counted

GROUPS = "groups"


def trained_groups(
    outcome: JointJudgement, grouping: Grouping, key: Key, seed: int
) -> tuple[tuple[TaskJudged, ...] | None, tuple[str, ...]]:
    """(each column by a network for its group, beside the other ways, with what groups gain over one network for all; sentences).

    None where nothing is to be trained: no network for all, one group of all columns, or too little time. A group of one column is the
    network of its own, which is known already. The groups were found on all rows, held-out ones too, so that the gain is a little too high.
    """
    rows, clock = outcome.rows, outcome.clock
    together = outcome.methods.get(TOGETHER)
    every = tuple(range(len(rows.tasks)))
    if together is None or any(INDEPENDENT not in task.ways for task in outcome.tasks) or grouping.groups == (every,):
        return None, ()
    larger = [number for number, group in enumerate(grouping.groups) if len(group) > 1 and number in grouping.served]
    found: list[Floats] = [np.full((len(rows), task.outputs), np.nan) for task in rows.tasks]
    runs = [(number, part) for number in larger for part in outcome.parts]
    for done, (number, part) in enumerate(runs):
        with clock.stage(f"training group {number + 1}, run {done + 1} of {len(runs)}") as stage:
            group = grouping.groups[number]
            inside = of_tasks(part.rows, group)
            network = fit_network(inside, together, inside.train, key.child("fold", part.number, number), seed=seed)
            for place, task, outputs in zip(group, inside.tasks, network.outputs(inside, part.asked), strict=True):
                if grouping.served[place] == number:
                    found[place][part.asked] = on_scale(outputs[part.asked], task, rows.tasks[place])
        if not done and (len(runs) - 1) * stage.seconds > clock.left:
            enough = math.ceil((clock.spent + (len(runs) - 1) * stage.seconds) / 60 + 0.25)
            return None, (f"Too little time to train the groups: it takes about {counted(enough, 'minute')}: {clock.ask(enough)}.",)
    return tuple(_judged(outcome, grouping, place, found[place]) for place in every), ()


def gains_over_alone(outcome: JointJudgement, grouped: Sequence[TaskJudged]) -> list[Interval | None]:
    """What a network for its group gives each column over one of its own; None for a column that is a group by itself."""
    return [None if one.ways[GROUPS] is one.ways[INDEPENDENT] else one.over(GROUPS, INDEPENDENT, outcome.folds).gain for one in grouped]


def of_tasks(rows: JointRows, group: tuple[int, ...]) -> JointRows:
    """Rows with some of their columns alone."""
    tasks = tuple(rows.tasks[place] for place in group)
    return replace(rows, tasks=tasks, train=np.unique(np.concatenate([task.train for task in tasks])))


def _judged(outcome: JointJudgement, grouping: Grouping, place: int, outputs: Floats) -> TaskJudged:
    """A column by its group beside all other ways; `sharing`: the gain of its group over one network for all."""
    known = outcome.tasks[place]
    metrics: dict[str, str] = {known.task.column.kind: known.metric.name}
    if len(grouping.groups[grouping.served[place]]) == 1:
        own = known.ways[INDEPENDENT]
    else:
        own = judged_task(outcome.rows, place, {GROUPS: outputs}, outcome.folds, pair=None, metrics=metrics).ways[GROUPS]
    mine = replace(known, ways={**known.ways, GROUPS: own})
    return replace(mine, sharing=mine.over(GROUPS, TOGETHER, outcome.folds))
