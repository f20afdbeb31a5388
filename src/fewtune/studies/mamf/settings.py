"""What the MAMF study is asked: the grid of tasks, the rows, the budgets and the rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from fewtune.errors import InputError
from fewtune.evaluation.training_settings import Sweep
from fewtune.keys import check_seeds
from fewtune.parts.heads.prompts import check_prompts
from fewtune.tasks.counted import MISS, Bound

Split: TypeAlias = Literal["rows", "classes"]
Budgets: TypeAlias = Literal["matched", "paper"]
EPOCHS = 8  # of the authors' code, over the rows of a task


@final
@dataclass(frozen=True, kw_only=True)
class MamfSettings:
    """The settings of `mamf_study`; the defaults are those of Wang et al. 2022 wherever nothing is said.

    Tasks. `ways`: the N of the grid, each 2 or more (none: 2 to M). `bound` and `miss`: how many tasks T go with an N (`tasks_needed`).
    `ablation`: the T that are tried for `ablation_ways` classes, if that N is in the grid. `seeds`: each draws classes, rows and tasks
    anew and trains anew.

    Data. `classes`: at most so many classes of a collection, drawn by each seed (M). `split` "rows": the same classes to train and test,
    and other rows; "classes": the train, validation and test classes of the data. `rows`: training rows of a class at most. `shots` and
    `queries`: support and query rows of a class in dev and test tasks, and in the episodes of FOMAML. `episodes`: dev tasks and test
    tasks for each seed (0: T of each, as in the paper). `prompts`: templates of class texts; none:
    those of the collection, else "a photo of a {}." for images and the name alone for texts.

    Methods. `methods`: more methods, each the name it is shown under and its text; options that their recipe takes and that they do not
    give (ways, shots, queries, prompts, batch) are filled in. `budgets` "matched": every method looks at `visits` rows (0: 8 epochs over
    all training rows); "paper": 8 epochs over the training rows of each task, so that methods with more tasks look at more. `new_heads`:
    classical finetuning and MAMF are also run with new random projections, as in the authors' code (FOMAML and zero-shot keep the model's
    there). `lr`: of training. `test_lr` and `test_steps`: updates on the whole support of each dev and test task, the same for all;
    FOMAML's inner loop takes `inner_steps` of them. `sweep`: option and values, chosen on dev tasks.

    Raises InputError for numbers that cannot be.
    """

    ways: tuple[int, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    bound: Bound = "per_class"
    miss: float = MISS
    ablation: tuple[int, ...] = (1, 2, 5, 20)
    ablation_ways: int = 5
    classes: int = 10
    split: Split = "rows"
    rows: int = 60
    shots: int = 10
    queries: int = 10
    episodes: int = 10
    prompts: tuple[str, ...] = ()
    methods: tuple[tuple[str, str], ...] = ()
    budgets: Budgets = "matched"
    visits: int = 0
    new_heads: bool = False
    batch: int = 32
    lr: float = 1e-5
    test_lr: float = 1e-6
    test_steps: int = 5
    inner_steps: int = 1
    sweep: Sweep = ()

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise InputError(f"expected {name} of at least {least}, found {getattr(self, name)}.")
        for name, least in (("ways", 2), ("ablation", 1)):
            given = getattr(self, name)
            if any(one < least for one in given) or len(set(given)) < len(given):
                raise InputError(f"expected {name} as distinct numbers of at least {least}, found {', '.join(map(str, given))}.")
        check_seeds(self.seeds)
        if self.split not in ("rows", "classes") or self.budgets not in ("matched", "paper"):
            raise InputError(f"split is 'rows' or 'classes' and budgets 'matched' or 'paper', found {self.split!r} and {self.budgets!r}.")
        if self.budgets == "paper" and self.visits:
            raise InputError("the paper's budgets follow from the tasks: leave out the number of visits, or the paper's budgets.")
        if self.prompts:
            object.__setattr__(self, "prompts", check_prompts(self.prompts))

    @property
    def each(self) -> int:
        """Rows of a class in a dev or test task."""
        return self.shots + self.queries


_LEAST = {
    "classes": 2,
    "rows": 2,
    "shots": 1,
    "queries": 1,
    "episodes": 0,
    "visits": 0,
    "batch": 1,
    "lr": 0,
    "test_lr": 0,
    "test_steps": 1,
    "inner_steps": 1,
    "ablation_ways": 2,
}
