"""Recipes for prompts: the label words are the head, its temperature stays, and other data is asked in its own way."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.adaptation.own_labels import OwnLabels
from fewtune.adaptation.settings import AdaptSettings
from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.data.examples import make_examples
from fewtune.data.items import Texts
from fewtune.data.prompts.template import Filled
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt
from fewtune.models.reading_texts import backbone_for, sources_for
from fewtune.parts.heads import Text
from fewtune.recipes import multitask_prompt_finetuning, prompt_finetuning
from fewtune.recipes.default_learners import candidates
from fewtune.sides.settings import PROMPTS, OwnSettings
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import class_rows
from tests.tiny_text import tiny, tiny_masked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked(tmp_path_factory.mktemp("models") / "masked")


def texts(name: str = "mine", classes: tuple[str, ...] = ("bad", "good")) -> Any:
    return make_examples(Texts([f"cat {'red ' * n}" for n in range(12)]), np.arange(12) % len(classes), class_names=classes, name=name)


def test_finetuning_moves_the_model_and_not_the_temperature(folder: Path) -> None:
    ground = Ground(load_backbone(f"hf:{folder},template={{text}} [MASK]"), RowSpace([texts()]))
    for method in (prompt_finetuning(steps=3), multitask_prompt_finetuning(steps=3, test_steps=3)):
        adapt = method.learner
        assert isinstance(adapt, Adapt)
        episode = Sampled(ways=2, shots=4, queries=1).draw(class_rows(ground.space), key(0), 0, 1)
        moved = tune(ground, adapt, ground.start(), episode, key(1))
        start = ground.start()
        changed = {n for n, t in moved.items() if n in start and not torch.equal(t, start[n])}
        assert {n for _, group in ground.backbone.groups for n in group} >= changed and len(changed) > 10
        assert all(torch.equal(t, torch.tensor(1.0)) for n, t in moved.items() if "temperature" in n)
    only_last = prompt_finetuning(steps=2, last=1).learner
    assert isinstance(only_last, Adapt)
    moved = tune(ground, only_last, ground.start(), episode, key(1))
    assert not any("embeddings" in n or "layer.0" in n for n in moved) and any("cls" in n for n in moved)


def test_adapt_finetunes_by_prompts_and_answers_by_the_words(folder: Path) -> None:
    backbone = load_backbone(f"hf:{folder},template={{text}} [MASK]")
    methods = candidates(label_side=True, modality="text", answers_prompts=True)
    assert "prompt_zero_shot" in methods and not any("prompts=" in name for name in methods)
    frozen: Any = SimpleNamespace(side=SimpleNamespace(backbone=backbone), methods=methods, choice=SimpleNamespace(method=None))
    own = OwnLabels(frozen, AdaptSettings())
    assert isinstance(own.learner.learner, Text) and own.recipes == (PROMPTS,) and own.settings == ()
    assert OwnSettings().chosen("text", "all", answers_prompts=True) == (PROMPTS,)
    assert OwnSettings().chosen("text", "auto", label_side=True) != (PROMPTS,)


def test_other_data_is_asked_in_its_own_way(folder: Path) -> None:
    backbone = load_backbone(f"hf:{folder},template={{text}} so [MASK]")
    common, other = sources_for(backbone, [texts("cr", ("negative", "positive")), texts("other")])
    assert common.class_names == ("terrible", "great") and other.class_names == ("bad", "good")
    shown = [Filled(str(one.items.fetch(1))).text("_").text for one in (common, other)]
    assert shown == ["cat red  It was _ .", "cat red  so _"]
    encoder = load_backbone(f"hf:{tiny(folder.parent / 'encoder', 0)}")
    plain = [texts("cr", ("negative", "positive"))]
    assert sources_for(encoder, plain)[0] is plain[0]
    start = encoder.start()  # an encoder reads the bare text of a collection that has a template
    found, expected = (encoder.embed(start, RowSpace([one]), np.arange(3)) for one in (common, plain[0]))
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    pairs = make_examples(Texts(["a\x1fb"] * 4, fields=("1", "2")), ["bad", "good"] * 2, name="rte")
    with pytest.raises(InputError, match="rte has two texts in each row, 1 and 2, but this model reads one"):
        sources_for(encoder, [pairs])


def test_two_classes_with_one_word_are_refused(folder: Path) -> None:
    """The first of them would always win, without a word."""
    both = texts("mine", ("negative", "positive"))
    with pytest.raises(InputError, match="'negative' and 'positive' have the same label word"):
        backbone_for(both, f"hf:{folder}", TextOptions(template="sst2", words=("negative=great",)))
    with pytest.raises(InputError, match="'bad' and 'good' have the same label word"):
        backbone_for(texts(), f"hf:{folder}", TextOptions(template="{text} [MASK]", words=("bad=good",)))
    backbone = load_backbone(f"hf:{folder},template={{text}} so [MASK]")
    with pytest.raises(InputError, match="cr: the classes 'negative' and '0' have the same label word"):
        sources_for(backbone, [texts("cr", ("negative", "0"))])


def test_the_data_decides_how_texts_are_read(folder: Path) -> None:
    asked = TextOptions(template="sst2", words=("bad=terrible",))
    made = backbone_for(texts(), f"hf:{folder}", asked)
    assert made.name == "hf:masked,template={text} It was [MASK] .,words=bad=terrible"
    with pytest.raises(InputError, match="is loaded already"):
        backbone_for(texts(), made, asked)
    vectors = make_examples(Texts(["a"]), ["x"], name="v")
    with pytest.raises(InputError, match="a label word is one token, but 'x'"):
        backbone_for(vectors, f"hf:{folder}", TextOptions(template="{text} [MASK]"))
