"""Flags of methods that train."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from fewtune.evaluation.training_settings import Training


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class LearningFlags:
    """How methods train. The flags hold for every method.

    Parameters
    ----------
    budget: str
        visits=20000: how many source examples each method may look at. Its steps and the timing of its learning rates are scaled to fit.
        By default each method takes its own number of steps.
    sweep: str
        lr, or lr=1e-4,1e-3,1e-2: every method tries these values of an option. The best is chosen on validation tasks with the first
        training seed. phases.0.lr=1e-4,1e-3 is a path into a method that is written out. Repeat for more options.
    training_seeds: int
        Seeds of the training runs. With several, an interval over them is shown too.
    adapted_episodes: int
        How many episodes are used for methods that train on each episode (the first of --episodes).
    validation_episodes: int
        Validation episodes for each setting.
    watch: int
        Measure on the validation episodes every so many training steps; 0: never.
    source_tasks: str
        group: a source task is a group (an alphabet, a domain) of a data set instead of all of it.
    candidates: int
        Candidate tasks of each source, for methods that choose their tasks, such as 'multitask(selection=consistency_diversity())'.
    reserved: int
        Examples of each class by which such methods choose their tasks. No episode uses them.
    controls: bool
        Run such methods on as many random tasks and on all tasks too, in rows of their own. --no-controls saves that time.
    memory: float
        Keep up to this many GiB of prepared images in memory, so that an image is not decoded again.
    """

    budget: str | None = None
    sweep: Annotated[list[str], Parameter(negative=())] = field(default_factory=list)
    training_seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = field(default_factory=lambda: [0])
    adapted_episodes: int = 100
    validation_episodes: int = 100
    watch: int = 0
    source_tasks: Literal["all", "group"] = "all"
    candidates: int = 100
    reserved: int = 5
    controls: bool = True
    memory: float = 2.0

    def training(self) -> Training:
        from fewtune.evaluation.training_settings import Training

        return Training(
            seeds=tuple(self.training_seeds),
            visits=self._visits(),
            sweep=self.swept(),
            adapted=self.adapted_episodes,
            validation=self.validation_episodes,
            watch=self.watch,
            within=self.source_tasks,
            candidates=self.candidates,
        )

    def swept(self) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """(option, values) of every sweep."""
        return tuple(map(_swept, self.sweep))

    def _visits(self) -> int:
        from fewtune.errors import InputError

        if self.budget is None:
            return 0
        what, _, number = self.budget.partition("=")
        try:
            visits = int(float(number))
        except (ValueError, OverflowError):
            visits = 0
        if what != "visits" or visits < 1:
            raise InputError(f"--budget is visits=NUMBER, such as visits=20000, found {self.budget!r}.")
        return visits


LRS = (1e-4, 1e-3, 1e-2)
NO_LEARNING_FLAGS = LearningFlags()


def _swept(text: str) -> tuple[str, tuple[float, ...]]:
    from fewtune.errors import InputError

    option, _, listed = text.partition("=")
    if text == "lr":
        return "lr", LRS
    try:
        values = tuple(float(value) for value in listed.split(","))
    except ValueError:
        values = ()
    if not re.fullmatch(r"[^\W\d]\w*(\.\w+)*", option) or len(values) < 2 or len(set(values)) < len(values):
        raise InputError(f"--sweep is lr, or an option and two or more values such as lr=1e-4,1e-3,1e-2, found {text!r}.")
    return option, values
