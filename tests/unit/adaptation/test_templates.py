"""Learners that read class names use the templates of the label column, where it has some."""

from __future__ import annotations

import pytest

from fewtune.adaptation.adapt import adapt_examples
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.data.reading.read import read_examples
from fewtune.learning.classes import prompts_of
from fewtune.machine import Machine
from fewtune.sides.job import Workplace


@pytest.mark.parametrize("given", [(), ("a drawing of {} things",)])
def test_templates_of_the_column_are_used_unless_others_are_given(given: tuple[str, ...]) -> None:
    examples = read_examples("scenes:material,rows=40")
    backbone = load_backbone("embedded", machine=Machine(device="cpu", workers=1))
    settings = AdaptSettings(finetune="never", prompts=given, folds=2)
    made = adapt_examples(examples, backbone, settings=settings, at=Workplace(quiet=True))
    used = {prompts_of(method.head) for method in made.methods.values() if method.head.reads_classes}
    assert used == {given or ("An image of {} objects",)}
