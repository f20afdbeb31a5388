"""The page of a model that got a class, or more examples, without training: made from the examples that are kept with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fewtune.adaptation.verdict import Verdict, basis_of, guess_of, light_of, often
from fewtune.data.examples import make_examples
from fewtune.data.items import Items, Texts, Vectors
from fewtune.learners.choice import Choice
from fewtune.learners.doubts import likely_mislabelled, most_uncertain
from fewtune.learners.target import Target
from fewtune.models.add_class import Added
from fewtune.models.bundle import Bundle
from fewtune.report.collect import confusion_in, coverage_of, doubts_in
from fewtune.report.findings import Findings
from fewtune.words import noun_of


def findings_of_added(added: Added) -> Findings:
    """What is known of the larger model. The examples themselves are not kept: photos are named and not shown."""
    bundle, choice = added.bundle, added.choice
    target = _target(bundle)
    known = choice is not None and choice.answers is not None
    return Findings(
        verdict=_verdict(added, target),
        details=added.sentences,
        kept="frozen" if bundle.moved is None else "finetuned",
        modality=bundle.backbone.modality,
        title=f"A model for {bundle.facts.get('data', 'your data')}, with more examples",
        confusion=confusion_in(choice, target) if choice is not None and known else None,
        uncertain=doubts_in(choice, target, most_uncertain) if choice is not None and known else (),
        mislabelled=doubts_in(choice, target, likely_mislabelled) if choice is not None and known else None,
        coverage=coverage_of(bundle),
        threshold=bundle.threshold,
        commands=("fewtune predict . NEW_FILES_OR_FOLDERS", "fewtune evaluate . LABELLED_DATA"),
    )


def _verdict(added: Added, target: Target) -> Verdict:
    noun = noun_of(added.bundle.backbone.modality)
    guessing, guess = guess_of(target)
    choice: Choice | None = added.choice
    if choice is None or choice.expected is None:
        return Verdict(light="unknown", sentence=added.sentences[-1], guessing=guessing)
    light, reason = light_of(choice.expected, guessing, choice, target)
    return Verdict(
        light=light,
        sentence=f"{often(choice.expected, noun)}; {guess}.",
        reason=reason,
        basis=basis_of(choice.expected, tested=False, noun=noun),
        accuracy=choice.expected,
        guessing=guessing,
    )


def _target(bundle: Bundle) -> Target:
    """The examples that are kept with a model: their names and features, and the beginnings of texts."""
    support = bundle.support
    assert support is not None
    items: Items = Vectors(support.features.numpy()) if support.texts is None else Texts(support.texts)
    examples = make_examples(items, support.labels, class_names=bundle.class_names, row_names=support.names or None)
    none = np.zeros(0, dtype=np.int64)
    return Target(
        examples=replace(examples, name=str(bundle.facts.get("data", "your data"))),
        features=support.features,
        labels=support.labels,
        class_names=bundle.class_names,
        support=np.arange(len(support.labels)),
        test=none,
        tested=none,
        left_out=(),
        unmeasured=(),
        about_test=(),
        digest="",
    )
