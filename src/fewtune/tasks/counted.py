"""How many different tasks can be made of some classes, and how many random tasks see all of them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal, TypeAlias, get_args

from fewtune.errors import InputError, unknown

Bound: TypeAlias = Literal["per_class", "union", "exact"]
MISS = 0.001


def distinct_tasks(classes: int, ways: int) -> int:
    """C(M, N) = M! / (N! (M - N)!), the number of sets of N of M classes: how many different N-way tasks there are.

    >>> distinct_tasks(351, 5)  # tiered-ImageNet
    43144760295

    Reference: Wang, Zhao and Li, "Bridging multi-task learning and meta-learning", ICML 2021. Departs: the slides of that paper say 4.3
    billion for 351 classes; it is 43.1 billion. Raises InputError for fewer than 1 way or more ways than classes.
    """
    if not 1 <= ways <= classes:
        raise InputError(f"expected from 1 to {classes} ways for {classes} classes, found {ways}.")
    return math.comb(classes, ways)


def coverage(classes: int, ways: int, tasks: int) -> float:
    """The probability that T tasks, each of N of M classes drawn uniformly without replacement, hold every class at least once.

    P = sum_k (-1)^k C(M, k) [C(M - k, N) / C(M, N)]^T, by inclusion and exclusion over the classes that no task holds; computed with whole
    numbers, so that nothing cancels. Raises InputError for ways outside 1..M and for fewer than 0 tasks.

    >>> round(coverage(10, 5, 5), 3)
    0.711
    """
    every = distinct_tasks(classes, ways)
    if tasks < 0:
        raise InputError(f"expected a number of tasks of at least 0, found {tasks}.")
    missing = (classes - k for k in range(classes + 1))
    counted = sum((-1) ** k * math.comb(classes, k) * math.comb(left, ways) ** tasks for k, left in enumerate(missing))
    return float(Fraction(counted, every**tasks))


def tasks_needed(classes: int, ways: int, *, miss: float = MISS, bound: Bound = "per_class") -> int:
    """The least number T of uniform N-way tasks of M classes such that a class is missed with probability `miss` at most.

    `bound`: "per_class", T = ceil(ln miss / ln(1 - N / M)): each single class is missed with this probability at most. "union",
    T = ceil(ln(miss / M) / ln(1 - N / M)): the chance that any class is missed is at most `miss`, by the union bound. "exact": the same
    chance, computed by `coverage`. All are 1 where N = M.

    Reference: Wang et al., "Model-agnostic multitask fine-tuning", 2022, section 6.3 (the first one, which the paper takes for the last).
    Departs: the authors round to the nearest whole number, which can break the bound; this is the ceiling.
    Raises InputError for ways outside 1..M, `miss` outside (0, 1) and an unknown bound.

    >>> [tasks_needed(10, 5, bound=bound) for bound in ("per_class", "union", "exact")]
    [10, 14, 14]
    """
    distinct_tasks(classes, ways)
    if not 0 < miss < 1:
        raise InputError(f"miss is a probability between 0 and 1, found {miss:g}.")
    if bound not in get_args(Bound):
        raise unknown("bound", bound, get_args(Bound))
    if ways == classes:
        return 1
    aim = Fraction(miss) / (1 if bound == "per_class" else classes)
    left, tasks = Fraction(classes - ways, classes), max(1, math.floor(math.log(aim) / math.log(1 - ways / classes)) - 1)
    while left**tasks > aim:  # exact numbers: a logarithm can be off where the bound is met with equality
        tasks += 1
    if bound == "exact":
        while tasks > 1 and coverage(classes, ways, tasks - 1) >= 1 - miss:
            tasks -= 1
    return tasks
