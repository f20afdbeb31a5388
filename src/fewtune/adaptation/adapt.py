"""The main job: from a few labelled rows, and other labelled data lying around, to a saved model and what is honestly known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from fewtune.adaptation.verdict import verdict
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import remarks_on_length
from fewtune.backbones.places import remember
from fewtune.data.class_names import odd_names
from fewtune.data.examples import Examples
from fewtune.data.reading.inputs import taught_size
from fewtune.errors import InputError
from fewtune.files import new_folder
from fewtune.learners.choice import Choice
from fewtune.learners.forecast import Forecast, forecast
from fewtune.learners.side import Side
from fewtune.learners.target import Target, check_answers_fit, usable_target
from fewtune.learning.method import Method
from fewtune.models.bundle import REPORT, SELECTION, BackboneRecord, Bundle, Support
from fewtune.models.card import model_card
from fewtune.models.fitting import fit_head
from fewtune.models.predict import Prediction, predict_anything, probabilities
from fewtune.recipes.default_learners import candidates, remarks_on_candidates
from fewtune.sources.clock import Clock, Stage
from fewtune.sources.guard import inner_folds
from fewtune.sources.outcome import SourceOutcome, SourceSettings
from fewtune.sources.stages import use_sources
from fewtune.spec import text
from fewtune.statistics import Interval, wilson_interval


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Adapted:
    """An adapted model before it is saved. `measured`: accuracy on the target's own test rows, where it has some.

    `choice`: what is known of the candidates (`choice.expected`: the accuracy to expect), on the features of `backbone`, which is the
    finetuned one where the guard kept it; `frozen`: the same on the backbone as it came. `outcome`: what came of the sources, None where
    there was none. `forecast`: what more labels would bring, None where the learning curve is too short. `sentences`: the verdict in
    words. `stages`: what the time went on.
    """

    bundle: Bundle
    choice: Choice
    frozen: Choice
    target: Target
    features: Tensor
    measured: Interval | None
    sentences: tuple[str, ...]
    backbone: Backbone
    outcome: SourceOutcome | None
    forecast: Forecast | None
    stages: tuple[Stage, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    def predict(self, inputs: Any, *, threshold: float | None = None, skip_bad: bool = False, quiet: bool = True) -> list[Prediction]:
        """Labels for new inputs, in order (see `Model.predict`)."""
        return predict_anything(self.bundle, inputs, self.backbone, threshold=threshold, skip_bad=skip_bad, quiet=quiet)

    def report(self, path: Path | str) -> None:
        """Write the report, one HTML file that opens anywhere."""
        from fewtune.report.collect import findings_of
        from fewtune.report.page import write_page

        write_page(Path(path), findings_of(self))

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write the bundle, the report and, where there were sources, what was decided of each candidate task; whole or not at all.

        An existing folder is refused unless `overwrite`. Returns where the model is: `path`, or `path-2` beside it where another program
        took `path` meanwhile.
        """
        with (made := new_folder(Path(path), overwrite=overwrite)) as folder:
            self.bundle.write(folder)
            if self.outcome is not None:
                self.outcome.trace.save(folder / SELECTION)
            self.report(folder / REPORT)
        return made.where


def adapt_examples(
    examples: Examples,
    backbone: Backbone,
    *,
    sources: Sequence[Examples] = (),
    source_settings: SourceSettings | None = None,
    cache: Path | None = None,
    methods: Mapping[str, Method] | None = None,
    prompts: tuple[str, ...] = (),
    skip_bad: bool = False,
    threshold: float = 0.0,
    seed: int = 0,
    folds: int = 5,
    quiet: bool = False,
) -> Adapted:
    """The best model of the target: a learner chosen on its own support, on the backbone as it is or finetuned on tasks of the `sources`.

    Rows of a test split serve nothing but the final measurement. `source_settings`: how the sources are used. `methods`: the learners to
    choose from, by default all that suit; `prompts`: the templates of those that read class names. `threshold`: answers with a lower
    probability abstain, 0 to 1. `folds`: of each split, at least 2. Raises InputError for data that cannot be learned from.
    """
    if not 0 <= threshold <= 1:
        raise InputError(f"expected a threshold between 0 and 1, found {threshold:g}.")
    if folds < 2:
        raise InputError(f"expected at least 2 folds, found {folds}.")
    how = source_settings or SourceSettings()
    clock = Clock(how.minutes if sources else math.inf)
    with clock.stage("embedding the target"):
        target = usable_target(examples, backbone, cache=cache, skip_bad=skip_bad, quiet=quiet)
    check_answers_fit(target)
    remarks: tuple[str, ...] = ()
    if methods is None:
        remarks = remarks_on_candidates(len(target.support))
        modality, rows = backbone.preparation.modality, len(target.support)
        methods = candidates(label_side=backbone.label_side, modality=modality, rows=rows, prompts=prompts)
    names, labels = target.class_names, target.labels[target.support]
    side = Side(backbone, target.features)
    with clock.stage("choosing a learner on frozen features"):
        choice = frozen = side.choose(methods, target.support, labels, names, seed, folds=folds)
    outcome, moved = None, None
    if sources:
        outcome = use_sources(target, side, methods, sources, how, clock=clock, cache=cache, skip_bad=skip_bad, seed=seed, quiet=quiet)
        if outcome.kept:
            assert outcome.tuned is not None and outcome.after is not None and outcome.guard is not None
            side, moved = outcome.after, outcome.tuned.moved
            with clock.stage("choosing a learner on finetuned features"):
                choice = side.choose(methods, target.support, labels, names, seed, folds=folds, fallback=outcome.guard.advised)
            choice = replace(choice, expected=outcome.guard.expected or choice.expected)
        elif choice.expected is None and outcome.guard is not None:  # one row a class: the sources know which learner is best
            best = outcome.guard.learners[0][0]
            choice = frozen = side.choose(methods, target.support, labels, names, seed, folds=folds, fallback=best)
    with clock.stage("forecasting from a learning curve"):
        ahead = forecast(
            choice.method,
            side.features,
            target.support,
            labels,
            len(names),
            vectors=lambda m: side.vectors(m, names),
            seed=seed,
            folds=min(folds, inner_folds(len(labels))),
        )
    state, parameters = fit_head(choice.method, side.features, target.support, labels, len(names), side.vectors(choice.method, names))
    bundle = Bundle(
        backbone=_record(backbone, side.features.shape[1]),
        method=text(choice.method),
        class_names=names,
        state=state,
        parameters=parameters,
        temperature=choice.temperature,
        threshold=threshold,
        facts={},
        card="",
        moved=moved,
        support=support_of(target, side.features),
    )
    measured = _measure(bundle, target, side.features)
    facts = _facts(choice, target, measured, seed)
    if (size := taught_size(target.examples)) is not None:
        facts["picture_size"] = list(size)
    if outcome is not None:
        facts["sources"] = outcome.facts()
    sentences = verdict(choice, target, measured, () if outcome is None else (outcome.why, *outcome.notes))
    sentences += (*remarks, *examples.remarks, *odd_names(names), *remarks_on_length(examples, backbone))
    whole = replace(bundle, facts=facts, card=model_card(bundle, facts, sentences))
    return Adapted(
        bundle=whole,
        choice=choice,
        frozen=frozen,
        target=target,
        features=side.features,
        measured=measured,
        sentences=sentences,
        backbone=side.backbone,
        outcome=outcome,
        forecast=ahead,
        stages=tuple(clock.stages),
    )


def _measure(bundle: Bundle, target: Target, features: Tensor) -> Interval | None:
    """Accuracy on the rows of the test split, which nothing has looked at before."""
    if not len(target.test):
        return None
    answered = probabilities(bundle, features[torch.from_numpy(target.test)].float()).argmax(-1).numpy()
    right = int((answered == target.labels[target.test]).sum())
    return wilson_interval(right, len(target.test))


def support_of(target: Target, features: Float[Tensor, "N D"] | None = None) -> Support:
    """The support of a target, with its features by a finetuned backbone where `features` gives those of every row."""
    whole = target.features if features is None else features
    digests = target.examples.row_digests
    return Support(
        features=whole[torch.from_numpy(target.support)].detach().float().cpu(),
        labels=target.labels[target.support],
        digests=tuple(digests[row] for row in target.support.tolist()),
    )


def _record(backbone: Backbone, width: int) -> BackboneRecord:
    place = backbone.place
    remember(backbone.digest(), place)
    return BackboneRecord(
        name=backbone.name,
        weights=None if place.weights is None else place.weights.name,
        folder=place.folder is not None,
        digest=backbone.digest(),
        preparation=backbone.preparation.text,
        width=width,
        modality=backbone.preparation.modality,
        source=dict(backbone.source),
    )


def _interval(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else {"mean": interval.mean, "low": interval.low, "high": interval.high, "level": interval.level}


def _facts(choice: Choice, target: Target, measured: Interval | None, seed: int) -> dict[str, Any]:
    from fewtune.version import __version__

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
        "not_measured": dict(target.unmeasured),
        "seed": seed,
    }
