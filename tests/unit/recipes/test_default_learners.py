"""What people call learners, beside the texts that spell them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import fewtune
from fewtune.adaptation.details import details
from fewtune.recipes.default_learners import candidates, display_name
from fewtune.report.adapted import learners_table
from fewtune.report.collect import findings_of
from fewtune.report.tables import to_json, to_terminal


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("named_logistic(prompts='{}')", "logistic with class names"),
        ("named_logistic(prompts=('a {}', 'the {}'),C=0.5)", "logistic with class names (C=0.5)"),
        ("shrink(prompts='{}')", "means with class names"),
        ("text_prior", "ridge with class names"),
        ("zero_shot(prompts='a photo of a {}')", "zero-shot"),
        ("ridge(penalty=10)", "ridge(penalty=10)"),
        ("blend", "blend"),
        ("mine (the second)", "mine (the second)"),
        ("zero_shot.x(3)", "zero_shot.x(3)"),
    ],
)
def test_display_name(text: str, said: str) -> None:
    assert display_name(text) == said


@pytest.mark.parametrize("modality", ["image", "text"])
def test_every_usual_learner_has_a_name_of_its_own(modality: str) -> None:
    names = [display_name(text) for text in candidates(label_side=True, modality=modality)]
    assert len(set(names)) == len(names) and not any("{}" in name or "_" in name for name in names)


def test_people_read_names_and_programs_read_texts() -> None:
    x = np.eye(3, dtype="float32").repeat(4, axis=0) + np.random.default_rng(0).normal(size=(12, 3)).astype("float32") / 4
    outcome = fewtune.adapt((x, [f"c{i // 4}" for i in range(12)])).outcome
    first, second = outcome.choice.candidates[:2]
    spelled = "named_logistic(prompts='{}')"
    named = tuple(replace(c, name=spelled) if c is first else c for c in outcome.choice.candidates)
    renamed = replace(outcome, choice=replace(outcome.choice, candidates=named), frozen=replace(outcome.choice, candidates=named))
    assert "logistic with class names" in to_terminal(learners_table(renamed)) and spelled not in to_terminal(learners_table(renamed))
    assert [row["learner"] for row in json.loads(to_json(learners_table(renamed)))][:2] == [spelled, second.name]
    assert findings_of(renamed).methods[0].name == "logistic with class names"
    chosen = replace(renamed.choice, name=spelled)
    said = " ".join(details(chosen, outcome.target, None))
    assert "Chosen learner: logistic with class names." in said and "{}" not in said
