"""Tasks, and the episodes drawn from them: integers only, no network.

Labelled rows come in as a row space, `class_rows`, `group_tasks`, `source_tasks`, `target_tasks` and `label_tasks` cut it into `Tasks`,
and a sampler draws `Episodes` (support, query, labels, classes). `selection` chooses which tasks to finetune on. `SAMPLERS` and
`SELECTIONS` list what the text of a method can name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewtune.lazy import opened

if TYPE_CHECKING:
    from fewtune.tasks.candidates import candidate_tasks
    from fewtune.tasks.chosen import SELECTIONS, Again, AsMany, Chosen, Named, Selection
    from fewtune.tasks.counted import coverage, distinct_tasks, tasks_needed
    from fewtune.tasks.episodes import Episodes, join, load_episodes
    from fewtune.tasks.few_tasks import FewTasks
    from fewtune.tasks.fit import fitted, left_out, served
    from fewtune.tasks.hard import Hard
    from fewtune.tasks.in_sequence import InSequence
    from fewtune.tasks.label_columns import label_tasks
    from fewtune.tasks.per_task import PerTask
    from fewtune.tasks.points import Points
    from fewtune.tasks.pooled import Pairs, Pooled
    from fewtune.tasks.replayed import Replayed
    from fewtune.tasks.sampler import Sampler
    from fewtune.tasks.samplers import EPISODIC, SAMPLERS, Imbalanced, Sampled, Varied
    from fewtune.tasks.target_rows import target_tasks
    from fewtune.tasks.task import Task, Tasks, class_rows, group_tasks, source_tasks
    from fewtune.tasks.twins import Twins

# where each name lives; imported when first asked for, so that a file of this room that needs no torch loads none
_WHERE = {
    "candidate_tasks": "candidates",
    "Again": "chosen",
    "AsMany": "chosen",
    "Chosen": "chosen",
    "Named": "chosen",
    "SELECTIONS": "chosen",
    "Selection": "chosen",
    "coverage": "counted",
    "distinct_tasks": "counted",
    "tasks_needed": "counted",
    "Episodes": "episodes",
    "join": "episodes",
    "load_episodes": "episodes",
    "FewTasks": "few_tasks",
    "fitted": "fit",
    "left_out": "fit",
    "served": "fit",
    "Hard": "hard",
    "InSequence": "in_sequence",
    "label_tasks": "label_columns",
    "PerTask": "per_task",
    "Points": "points",
    "Pairs": "pooled",
    "Pooled": "pooled",
    "Replayed": "replayed",
    "Sampler": "sampler",
    "EPISODIC": "samplers",
    "Imbalanced": "samplers",
    "SAMPLERS": "samplers",
    "Sampled": "samplers",
    "Varied": "samplers",
    "target_tasks": "target_rows",
    "Task": "task",
    "Tasks": "task",
    "class_rows": "task",
    "group_tasks": "task",
    "source_tasks": "task",
    "Twins": "twins",
}
_ROOMS = ("selection",)

__all__ = [
    "EPISODIC",
    "SAMPLERS",
    "SELECTIONS",
    "Again",
    "AsMany",
    "Chosen",
    "Episodes",
    "FewTasks",
    "Hard",
    "Imbalanced",
    "InSequence",
    "Named",
    "Pairs",
    "PerTask",
    "Points",
    "Pooled",
    "Replayed",
    "Sampled",
    "Sampler",
    "Selection",
    "Task",
    "Tasks",
    "Twins",
    "Varied",
    "candidate_tasks",
    "class_rows",
    "coverage",
    "distinct_tasks",
    "fitted",
    "group_tasks",
    "join",
    "label_tasks",
    "left_out",
    "load_episodes",
    "served",
    "source_tasks",
    "target_tasks",
    "tasks_needed",
]

__getattr__, __dir__ = opened(__name__, _WHERE, _ROOMS)
