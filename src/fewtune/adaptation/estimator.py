"""The scikit-learn estimator: `FewShotClassifier(...).fit(X, y).predict(X)`, on arrays, image paths or texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from fewtune.adaptation.choose import choose_learner
from fewtune.adaptation.fitting import fit_head, vectors_by_prompts
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.backbones.table import feature_table
from fewtune.data.pool import Pool
from fewtune.data.read import read_examples
from fewtune.errors import InputError
from fewtune.learning.classes import prompts_of
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.recipes.frozen import candidates
from fewtune.recipes.language import read_method
from fewtune.spec import text


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A few-shot classifier on frozen features, with scikit-learn's interface.

    Parameters
    ----------
    method : str, default "auto"
        A learner by its constructor text (`"ridge(penalty=10)"`), or "auto": the best of the frozen learners on repeated stratified
        splits of the training rows.
    backbone : str, default "precomputed"
        What turns rows into features, as for the command line. "precomputed" takes X as features, [N, D]; an image backbone takes paths of
        image files (or uint8 arrays [N, H, W, C]), a text backbone takes strings.
    weights : path, optional
        The backbone's weights.
    folds, seed : int
        Of the splits that "auto" chooses on and that calibrate the probabilities.
    device : str, default "auto"
    cache : path, optional
        Where embedded rows are kept; by default nowhere.

    Attributes
    ----------
    classes_ : the class labels, sorted. method_ : the learner's constructor text. temperature_ : divides the logits.
    choice_ : what is known of the candidates and of the accuracy to expect (`choice_.expected`).
    """

    def __init__(
        self,
        method: str = "auto",
        backbone: str = "precomputed",
        weights: str | Path | None = None,
        folds: int = 5,
        seed: int = 0,
        device: str = "auto",
        cache: str | Path | None = None,
    ) -> None:
        self.method = method
        self.backbone = backbone
        self.weights = weights
        self.folds = folds
        self.seed = seed
        self.device = device
        self.cache = cache

    def fit(self, X: Any, y: Any) -> FewShotClassifier:
        """Choose the learner (with "auto"), calibrate it and fit it on all rows. Raises ValueError for input it cannot learn from."""
        model = self._load()
        if self.backbone == "precomputed":
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        elif len(X) != len(y):
            raise InputError(f"expected one label a row, found {len(X)} rows and {len(y)} labels.")
        check_classification_targets(y)
        self.classes_, labels = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"expected examples of at least two classes, found one class: {self.classes_[0]!r}.")
        features = self._features(X, model)
        methods = self._methods(model)
        ways = len(self.classes_)
        vectors = vectors_by_prompts(model, [str(c) for c in self.classes_], methods.values())
        rows = np.arange(len(labels))
        self.choice_ = choose_learner(
            methods,
            features,
            rows,
            labels,
            ways,
            vectors=lambda method: vectors.get(prompts_of(method.learner)),
            fallback=next(iter(methods)),
            seed=self.seed,
            folds=self.folds,
        )
        chosen = self.choice_.method
        self.method_ = text(chosen)
        self.temperature_ = self.choice_.temperature
        state, parameters = fit_head(chosen, features, rows, labels, ways, vectors.get(prompts_of(chosen.learner)))
        self.state_ = {k: v.numpy() for k, v in state.items()}
        self.parameters_ = {k: v.numpy() for k, v in parameters.items()}
        return self

    def decision_function(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Calibrated logits [N, K]; for two classes their difference [N], positive for `classes_[1]`."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities [N, K] in the order of `classes_`."""
        found: np.ndarray[Any, np.dtype[np.float64]] = softmax(self._logits(X), axis=1)
        return found

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """The most probable class of each row."""
        found: np.ndarray[Any, Any] = self.classes_[self._logits(X).argmax(axis=1)]
        return found

    def _logits(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        check_is_fitted(self)
        if self.backbone == "precomputed":
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        features = self._features(X, self._load())
        learner = read_method(self.method_).learner
        state = {k: torch.from_numpy(v).to(features) for k, v in self.state_.items()}
        parameters = {k: torch.from_numpy(v).to(features) for k, v in self.parameters_.items()}
        with torch.inference_mode():
            logits = learner.score(state, features[None], parameters)[0].double()
        return logits.numpy() / self.temperature_

    def _load(self) -> Backbone:
        weights = None if self.weights is None else Path(self.weights)
        return load_backbone(self.backbone, weights=weights, machine=Machine(device=self.device))

    def _features(self, X: Any, model: Backbone) -> Tensor:
        if self.backbone == "precomputed":
            return torch.from_numpy(np.ascontiguousarray(X))
        pool = Pool([read_examples((X, None))])
        table = feature_table(model, pool, folder=None if self.cache is None else Path(self.cache), memory=self.cache is None, quiet=True)
        if table.bad:
            row, reason = next(iter(table.bad.items()))
            raise InputError(f"{len(table.bad)} of {len(X)} rows cannot be read, the first is row {row}: {reason}")
        return table.features

    def _methods(self, model: Backbone) -> dict[str, Method]:
        if self.method != "auto":
            return {self.method: read_method(self.method)}
        return candidates(label_side=model.label_side, modality=model.preparation.modality)
