"""The main job: from a few labelled rows to a saved model and what is honestly known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from fewtune.adaptation.bundle import BackboneRecord, Bundle, support_of
from fewtune.adaptation.card import model_card, verdict
from fewtune.adaptation.choose import Choice, choose_learner
from fewtune.adaptation.fitting import fit_head
from fewtune.adaptation.predict import Prediction, predict_anything, probabilities
from fewtune.adaptation.usable import Target, usable_target
from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.learning.classes import prompts_of, vectors_by_prompts
from fewtune.learning.method import Method
from fewtune.recipes.candidates import candidates
from fewtune.spec import text
from fewtune.statistics import Interval, wilson_interval


@final
@dataclass(frozen=True, eq=False)
class Adapted:
    """An adapted model before it is saved. `measured`: accuracy on the target's own test rows, where it has some.

    `choice`: what is known of the candidates (`choice.expected`: the accuracy to expect). `sentences`: the verdict in words.
    """

    bundle: Bundle
    choice: Choice
    target: Target
    measured: Interval | None
    sentences: tuple[str, ...]
    backbone: Backbone

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    def predict(self, inputs: Any, *, threshold: float | None = None, skip_bad: bool = False, quiet: bool = True) -> list[Prediction]:
        """Labels for new inputs, in order (see `Model.predict`)."""
        return predict_anything(self.bundle, inputs, self.backbone, threshold=threshold, skip_bad=skip_bad, quiet=quiet)

    def save(self, path: Path | str, *, overwrite: bool = False) -> None:
        """Write the bundle (see `Bundle.save`)."""
        self.bundle.save(Path(path), overwrite=overwrite)


def adapt_frozen(
    examples: Examples,
    backbone: Backbone,
    *,
    cache: Path | None = None,
    methods: Mapping[str, Method] | None = None,
    skip_bad: bool = False,
    threshold: float = 0.0,
    seed: int = 0,
    folds: int = 5,
    weights: Path | None = None,
    quiet: bool = False,
) -> Adapted:
    """Choose among frozen learners on the target's own support, refit on all of it, and say what to expect.

    Rows of a test split serve nothing but the final measurement. `threshold`: answers with a lower probability abstain, 0 to 1. `folds`: of
    each split, at least 2. Raises InputError for data that cannot be learned from.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold between 0 and 1, found {threshold:g}.")
    if folds < 2:
        raise InputError(f"expected at least 2 folds, found {folds}.")
    target = usable_target(examples, backbone, cache=cache, skip_bad=skip_bad, quiet=quiet)
    if methods is None:
        methods = candidates(label_side=backbone.label_side, modality=backbone.preparation.modality, rows=len(target.support))
    labels = target.labels[target.support]
    vectors = vectors_by_prompts(backbone, target.class_names, methods.values())
    choice = choose_learner(
        methods,
        target.features,
        target.support,
        labels,
        len(target.class_names),
        vectors=lambda method: vectors.get(prompts_of(method.head)),
        fallback=next(iter(methods)),
        seed=seed,
        folds=folds,
    )
    chosen_vectors = vectors.get(prompts_of(choice.method.head))
    state, parameters = fit_head(choice.method, target.features, target.support, labels, len(target.class_names), chosen_vectors)
    bundle = Bundle(
        backbone=_record(backbone, weights, target.features.shape[1]),
        method=text(choice.method),
        class_names=target.class_names,
        state=state,
        parameters=parameters,
        temperature=choice.temperature,
        threshold=threshold,
        facts={},
        card="",
        support=support_of(target),
    )
    measured = _measure(bundle, target)
    facts = _facts(choice, target, measured, seed)
    sentences = verdict(choice, target, measured)
    card = model_card(bundle, facts, sentences)
    whole = replace(bundle, facts=facts, card=card)
    return Adapted(whole, choice, target, measured, sentences, backbone)


def _measure(bundle: Bundle, target: Target) -> Interval | None:
    """Accuracy on the rows of the test split, which nothing has looked at before."""
    if not len(target.test):
        return None
    answered = probabilities(bundle, target.features[torch.from_numpy(target.test)].float()).argmax(-1).numpy()
    right = int((answered == target.labels[target.test]).sum())
    return wilson_interval(right, len(target.test))


def _record(backbone: Backbone, weights: Path | None, width: int) -> BackboneRecord:
    return BackboneRecord(
        name=backbone.name,
        weights=str(weights.resolve()) if weights is not None else None,
        digest=backbone.digest(),
        preparation=backbone.preparation.text,
        width=width,
        modality=backbone.preparation.modality,
        source=dict(backbone.source),
    )


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high, "level": interval.level}


def _facts(choice: Choice, target: Target, measured: Interval | None, seed: int) -> dict[str, Any]:
    from fewtune import __version__

    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    return {
        "fewtune": __version__,
        "torch": torch.__version__,
        "data": target.examples.name,
        "data_digest": target.digest,
        "rows": len(target.support),
        "shots": {name: int(n) for name, n in zip(target.class_names, target.shots(), strict=True)},
        "learner": choice.name,
        "expected_accuracy": _interval(choice.expected),
        "measured_accuracy": _interval(measured),
        "recall": {name: known(r) for name, r in zip(target.class_names, choice.recall, strict=True)},
        "held_out_accuracy": {c.name: known(c.accuracy) for c in choice.candidates},
        "skipped": dict(target.left_out),
        "seed": seed,
    }
