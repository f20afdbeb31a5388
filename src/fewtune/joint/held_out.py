"""The answers of every way to rows that it has not seen: each fold is answered by what learned from the others."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from fewtune.data.examples import Integers
from fewtune.joint.finetuned import base_ground
from fewtune.joint.folds import fold_of_rows
from fewtune.joint.networks import Network, fit_network
from fewtune.joint.rows import JointRows, JointTask
from fewtune.joint.ways import HEADS, fit_head
from fewtune.keys import Key
from fewtune.learning.budget import each_phase
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import phases_of
from fewtune.models.joint.model import Floats
from fewtune.sides.clock import Clock
from fewtune.words import counted

FEW_FOLDS = 5  # the usual number: so many are never too many
_FEW, _MORE = 1, 4  # steps that the speed is measured in


@final
@dataclass(frozen=True, eq=False)
class Part:
    """One fold: `rows` as they are where only the rows of the other folds are learned from, and the rows that are `asked`."""

    number: int
    rows: JointRows
    asked: Integers


def parts_of(rows: JointRows, fold: Integers, folds: int) -> tuple[Part, ...]:
    """Every fold, by the fold of each row [N] (-1: not learned from). Nothing of a fold is measured on the rows that are asked."""
    return tuple(
        Part(number, rows.learned_on(np.flatnonzero((fold >= 0) & (fold != number))), np.flatnonzero(fold == number))
        for number in range(folds)
    )


def folds_in_time(rows: JointRows, folds: int, clock: Clock, key: Key) -> tuple[tuple[Part, ...], list[str]]:
    """(the folds that are asked for, sentences). Where there are more than `FEW_FOLDS` and the heads on all of them would take more than
    half of the time that is left, there are fewer."""
    fold = fold_of_rows(rows, folds, key)
    if folds <= FEW_FOLDS:
        return parts_of(rows, fold, folds), []
    began = time.monotonic()
    heads_held_out(rows, parts_of(rows, fold, 1))
    each = time.monotonic() - began
    if 2 * folds * each <= clock.left:
        return parts_of(rows, fold, folds), []
    fewer, enough = max(FEW_FOLDS, int(clock.left / (2 * each))), math.ceil((clock.spent + 2 * folds * each) / 60 + 0.25)
    said = f"Too little time for {folds:,} folds, so there are {fewer}: they take about {counted(enough, 'minute')}: {clock.ask(enough)}."
    return parts_of(rows, fold_of_rows(rows, fewer, key), fewer), [said]


def heads_held_out(rows: JointRows, parts: tuple[Part, ...]) -> list[dict[str, Floats]]:
    """For each task the held-out outputs [N, outputs] of each head on the features, by its name."""
    found: list[dict[str, Floats]] = [{} for _ in rows.tasks]
    for place, task in enumerate(rows.tasks):
        for name, head in HEADS[task.column.kind].items():
            outputs = np.full((len(rows), task.outputs), np.nan)
            for part in parts:
                asked, inside = np.intersect1d(task.train, part.asked), part.rows.tasks[place]
                if len(asked):
                    answers = fit_head(part.rows, inside, head, part.rows.train).outputs(part.rows.features[asked])
                    outputs[asked] = on_scale(answers, inside, task)
            found[place][name] = outputs
    return found


def networks_held_out(
    rows: JointRows,
    parts: tuple[Part, ...],
    methods: Mapping[str, Method],
    clock: Clock,
    root: Key,
    seed: int,
    outputs: list[dict[str, Floats]],
) -> tuple[Mapping[str, Method], list[str]]:
    """Add the held-out outputs of networks to those of heads; (the networks that took part, sentences). After the first one the time that
    all would take is known: where the budget does not allow it, none takes part."""
    runs = [(part, name) for part in parts for name in methods]
    made: dict[str, list[Floats]] = {name: [np.full((len(rows), n), np.nan) for n in rows.outputs] for name in methods}
    for done, (part, name) in enumerate(runs):
        with clock.stage(f"training {name}, run {done + 1} of {len(runs)}") as stage:
            network = fit_network(part.rows, methods[name], part.rows.train, root.child("fold", part.number), seed=seed)
            _keep(made[name], network, part, rows)
        needed = (len(runs) + len(methods)) * stage.seconds
        if not done and needed > clock.left:
            enough = math.ceil((clock.spent + needed) / 60 + 0.25)
            return {}, [f"Too little time to learn columns together: it takes about {counted(enough, 'minute')}: {clock.ask(enough)}."]
    for name, each in made.items():
        for place, one in enumerate(each):
            outputs[place][name] = one
    return methods, []


def finetuned_held_out(
    rows: JointRows,
    parts: tuple[Part, ...],
    name: str,
    method: Method,
    clock: Clock,
    root: Key,
    seed: int,
    outputs: list[dict[str, Floats]],
) -> list[str]:
    """Add the held-out outputs of a network that is trained with the backbone below it; sentences. It takes no part where the budget does
    not allow a run for each fold and one on all rows, which is measured in a few steps first."""
    base = base_ground(rows, method)
    with clock.stage("measuring the speed of finetuning"):
        run = _seconds_a_run(parts[0].rows, method, base, root)
    needed = (len(parts) + 1) * run
    if needed > clock.left:
        enough = math.ceil((clock.spent + needed) / 60 + 0.25)
        return [f"Too little time to finetune the backbone: it takes about {counted(enough, 'minute')}: {clock.ask(enough)}."]
    made = [np.full((len(rows), n), np.nan) for n in rows.outputs]
    for part in parts:
        with clock.stage(f"finetuning the backbone, run {part.number + 1} of {len(parts)}"):
            network = fit_network(part.rows, method, part.rows.train, root.child("fold", part.number), seed=seed, base=base)
            _keep(made, network, part, rows)
    for place, one in enumerate(made):
        outputs[place][name] = one
    return []


def _seconds_a_run(rows: JointRows, method: Method, base: Ground, root: Key) -> float:
    """The time of one run, measured in a few steps; what all runs share is computed on the way."""

    def taken(steps: int) -> float:
        short = replace(method, phases=each_phase(method.phases, lambda phase: replace(phase, steps=min(steps, phase.steps))))
        began = time.monotonic()
        fit_network(rows, short, rows.train, root.child("speed"), base=base)
        return time.monotonic() - began

    taken(_FEW)  # the first pass pays for what later ones share
    few, more, phases = taken(_FEW), taken(_MORE), phases_of(method.phases)
    each = max(more - few, 0.0) / ((_MORE - _FEW) * len(phases))
    return few + each * sum(max(phase.steps - _FEW, 0) for phase in phases)


def _keep(whole: list[Floats], network: Network, part: Part, rows: JointRows) -> None:
    """Put what a network answers to the rows of its fold into the outputs of all rows."""
    answers = network.outputs(part.rows, part.asked)
    for mine, found, inside, task in zip(whole, answers, part.rows.tasks, rows.tasks, strict=True):
        mine[part.asked] = on_scale(found[part.asked], inside, task)


def on_scale(outputs: Floats, learned: JointTask, task: JointTask) -> Floats:
    """Outputs for numbers, from standard deviations of the rows that were `learned` to those of `task`; of other columns as they are."""
    (center, spread), (middle, unit) = learned.scale, task.scale
    return outputs if learned.scale == task.scale else (outputs * spread + center - middle) / unit
