"""The search behind `grouping`: the best few groups of tasks, exactly by branch and bound, or by greedy steps that are improved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, final

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import Floats

NODES = 50_000  # of the search, about a minute on one thread
STARTS = 64  # groups that a choice is grown from before the search
STEPS = 60  # of the prices at the first node; a quarter of them at others
CHUNK = 256  # groups compared with all others at once

Flags: TypeAlias = npt.NDArray[np.bool_]
Rows: TypeAlias = npt.NDArray[np.intp]


def every_group(tasks: int) -> Flags:
    """All groups of T tasks but the empty one, as flags [2^T - 1, T]."""
    groups: Flags = ((np.arange(1, 1 << tasks)[:, None] >> np.arange(tasks)) & 1).astype(bool)
    return groups


def group_scores(groups: Flags, affinity: Floats, alone: Floats) -> Floats:
    """The score of each task in each group [G, T] from flags [G, T]; -inf where the task is not in it."""
    helped = affinity - np.diag(affinity.diagonal())
    size = groups.sum(1, keepdims=True)
    scores = np.where(size == 1, alone, groups.astype(np.float64) @ helped / np.maximum(size - 1, 1))
    return np.where(groups, scores, -np.inf)


def undominated(scores: Floats) -> Flags:
    """Which groups [G] are not beaten or equalled for every task by one other group; scores [G, T] as of `group_scores`."""
    keep = np.ones(len(scores), dtype=bool)
    for start in range(0, len(scores), CHUNK):
        part = scores[start : start + CHUNK]
        above = np.ones((len(part), len(scores)), dtype=bool)
        for one, others in zip(part.T, scores.T, strict=True):
            above &= one[:, None] <= others[None, :]
        keep[start : start + CHUNK] = above.sum(1) == 1  # only itself: no two groups have the same scores
    return keep


def value(scores: Floats) -> float:
    """The sum over tasks of the best score in chosen groups [g, T]; -inf where a task is in none."""
    return float(scores.max(0).sum()) if len(scores) else -np.inf


def climb(affinity: Floats, alone: Floats, budget: int) -> Flags:
    """Groups [g <= budget, T] that cover all tasks, the better of two greedy choices, each changed task by task while the scores grow.

    One adds groups: first that of all tasks, so that all are covered, then each time one grown from the task for which it gains most.
    The other starts with each task alone and joins two groups at a time, those that lose least.
    """
    every = (_added(affinity, alone, budget), _joined(affinity, alone, budget))
    found = [_improved(groups, affinity, alone, tuple(range(len(groups)))) for groups in every]
    return max(found, key=lambda groups: value(group_scores(groups, affinity, alone)))


def _added(affinity: Floats, alone: Floats, budget: int) -> Flags:
    tasks = len(affinity)
    groups = np.ones((1, tasks), dtype=bool)
    for _ in range(budget - 1):
        starts = [np.concatenate([groups, one[None]]) for one in np.eye(tasks, dtype=bool)]
        grown = [_improved(start, affinity, alone, (len(groups),)) for start in starts]
        groups = max(grown, key=lambda found: value(group_scores(found, affinity, alone)))
    return groups


def _joined(affinity: Floats, alone: Floats, budget: int) -> Flags:
    groups = np.eye(len(affinity), dtype=bool)
    while len(groups) > budget:
        one, other = np.triu_indices(len(groups), 1)
        own = np.where(groups, group_scores(groups, affinity, alone), 0.0).sum(1)
        unions = groups[one] | groups[other]
        gain = np.where(unions, group_scores(unions, affinity, alone), 0.0).sum(1) - own[one] - own[other]
        best = int(gain.argmax())
        groups = np.concatenate([np.delete(groups, [one[best], other[best]], 0), unions[best][None]])
    return groups


def _improved(groups: Flags, affinity: Floats, alone: Floats, which: tuple[int, ...]) -> Flags:
    """The groups after single tasks were put in or taken out of the groups `which`, the best change first, until none helps."""
    groups = groups.copy()
    while True:
        best, change = value(group_scores(groups, affinity, alone)), None
        for number in which:
            others = group_scores(np.delete(groups, number, 0), affinity, alone).max(0, initial=-np.inf)
            flipped = groups[number] ^ np.eye(len(affinity), dtype=bool)
            totals = np.maximum(group_scores(flipped, affinity, alone), others).sum(1)
            if totals.max() > best + 1e-12 * abs(best):
                best, change = float(totals.max()), (number, flipped[int(totals.argmax())])
        if change is None:
            return groups
        groups[change[0]] = change[1]


def best_groups(groups: Flags, scores: Floats, budget: int, nodes: int) -> tuple[Flags, bool]:
    """The at most `budget` of `groups` [G, T] with the largest sum of scores, and whether the search was finished within its nodes."""
    tasks = scores.shape[1]
    started = max((_exchanged(scores, budget, first) for first in range(min(STARTS, len(scores)))), key=lambda c: value(scores[list(c)]))
    worst = scores.min(0, initial=np.inf, where=np.isfinite(scores))
    search = _Search(scores, worst, nodes, value(scores[list(started)]), started)
    search.visit(np.full(tasks, -np.inf), np.arange(len(scores)), budget, (), np.zeros(tasks), STEPS)
    return groups[list(search.best)], search.left > 0


def _exchanged(scores: Floats, budget: int, first: int) -> tuple[int, ...]:
    """Greedy choice from one group on, then each group in turn is exchanged for the best one beside the others until nothing changes."""
    floor = scores.min(initial=0.0, where=np.isfinite(scores)) - float(np.ptp(scores[np.isfinite(scores)])) * scores.size - 1
    filled = np.maximum(scores, floor)  # so that covering a task is worth more than all else
    chosen = [first]
    while len(chosen) < budget:
        chosen.append(int(np.maximum(filled, filled[chosen].max(0)).sum(1).argmax()))
    while True:
        before = list(chosen)
        for place in range(len(chosen)):
            others = chosen[:place] + chosen[place + 1 :]
            reached = filled[others].max(0) if others else np.full(scores.shape[1], floor)
            totals = np.maximum(filled, reached).sum(1)
            if totals.max() > totals[chosen[place]]:
                chosen[place] = int(totals.argmax())
        if chosen == before:
            return tuple(chosen)


@final
@dataclass
class _Search:
    """Branch and bound over groups. `worst` [T] is the least score of each task in any group; gains are counted from it.

    For any prices p >= 0 [T], r groups gain at most sum p + the r largest of sum_j max(gain_gj - p_j, 0): each task takes its gain from
    one group. Prices are lowered or raised by subgradient steps (the Lagrangian bound of the k-median problem: Cornuejols, Fisher and
    Nemhauser, "Location of bank accounts to optimize float", Management Science 23, 1977).
    """

    scores: Floats
    worst: Floats
    left: int
    most: float
    best: tuple[int, ...]

    def visit(self, reached: Floats, candidates: Rows, budget: int, chosen: tuple[int, ...], prices: Floats, steps: int) -> None:
        """Try all ways to add at most `budget` of the candidates to the `chosen` groups, which give each task its score `reached` [T]."""
        self.left -= 1
        base = np.maximum(reached, self.worst)
        uncovered = np.flatnonzero(np.isneginf(reached))
        if not len(uncovered) and base.sum() > self.most:
            self.most, self.best = float(base.sum()), chosen
        if len(candidates) == 0 or self.left <= 0:
            return
        if budget == 1:
            self._last(base, uncovered, candidates, chosen)
            return
        gains = np.maximum(self.scores[candidates], base) - base
        needed = self.most * (1 + 1e-12 * np.sign(self.most)) - float(base.sum())
        prices, useful = _priced(gains, budget, needed, prices, steps)
        if not useful.any():
            return
        candidates, gains = candidates[useful], gains[useful].sum(1)
        branch = np.ones(len(candidates), dtype=bool)
        if len(uncovered):
            inside = ~np.isneginf(self.scores[np.ix_(candidates, uncovered)])
            branch = inside[:, int(inside.sum(0).argmin())]  # some group must hold the task that is in the fewest
        rest = np.ones(len(candidates), dtype=bool)
        places = np.flatnonzero(branch)
        for place in places[np.argsort(-gains[places], kind="stable")].tolist():
            rest[place] = False
            group = int(candidates[place])
            self.visit(np.maximum(reached, self.scores[group]), candidates[rest], budget - 1, (*chosen, group), prices, STEPS // 4)

    def _last(self, base: Floats, uncovered: Rows, candidates: Rows, chosen: tuple[int, ...]) -> None:
        """Add the best of the candidates that hold all tasks still uncovered."""
        covering = ~np.isneginf(self.scores[np.ix_(candidates, uncovered)]).any(1)
        totals = np.where(covering, np.maximum(self.scores[candidates], base).sum(1), -np.inf)
        if totals.max() > self.most:
            self.most, self.best = float(totals.max()), (*chosen, int(candidates[totals.argmax()]))


def _priced(gains: Floats, budget: int, needed: float, prices: Floats, steps: int) -> tuple[Floats, Flags]:
    """Prices [T], and which groups (gains [G, T]) can be in a choice of `budget` groups that gains more than `needed`."""
    useful = np.ones(len(gains), dtype=bool)
    lowest, found = np.inf, prices
    for _ in range(steps):
        over = np.maximum(gains - prices, 0.0)
        worth = np.where(useful, over.sum(1), -np.inf)
        top = np.argsort(-worth, kind="stable")[:budget]
        bound = float(prices.sum() + np.maximum(worth[top], 0.0).sum())
        if bound < lowest:
            lowest, found = bound, prices
        # With a group outside the top, it takes the place of the last of them.
        useful &= worth + bound - max(float(worth[top[-1]]), 0.0) * (len(top) == budget) > needed
        if bound <= needed or not useful.any():
            return found, np.zeros(len(gains), dtype=bool)
        slope = 1.0 - (over[top] > 0).sum(0)
        if not slope.any():
            break
        prices = np.maximum(prices - (bound - needed) / float(slope @ slope) * slope, 0.0)
    return found, useful
