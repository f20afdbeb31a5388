"""Cells become a result: rows in order, notes and costs, from the outline of the bench alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.evaluation.answers import Scores
from fewtune.evaluation.cells import Cell, CellValue
from fewtune.evaluation.outline import Outline
from fewtune.evaluation.result import SCHEMA, UNTRAINED, Result, Right, make_result
from fewtune.evaluation.study import DEFAULTS, Drawn
from fewtune.evaluation.training_settings import Cost


@final
@dataclass(frozen=True, eq=False)
class Outcomes:
    """The rows of all methods, the episodes by (setting, seed), what training cost, what was noticed, a sentence each, and where they are
    kept if that is not where it was asked for.

    `right`: which queries each cell answered correctly, bool [E, Q], by (setting, episode seed, method, training seed).
    """

    result: Result
    drawn: Drawn
    costs: tuple[Cost, ...]
    notes: tuple[str, ...]
    kept: Path | None = None
    right: Right = field(default_factory=dict)


def assembled(
    outline: Outline, drawn: Drawn, tasks: Mapping[tuple[int, int], np.ndarray[Any, Any]], values: Mapping[Cell, CellValue]
) -> Outcomes:
    """The outcome of a study from the values of its cells, in their order. `tasks`: the task names of each episode, by (setting, seed)."""
    columns: list[dict[str, Any]] = []
    costs: list[Cost] = []
    right: dict[tuple[int, int, str, int], np.ndarray[Any, np.dtype[np.bool_]]] = {}
    notes: dict[str, None] = {}
    for number, sentences in enumerate(outline.left_out):
        notes |= dict.fromkeys(named_by_study(outline, number, sentences))
    for cell, value in values.items():
        notes |= dict.fromkeys(named_by_study(outline, cell.study, value.notes))
        if value.cost is not None:
            costs.append(value.cost)
        spec, learns = outline.methods[cell.method][DEFAULTS if value.cost is None else value.cost.chosen]
        trained = cell.seed if learns else UNTRAINED
        for (protocol, seed), scores in value.scores.items():
            setting = outline.setting(cell.study, protocol)
            columns.append(_columns(outline, cell, (setting, seed), scores, spec=spec, training=trained, task=tasks[setting, seed]))
            right[setting, seed, cell.method, trained] = scores.right
    return Outcomes(make_result(columns), drawn, tuple(costs), tuple(notes), right=right)


def named_by_study(outline: Outline, study: int, sentences: Sequence[str]) -> list[str]:
    """Sentences on one of several studies, with its target and backbone before them."""
    if len(outline.targets) == 1:
        return list(sentences)
    several = [names[study] for names in (outline.targets, outline.backbones) if len(set(names)) > 1]
    return [f"{', '.join(several)}: {sentence}" for sentence in sentences]


def _columns(outline: Outline, cell: Cell, place: tuple[int, int], scores: Scores, **given: Any) -> dict[str, Any]:
    """The columns of a result for one cell in one setting, by one seed of the episodes."""
    setting, seed = place
    _, _, ways, shots = outline.settings[setting]
    count = len(scores.accuracy)
    constant = {
        "study": outline.identity,
        "target": outline.targets[cell.study],
        "backbone": outline.backbones[cell.study],
        "method": cell.method,
        "spec": given["spec"],
        "setting": setting,
        "seed": seed,
        "training": given["training"],
        "ways": ways,
        "shots": shots,
        "metric": outline.metric,
    }
    columns = {
        "episode": np.arange(count),
        "task": given["task"][:count],
        "value": scores.judged,
        "loss": scores.loss,
        "seconds": [scores.seconds / count] * count,
    }
    return {f.name: columns[f.name] if f.name in columns else [constant[f.name]] * count for f in SCHEMA}
