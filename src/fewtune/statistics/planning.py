"""How many episodes a wanted interval needs."""

from __future__ import annotations

import math

from scipy.special import ndtri, stdtrit

from fewtune.statistics.sample import Numbers, fraction, positive, sample


def episodes_needed(sd: float, half_width: float, level: float = 0.95) -> int:
    """The smallest n whose t interval is no wider than ± half_width, for values with standard deviation `sd` (same units).

    About (z sd / half_width)^2, and a little more for small n; at least 2. Half the width costs four times the episodes.
    """
    level, half_width = fraction(level), positive(half_width, "half width")
    if not (sd >= 0 and math.isfinite(sd)):
        raise ValueError(f"expected a standard deviation of at least 0, found {sd}.")
    n = max(2, math.ceil((float(ndtri((1 + level) / 2)) * sd / half_width) ** 2))
    while float(stdtrit(n - 1, (1 + level) / 2)) * sd > half_width * math.sqrt(n):
        n += 1
    return n


def episodes_needed_from(pilot: Numbers, half_width: float, level: float = 0.95) -> int:
    """The same from the values of some pilot episodes [n], n >= 2; 30 of them know the standard deviation to about 13%."""
    x = sample(pilot, "pilot values")
    if len(x) < 2:
        raise ValueError("expected at least 2 pilot values, found 1.")
    return episodes_needed(float(x.std(ddof=1)), half_width, level)


def episodes_needed_paired(first: Numbers, second: Numbers, half_width: float, level: float = 0.95) -> int:
    """The same for the difference of two methods on the same pilot episodes: usually far fewer, since an episode's difficulty cancels."""
    a, b = sample(first, "pilot values"), sample(second, "pilot values")
    if a.shape != b.shape:
        raise ValueError(f"expected the same pilot episodes for both methods, found {len(a)} and {len(b)}.")
    return episodes_needed_from(a - b, half_width, level)
