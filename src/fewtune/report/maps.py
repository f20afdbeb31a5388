"""Features as dots in the plane: PCA, then t-SNE, or UMAP where it is installed; the same seed gives the same map.

Reference: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9, 2008; Kobak and Berens, "The art of using t-SNE", 2019
(a start from the first principal components keeps the broad arrangement, and makes the map repeatable).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fewtune.keys import key
from fewtune.report.findings import Floats, Integers
from fewtune.report.umap_provider import has_umap, umap_places

Way: TypeAlias = Literal["auto", "t-SNE", "UMAP", "PCA"]

MOST_ROWS = 2_000  # t-SNE of 2,000 rows takes about 10 s on one thread, of 5,000 about 40 s
DIMENSIONS = 50  # of the PCA before it: more would only take more time
SPREAD = 1e-4  # standard deviation of t-SNE's start


def map_rows(count: int, seed: int = 0, most: int = MOST_ROWS) -> Integers:
    """Which of `count` rows a map shows: all, or `most` of them drawn by the seed, in ascending order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.argsort(key(seed, "map rows").bits(np.arange(count, dtype=np.uint64)), kind="stable")[:most])


def way_of(count: int, way: Way = "auto") -> Way:
    """How a map of `count` rows is made: as asked, or UMAP where it is installed, else t-SNE; PCA for fewer than 8 rows."""
    if count < 8:
        return "PCA"
    return way if way != "auto" else "UMAP" if has_umap() else "t-SNE"


def map_2d(features: npt.ArrayLike, seed: int = 0, *, way: Way = "auto", start: Floats | None = None) -> Floats:
    """Places [N, 2] of features [N, D], centred. `start` [N, 2]: begin at another map of the same rows, not at the first two components.

    More than 5,000 rows take minutes: choose them with `map_rows`. Values that are not finite count as 0.
    """
    x = np.nan_to_num(np.asarray(features, dtype=np.float64), posinf=0.0, neginf=0.0)
    if x.ndim != 2:
        raise ValueError(f"expected features [N, D], found shape {x.shape}.")
    if not len(x):
        return np.zeros((0, 2))
    components = _components(x)
    begin = components[:, :2] if start is None else np.asarray(start, dtype=np.float64)
    way = way_of(len(x), way)
    if way == "PCA" or not components.any():
        return components[:, :2].copy()
    scale = float(begin[:, 0].std()) or float(begin.std()) or 1.0
    number = key(seed, "map").value % 2**31
    unit = begin / scale
    places: Floats = umap_places(components, 10 * unit, number) if way == "UMAP" else _tsne(components, SPREAD * unit, number)
    places -= places.mean(0)
    return places


def maps_2d(before: npt.ArrayLike, after: npt.ArrayLike, seed: int = 0, *, way: Way = "auto") -> tuple[Floats, Floats]:
    """Comparable maps [N, 2] of the same rows, before and after. The second starts from the first and is then turned to fit it."""
    first = map_2d(before, seed, way=way)
    second = map_2d(after, seed, way=way, start=first)
    return first, turned_onto(second, first)


def turned_onto(places: Floats, target: Floats) -> Floats:
    """`places` [N, 2] moved, turned, mirrored and scaled as a whole to lie on `target` [N, 2] as well as can be (Procrustes).

    With both centred, A = places, B = target, and U S V' the singular value decomposition of A'B: s A U V' with s = tr(S) / ||A||^2.
    """
    middle = target.mean(0)
    a, b = places - places.mean(0), target - middle
    u, s, vt = np.linalg.svd(a.T @ b)
    size = float((a * a).sum())
    turned: Floats = (s.sum() / size if size else 1.0) * a @ u @ vt + middle
    return turned


def _components(x: Floats) -> Floats:
    """The principal components [N, <= 50] (at least two columns), each with the sign that makes its largest entry positive."""
    centred = x - x.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred) if x.shape[1] <= len(x) else _dual(centred)
    order = np.argsort(-values, kind="stable")[:DIMENSIONS]
    made = centred @ vectors[:, order]
    made[:, values[order] <= 1e-12 * max(float(values.max()), 1e-300)] = 0.0
    largest = np.take_along_axis(made, np.abs(made).argmax(0)[None], axis=0)[0]
    made *= np.where(largest < 0, -1.0, 1.0)
    return np.pad(made, ((0, 0), (0, max(0, 2 - made.shape[1]))))


def _dual(centred: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues [N] and unit eigenvectors [D, N] of the covariance from the smaller Gram matrix [N, N]."""
    values, left = np.linalg.eigh(centred @ centred.T)
    right = centred.T @ left
    return values, right / np.maximum(np.linalg.norm(right, axis=0), 1e-150)


def _tsne(x: Floats, start: Floats, seed: int) -> Floats:
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(x) - 1) / 3)
    made = TSNE(2, perplexity=perplexity, init=start.astype(np.float32), random_state=seed, n_jobs=1).fit_transform(x.astype(np.float32))
    return np.asarray(made, dtype=np.float64)
