"""The scikit-learn estimator as a saved model, and a saved model as the estimator's fitted attributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.errors import InputError
from fewtune.learners.choice import Choice
from fewtune.models.backbone_record import record_of
from fewtune.models.bundle import Bundle
from fewtune.models.card import model_card
from fewtune.models.finetuned_weights import since_origin
from fewtune.version import __version__

_KINDS = (str, int, float, bool)


def bundle_of(fitted: Any, model: Backbone, width: int) -> Bundle:
    """The bundle of a fitted `FewShotClassifier`. Raises InputError where its labels have no names of their own."""
    names = tuple(str(label) for label in fitted.classes_.tolist())
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise InputError(f"the labels have no names of their own to be saved by: {', '.join(names[:5])}.")
    choice: Choice = fitted.choice_
    expected = choice.expected
    facts: dict[str, Any] = {
        "fewtune": __version__,
        "torch": torch.__version__,
        "data": "the rows of FewShotClassifier.fit",
        "rows": int(sum(fitted.shots_)),
        "shots": dict(zip(names, fitted.shots_, strict=True)),
        "learner": choice.name,
        "expected_accuracy": None
        if expected is None
        else {"mean": expected.mean, "low": expected.low, "high": expected.high, "level": expected.level},
        "recall": {name: None if np.isnan(r) else float(r) for name, r in zip(names, choice.recall, strict=True)},
        "seed": fitted.seed,
        "labels": fitted.classes_.tolist() if all(type(label) in _KINDS for label in fitted.classes_.tolist()) else list(names),
    }
    if (size := getattr(fitted, "picture_size_", None)) is not None:
        facts["picture_size"] = list(size)
    original, moved = since_origin(model, None)
    made = Bundle(
        backbone=record_of(original, width),
        method=fitted.method_,
        class_names=names,
        state={name: torch.from_numpy(value).float() for name, value in fitted.state_.items()},
        parameters={name: torch.from_numpy(value).float() for name, value in fitted.parameters_.items()},
        temperature=float(fitted.temperature_),
        threshold=0.0,
        facts=facts,
        card="",
        moved=moved,
    )
    accuracy = "" if expected is None else f" Accuracy to expect on new rows like these: {100 * expected.mean:.1f}%."
    sentences = (f"Fitted by FewShotClassifier: {choice.name} on {facts['rows']} rows of {len(names)} classes.{accuracy}",)
    return replace(made, card=model_card(made, facts, sentences))


def fitted_of(bundle: Bundle, model: Backbone) -> Mapping[str, Any]:
    """The fitted attributes of the estimator that a saved model is."""
    labels = bundle.facts.get("labels")
    whole = isinstance(labels, list) and [str(label) for label in labels] == list(bundle.class_names)
    size = bundle.facts.get("picture_size")
    return {
        "classes_": np.array(labels if whole else bundle.class_names),
        "method_": bundle.method,
        "temperature_": bundle.temperature,
        "state_": {name: value.numpy() for name, value in bundle.state.items()},
        "parameters_": {name: value.numpy() for name, value in bundle.parameters.items()},
        "backbone_": model.name,
        "backbone_digest_": model.digest(),
        "picture_size_": tuple(size) if isinstance(size, list) else None,
        "n_features_in_": bundle.backbone.width,
    }
