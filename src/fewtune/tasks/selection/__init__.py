"""Choosing the tasks to finetune on.

Candidate tasks and the evidence about them (frozen features of their rows and of the target's support) come in; the chosen tasks go out,
and a `Trace` of every decision. `SCORES` and `CHOICES` list what the text of a method can name.
"""

from fewtune.tasks.selection.affinity import GradientAffinity, TagAffinity
from fewtune.tasks.selection.beside import Suits, beside
from fewtune.tasks.selection.choose_p import choose_p
from fewtune.tasks.selection.consistency import ConsistencyDiversity
from fewtune.tasks.selection.evidence import Evidence
from fewtune.tasks.selection.moments import Moments, coverage, moments_of
from fewtune.tasks.selection.named import (
    CHOICES,
    all_tasks,
    consistency_diversity,
    gradients,
    no_consistency,
    no_diversity,
    random_tasks,
    round_robin,
    seeded,
)
from fewtune.tasks.selection.rows import ROW_SCORES, GradientRow, Less, NearestRow, RoundRobin, RowScore
from fewtune.tasks.selection.score import MeanCosine, NearestClasses, Ranked, Score
from fewtune.tasks.selection.trace import Trace, Traced
from fewtune.tasks.selection.transferability import HScore, Leep, LogMe

SCORES = (MeanCosine, NearestClasses, Leep, LogMe, HScore, GradientAffinity, TagAffinity, Less)

__all__ = [
    "CHOICES",
    "ROW_SCORES",
    "SCORES",
    "ConsistencyDiversity",
    "Evidence",
    "GradientAffinity",
    "GradientRow",
    "HScore",
    "Leep",
    "Less",
    "LogMe",
    "MeanCosine",
    "Moments",
    "NearestClasses",
    "NearestRow",
    "Ranked",
    "RoundRobin",
    "RowScore",
    "Score",
    "Suits",
    "TagAffinity",
    "Trace",
    "Traced",
    "all_tasks",
    "beside",
    "choose_p",
    "consistency_diversity",
    "coverage",
    "gradients",
    "moments_of",
    "no_consistency",
    "no_diversity",
    "random_tasks",
    "round_robin",
    "seeded",
]
