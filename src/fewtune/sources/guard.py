"""The guard: a finetuned backbone is used only where it is shown to beat the best frozen learner on rows that it never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from torch import Tensor

from fewtune.data.examples import Integers
from fewtune.keys import key
from fewtune.learners.folds import stratified_splits
from fewtune.learners.side import Side
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.learning.on_features import answer_table, correct_on_table
from fewtune.statistics import Interval, best_of_candidates, bootstrap_interval, sign_flip_test, t_interval
from fewtune.tasks.episodes import Episodes

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Vectors: TypeAlias = Mapping[tuple[str, ...], Tensor]
Place = Literal["the target's own splits", "held-out classes of the sources"]

OWN: Place = "the target's own splits"
ON_SOURCES: Place = "held-out classes of the sources"
LEVEL = 0.90  # of the interval whose lower bound decides: 95% on the one side that matters
FOLDS = 4
LEAST_SHOTS = 4  # of a class: below, a fold leaves too little to learn from
MANY_ROWS = 1_000
LEAST_CLASSES = 5  # of the sources to judge by: with fewer, all of them gain by chance alone in more than one case of twenty
LEAST_ITEMS = 30  # held-out answers on the target itself: with fewer, no gain short of a dozen points could be shown


@final
@dataclass(frozen=True, eq=False)
class Guard:
    """The comparison that decides. `differences` [n]: finetuned minus frozen correctness, one number an item (a row of the target, or a
    held-out class of the sources), whose mean is the `gain`; its lower bound above 0 keeps the finetuned backbone. Classes of the
    sources may be few and alike, so an exact sign-flip test must agree there: an interval over four equal numbers has no width, and is
    no proof.

    `frozen` and `finetuned`: the two accuracies in [0, 1]. `learners`: what was chosen on either side, a fold each.
    `correct` [N]: the finetuned side's on the target's rows, empty where the sources were asked.
    """

    where: Place
    gain: Interval
    frozen: float
    finetuned: float
    differences: Floats
    learners: tuple[tuple[str, str], ...]
    correct: Floats

    @property
    def expected(self) -> Interval | None:
        """The accuracy to expect on the target of whichever side is better, where its own rows were asked.

        A side that is kept was chosen by the same answers, so its own mean would be a little too good.
        """
        judged = self.correct[~np.isnan(self.correct)]
        return best_of_candidates(np.stack([judged - self.differences, judged])) if len(judged) else None

    @property
    def advised(self) -> str | None:
        """The learner on the finetuned side that the sources' classes were answered by; None where the target's own rows chose, a fold
        each.
        """
        return self.learners[0][1] if self.where == ON_SOURCES else None

    @property
    def by_rows(self) -> bool:
        """Whether the target's own rows judged, not classes of the sources."""
        return self.where == OWN

    @property
    def kept(self) -> bool:
        """Whether the finetuned backbone is used."""
        return bool(self.gain.low > 0) and (self.where == OWN or sign_flip_test(self.differences) <= 1 - LEVEL)  # two-sided, as LEVEL is

    @property
    def too_few(self) -> bool:
        """Whether it was judged by so few classes of the sources that no gain of theirs could be shown."""
        return self.where == ON_SOURCES and len(self.differences) < LEAST_CLASSES


def inner_folds(rows: int) -> int:
    """Folds to choose a learner by within a fold: 5, or 2 of more rows than 1,000, where fits take long and answers are many."""
    return 5 if rows <= MANY_ROWS else 2


def own_splits_allow(labels: Integers, ways: int) -> bool:
    """Whether a target has labels enough to be split: 30 rows, and half of all, in two or more classes of 4 rows or more.

    Rare classes beside them do no harm: a class keeps a row to learn from in every fold.
    """
    counts = np.bincount(labels, minlength=ways)
    ample = counts[counts >= LEAST_SHOTS]
    return bool(len(ample) >= 2 and ample.sum() >= max(LEAST_ITEMS, counts.sum() / 2))


def guard_on_target(
    methods: Mapping[str, Method],
    frozen: Side,
    finetuned: Callable[[Integers], Side],
    rows: Integers,
    labels: Integers,
    class_names: Sequence[str],
    *,
    seed: int = 0,
) -> Guard:
    """Four folds of the target's own rows [N] (labels 0..K-1): within each, tasks are selected, the backbone finetuned and a learner chosen
    on the training fold alone, on either side, and the fold is answered.

    `finetuned(rows)` gives the side that knows only those rows. The interval is a bootstrap over the items, each of which is held out once:
    folds share training rows, so a t interval over four of them would say nothing.
    """
    ways = len(class_names)
    splits = stratified_splits(rows, labels, ways, key(seed, "guard"), folds=FOLDS, repeats=1)
    assert splits.episodes is not None
    place = np.zeros(int(rows.max()) + 1, dtype=np.int64)
    place[rows] = np.arange(len(rows))
    correct = np.full((2, len(rows)), np.nan)
    learners = []
    for e in range(len(splits.episodes)):
        train, held = (t[e].numpy() for t in (splits.episodes.support, splits.episodes.query))
        train, held = train[train >= 0], held[held >= 0]
        chosen = []
        for number, side in enumerate((frozen, finetuned(train))):
            choice = side.choose(methods, train, labels[place[train]], class_names, seed, folds=inner_folds(len(train)))
            chosen.append(choice.name)
            [(_, logits)] = answer_table(
                choice.method.head, side.features, splits.episodes[e : e + 1], side.vectors(choice.method, class_names)
            )
            answered = logits[0, : len(held)].argmax(-1).cpu().numpy()  # padding comes last
            correct[number, place[held]] = answered == labels[place[held]]
        learners.append((chosen[0], chosen[1]))
    judged = ~np.isnan(correct[0])
    differences = (correct[1] - correct[0])[judged]
    return Guard(
        where=OWN,
        gain=bootstrap_interval(differences, LEVEL, seed=seed),
        frozen=float(correct[0][judged].mean()),
        finetuned=float(correct[1][judged].mean()),
        differences=differences,
        learners=tuple(learners),
        correct=correct[1],
    )


def guard_on_sources(
    methods: Mapping[str, Method],
    frozen: Side,
    finetuned: Side,
    class_names: Sequence[str],
    validation: Sequence[Episodes],
    judging: Sequence[Episodes],
) -> Guard:
    """Episodes like the target's on classes of the sources that nothing was learned from. `class_names`: of the sources, by global class
    id.

    On either side the learner that is best on the `validation` episodes answers the `judging` ones. The interval is a t interval over the
    judging classes: what counts is how the gain differs between things to learn, not between draws of the same rows. Classes are few, and a
    bootstrap over two of them would keep a third of the sides that differ by chance alone (see `Guard` for what is asked beside it).
    """
    by_class, learners = [], []
    for side in (frozen, finetuned):
        vectors = _pool_vectors(side, methods.values(), [*validation, *judging], class_names)
        means = {name: float(np.mean([_correct(side, m, e, vectors)[1].mean() for e in validation])) for name, m in methods.items()}
        best = max(means, key=lambda name: means[name])
        learners.append(best)
        by_class.append(_by_class(side, methods[best], judging, vectors))
    differences = by_class[1] - by_class[0]
    return Guard(
        where=ON_SOURCES,
        gain=t_interval(differences, LEVEL),
        frozen=float(by_class[0].mean()),
        finetuned=float(by_class[1].mean()),
        differences=differences,
        learners=((learners[0], learners[1]),),
        correct=np.zeros(0),
    )


def _pool_vectors(side: Side, methods: Iterable[Method], batches: Sequence[Episodes], class_names: Sequence[str]) -> Vectors:
    """Class vectors by the templates they are read through: [C, D] by global class id, zeros for classes that do not occur."""
    ids = np.unique(np.concatenate([e.classes.numpy().reshape(-1) for e in batches]))
    ids = ids[ids >= 0]
    found = vectors_by_prompts(side.backbone, [class_names[c] for c in ids.tolist()], methods)
    place = torch.from_numpy(ids)
    return {
        prompts: known.new_zeros(len(class_names), known.shape[1]).index_copy(0, place.to(known.device), known)
        for prompts, known in found.items()
    }


def _by_class(side: Side, method: Method, batches: Sequence[Episodes], vectors: Vectors) -> Floats:
    """Mean correctness of the queries of every class that occurs, in the order of the class ids."""
    found = [_correct(side, method, episodes, vectors) for episodes in batches]
    classes, correct = (np.concatenate(parts) for parts in zip(*found, strict=True))
    _, index = np.unique(classes, return_inverse=True)
    means: Floats = np.bincount(index, weights=correct) / np.bincount(index)
    return means


def _correct(side: Side, method: Method, episodes: Episodes, vectors: Vectors) -> tuple[Integers, Floats]:
    """(global class, correctness) of every query of some episodes."""
    right = correct_on_table(method.head, side.features, episodes, vectors.get(prompts_of(method.head))).cpu().numpy()
    inside = (episodes.query_label >= 0).numpy()
    classes = episodes.classes.gather(1, episodes.query_label.clamp_min(0)).numpy()
    return classes[inside], right[inside].astype(np.float64)
