"""How tightly classes cluster in feature space, beside how far apart they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import finite


def variance_ratio(features: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """tr(S_within) / tr(S_between) of features [N, D] with class labels [N]: smaller where classes are tight and far apart.

    tr(S_within) = sum_i |x_i - m_c(i)|^2 and tr(S_between) = sum_c n_c |m_c - m|^2, with the class means m_c and the mean m of all rows.
    Infinite where all class means are equal, NaN where all rows are. Raises ValueError for fewer than two classes and for other shapes.

    Reference: Wang et al., "Model-agnostic multitask fine-tuning", 2022, section 6.4 (they say which is lower, without numbers).
    """
    x, y = finite(features, "features"), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1]:
        raise ValueError(f"expected features [rows, width] and a label for each row, found {x.shape} and {y.shape}.")
    classes, index, counts = np.unique(y, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"expected rows of two classes or more, found {len(classes)}.")
    means = np.stack([x[index == c].mean(0) for c in range(len(classes))])
    within = float(((x - means[index]) ** 2).sum())
    between = float((counts * ((means - x.mean(0)) ** 2).sum(1)).sum())
    if between == 0:
        return float("nan") if within == 0 else float("inf")
    return within / between
