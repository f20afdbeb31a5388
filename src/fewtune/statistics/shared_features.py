"""Which tasks need the same features: a first look at frozen features, in seconds and without training a network.

In the spirit of the transfers of Zamir et al., "Taskonomy: disentangling task transfer learning", CVPR 2018, with linear maps in place of
networks. It sees which features tasks need (opposite tasks need the same ones), and not whether a network of some size has room for both.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import Floats, finite

LEAST = 10  # rows that a task needs in each half


def shared_features(features: npt.ArrayLike, targets: Sequence[npt.ArrayLike], seed: int = 0) -> Floats:
    """[T, T]: entry [i, j] is how much of task j is explained by what is read off the features for task i, over what its own explains.

    `features` [N, D]; targets of each task [N, L], NaN missing. A task's predictions are ridge regressions on the features (penalty: the
    mean squared singular value), fitted on one half of the rows. On the other half the targets of j are regressed on the predictions of i,
    and on its own: R2, adjusted for the number of predictions. 1: the features of task i do as well as the own ones; 0: they say nothing
    about j. Clipped to 0..1; the mean over both halves; the diagonal is 1. A column is NaN where task j cannot be read off the features
    (its own R2 is 0 or less) or has fewer than 10 rows in a half. Raises ValueError for other shapes.
    """
    x = finite(features, "features")
    each = [np.asarray(one, dtype=np.float64) for one in targets]
    if x.ndim != 2 or any(one.ndim != 2 or len(one) != len(x) for one in each):
        raise ValueError(f"expected features [rows, width] and targets [rows, outputs], found {x.shape} and {[t.shape for t in each]}.")
    known = [np.asarray(~np.isnan(one).any(axis=1), dtype=bool) for one in each]
    half = np.random.default_rng(seed).permutation(len(x)) % 2 == 0
    total, counted = np.zeros((len(each), len(each))), np.zeros((len(each), len(each)))
    for inside in (half, ~half):
        found = _one_half(x, each, known, inside)
        total += np.nan_to_num(found)
        counted += ~np.isnan(found)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)


def _one_half(x: Floats, targets: list[Floats], known: list[npt.NDArray[np.bool_]], inside: npt.NDArray[np.bool_]) -> Floats:
    found = np.full((len(targets), len(targets)), np.nan)
    enough = [min(int((one & inside).sum()), int((one & ~inside).sum())) >= LEAST for one in known]
    said = [_ridge(x, t, one & inside) if ok else None for t, one, ok in zip(targets, known, enough, strict=True)]
    for j, target in enumerate(targets):
        rows = known[j] & ~inside
        own = said[j]
        if own is None or (alone := _explained(own[rows], target[rows])) <= 0:
            continue
        for i, predictions in enumerate(said):
            if predictions is not None:
                found[i, j] = np.clip(_explained(predictions[rows], target[rows]) / alone, 0.0, 1.0)
    return found


def _ridge(x: Floats, target: Floats, rows: npt.NDArray[np.bool_]) -> Floats:
    """Predictions [N, L] of all rows by a ridge regression on some."""
    inputs, center = x[rows] - x[rows].mean(0), target[rows].mean(0)
    gram = inputs.T @ inputs
    penalty = max(float(np.trace(gram)) / len(gram), 1e-12)
    weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), inputs.T @ (target[rows] - center))
    predictions: Floats = (x - x[rows].mean(0)) @ weights + center
    return predictions


def _explained(predictions: Floats, target: Floats) -> float:
    """Adjusted R2 of targets [n, L] regressed on predictions [n, P]; minus infinity where there are too few rows."""
    n = len(target)
    inputs, outputs = predictions - predictions.mean(0), target - target.mean(0)
    weights, _, rank, _ = np.linalg.lstsq(inputs, outputs, rcond=1e-9)
    whole = float((outputs**2).sum())
    if n - 1 - rank <= 0 or whole == 0:
        return -np.inf
    return 1 - float(((outputs - inputs @ weights) ** 2).sum()) / whole * (n - 1) / (n - 1 - float(rank))
