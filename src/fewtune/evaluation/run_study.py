"""Running a study: every method on the same episodes, trained as often as asked; what is done already is not done again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from fewtune.evaluation.answers import Scores, score_each, score_table
from fewtune.evaluation.partial import NOTHING, Partial
from fewtune.evaluation.result import SCHEMA, UNTRAINED, Result, make_result
from fewtune.evaluation.study import DEFAULTS, Drawn, Study
from fewtune.evaluation.trainer import Learned, Learning
from fewtune.evaluation.training_settings import Cost
from fewtune.keys import key
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt
from fewtune.learning.world import ALONE, World
from fewtune.spec import digest, text
from fewtune.tasks.episodes import Episodes


@final
@dataclass(frozen=True, eq=False)
class Outcomes:
    """The rows of all methods, the episodes by (protocol number, seed), what training cost, what was noticed, a sentence each,
    and where they are kept if that is not where it was asked for."""

    result: Result
    drawn: Drawn
    costs: tuple[Cost, ...]
    notes: tuple[str, ...]
    kept: Path | None = None


def run_study(study: Study, partial: Partial = NOTHING, *, world: World = ALONE, quiet: bool = True) -> Outcomes:
    """Every method of the study on its episodes. What `partial` holds is read from there, what is new is kept there."""
    drawn = study.draw()
    vectors = vectors_by_prompts(
        study.backbone, study.target.class_names, [m for v in study.methods.values() for m in v.values() if m.frozen]
    )
    rows = _Rows(study, drawn, digest(study.text()))
    learning = Learning(study, partial, world, quiet)
    columns: list[dict[str, Any]] = []
    costs: list[Cost] = []
    labels: dict[str, str] = {}  # what a sweep chose, by method
    for name, variants in study.methods.items():
        method = variants[DEFAULTS]
        if method.frozen:
            for place, episodes in drawn.items():
                scores = score_table(method.head, study.features, episodes, vectors.get(prompts_of(method.head)))
                columns.append(rows.made(name, method, UNTRAINED, place, scores))
            continue
        other = study.beside.get(name)
        chosen = labels[name] = learning.choose(name, variants) if other is None else labels[other]
        for seed in study.training.seeds if variants[chosen].phases else study.training.seeds[:1]:
            ready = learning.learn(name, variants, chosen, seed)
            columns += _tested(study, drawn, rows, name, ready, partial, quiet)
            costs.append(ready.cost)
            if ready.trained.moved:
                partial.keep_model(name, seed, {n: ready.trained.weights[n] for n in ready.trained.moved}, ready.trained.curve)
            learning.forget(ready)
    return Outcomes(make_result(columns), drawn, tuple(costs), (*_left_out(study), *learning.notes))


def _left_out(study: Study) -> tuple[str, ...]:
    """What of the target no episode is drawn from, a sentence for each setting that it holds for, or for all."""
    each = [protocol.left_out(study.target) for protocol in study.protocols]
    if len(set(each)) == 1:
        every = f", in every setting ({', '.join(p.shots for p in study.protocols)} shots)" if len(each) > 1 else ""
        return tuple(f"Test episodes: {sentence}{every}." for sentence in each[0])
    return tuple(
        f"Test episodes of {protocol.ways} ways and {protocol.shots} shots: {sentence}."
        for protocol, said in zip(study.protocols, each, strict=True)
        for sentence in said
    )


def _tested(study: Study, drawn: Drawn, rows: _Rows, name: str, ready: Learned, partial: Partial, quiet: bool) -> list[dict[str, Any]]:
    """The rows of one trained method."""
    method, seed = ready.method, ready.cost.seed
    batches = tested_on(method, drawn, study.training.adapted)
    tested = digest("\n".join([rows.identity, ready.identity, text(method)]))
    known = partial.rows(tested)
    if known is None:
        at = key(seed, "testing")
        found = score_each(
            Ground(study.backbone, study.target, method.edits),
            method.learner,
            ready.trained.weights,
            list(batches.values()),
            at=at,
            quiet=quiet,
        )
        known = {place: {"accuracy": s.accuracy, "loss": s.loss, "seconds": s.seconds} for place, s in zip(batches, found, strict=True)}
        partial.keep_rows(tested, known)
    trained = seed if method.phases else UNTRAINED
    return [rows.made(name, method, trained, place, Scores(**known[place])) for place in batches]


def tested_on(method: Method, drawn: Drawn, adapted: int) -> Drawn:
    """The episodes that a method is tested on: the first `adapted` of each batch where it moves weights on each of them, else all."""
    return {place: e[:adapted] for place, e in drawn.items()} if isinstance(method.learner, Adapt) else drawn


@final
@dataclass(frozen=True, eq=False)
class _Rows:
    """Makes the columns of a result."""

    study: Study
    drawn: Drawn
    identity: str

    def made(self, name: str, method: Method, trained: int, place: tuple[int, int], scores: Scores) -> dict[str, Any]:
        setting, seed = place
        count = len(scores.accuracy)
        protocol, episodes = self.study.protocols[setting], self.drawn[place]
        names = np.array(protocol.tasks(self.study.target).names, dtype=object)
        constant = {
            "study": self.identity,
            "method": name,
            "spec": text(method),
            "setting": setting,
            "seed": seed,
            "training": trained,
            "ways": protocol.ways,
            "shots": protocol.shots,
            "metric": "accuracy",
        }
        columns = {
            "episode": np.arange(count),
            "task": _names(names, episodes)[:count],
            "value": scores.accuracy,
            "loss": scores.loss,
            "seconds": [scores.seconds / count] * count,
        }
        return {f.name: columns[f.name] if f.name in columns else [constant[f.name]] * count for f in SCHEMA}


def _names(names: Sequence[str] | np.ndarray[Any, Any], episodes: Episodes) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = np.asarray(names, dtype=object)[episodes.task.numpy()]
    return found
