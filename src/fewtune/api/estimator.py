"""The scikit-learn estimator: `FewShotClassifier(...).fit(X, y).predict(X)`, on arrays, image paths or texts."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length, check_is_fitted, column_or_1d, validate_data
from torch import Tensor

from fewtune.api.values import backbone_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.names import read_name
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Texts, Wanted
from fewtune.data.reading.inputs import taught_size
from fewtune.data.reading.labels import missing
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.learners.choice import choose_learner
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models.fitting import fit_head
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.language import read_frozen, read_method
from fewtune.spec import text

_TIE = 1e-12  # logits nearer than this to the best are as good, so that no rounding of probabilities changes the answer


class FewShotClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A few-shot classifier on frozen features, with scikit-learn's interface.

    Parameters
    ----------
    method : str, default "auto"
        A learner by its constructor text (`"ridge(penalty=10)"`), or "auto": the best of the frozen learners on repeated stratified
        splits of the training rows.
    backbone : str or Backbone, default "precomputed"
        What turns rows into features, as for the command line. "precomputed" takes X as features, [N, D]; a text backbone takes strings; an
        image backbone takes pictures: a list, an object array or a pandas column of paths, encoded bytes, Pillow images and arrays, in any
        mix and size, or one array [N, H, W], [N, H, W, C] or [N, C, H, W] of uint8, of floats in 0..1 or of 16-bit integers. Other methods
        than `fit` also take one picture alone, where an array is one picture or several by the rule of `fewtune.data.pixels.one_or_many`.
    weights : path, optional
        The backbone's weights.
    folds, seed : int
        Of the splits that "auto" chooses on and that calibrate the probabilities; at least 2 folds.
    device : str, default "auto"
    cache : path, optional
        Where embedded rows are kept; by default nowhere. Worth giving in a grid search, which embeds the same rows again and again.

    Attributes
    ----------
    classes_ : the class labels, sorted. method_ : the learner's constructor text. temperature_ : divides the logits.
    choice_ : what is known of the candidates and of the accuracy to expect (`choice_.expected`).

    picture_size_ : [H, W] of the rows where they were one array of grey pictures [N, H, W]; None otherwise.

    Backbones are kept in memory between calls (the last two of a process), and are not part of a pickle.

    Examples
    --------
    >>> import numpy, fewtune
    >>> X, y = numpy.eye(2, dtype="float32").repeat(8, axis=0), ["cat"] * 8 + ["dog"] * 8
    >>> classifier = fewtune.FewShotClassifier(method="ridge(penalty=1)").fit(X, y)
    >>> [str(label) for label in classifier.predict([[0.9, 0.1], [0.2, 0.8]])]
    ['cat', 'dog']
    """

    picture_size_: tuple[int, ...] | None

    def __init__(
        self,
        method: str = "auto",
        backbone: str | Backbone = "precomputed",
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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = self._on_features
        tags.input_tags.string = not self._on_features
        return tags

    @property
    def _on_features(self) -> bool:
        """Whether X holds features, not inputs of a backbone."""
        given = self.backbone
        return given.structure == "precomputed" if isinstance(given, Backbone) else given == "precomputed"

    def fit(self, X: Any, y: Any) -> FewShotClassifier:
        """Choose the learner (with "auto"), calibrate it and fit it on all rows. Raises ValueError for input it cannot learn from."""
        if self.folds < 2:
            raise InputError(f"expected at least 2 folds, found {self.folds}.")
        model = self._load()
        X, y = self._checked(X, y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"expected examples of at least two classes, found one class: {str(self.classes_[0])!r}.")
        features = self._features(X, model, fitting=True)
        methods = self._methods(model, len(labels))
        vectors = vectors_by_prompts(model, [str(c) for c in self.classes_], methods.values())
        rows, ways = np.arange(len(labels)), len(self.classes_)
        self.choice_ = choose_learner(
            methods,
            features,
            rows,
            labels,
            ways,
            vectors=lambda method: vectors.get(prompts_of(method.head)),
            fallback=next(iter(methods)),
            seed=self.seed,
            folds=self.folds,
        )
        chosen = self.choice_.method
        state, parameters = fit_head(chosen, features, rows, labels, ways, vectors.get(prompts_of(chosen.head)))
        self.method_ = text(chosen)
        self.temperature_ = self.choice_.temperature
        self.state_ = {k: v.cpu().numpy() for k, v in state.items()}
        self.parameters_ = {k: v.cpu().numpy() for k, v in parameters.items()}
        self.backbone_digest_ = model.digest()
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
        """The most probable class of each row [N]; of equals, the first."""
        best = self._logits(X).argmax(axis=1)
        found: np.ndarray[Any, Any] = self.classes_[best]
        return found

    def _logits(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        check_is_fitted(self)
        model = self._load()
        if model.digest() != self.backbone_digest_:
            raise InputError(f"the weights of {model.name} are not those this classifier was fitted with: fit it again.")
        if self._on_features:
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        features = self._features(X, model)
        learner = read_method(self.method_).head
        state = {k: torch.from_numpy(v).to(features) for k, v in self.state_.items()}
        parameters = {k: torch.from_numpy(v).to(features) for k, v in self.parameters_.items()}
        with torch.inference_mode():
            logits = learner.score(state, features[None], parameters)[0].double().numpy() / self.temperature_
        top = logits.max(axis=1, keepdims=True)
        return np.where(logits >= top - _TIE * np.maximum(1.0, np.abs(top)), top, logits)

    def _checked(self, X: Any, y: Any) -> tuple[Any, np.ndarray[Any, Any]]:
        """The rows, and one label for each."""
        if self._on_features:
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        else:
            if y is None:
                raise InputError("requires y to be passed, but the target y is None: expected one label a row.")
            y = column_or_1d(y, warn=True)
            assert_all_finite(y, input_name="y")
            try:
                check_consistent_length(X, y)
            except TypeError as problem:  # scikit-learn's word for one thing where several belong
                raise InputError(f"expected a list or an array with one row for each label: {problem}") from None
            if not len(y):
                raise InputError("expected labelled rows, found none.")
        check_classification_targets(y)
        return X, y

    def _load(self) -> Backbone:
        if not isinstance(self.backbone, str):
            if self.weights is not None:
                raise InputError("weights go with a backbone's name: leave them out, or give them to load_backbone.")
            return backbone_of(self.backbone, "vector")
        weights = None if self.weights is None else Path(self.weights)
        model = Path(read_name(self.backbone).model or "/nowhere")
        return _loaded(self.backbone, weights, self.device, (_stamp(weights), _stamp(model)))

    def _features(self, X: Any, model: Backbone, *, fitting: bool = False) -> Tensor:
        """[N, D] on the CPU: float32, or the float64 of X where it is given as features."""
        if self._on_features:
            return torch.from_numpy(np.require(X, requirements=["C", "W"]))
        wanted = Wanted(model.preparation.modality, None if fitting else self.picture_size_)
        examples = _examples(X, wanted, several=fitting)
        if fitting:
            self.picture_size_ = taught_size(examples)
        space = RowSpace([examples])
        table = feature_table(model, space, folder=None if self.cache is None else Path(self.cache), memory=self.cache is None, quiet=True)
        if table.bad:
            row, reason = next(iter(table.bad.items()))
            raise InputError(f"{len(table.bad)} of {len(space)} rows cannot be read, the first is row {row}: {reason}")
        return table.features

    def _methods(self, model: Backbone, rows: int) -> dict[str, Method]:
        if self.method != "auto":
            return {self.method: read_frozen(self.method)}
        return candidates(label_side=model.label_side, modality=model.preparation.modality, rows=rows)


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


def _examples(X: Any, wanted: Wanted, *, several: bool) -> Examples:
    """Rows as the backbone wants them: strings are paths for an image backbone and texts for a text backbone, whatever they look like.

    With `several`, an array holds a row for each label; else it may be one picture.
    """
    given = X.to_numpy() if hasattr(X, "to_numpy") else X
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
    return read_examples((given, None), labelled=False, wanted=None if several else wanted)


def _text(row: Any, number: int) -> str:
    if missing(row):
        raise InputError(f"row {number} holds no text (it is empty, None or NaN): expected a text in each row.")
    if not isinstance(row, str):
        raise InputError(f"row {number} is a {type(row).__name__}: expected a text in each row.")
    return row
