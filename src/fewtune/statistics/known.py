"""Answers beside what is true, with the rows and entries whose truth is missing left out. The shapes say which kind of task it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from fewtune.statistics.sample import Floats, Integers, Numbers, finite

Kind: TypeAlias = Literal["class", "float", "multi"]
Flags: TypeAlias = npt.NDArray[np.bool_]


def kind_of(prediction: Numbers, truth: Numbers) -> Kind:
    """Which kind of task an answer is for: "class" ([N, K] and [N]), "float" ([N] and [N]) or "multi" ([N, L] twice); else ValueError."""
    shape, true = np.shape(prediction), np.shape(truth)
    if len(shape) == 2 and true == shape[:1]:
        return "class"
    if len(shape) == 1 and true == shape:
        return "float"
    if len(shape) == 2 and true == shape:
        return "multi"
    raise ValueError(
        f"expected predictions [rows, classes] with truth [rows], or two arrays [rows], or two [rows, labels]; found {shape} and {true}."
    )


def known_rows(prediction: Numbers, truth: Numbers) -> Flags:
    """Which rows [N] have a truth (of "multi": for at least one label)."""
    true: npt.NDArray[Any] = np.asarray(truth)
    if kind_of(prediction, truth) == "class":
        return np.asarray(true != -1, dtype=bool)
    known: Flags = np.asarray(~np.isnan(true.astype(np.float64)), dtype=bool)
    return known if known.ndim == 1 else np.asarray(known.any(axis=1), dtype=bool)


def known_classes(prediction: Numbers, truth: Numbers) -> tuple[Floats, Integers]:
    """Probabilities [n, K] and classes [n] of the rows whose class is not -1. Raises ValueError for other input."""
    _expect("class", prediction, truth)
    true: npt.NDArray[Any] = np.asarray(truth)
    classes = np.shape(prediction)[1]
    if not np.issubdtype(true.dtype, np.integer) or (true.size and not (true.min() >= -1 and true.max() < classes)):
        raise ValueError(f"expected classes as integers from 0 to {classes - 1} (-1: missing), found {_seen(true)}.")
    if classes == 0:
        raise ValueError("expected predictions of at least one class, found none.")
    rows = true != -1
    return finite(np.asarray(prediction)[rows], "predictions"), true[rows].astype(np.int64)


def known_numbers(prediction: Numbers, truth: Numbers) -> tuple[Floats, Floats]:
    """Predicted and true numbers [n] of the rows whose truth is not NaN. Raises ValueError for other input."""
    _expect("float", prediction, truth)
    true = np.asarray(truth, dtype=np.float64)
    rows = ~np.isnan(true)
    return finite(np.asarray(prediction)[rows], "predictions"), finite(true[rows], "truth")


def known_labels(prediction: Numbers, truth: Numbers) -> tuple[Floats, Floats]:
    """Probabilities [N, L] and truth [N, L] of 0, 1 or NaN (missing), checked. Predictions may be anything where the truth is missing."""
    _expect("multi", prediction, truth)
    true = np.asarray(truth, dtype=np.float64)
    known = ~np.isnan(true)
    if not np.isin(true[known], (0.0, 1.0)).all():
        raise ValueError(f"expected labels of 0 or 1 (NaN: missing), found {_seen(true[known])}.")
    chance = np.asarray(prediction, dtype=np.float64)
    finite(chance[known], "predictions")
    return chance, true


def columns(prediction: Numbers, truth: Numbers) -> Iterator[tuple[Floats, Flags]]:
    """A score [n] and whether it holds [n], for each class against all others, or for each label on its known rows."""
    if kind_of(prediction, truth) == "class":
        chance, classes = known_classes(prediction, truth)
        for k in range(chance.shape[1]):
            yield chance[:, k], classes == k
        return
    chance, labels = known_labels(prediction, truth)
    for score, label in zip(chance.T, labels.T, strict=True):
        rows = ~np.isnan(label)
        yield score[rows], label[rows] == 1


def _expect(kind: Kind, prediction: Numbers, truth: Numbers) -> None:
    found = kind_of(prediction, truth)
    if found != kind:
        raise ValueError(
            f'expected answers of kind "{kind}", found shapes {np.shape(prediction)} and {np.shape(truth)}, which are "{found}".'
        )


def _seen(values: npt.NDArray[Any]) -> str:
    return f"{values.dtype} from {values.min()} to {values.max()}" if values.size else f"{values.dtype}"
