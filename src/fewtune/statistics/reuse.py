"""Do the episodes share their test items? Then an interval over episodes holds for these items, not for new ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

WORTH_SAYING = 1.05  # mean uses of an item from which the sentence is due: below, it would print "used 1.0 times"


@final
@dataclass(frozen=True)
class Reuse:
    """`rows` distinct query items over `episodes`, each used `mean_uses` times on average and `most_uses` times at most."""

    episodes: int
    rows: int
    mean_uses: float
    most_uses: int


def count_reuse(query: npt.ArrayLike) -> Reuse:
    """Count how often query rows [E, Q] (-1 is padding) occur. Raises ValueError for another shape, or if all is padding."""
    rows = np.asarray(query)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"expected query rows as integers [E, Q], found {rows.dtype} of shape {rows.shape}.")
    real = rows[rows >= 0]
    if real.size == 0:
        raise ValueError(f"expected at least one query row, found only padding in shape {rows.shape}.")
    _, uses = np.unique(real, return_counts=True)
    return Reuse(episodes=len(rows), rows=len(uses), mean_uses=float(uses.mean()), most_uses=int(uses.max()))


def reuse_sentence(query: npt.ArrayLike, items: str = "items") -> str | None:
    """A sentence on what the intervals are conditional on, when items are used more than `WORTH_SAYING` times on average; otherwise None.

    Reference: Lafargue et al., "Oops, I Sampled it Again: Reinterpreting Confidence Intervals in Few-Shot Learning", TMLR 2024.
    """
    found = count_reuse(query)
    if found.mean_uses < WORTH_SAYING:
        return None
    times = f"{found.mean_uses:,.0f}" if found.mean_uses >= 9.95 else f"{found.mean_uses:.1f}"
    return (
        f"The intervals over episodes are conditional on the {found.rows:,} query {items}, each used {times} times on average: "
        "other test data would vary more (Lafargue et al. 2024, 'Oops, I Sampled it Again')."
    )
