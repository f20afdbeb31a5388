"""The main job: from a few labelled examples, and other labelled data, to a model and what is honestly known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from fewtune.adaptation.facts import facts_of, record_of, support_of
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.adaptation.verdict import verdict
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import remarks_on_length
from fewtune.data.audit import remarks_on_bits
from fewtune.data.class_names import odd_names
from fewtune.data.examples import Examples
from fewtune.learners.choice import Choice
from fewtune.learners.forecast import Forecast, forecast
from fewtune.learners.labelled import Labelled
from fewtune.learners.side import Side
from fewtune.learners.target import Target, check_answers_fit, usable_target
from fewtune.learning.method import Method
from fewtune.models.bundle import Bundle
from fewtune.models.card import model_card
from fewtune.models.finetuned_weights import since_origin
from fewtune.models.fitting import fit_head
from fewtune.models.predict import probabilities
from fewtune.recipes.default_learners import candidates, remarks_on_candidates
from fewtune.sources.clock import Clock
from fewtune.sources.guard import inner_folds
from fewtune.sources.job import Job
from fewtune.sources.outcome import SourceOutcome
from fewtune.sources.stages import use_sources
from fewtune.spec import text
from fewtune.statistics import Interval, wilson_interval


def adapt_examples(
    examples: Examples,
    backbone: Backbone,
    *,
    sources: Sequence[Examples] = (),
    settings: AdaptSettings | None = None,
    methods: Mapping[str, Method] | None = None,
    cache: Path | None = None,
    quiet: bool = False,
) -> Outcome:
    """The best model of the target: a learner chosen on its own examples, on the backbone as it is or finetuned on tasks of the `sources`.

    The examples of a test split are used for the final measurement alone. `methods`: the learners to choose from, by default all that suit.
    `cache`: the folder where features are kept. Raises InputError for data that cannot be learned from.
    """
    how = settings or AdaptSettings()
    clock = Clock(how.sources.minutes if sources else math.inf)
    with clock.stage("embedding the target"):
        target = usable_target(examples, backbone, cache=cache, skip_bad=how.skip_bad, quiet=quiet)
    check_answers_fit(target)
    remarks: tuple[str, ...] = ()
    if methods is None:
        remarks = remarks_on_candidates(len(target.support))
        modality, rows = backbone.preparation.modality, len(target.support)
        methods = candidates(label_side=backbone.label_side, modality=modality, rows=rows, prompts=how.prompts)
    side = Side(backbone, target.features)
    with clock.stage("choosing a learner on frozen features"):
        choice = frozen = _chosen(side, methods, target, how)
    used = None
    if sources:
        job = Job(clock=clock, cache=cache, skip_bad=how.skip_bad, seed=how.seed, quiet=quiet)
        used = use_sources(target, side, methods, sources, how.sources, job)
        side, choice, frozen = _after(used, side, methods, target, frozen, how)
    with clock.stage("forecasting from a learning curve"):
        ahead = _ahead(choice, side, target, how)
    bundle = _bundle(choice, side, target, backbone, used, how)
    measured = _measured(bundle, target, side)
    facts = facts_of(choice, target, measured, how.seed, used)
    sentences = verdict(choice, target, measured, () if used is None else (used.why, *used.notes))
    sentences += (*remarks, *examples.remarks, *remarks_on_bits(examples))
    sentences += (*odd_names(target.class_names), *remarks_on_length(examples, backbone))
    return Outcome(
        bundle=replace(bundle, facts=facts, card=model_card(bundle, facts, sentences)),
        choice=choice,
        frozen=frozen,
        target=target,
        features=side.features,
        measured=measured,
        sentences=sentences,
        backbone=side.backbone,
        sources=used,
        forecast=ahead,
        stages=tuple(clock.stages),
    )


def _chosen(side: Side, methods: Mapping[str, Method], target: Target, how: AdaptSettings, fallback: str | None = None) -> Choice:
    labels = target.labels[target.support]
    return side.choose(methods, target.support, labels, target.class_names, how.seed, folds=how.folds, fallback=fallback)


def _after(
    used: SourceOutcome, side: Side, methods: Mapping[str, Method], target: Target, frozen: Choice, how: AdaptSettings
) -> tuple[Side, Choice, Choice]:
    """(the side to go on with, the choice on it, the choice on frozen features), after the sources were used."""
    guard = used.guard
    if used.kept:
        assert used.after is not None and guard is not None
        with used.clock.stage("choosing a learner on finetuned features"):
            choice = _chosen(used.after, methods, target, how, guard.advised)
        return used.after, replace(choice, expected=guard.expected or choice.expected), frozen
    if frozen.expected is None and guard is not None:  # one example a class: classes of the sources say which learner is best
        frozen = _chosen(side, methods, target, how, guard.learners[0][0])
    return side, frozen, frozen


def _ahead(choice: Choice, side: Side, target: Target, how: AdaptSettings) -> Forecast | None:
    labels, names = target.labels[target.support], target.class_names
    return forecast(
        choice.method,
        Labelled(side.features, target.support, labels, len(names)),
        vectors=lambda method: side.vectors(method, names),
        seed=how.seed,
        folds=min(how.folds, inner_folds(len(labels))),
    )


def _bundle(choice: Choice, side: Side, target: Target, backbone: Backbone, used: SourceOutcome | None, how: AdaptSettings) -> Bundle:
    """The chosen learner fitted on all labelled examples, without its facts and card."""
    names, labels = target.class_names, target.labels[target.support]
    state, parameters = fit_head(choice.method, side.features, target.support, labels, len(names), side.vectors(choice.method, names))
    original, moved = since_origin(backbone, None if used is None else used.moved)
    return Bundle(
        backbone=record_of(original, side.features.shape[1]),
        method=text(choice.method),
        class_names=names,
        state=state,
        parameters=parameters,
        temperature=choice.temperature,
        threshold=how.threshold,
        facts={},
        card="",
        moved=moved,
        support=support_of(target, side.features),
    )


def _measured(bundle: Bundle, target: Target, side: Side) -> Interval | None:
    """Accuracy on the examples of the test split, which nothing has looked at before."""
    if not len(target.test):
        return None
    answered = probabilities(bundle, side.features[torch.from_numpy(target.test)].float()).argmax(-1).numpy()
    right = int((answered == target.labels[target.test]).sum())
    return wilson_interval(right, len(target.test))
