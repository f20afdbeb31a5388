"""Repeated stratified splits of a few labelled rows, as episodes: support is what a fold leaves, query is the fold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch

from fewtune.data.examples import Integers
from fewtune.keys import Key
from fewtune.tasks.episodes import Episodes, join

MOST_HELD_OUT = 10_000  # rows that tell an accuracy to 1% at 95%; answers to more take memory for each class


@final
@dataclass(frozen=True, eq=False)
class Splits:
    """`episodes`: one for each fold of each repeat, or None where no class has two rows. `repeat` [E] numbers the repeats.

    `held_out`: how many rows were ever in a query (in one repeat). Rows of classes with a single row are always support.
    """

    episodes: Episodes | None
    repeat: Integers
    folds: int
    held_out: int

    def first(self, repeats: int) -> Splits:
        """The same splits, the first `repeats` repeats alone."""
        kept = self.repeat < repeats
        episodes = None if self.episodes is None else self.episodes[: int(kept.sum())]
        return replace(self, episodes=episodes, repeat=self.repeat[kept])


def stratified_splits(
    rows: Integers, labels: Integers, ways: int, key: Key, *, folds: int, repeats: int, most: int = MOST_HELD_OUT
) -> Splits:
    """`repeats` times `folds` splits of `rows` [N] with labels 0..ways-1.

    Every class keeps at least one row in every support. `folds` is cut to the size of the largest class. Of more rows than `most`, so many
    are held out, of each class its share but no fewer than `folds`; the others are always support.
    """
    counts = np.bincount(labels, minlength=ways)
    folds = min(folds, int(counts.max(initial=0)))
    asked = _asked(counts, folds, most)
    held_out = int(asked.sum())
    if folds < 2 or not held_out:
        return Splits(None, np.zeros(0, dtype=np.int64), 0, 0)
    parts, repeat = [], []
    for number in range(repeats):
        fold = _folds(labels, asked, folds, key.child("repeat", number))
        for f in range(folds):
            if (fold == f).any():
                parts.append(_episode(rows, labels, ways, fold != f, fold == f))
                repeat.append(number)
    return Splits(join(parts), np.array(repeat), folds, held_out)


def _asked(counts: Integers, folds: int, most: int) -> Integers:
    """How many rows of each class are held out."""
    repeated = np.where(counts >= 2, counts, 0)
    if repeated.sum() <= most:
        return repeated
    share = np.ceil(repeated * (most / repeated.sum())).astype(np.int64)
    asked: Integers = np.minimum(np.maximum(share, folds), repeated)
    return asked


def _folds(labels: Integers, asked: Integers, folds: int, key: Key) -> Integers:
    """A fold for each row, -1 for rows that are always support.

    Every class begins with the first fold, so that classes of one size are equally large in every support. Were they not, a learner would
    learn the smaller share of just that class that is asked about more often: with 8 rows of each of two classes in 5 folds that made
    logistic regression look 10 to 15 points worse than it is.
    """
    fold = np.full(len(labels), -1, dtype=np.int64)
    random = key.generator()
    for label in np.flatnonzero(asked):
        mine = random.permutation(np.flatnonzero(labels == label))[: asked[label]]
        fold[mine] = np.arange(len(mine)) % folds
    return fold


def _episode(rows: Integers, labels: Integers, ways: int, inside: Integers, outside: Integers) -> Episodes:
    def side(mask: Integers) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(rows[mask])[None], torch.from_numpy(labels[mask])[None]

    return Episodes(*side(inside), *side(outside), torch.arange(ways)[None], torch.zeros(1, dtype=torch.int64))


def random_order(episodes: Episodes, key: Key) -> Integers:
    """Of every support row [E, S] its random place 0, 1, ... within its class; padding last."""
    support = episodes.support.numpy()
    draw = key.uniform(np.arange(support.size, dtype=np.uint64)).reshape(support.shape)
    place = np.full(support.shape, np.iinfo(np.int64).max)
    for e, label in enumerate(episodes.support_label.numpy()):
        for c in np.unique(label[label >= 0]):
            mine = np.flatnonzero(label == c)
            place[e, mine] = np.argsort(np.argsort(draw[e, mine]))
    return place


def with_fewer(splits: Splits, order: Integers, most: int | Integers) -> Splits:
    """The same splits with the support rows whose place in `order` [E, S] is below `most`, one number or [E, S].

    What is left out is padding, which comes last.
    """
    episodes = splits.episodes
    assert episodes is not None
    kept = torch.from_numpy(order < most)
    first = torch.argsort((~kept).int(), dim=1, stable=True)[:, : int(kept.sum(1).max())]
    inside = kept.gather(1, first)
    support = episodes.support.gather(1, first).masked_fill(~inside, -1)
    label = episodes.support_label.gather(1, first).masked_fill(~inside, -1)
    return replace(splits, episodes=replace(episodes, support=support, support_label=label))
