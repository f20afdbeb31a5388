"""The guard on classes of the sources: a finetuned side is judged on things to learn that nothing was learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fewtune.learners.side import Side
from fewtune.learning.method import Method
from fewtune.sides.guard import LEVEL, ON_SOURCES, Guard
from fewtune.sources.answering import accuracies_by_class, mean_accuracies, vectors_of_classes
from fewtune.statistics import t_interval
from fewtune.tasks.episodes import Episodes


def guard_on_sources(
    methods: Mapping[str, Method],
    frozen: Side,
    finetuned: Side,
    class_names: Sequence[str],
    validation: Sequence[Episodes],
    judging: Sequence[Episodes],
    *,
    learner: str | None = None,
) -> Guard:
    """Episodes like the target's on classes of the sources that nothing was learned from. `class_names`: of the sources, by global class
    id.

    On either side the learner that is best on the `validation` episodes answers the `judging` ones; on the frozen side `learner`, where it
    is given. The interval is a t interval over the
    judging classes: what counts is how the gain differs between things to learn, not between draws of the same rows. Classes are few, and a
    bootstrap over two of them would keep a third of the sides that differ by chance alone (see `Guard` for what is asked beside it).
    """
    by_class, learners = [], []
    for side, fixed in ((frozen, learner), (finetuned, None)):
        vectors = vectors_of_classes(side, methods.values(), [*validation, *judging], class_names)
        means = {} if fixed else mean_accuracies(side, methods, validation, vectors)
        best = fixed or max(means, key=lambda name: means[name])
        learners.append(best)
        by_class.append(accuracies_by_class(side, methods[best], judging, vectors))
    differences = by_class[1] - by_class[0]
    return Guard(
        where=ON_SOURCES,
        gain=t_interval(differences, LEVEL),
        frozen=float(by_class[0].mean()),
        finetuned=float(by_class[1].mean()),
        differences=differences,
        learners=((learners[0], learners[1]),),
    )
