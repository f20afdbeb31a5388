"""The engine: a `Method`, a backbone and tasks come in; trained weights, or answers to episodes, go out.

`Method`, `Phase`, `Adapt` and `Average` describe what to do. `fewtune.learning.train.train` runs the source phases on a `Ground` (a
backbone and its rows); `respond` answers episodes; `answer_table` does so for a head on a table of features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.learning.budget import budgeted, fit_phases
    from fewtune.learning.checkpoints import Checkpoints
    from fewtune.learning.engine import respond
    from fewtune.learning.ground import Ground
    from fewtune.learning.laid_out import task_vectors
    from fewtune.learning.method import Method
    from fewtune.learning.on_features import answer_table, correct_on_table
    from fewtune.learning.phase import Adapt, Average, Greedy, Implicit, Learner, Phase, Step, heads_of, phases_of
    from fewtune.learning.train import Trained
    from fewtune.learning.world import ALONE, World, join_world, leave_world

# the file of each name; imported when the name is first used, so that predicting does not import what trains
_WHERE = {
    "ALONE": "world",
    "Adapt": "phase",
    "Average": "phase",
    "Checkpoints": "checkpoints",
    "Greedy": "phase",
    "Ground": "ground",
    "Implicit": "phase",
    "Learner": "phase",
    "Method": "method",
    "Phase": "phase",
    "Step": "phase",
    "Trained": "train",
    "World": "world",
    "answer_table": "on_features",
    "budgeted": "budget",
    "correct_on_table": "on_features",
    "fit_phases": "budget",
    "heads_of": "phase",
    "join_world": "world",
    "leave_world": "world",
    "phases_of": "phase",
    "respond": "engine",
    "task_vectors": "laid_out",
}

__all__ = [
    "ALONE",
    "Adapt",
    "Average",
    "Checkpoints",
    "Greedy",
    "Ground",
    "Implicit",
    "Learner",
    "Method",
    "Phase",
    "Step",
    "Trained",
    "World",
    "answer_table",
    "budgeted",
    "correct_on_table",
    "fit_phases",
    "heads_of",
    "join_world",
    "leave_world",
    "phases_of",
    "respond",
    "task_vectors",
]

__getattr__, __dir__ = opened(__name__, _WHERE)
