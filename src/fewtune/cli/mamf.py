"""`fewtune mamf DATA... --backbone MODEL --out FOLDER`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags

if TYPE_CHECKING:
    from fewtune.studies.mamf.settings import MamfSettings

_MANY = Parameter(consume_multiple=True, negative=())


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class GridFlags:
    """Which tasks, rows and budgets.

    Parameters
    ----------
    ways: int
        Classes N of a task; several make a grid. By default 2 to all classes M.
    seeds: int
        Each seed draws classes, rows and tasks anew, and trains anew.
    bound: str
        How many tasks T go with N. per_class: each class is missed with a probability of at most --miss (as in the paper). union or exact:
        the same for any class at all.
    miss: float
        That probability.
    ablation: int
        Numbers of tasks T that are tried beside the one of the bound, at --ablation-ways classes. --no-ablation leaves them out.
    ablation_ways: int
        N of the ablation, if it is in the grid.
    most_classes: int
        Classes M of a data set at most; with more, each seed draws so many.
    split: str
        rows: train, dev and test have the same classes and different rows. classes: they have different classes (see --class-split).
    rows: int
        Training rows of a class at most.
    shots: int
        Support rows of a class in dev and test tasks.
    queries: int
        Rows of a class to label there.
    episodes: int
        Dev tasks and test tasks for each seed. 0: T, as in the paper.
    prompt: str
        A template for class names, such as 'An image of {} objects'. Repeat for more; they are averaged.
    """

    ways: Annotated[list[int], _MANY] = field(default_factory=list)
    seeds: Annotated[list[int], _MANY] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    bound: Literal["per_class", "union", "exact"] = "per_class"
    miss: float = 0.001
    ablation: Annotated[list[int], Parameter(consume_multiple=True, negative_iterable="no-")] = field(default_factory=lambda: [1, 2, 5, 20])
    ablation_ways: int = 5
    most_classes: int = 10
    split: Literal["rows", "classes"] = "rows"
    rows: int = 60
    shots: int = 10
    queries: int = 10
    episodes: int = 10
    prompt: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """How methods train, all alike.

    Parameters
    ----------
    method: str
        One more method, such as 'reptile' or 'wise=wise_ft(share=0.5)' with a name. Ways, shots, queries and prompts are filled in. Repeat
        for more.
    budget: str
        visits=4800: how many rows each method may look at. By default 8 epochs over all training rows.
    budgets: str
        matched: the same for all. paper: 8 epochs over the rows of each task, so that methods with more tasks look at more.
    new_heads: bool
        Run classical finetuning and MAMF also with new random projections, as the authors' code has them.
    lr: float
        The learning rate of training.
    test_lr: float
        The learning rate of updates on the support of a test task, and of FOMAML's inner loop.
    test_steps: int
        Those updates, each on the whole support.
    inner_steps: int
        Inner steps of FOMAML in training.
    sweep: str
        lr=1e-6,1e-5,1e-4: every method tries these values of an option; dev tasks choose. Repeat for more options.
    """

    method: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    budget: str | None = None
    budgets: Literal["matched", "paper"] = "matched"
    new_heads: Annotated[bool, Parameter(negative=())] = False
    lr: float = 1e-5
    test_lr: float = 1e-6
    test_steps: int = 5
    inner_steps: int = 1
    sweep: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class OutFlags:
    """Where the study is kept.

    Parameters
    ----------
    out: Path
        The folder of the study: report.html, result.parquet, summary.json and more.
    overwrite: bool
        Replace the study in --out, finished or not.
    resume: bool
        Continue the unfinished run of the same command in --out.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: Annotated[bool, Parameter(negative=())] = False


def mamf(
    *data: Path,
    grid: GridFlags = GridFlags(),
    training: TrainFlags = TrainFlags(),
    keeping: OutFlags = OutFlags(),
    format: Literal["table", "json", "csv", "latex", "markdown"] = "table",
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Repeat the study of multitask finetuning (MAMF): which finetuning prepares an image-text model best for new few-shot tasks?

    For each number of classes N of a task, zero-shot, classical finetuning, FOMAML and MAMF are trained with the same budget and the same
    heads, and tested on the same dev and test tasks: each updates on a task's support and answers its queries, and weights are reset
    before the next task. The page shows accuracy by (N, T), the ablation of T, the map of winners over zero-shot accuracy, the gain over
    zero-shot accuracy, and how tightly classes cluster.

    Parameters
    ----------
    data: Path
        One or more data sets: folders of class folders, tables, .npz files.
    format: str
        table is for people, json and csv are for programs, latex and markdown are for documents.
    """
    from fewtune.cli.first import check_data
    from fewtune.errors import InputError

    if not data:
        raise InputError("expected one or more data sets: fewtune mamf DATA --backbone MODEL --out FOLDER.")
    settings = _settings(grid, training)
    model.check()
    model.refuse_table()
    check_data(*data)
    examples = reading.read_each(data)
    model.check_here(examples[0])

    from fewtune.api.mamf import study_of
    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.evaluation.run_folder import Keeping

    where = Keeping(out=keeping.out, overwrite=keeping.overwrite, resume=keeping.resume)
    study = study_of(examples, model.load(examples[0]), settings, where, quiet=model.quiet)
    if not study.leads:
        return
    answer(study.render(format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
    for sentence in study.sentences:
        note(sentence)
    if study.out is not None:
        note(f"The page is {study.out / 'report.html'}.")


def _settings(grid: GridFlags, training: TrainFlags) -> MamfSettings:
    from fewtune.cli.learning import LearningFlags
    from fewtune.recipes.spelled import check_words
    from fewtune.studies.mamf.settings import MamfSettings

    learning = LearningFlags(budget=training.budget, sweep=training.sweep).training()
    methods = tuple(map(_named, training.method))
    for _, text in methods:
        check_words(text)
    return MamfSettings(
        ways=tuple(grid.ways),
        seeds=tuple(grid.seeds),
        bound=grid.bound,
        miss=grid.miss,
        ablation=tuple(grid.ablation),
        ablation_ways=grid.ablation_ways,
        classes=grid.most_classes,
        split=grid.split,
        rows=grid.rows,
        shots=grid.shots,
        queries=grid.queries,
        episodes=grid.episodes,
        prompts=tuple(grid.prompt),
        methods=methods,
        budgets=training.budgets,
        visits=learning.visits,
        new_heads=training.new_heads,
        lr=training.lr,
        test_lr=training.test_lr,
        test_steps=training.test_steps,
        inner_steps=training.inner_steps,
        sweep=learning.sweep,
    )


def _named(text: str) -> tuple[str, str]:
    """(name, method): NAME=METHOD, or a method under its own text."""
    name, sign, method = text.partition("=")
    return (name.strip(), method.strip()) if sign and "(" not in name else (text, text)
