"""The finetuner for a target: episodes like the target's, small enough for the steps that a run needs."""

from __future__ import annotations

import numpy as np

from fewtune.backbones.backbone import Backbone
from fewtune.learners.target import Target
from fewtune.sides.job import Job
from fewtune.sides.own import LEAST_ROWS
from fewtune.sources.finetune import Finetuner
from fewtune.sources.held_out_classes import HeldOutClasses
from fewtune.sources.settings import SourceSettings
from fewtune.sources.source_rows import SourceRows

MOST_WAYS = 15  # of an episode, and
STEP_ROWS = 150  # rows that a step looks at: 15 ways x (1 + 9), as Xu et al. take; fewer where a run has little time
STEPS = 100  # that a run should have at least, if need be with fewer rows a step


def finetuner_for(target: Target, backbone: Backbone, source_rows: SourceRows, how: SourceSettings, job: Job, visits: int) -> Finetuner:
    """What finetunes within so many rows a run. By default it takes episodes like the target's, small enough for 100 steps of 32 rows or
    more, and moves the upper third of the backbone's groups on a CPU."""
    shots = int(np.clip(np.median(target.shots()), 1, how.most // 2))
    ways = min(len(target.class_names), MOST_WAYS)
    rows = min(STEP_ROWS, max(LEAST_ROWS, visits // STEPS))
    each = max(2, -(-rows // ways))  # rows of a class in a step
    support = min(shots, each // 2)
    last = upper_groups(backbone)
    recipe = how.recipe or f"multitask(ways={ways}, shots={support}, queries={min(how.most, each) - support}, last={last})"
    judge = HeldOutClasses(source_rows, ways, shots, job.seed)
    return Finetuner(backbone, judge, recipe, visits, how.rates, job.at.quiet, job.at.finished)


def upper_groups(backbone: Backbone) -> int:
    """How many of the last groups move by default: a third on a CPU, all (0) elsewhere."""
    return max(1, -(-len(backbone.groups) // 3)) if backbone.machine.device == "cpu" else 0
