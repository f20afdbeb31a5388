"""Which tasks of the sources suit some labelled rows of the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.learners.side import Side
from fewtune.learners.target import Target
from fewtune.sources.finetune import MOST_SOURCES, Finetuner
from fewtune.sources.settings import SourceSettings
from fewtune.sources.source_rows import SourceRows
from fewtune.sources.tuner import MOST_WAYS
from fewtune.tasks.candidates import candidate_tasks
from fewtune.tasks.selection import ConsistencyDiversity, Evidence, Trace, choose_p, no_diversity
from fewtune.tasks.task import Tasks

NEAREST = 10  # tasks whose sources judge the values of p that are tried


@final
@dataclass(frozen=True, eq=False)
class Choosing:
    """`candidates`: the tasks of `source_rows` that may be chosen. `target`, `frozen`: whose rows, by the backbone as it came. `how`: the
    selection, and the values of p that are tried.
    """

    candidates: Tasks
    source_rows: SourceRows
    target: Target
    frozen: Side
    how: SourceSettings

    def trace(self, tuner: Finetuner, rows: Integers, *, tries: bool = True) -> Trace:
        """What is decided of every candidate for these rows of the target. Without `tries` no value of p is tried."""
        source_rows, candidates = self.source_rows, self.candidates
        evidence = Evidence(
            features=lambda asked: source_rows.features[torch.from_numpy(asked)],
            target=self.frozen.features[torch.from_numpy(rows)],
            target_label=torch.from_numpy(self.target.labels[rows]),
        )
        selection = self.how.selection
        if isinstance(selection, ConsistencyDiversity) and self.how.tries and tries:
            nearest = source_rows.leading(no_diversity(most=NEAREST).select(candidates, evidence), MOST_SOURCES)
            selection = choose_p(selection, self.how.tries, candidates, evidence, lambda tasks: tuner.worth(tasks, nearest))
        return selection.trace(candidates, evidence)

    def chosen(self, tuner: Finetuner, rows: Integers) -> Tasks:
        """The tasks that suit these rows of the target."""
        return self.candidates.take(self.trace(tuner, rows).taken)

    def leading(self, taken: Integers) -> tuple[str, ...]:
        """The sources that most of the classes of these candidates are from."""
        return self.source_rows.leading(self.candidates.take(taken), MOST_SOURCES)


def choosing_for(target: Target, frozen: Side, source_rows: SourceRows, how: SourceSettings, seed: int) -> Choosing:
    """With candidates that have as many classes as the target, 15 at most."""
    tasks = source_rows.tasks("train")
    assert tasks is not None  # `usable_rows` refuses sources without
    candidates = candidate_tasks(tasks, min(len(target.class_names), MOST_WAYS), how.candidates, key(seed, "candidates"))
    return Choosing(candidates, source_rows, target, frozen, how)
