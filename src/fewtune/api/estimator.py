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

from fewtune.api.estimator_bundle import bundle_of, fitted_of
from fewtune.api.estimator_rows import copies_of, embedded, kind_of, labels_of, named_backbone, named_for, rows_of
from fewtune.api.functions import Model, load
from fewtune.api.values import backbone_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.defaults import chosen, is_size
from fewtune.backbones.providers.text_options import TextOptions, fields_of_name
from fewtune.data.items import Wanted
from fewtune.data.reading.inputs import taught_size
from fewtune.errors import InputError
from fewtune.learners.choice import choose_learner
from fewtune.learners.labelled import Labelled
from fewtune.learners.usual import alone_of, prior_of
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.machine import Machine
from fewtune.models.export import Exported
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
    backbone : str or Backbone, default "auto"
        What turns rows into features, as for the command line. "auto": numbers [N, D] are features; for texts and photos, the small
        encoder that `adapt` takes (strings are photos where they are paths of image files, else texts); "small", "base" and "large" are
        as for the command line. "precomputed" takes X as features, [N, D]; a text backbone takes strings; an
        image backbone takes pictures: a list, an object array or a pandas column of paths, encoded bytes, Pillow images and arrays, in any
        mix and size, or one array [N, H, W], [N, H, W, C] or [N, C, H, W] of uint8, of floats in 0..1 or of 16-bit integers. Other methods
        than `fit` also take one picture alone, where an array is one picture or several by the rule of `fewtune.data.pixels.one_or_many`.
    weights : path, optional
        The backbone's weights.
    folds, seed : int
        Of the splits that "auto" chooses on and that calibrate the probabilities; at least 2 folds.
    device : str, default "auto"
    cache : path, optional
        The folder that keeps embedded rows; by default none. It helps in a grid search, which embeds the same rows again and again.

    Attributes
    ----------
    classes_ : the class labels, sorted. method_ : the learner's constructor text. temperature_ : divides the logits.
    choice_ : what is known of the candidates and of the accuracy to expect (`choice_.expected`).
    backbone_ : the name of the backbone. shots_ : how many rows each class had.
    picture_size_ : [H, W] of the rows where they were one array of grey pictures [N, H, W]; None otherwise.

    Backbones are kept in memory between calls (the last two of a process), and are not part of a pickle.

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
        backbone: str | Backbone = "auto",
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
        """Whether X holds features, not inputs of a backbone; before `fit`, whether it may."""
        given = self.backbone
        if isinstance(given, Backbone):
            return given.structure == "precomputed"
        return getattr(self, "backbone_", "precomputed") == "precomputed" if given == "auto" else given == "precomputed"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> FewShotClassifier:
        """Choose the learner (with "auto"), calibrate it and fit it on all rows. Raises ValueError for input it cannot learn from.

        `sample_weight` [N]: whole numbers of at least 0. The learner is fitted as if a row of weight k stood there k times, whichever
        learner it is; a row of weight 0 is not used at all. The splits that choose the learner, calibrate it and measure it (`choice_`)
        count each row of a weight above 0 once, so that no copy of a held-out row is learned from.
        """
        if self.folds < 2:
            raise InputError(f"expected at least 2 folds, found {self.folds}.")
        model = self._load(self._named(X))
        on_features = model.structure == "precomputed"
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32]) if on_features else (X, labels_of(X, y))
        check_classification_targets(y)
        copies = copies_of(sample_weight, y, X)
        used = np.flatnonzero(copies)
        self.classes_, labels = np.unique(y[used], return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"expected examples of at least two classes, found one class: {str(self.classes_[0])!r}.")
        self.backbone_ = model.name
        features = self._features(X, model, fitting=True)[used]
        methods = self._methods(model, labels)
        vectors = vectors_by_prompts(model, [str(c) for c in self.classes_], methods.values())
        rows, ways = np.arange(len(labels)), len(self.classes_)
        self.choice_ = choose_learner(
            methods,
            Labelled(features, rows, labels, ways),
            vectors=lambda method: vectors.get(prompts_of(method.head)),
            fallback=alone_of(methods),
            prior=prior_of(methods),
            seed=self.seed,
            folds=self.folds,
        )
        chosen = self.choice_.method
        repeated = np.repeat(rows, copies[used])
        state, parameters = fit_head(chosen, features, repeated, labels[repeated], ways, vectors.get(prompts_of(chosen.head)))
        self.method_ = text(chosen)
        self.temperature_ = self.choice_.temperature
        self.state_ = {k: v.cpu().numpy() for k, v in state.items()}
        self.parameters_ = {k: v.cpu().numpy() for k, v in parameters.items()}
        self.backbone_digest_ = model.digest()
        self.shots_ = np.bincount(labels).tolist()
        return self

    def save(self, path: Path | str, *, overwrite: bool = False, pack: bool = False) -> Path:
        """Write the fitted classifier as a model that `fewtune predict`, `fewtune.load` and `FewShotClassifier.load` open.

        `pack`: with the weights of the backbone, so that the folder alone is enough on another machine. An existing folder is refused
        unless `overwrite`. Returns where the model is. The rows are not kept, so that no class can be added to it.
        """
        return self._model().save(path, overwrite=overwrite, pack=pack)

    def export(self, path: Path | str, *, inputs: Any = None) -> Exported:
        """Write the fitted classifier as one ONNX file (see `Model.export`)."""
        return self._model().export(path, inputs=inputs)

    @staticmethod
    def load(path: Path | str, *, weights: Path | str | None = None, device: str = "auto") -> FewShotClassifier:
        """Any saved model, also one of `fewtune adapt`, as a fitted classifier: `predict` gives an array of labels, `predict_proba`
        [N, K]. `weights`: where the backbone's weights are now, if they moved."""
        opened = load(path, weights=weights, machine=Machine(device=device))
        on_features = opened.backbone.structure == "precomputed"
        made = FewShotClassifier(method=opened.bundle.method, backbone="precomputed" if on_features else opened.backbone, device=device)
        for name, value in fitted_of(opened.bundle, opened.backbone).items():
            if name != "n_features_in_" or on_features:
                setattr(made, name, value)
        return made

    def _model(self) -> Model:
        check_is_fitted(self)
        if not hasattr(self, "choice_"):
            raise InputError("this classifier was loaded from a saved model: copy its folder, or use fewtune.load(...).save(...).")
        model = self._load(self._fitted_name())
        width = self.n_features_in_ if self._on_features else model.width
        made = Model(bundle_of(self, model, int(width)), None if self.weights is None else Path(self.weights), model.machine)
        made.__dict__["backbone"] = model  # loaded already
        return made

    def decision_function(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Calibrated logits [N, K]; for two classes their difference [N], positive for `classes_[1]`."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Probabilities [N, K] in the order of `classes_`."""
        return np.asarray(softmax(self._logits(X), axis=1), dtype=np.float64)

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """The most probable class of each row [N]; of equals, the first."""
        best = self._logits(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def _logits(self, X: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
        check_is_fitted(self)
        model = self._load(self._fitted_name())
        if model.digest() != self.backbone_digest_:
            raise InputError(f"the weights of {model.name} are not those this classifier was fitted with: fit it again.")
        if self._on_features:
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        features = self._features(X, model)
        state, parameters = ({k: torch.from_numpy(v).to(features) for k, v in kept.items()} for kept in (self.state_, self.parameters_))
        with torch.inference_mode():
            logits = read_method(self.method_).head.score(state, features[None], parameters)[0].double().numpy() / self.temperature_
        top = logits.max(axis=1, keepdims=True)
        return np.where(logits >= top - _TIE * np.maximum(1.0, np.abs(top)), top, logits)

    def _named(self, X: Any) -> str:
        """The backbone's name for these rows; that of a `Backbone` is its own."""
        if isinstance(self.backbone, Backbone):
            return self.backbone.name
        return named_for(chosen(None if self.backbone == "auto" else self.backbone, kind_of(X)) if self._open else str(self.backbone), X)

    @property
    def _open(self) -> bool:
        """Whether the rows decide which backbone is meant."""
        return isinstance(self.backbone, str) and (self.backbone == "auto" or is_size(self.backbone))

    def _fitted_name(self) -> str:
        if self._open:
            return self.backbone_
        fields = fields_of_name(self.backbone_)  # of pairs of texts, which the rows decided
        return TextOptions(fields=fields).onto(str(self.backbone)) if fields and "fields=" not in str(self.backbone) else str(self.backbone)

    def _load(self, name: str) -> Backbone:
        if not isinstance(self.backbone, str):
            if self.weights is not None:
                raise InputError("weights go with a backbone's name: leave them out, or give them to load_backbone.")
            return backbone_of(self.backbone, "vector")
        return named_backbone(name, self.weights, self.device)

    def _features(self, X: Any, model: Backbone, *, fitting: bool = False) -> Tensor:
        """[N, D] on the CPU: float32, or the float64 of X where it is given as features."""
        if model.structure == "precomputed":
            return torch.from_numpy(np.require(X, requirements=["C", "W"]))
        wanted = Wanted(model.preparation.modality, None if fitting else self.picture_size_)
        examples = rows_of(X, wanted, several=fitting)
        if fitting:
            self.picture_size_ = taught_size(examples)
        return embedded(examples, model, self.cache)

    def _methods(self, model: Backbone, labels: Any) -> dict[str, Method]:
        single = int(np.bincount(labels).max()) == 1
        offered = candidates(
            label_side=model.label_side,
            modality=model.preparation.modality,
            rows=len(labels),
            classes=int(np.max(labels)) + 1,
            single=single,
            answers_prompts=model.answers_prompts,
        )
        return offered if self.method == "auto" else {self.method: read_frozen(self.method)}
