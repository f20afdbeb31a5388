"""How many different tasks can be made of some classes."""

from __future__ import annotations

import math

from fewtune.errors import InputError


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
