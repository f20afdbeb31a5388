"""The scikit-learn estimators of numbers and of several outputs: `FewShotRegressor` and `FewShotMultiOutput`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from fewtune.api.estimator_rows import embedded, kind_of, named_backbone, rows_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.defaults import chosen, is_size
from fewtune.data.examples import Column, make_examples
from fewtune.data.items import Vectors, Wanted
from fewtune.data.reading.kinds import KINDS, kind_of_column
from fewtune.data.reading.label_table import LabelTable
from fewtune.data.reading.labels import LARGEST, Kind, as_labels, missing
from fewtune.errors import InputError
from fewtune.joint.adapt import JointSettings, adapt_columns
from fewtune.joint.outcome import JointOutcome
from fewtune.models.joint.model import Floats, JointBundle
from fewtune.statistics.metrics import METRICS
from fewtune.words import counted


class FewShotRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Ridge regression on frozen features, its penalty by leave-one-out in closed form, with scikit-learn's interface.

    Parameters
    ----------
    backbone : str or Backbone, default "auto"
        What turns rows into features, as in `FewShotClassifier`: numbers [N, D] are features; for texts and photos, the small encoder.
    weights : path, optional
        The backbone's weights.
    folds, seed : int
        Of the folds that say what to expect.
    device : str, default "auto"
    cache : path, optional
        The folder that keeps embedded rows; by default none.

    Attributes
    ----------
    outcome_ : what was measured on held-out rows (`outcome_.sentences`). bundle_ : the model. backbone_ : the name of the backbone.

    >>> import numpy, fewtune
    >>> X = numpy.linspace(0, 1, 20)[:, None]
    >>> round(float(fewtune.FewShotRegressor().fit(X, 3 * X[:, 0] + 1).predict([[0.5]])[0]), 2)
    2.5
    """

    def __init__(
        self,
        backbone: str | Backbone = "auto",
        weights: str | Path | None = None,
        folds: int = 5,
        seed: int = 0,
        device: str = "auto",
        cache: str | Path | None = None,
    ) -> None:
        self.backbone, self.weights, self.folds, self.seed = backbone, weights, folds, seed
        self.device, self.cache = device, cache

    def fit(self, X: Any, y: Any) -> FewShotRegressor:
        """`y`: numbers [N], or [N, T] for several outputs. Raises ValueError for input it cannot learn from."""
        features = _features(self, X, fitting=True)
        numbers = _numbers(y)
        if (np.abs(numbers) > LARGEST).any():
            raise InputError("y holds a number that is infinite or beyond 1e100: clear it (NaN) if it is unknown.")
        if numbers.ndim not in (1, 2) or len(numbers) != len(features):
            raise InputError(f"expected one number, or one row of numbers, for each of {len(features)} rows, found {list(numbers.shape)}.")
        self.single_ = numbers.ndim == 1
        columns = {f"y{place}": Column("float", column[:, None]) for place, column in enumerate(np.atleast_2d(numbers.T))}
        self.outcome_ = _learned(self, features, columns)
        self.bundle_ = self.outcome_.bundle
        return self

    def predict(self, X: Any) -> Floats:
        """Numbers [N], or [N, T] where several outputs were learned."""
        check_is_fitted(self)
        found = np.stack(_answers(self.bundle_, _features(self, X)), axis=1)
        return found[:, 0] if self.single_ else found


def _numbers(y: Any) -> Floats:
    """y in float64. Raises InputError for words, complex numbers and rows of different lengths."""
    try:
        given = np.asarray(y)
        if given.dtype.kind != "c":
            return given.astype(np.float64)
    except (TypeError, ValueError):
        pass
    raise InputError("y is to hold numbers, one for each row or one row of numbers: for words use FewShotClassifier or FewShotMultiOutput.")


class FewShotMultiOutput(MultiOutputMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Several label columns at once, each a class, a number or several labels, with scikit-learn's interface.

    Each column has a head of its own on frozen features: logistic or ridge regression, whichever held-out rows favour. Parameters and
    attributes as in `FewShotRegressor`; `kinds`: class, float or multi for each column of y, by default found out.

    >>> import numpy, fewtune
    >>> X = numpy.linspace(-1, 1, 24)[:, None]
    >>> y = [["low" if x < 0 else "high", float(2 * x) + 0.01] for x in X[:, 0]]
    >>> fewtune.FewShotMultiOutput().fit(X, y).predict([[0.9]])[0][0]
    'high'
    """

    def __init__(
        self,
        kinds: Sequence[str] | None = None,
        backbone: str | Backbone = "auto",
        weights: str | Path | None = None,
        folds: int = 5,
        seed: int = 0,
        device: str = "auto",
        cache: str | Path | None = None,
    ) -> None:
        self.kinds, self.backbone, self.weights, self.folds, self.seed = kinds, backbone, weights, folds, seed
        self.device, self.cache = device, cache

    def fit(self, X: Any, y: Any) -> FewShotMultiOutput:
        """`y`: a data frame, or rows of T labels [N, T]; None and NaN are missing. Raises ValueError for what cannot be learned."""
        features = _features(self, X, fitting=True)
        names, listed = _columns_of(y, len(features))
        if self.kinds is not None and len(self.kinds) != len(names):
            raise InputError(f"expected a kind for each of {counted(len(names), 'column')} of y, found {len(self.kinds)}.")
        kinds: list[Kind] = [
            kind_of_column(values, f"output {name!r}") if self.kinds is None else _checked(self.kinds[place])
            for place, (name, values) in enumerate(zip(names, listed, strict=True))
        ]
        columns = {}
        for name, values, kind in zip(names, listed, kinds, strict=True):
            labels = as_labels(values, f"output {name!r}", None, kind)
            columns[name] = labels if isinstance(labels, Column) else make_examples(Vectors(features), labels).column
        self.outputs_ = names
        self.outcome_ = _learned(self, features, columns)
        self.bundle_ = self.outcome_.bundle
        given = [dict(zip(task.names, task.names, strict=True)) for task in self.bundle_.tasks]
        for named, values, kind in zip(given, listed, kinds, strict=True):
            if kind == "class":
                known = [value for value in values if not missing(value)]
                named |= dict(zip(cast("list[str]", as_labels(known, "y", None, kind)), known, strict=True))
        self.classes_ = [np.array(list(named.values())) for named in given]
        return self

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """[N, T] objects: the class as it was given, the number, or the tuple of labels of each output."""
        check_is_fitted(self)
        columns = []
        for place, (task, found) in enumerate(zip(self.bundle_.tasks, _answers(self.bundle_, _features(self, X)), strict=True)):
            if task.kind == "class":
                columns.append(self.classes_[place][found.argmax(axis=1)].tolist())
            elif task.kind == "multi":
                columns.append([tuple(name for name, p in zip(task.names, row, strict=True) if p >= 0.5) for row in found])
            else:
                columns.append(found.tolist())
        made = np.empty((len(columns[0]), len(columns)), dtype=object)
        for place, column in enumerate(columns):
            made[:, place] = column
        return made

    def predict_proba(self, X: Any) -> list[Floats]:
        """For each output the probabilities [N, K] of its classes, or [N, L] that each of its labels holds; of numbers [N, 1]."""
        check_is_fitted(self)
        return [found if found.ndim > 1 else found[:, None] for found in _answers(self.bundle_, _features(self, X))]

    def score(self, X: Any, y: Any, sample_weight: None = None) -> float:
        """The mean over outputs of right answers, R2 or average precision, on the rows with a label in an output; labels that `fit` did not
        see are wrong answers. `sample_weight` is not for this estimator: anything but None is refused."""
        if sample_weight is not None:
            raise InputError("rows have no weights here: leave sample_weight out.")
        answers, (_, listed) = self.predict(X), _columns_of(y, len(X))
        found = []
        for place, (task, values) in enumerate(zip(self.bundle_.tasks, listed, strict=True)):
            rows = [row for row, value in enumerate(values) if not missing(value)]
            true, said = [values[row] for row in rows], answers[rows, place]
            if task.kind == "float":
                found.append(METRICS["r2"].of(said.astype(np.float64), np.asarray(true, dtype=np.float64)))
            elif task.kind == "class":
                found.append(float(np.mean([a == b for a, b in zip(true, said.tolist(), strict=True)])))
            else:
                hot = as_labels(true, "y", None, "multi")
                assert isinstance(hot, Column)
                truth = np.stack([hot.values[:, hot.names.index(n)] if n in hot.names else np.zeros(len(rows)) for n in task.names], axis=1)
                found.append(METRICS["average_precision"].of(self.predict_proba(X)[place][rows], truth))
        return float(np.mean(found))


def _features(estimator: Any, X: Any, *, fitting: bool = False) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Features [N, D] of rows; the backbone is the one that the first rows asked for."""
    given = estimator.backbone
    if isinstance(given, Backbone):
        model = given
    else:
        name = given
        if given == "auto" or is_size(given):
            name = chosen(None if given == "auto" else given, kind_of(X)) if fitting else estimator.backbone_
        model = named_backbone(name, estimator.weights, estimator.device)
    if fitting:
        estimator.backbone_ = model.name
    if model.structure == "precomputed":
        return np.asarray(validate_data(estimator, X, dtype=np.float32, reset=fitting))
    examples = rows_of(X, Wanted(model.preparation.modality), several=True)
    return embedded(examples, model, estimator.cache).float().cpu().numpy()


def _learned(estimator: Any, features: np.ndarray[Any, np.dtype[np.float32]], columns: dict[str, Column]) -> JointOutcome:
    """Heads for all columns on given features."""
    first, column = next(iter(columns.items()))
    examples = replace(make_examples(Vectors(features[:, :0]), column, name="data"), columns=columns, target=first)
    table = LabelTable(examples, features.astype(np.float64), tuple(f"x{place}" for place in range(features.shape[1])))
    return adapt_columns(table, None, JointSettings(methods={}, folds=estimator.folds, seed=estimator.seed))


def _answers(bundle: JointBundle, features: np.ndarray[Any, np.dtype[np.float32]]) -> list[Floats]:
    scaled = bundle.scaling(torch.zeros(len(features), 0), features.astype(np.float64))
    return [task.answers(scaled) for task in bundle.tasks]


def _columns_of(y: Any, count: int) -> tuple[list[str], list[list[Any]]]:
    """(names, values) of the columns of y."""
    if hasattr(y, "columns") and hasattr(y, "iloc"):
        return [str(name) for name in y.columns], [y.iloc[:, place].tolist() for place in range(y.shape[1])]
    listed = y.tolist() if isinstance(y, np.ndarray) else list(y)
    if any(not isinstance(row, list | tuple | np.ndarray) for row in listed):
        raise InputError(
            "expected a row of labels for each row, [N, T]: for one output FewShotClassifier or FewShotRegressor, or [[y], ...]."
        )
    rows = [list(row) for row in listed]
    widths = {len(row) for row in rows}
    if len(rows) != count or len(widths) != 1:
        raise InputError(f"expected a row of labels for each of {count} rows, all of one length, found {len(rows)} of {sorted(widths)}.")
    return [f"y{place}" for place in range(widths.pop())], [list(column) for column in zip(*rows, strict=True)]


def _checked(kind: str) -> Kind:
    for known in KINDS:
        if kind == known:
            return known
    raise InputError(f"unknown kind {kind!r}: expected class, float or multi.")
