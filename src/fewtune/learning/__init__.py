"""The engine: a `Method`, a backbone and tasks come in; trained weights, or answers to episodes, go out.

`Method`, `Phase`, `Adapt` and `Average` describe what to do. `fewtune.learning.train.train` runs the source phases on a `Ground` (a
backbone and its rows); `respond` answers episodes; `answer_table` does so for a head on a table of features.
"""

from fewtune.learning.budget import budgeted, fit_phases
from fewtune.learning.checkpoints import Checkpoints
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.on_features import answer_table, correct_on_table
from fewtune.learning.phase import Adapt, Average, Greedy, Implicit, Learner, Phase, Step, heads_of, phases_of
from fewtune.learning.train import Trained
from fewtune.learning.world import ALONE, World, join_world, leave_world

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
]
