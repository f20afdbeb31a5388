"""How many episodes an interval of a given width needs."""

from __future__ import annotations

import math

from fewtune.statistics.sample import fraction, positive
from fewtune.statistics.special import ndtri, stdtrit


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
