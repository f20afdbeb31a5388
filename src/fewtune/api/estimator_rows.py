"""What the scikit-learn estimator reads: its rows, their labels, and the backbone that turns rows into features."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import Image
from sklearn.utils.validation import _check_sample_weight, assert_all_finite, check_consistent_length, column_or_1d
from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.known import SIZES
from fewtune.backbones.providers.names import read_name
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Modality, Texts, Wanted
from fewtune.data.reading.asked import Asked
from fewtune.data.reading.labels import missing
from fewtune.data.reading.order import IMAGE_SUFFIXES
from fewtune.data.reading.read import read_asked
from fewtune.data.reading.two_texts import check_fields, pairs_given
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone, run_folder

_LOOKED_AT = 20  # rows
_MOST_COPIES = 100_000  # rows, counted by their weights


def named_backbone(name: str, weights: str | Path | None, device: str) -> Backbone:
    """The backbone of that name. It is kept in memory (the last two are) until a file of it changes."""
    path = None if weights is None else Path(weights)
    model = run_folder(name) or Path(read_name(name).model or "/nowhere")
    return _loaded(name, path, device, (_stamp(path), _stamp(model)))


def kind_of(X: Any) -> Modality:
    """What rows are: texts, photos (image files, encoded bytes, Pillow images, arrays of three or four axes), or else features.

    Strings are photos where all of the first ones are paths of image files that exist.
    """
    given = X.to_numpy() if hasattr(X, "to_numpy") else X
    if pairs_given(given) is not None:
        return "text"
    if isinstance(given, np.ndarray) and given.dtype.kind not in "OU":
        return "image" if given.ndim in (3, 4) else "vector"
    if isinstance(given, np.ndarray):
        given = given.ravel().tolist() if given.ndim == 1 or given.shape[1:] == (1,) * (given.ndim - 1) else []
    if not isinstance(given, list | tuple) or not given:
        return "vector"
    first = [row for row in given[:_LOOKED_AT] if row is not None]
    if first and all(isinstance(row, str) for row in first):
        return "image" if all(Path(row).suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(row) for row in first) else "text"  # noqa: PTH113  (Path.is_file raises for too long a name)
    pictures = any(isinstance(row, bytes | Path | Image) or getattr(row, "ndim", 0) in (2, 3) for row in first)
    return "image" if pictures else "vector"


def named_for(name: str, X: Any) -> str:
    """The name of a backbone that reads pairs of texts, where the rows are pairs; else the name itself."""
    pairs = pairs_given(X.to_numpy() if hasattr(X, "to_numpy") else X)
    texts = name in SIZES or name.startswith("hf:")  # others read no pairs, and say so of such rows
    return TextOptions(fields=pairs.fields).onto(name) if pairs is not None and texts and "fields=" not in name else name


def labels_of(X: Any, y: Any) -> np.ndarray[Any, Any]:
    """One label [N] for each row of X, which holds inputs of a backbone. Raises ValueError where they do not fit each other."""
    if y is None:
        raise InputError("requires y to be passed, but the target y is None: expected one label a row.")
    labels: np.ndarray[Any, Any] = column_or_1d(y, warn=True)
    assert_all_finite(labels, input_name="y")
    try:
        check_consistent_length(X, labels)
    except TypeError as problem:  # scikit-learn's word for one thing where several belong
        raise InputError(f"expected a list or an array with one row for each label: {problem}") from None
    if not len(labels):
        raise InputError("expected labelled rows, found none.")
    return labels


def copies_of(sample_weight: Any, labels: np.ndarray[Any, Any], like: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """How often each row is learned from [N]: its weight, a whole number of at least 0; 1 for each without weights.

    Raises ValueError for weights of another length, below 0, not whole, all zero, or too many in all.
    """
    if sample_weight is None:
        return np.ones(len(labels), dtype=np.int64)
    weights = _check_sample_weight(sample_weight, like, dtype=np.float64, ensure_non_negative=True)
    if (odd := np.flatnonzero(weights != np.rint(weights))).size:
        raise InputError(
            f"sample_weight: row {odd[0]} has the weight {weights[odd[0]]:g}: expected whole numbers, because a row of weight k is learned "
            "from as k equal rows; multiply the weights and round them."
        )
    if not weights.any():
        raise InputError("sample_weight is zero for every sample: expected at least one row with a weight above zero.")
    if weights.sum() > (most := max(_MOST_COPIES, 10 * len(labels))):
        raise InputError(
            f"sample_weight adds up to {weights.sum():,.0f} rows: expected at most {most:,}; divide the weights and round them."
        )
    copies: np.ndarray[Any, np.dtype[np.int64]] = weights.astype(np.int64)
    return copies


def embedded(examples: Examples, model: Backbone, cache: str | Path | None) -> Tensor:
    """Features [N, D] of rows, kept in the folder `cache`, or nowhere. Raises InputError for rows that cannot be read."""
    if isinstance(model.preparation, TextPreparation):
        check_fields(examples, model.preparation.fields)
    space = RowSpace([examples])
    table = feature_table(model, space, folder=None if cache is None else Path(cache), memory=cache is None, quiet=True)
    if table.bad:
        row, reason = next(iter(table.bad.items()))
        raise InputError(f"{len(table.bad)} of {len(space)} rows cannot be read, the first is row {row}: {reason}")
    return table.features


def rows_of(X: Any, wanted: Wanted, *, several: bool) -> Examples:
    """Rows as the backbone wants them: strings are paths for an image backbone and texts for a text backbone, whatever they look like.

    With `several`, an array holds a row for each label; else it may be one picture.
    """
    given = X.to_numpy() if hasattr(X, "to_numpy") else X
    if wanted.modality == "text" and (pairs := pairs_given(given)) is not None:
        return make_examples(pairs)
    if isinstance(given, np.ndarray) and given.dtype.kind in "OU":
        if given.ndim > 1 and given.shape[1:] != (1,) * (given.ndim - 1):
            raise InputError(f"expected one path or text a row, found an array of shape {list(given.shape)}.")
        given = given.ravel().tolist()
    if given.shape[:1] == (0,) if isinstance(given, np.ndarray) else hasattr(given, "__len__") and len(given) == 0:
        raise InputError(f"found 0 sample(s): expected at least one {wanted.modality}.")
    if isinstance(given, list | tuple) and wanted.modality == "text":
        return make_examples(Texts([_text(row, number) for number, row in enumerate(given)]))
    if isinstance(given, list | tuple) and all(isinstance(row, str) for row in given):
        given = [Path(row) for row in given]
    return read_asked((given, None), Asked(labelled=False, wanted=None if several else wanted))


@lru_cache(maxsize=2)
def _loaded(name: str, weights: Path | None, device: str, _stamps: object) -> Backbone:
    """Loading costs seconds, and scikit-learn's clones and folds would pay them every time."""
    return load_backbone(name, weights=weights, machine=Machine(device=device))


def _stamp(path: Path | None) -> tuple[tuple[str, int, int], ...]:
    """What changes when the file, or a file in the folder, does."""
    if path is None or not path.exists():
        return ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple((f.name, f.stat().st_mtime_ns, f.stat().st_size) for f in files)


def _text(row: Any, number: int) -> str:
    if missing(row):
        raise InputError(f"row {number} holds no text (it is empty, None or NaN): expected a text in each row.")
    if not isinstance(row, str):
        raise InputError(f"row {number} is a {type(row).__name__}: expected a text in each row.")
    return row
