"""The main job: from a few labelled examples, and other labelled data, to a model and what is honestly known of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from fewtune.adaptation.by_method import check_sources
from fewtune.adaptation.details import details
from fewtune.adaptation.facts import facts_of, support_of
from fewtune.adaptation.finetuned import Finetuned
from fewtune.adaptation.finetuning import Finetuning
from fewtune.adaptation.frozen import FrozenModel, choose
from fewtune.adaptation.kept import Kept, best_that_can_be_made
from fewtune.adaptation.outcome import Outcome
from fewtune.adaptation.settings import AdaptSettings
from fewtune.adaptation.verdict import verdict_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import remarks_on_length
from fewtune.data.audit import remarks_on_bits
from fewtune.data.class_names import odd_names
from fewtune.data.examples import Examples
from fewtune.learners.forecast import Forecast, forecast
from fewtune.learners.labelled import Labelled
from fewtune.learners.side import Side
from fewtune.learners.target import Target, check_answers_fit, usable_target
from fewtune.learning.method import Method
from fewtune.learning.scaled import scaled
from fewtune.models.backbone_record import record_of
from fewtune.models.bundle import Bundle
from fewtune.models.card import model_card
from fewtune.models.finetuned_weights import since_origin
from fewtune.models.fitting import fit_head
from fewtune.models.predict import probabilities
from fewtune.models.support import Support
from fewtune.recipes.default_learners import candidates, remarks_on_candidates
from fewtune.sides.clock import Clock
from fewtune.sides.held_out import inner_folds
from fewtune.sides.job import HERE, Job, Workplace
from fewtune.spec import text
from fewtune.statistics import Interval, wilson_interval
from fewtune.stopping import Stopped
from fewtune.words import option

OF_FROZEN = "This is the curve of the frozen model: on features that were finetuned on these labels every learner looks perfect."


def adapt_examples(
    examples: Examples,
    backbone: Backbone,
    *,
    sources: Sequence[Examples] = (),
    settings: AdaptSettings | None = None,
    methods: Mapping[str, Method] | None = None,
    at: Workplace = HERE,
) -> Outcome:
    """The best model of the target: a learner chosen on its own examples, on the backbone as it is, finetuned on them, on tasks of the
    `sources`, or on both, or an ensemble of these; whatever is shown to be best on examples that it never saw.

    The examples of a test split are used for the final measurement alone. `methods`: the learners to choose from, by default all that suit.
    `at`: where the work is done. Raises InputError for data that cannot be learned from.
    """
    how = settings or AdaptSettings()
    check_sources(how, bool(sources))
    job = Job(clock=Clock(how.minutes), at=at, skip_bad=how.skip_bad, seed=how.seed)
    frozen = _frozen(examples, backbone, methods, how, job)
    target, clock = frozen.target, job.clock
    finetuned = Finetuning(frozen, how, job).run(sources)
    with clock.stage("making the model"):
        kept, finetuned = best_that_can_be_made(finetuned, how)
    try:
        with clock.stage("forecasting from a learning curve"):
            ahead = _ahead(kept, frozen, how)
    except Stopped:
        ahead, finetuned = None, finetuned.stop("what more labels would bring is not forecast")
    bundle = _bundle(kept, finetuned, target, backbone, how)
    measured = _measured(bundle, target, kept.side)
    said = verdict_of(kept.choice, target, measured, finetuned, clock.wanted)
    facts = facts_of(kept, target, measured, how.seed, finetuned) | {"verdict": said.record}
    below = details(kept.choice, target, measured, finetuned.sentences)
    below += (*finetuned.remarks, *_on_threshold(how, bundle.threshold))
    below += remarks_on_candidates(len(target.support), len(target.class_names)) if methods is None else ()
    below += (*examples.remarks, *remarks_on_bits(examples), *odd_names(target.class_names), *remarks_on_length(examples, backbone))
    return Outcome(
        bundle=replace(bundle, facts=facts, card=model_card(bundle, facts, said.sentences, below)),
        choice=kept.choice,
        frozen=kept.choice if kept.moved is None else frozen.choice,
        target=target,
        features=kept.side.features,
        measured=measured,
        verdict=said,
        details=below,
        backbone=kept.side.backbone,
        finetuned=kept.moved is not None,
        finetuning=finetuned,
        methods=frozen.methods,
        forecast=ahead,
        clock=clock,
    )


def _frozen(examples: Examples, backbone: Backbone, methods: Mapping[str, Method] | None, how: AdaptSettings, job: Job) -> FrozenModel:
    """The best learner on the backbone as it came. `methods` of None: all learners that suit."""
    with job.clock.stage("embedding the target"):
        target = usable_target(examples, backbone, cache=job.at.cache, skip_bad=how.skip_bad, quiet=job.at.quiet)
    check_answers_fit(target)
    if methods is None:
        methods = candidates(
            label_side=backbone.label_side,
            modality=backbone.preparation.modality,
            rows=len(target.support),
            classes=len(target.class_names),
            prompts=how.prompts or examples.column.templates,
            single=int(target.shots().max()) == 1,
            answers_prompts=backbone.answers_prompts,
        )
    methods = {name: scaled(method, backbone) for name, method in methods.items()}
    side = Side(backbone, target.features)
    with job.clock.stage("choosing a learner on frozen features"):
        return FrozenModel(target, side, methods, choose(side, methods, target, how))


def _ahead(kept: Kept, frozen: FrozenModel, how: AdaptSettings) -> Forecast | None:
    """What more labels would bring to the learner that is kept. On features that saw the labels every learner looks perfect: there it is
    that of the frozen learner, and says so."""
    choice, side = (frozen.choice, frozen.side) if kept.labels_moved else (kept.choice, kept.side)
    names = frozen.target.class_names
    found = forecast(
        choice.method,
        Labelled(side.features, frozen.target.support, frozen.labels, len(names)),
        vectors=lambda method: side.vectors(method, names),
        seed=how.seed,
        folds=min(how.folds, inner_folds(len(frozen.labels))),
    )
    return found and replace(found, sentence=f"{found.sentence} {OF_FROZEN}") if kept.labels_moved else found


def _bundle(kept: Kept, finetuned: Finetuned, target: Target, backbone: Backbone, how: AdaptSettings) -> Bundle:
    """The chosen learner fitted on all labelled examples, without its facts and card."""
    names, labels, method, side = target.class_names, target.labels[target.support], kept.choice.method, kept.side
    state, parameters = fit_head(method, side.features, target.support, labels, len(names), side.vectors(method, names))
    original, moved = since_origin(backbone, kept.moved)
    rivals = () if finetuned.compared is None else finetuned.compared.rivals.values()
    judged = next((rival.temperature for rival in rivals if rival.answers is kept.choice.answers), None)
    support = support_of(target, kept, backbone, judged)
    return Bundle(
        backbone=record_of(original, side.features.shape[1]),
        method=text(method),
        class_names=names,
        state=state,
        parameters=parameters,
        temperature=kept.choice.temperature,
        threshold=_threshold(how, support),
        facts={},
        card="",
        moved=moved,
        support=support,
    )


def _threshold(how: AdaptSettings, support: Support) -> float:
    """The threshold that was asked for, or the one that the held-out answers show; 0 where nothing was held out."""
    if how.threshold is not None:
        return how.threshold
    return 0.0 if support.held is None else support.held.threshold()


def _on_threshold(how: AdaptSettings, threshold: float) -> tuple[str, ...]:
    """A sentence on a threshold that was not asked for."""
    if how.threshold is not None or not threshold:
        return ()
    return (
        f"No label is given below a probability of {100 * threshold:.1f}%: held-out answers below it were more often wrong than right "
        f"({option('--threshold 0')} labels everything).",
    )


def _measured(bundle: Bundle, target: Target, side: Side) -> Interval | None:
    """Accuracy on the examples of the test split, which nothing has looked at before."""
    if not len(target.test):
        return None
    answered = probabilities(bundle, side.features[torch.from_numpy(target.test)].float()).argmax(-1).numpy()
    right = int((answered == target.labels[target.test]).sum())
    return wilson_interval(right, len(target.test))
