"""How many uniformly drawn tasks it takes to see the classes."""

from __future__ import annotations

import math
from typing import Literal

from fewtune.errors import InputError


def tasks_needed(classes: int, ways: int, *, miss: float = 0.001, bound: Literal["each", "every"] = "each") -> int:
    """The least T such that T tasks of `ways` classes, drawn uniformly from `classes` (M) without replacement, miss little.

    "each": any one class is missed with probability at most `miss`, T = ceil(ln miss / ln(1 - N/M)).
    "every": the probability that some class is missed is at most `miss` (union bound), T = ceil(ln(miss / M) / ln(1 - N/M)).
    N = M gives 1. Reference: Wang et al., "Model-Agnostic Multitask Fine-tuning for Few-shot Vision-Language Transfer Learning".
    Departs: the authors round to nearest, which can break their bound (N=8, M=10); we round up.
    """
    if not 1 <= ways <= classes or not 0 < miss < 1:
        raise InputError(f"expected 1 <= ways <= classes and 0 < miss < 1, found ways={ways}, classes={classes}, miss={miss}.")
    if ways == classes:
        return 1
    allowed = miss if bound == "each" else miss / classes
    return math.ceil(math.log(allowed) / math.log1p(-ways / classes) - 1e-12)
