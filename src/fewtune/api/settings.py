"""Settings of `compare`: what is seldom changed, in one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias, final

from fewtune.errors import InputError
from fewtune.evaluation.protocol import named_protocols
from fewtune.evaluation.run_folder import Keeping
from fewtune.evaluation.study import episode_metric
from fewtune.evaluation.training_settings import Training
from fewtune.tasks.hard import Hard
from fewtune.tasks.samplers import Imbalanced, Sampled, Varied
from fewtune.tasks.task import ClassChoice

Episode: TypeAlias = Sampled | Varied | Imbalanced | Hard


@final
@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """What `compare` seldom needs to be told.

    Episodes. `queries`: rows of each class to label. `episodes`: how many for each setting and seed; or a path: the episodes that were
    saved there, of the same data in any order. `seeds`: of the episodes, one or
    several, which also give an interval over the seeds. `classes`: the classes that episodes come from
    (by default the test classes where the data has class splits, else all). `within` "group": an episode stays in one group (an alphabet,
    a domain). `episode`: another kind of episode instead of ways, shots and queries, as a value (`Varied()`) or its text.
    `metric`: what each episode is judged by: accuracy, balanced_accuracy, macro_f1, matthews, auc or average_precision; intervals and tests
    are over episodes, as for accuracy. `protocol`: "lm_bff", the five splits of 16 labels a class of all classes (and of 32, as many as 16
    and a development set), instead of ways, shots, episodes and seeds.

    Learning. `training`: training seeds, budget, sweep and validation, the same for every method that learns. `reserved`: rows of each
    class that choose tasks and that no episode uses, for methods that choose. `controls`: each of these is also run on as many random tasks
    and on all tasks, in rows of their own. `memory`: GiB of prepared source images kept in memory.

    Running. `skip_bad`: leave out rows that cannot be read, instead of refusing the data. `cache`: the folder for embedded rows (by
    default the user's). `keeping`: a run folder that is written while it runs, so that a stopped run can go on. `quiet`: no progress on
    standard error.
    """

    queries: int = 15
    episodes: int | Path | str = 600
    seeds: int | Sequence[int] = 0
    classes: ClassChoice | None = None
    within: Literal["all", "group"] = "all"
    episode: Episode | str | None = None
    training: Training = field(default_factory=Training)
    reserved: int = 5
    controls: bool = True
    memory: float = 2.0
    skip_bad: bool = False
    cache: Path | str | None = None
    keeping: Keeping = field(default_factory=Keeping)
    quiet: bool = True
    metric: str = "accuracy"
    protocol: str | None = None

    def __post_init__(self) -> None:
        episode_metric(self.metric)
        if self.protocol is not None:
            named_protocols(self.protocol, 2, self.queries)
            if self.episode is not None or not isinstance(self.episodes, int):
                raise InputError(f"the protocol {self.protocol} says which episodes are drawn: leave episode, or the saved episodes, out.")
