"""UMAP (McInnes, Healy and Melville, 2018), from the optional library umap-learn (`pip install 'fewtune[umap]'`)."""

from __future__ import annotations

import importlib.util

import numpy as np

from fewtune.report.findings import Floats


def has_umap() -> bool:
    """Whether umap-learn is installed (it is not imported yet: that takes seconds)."""
    found = importlib.util.find_spec("umap")
    return found is not None and found.origin is not None  # a folder of that name in the current one is no library


def umap_places(features: Floats, start: Floats, seed: int) -> Floats:
    """Places [N, 2] of features [N, D], from `start` [N, 2]; with a seed it runs on one thread, and so gives the same map again."""
    import umap

    neighbours = min(15, len(features) - 1)
    made = umap.UMAP(n_neighbors=neighbours, init=start.astype(np.float32), random_state=seed, n_jobs=1).fit_transform(features)
    return np.asarray(made, dtype=np.float64)
