"""Masked language models: features at the mask and words as class vectors, against the models themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.backbones.packed import load_packed, pack
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.data.examples import make_examples
from fewtune.data.fields import joined
from fewtune.data.items import Texts
from fewtune.data.prompts import LabelWords, Template, prompted
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.learning.classes import class_vectors
from fewtune.parts.heads import NamedLogistic, Shrink, Text, TextPrior
from fewtune.parts.heads.head import answer
from fewtune.tasks.episodes import Episodes
from tests.tiny_text import tiny, tiny_masked

TEXTS = ["cat dog", "red blue cat . dog", "it was bad , red cats ?", ""]
TEMPLATE = "{text} it was [MASK] ."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked(tmp_path_factory.mktemp("models") / "masked")


def named(folder: Path, *words: str, template: str = TEMPLATE, fields: tuple[str, ...] = ()) -> str:
    return TextOptions(template=template, words=words, fields=fields).onto(f"hf:{folder}")


def logits_at_the_mask(folder: Path, prompts: list[str], words: list[str]) -> torch.Tensor:
    """The model's own logits, one prompt at a time."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    with transformers_quietly():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    rows = []
    for prompt in prompts:
        tokens = tokenizer(prompt, return_tensors="pt")
        place = int((tokens["input_ids"][0] == tokenizer.mask_token_id).nonzero()[0, 0])
        with torch.no_grad():
            rows.append(model(**tokens).logits[0, place, tokenizer.convert_tokens_to_ids(words)])
    return torch.stack(rows)


def zero_shot(backbone: Any, texts: list[str], classes: list[str]) -> torch.Tensor:
    """The answers of the `Text` head at temperature 1, [N, K]."""
    space = RowSpace([make_examples(Texts(texts))])
    start = backbone.start()
    features = backbone.embed(start, space, np.arange(len(texts)))
    vectors = class_vectors(backbone, start, classes, ("{}",))
    none, rows = torch.zeros(1, 0, dtype=torch.int64), torch.arange(len(texts))[None]
    episode = Episodes(none, none, rows, torch.zeros_like(rows), torch.arange(len(classes))[None], torch.zeros(1, dtype=torch.int64))
    head = Text(prompts=("{}",), temperature=1.0)
    return answer(head, features.new_zeros(1, 0, features.shape[1]), features[None], episode, vectors[None])[0]


@pytest.mark.parametrize("options", [{}, {"old_names": True}, {"tied": False}])
def test_answers_are_the_model_s_own_logits(tmp_path: Path, options: dict[str, bool]) -> None:
    folder = tiny_masked(tmp_path / "m", 1, **options)
    backbone = load_backbone(named(folder, "good=great", "bad=terrible"))
    expected = logits_at_the_mask(folder, [f"{text} it was [MASK] ." for text in TEXTS], ["terrible", "great"])
    torch.testing.assert_close(zero_shot(backbone, TEXTS, ["bad", "good"]), expected, atol=1e-5, rtol=0)
    assert backbone.width == 8 and backbone.answers_prompts and backbone.label_side


@pytest.mark.parametrize("kind", ["roberta", "distilbert", "electra", "albert", "mpnet", "modernbert", "deberta-v2", "xlm-roberta"])
def test_every_kind_of_masked_model_is_read_at_its_own_head(tmp_path: Path, kind: str) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

    folder = tiny_masked(tmp_path / "m", 1)
    tokens = len((folder / "vocab.txt").read_text().splitlines())
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # tokenizer.json, which every kind reads
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "embedding_size": 8}
    named_otherwise = {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16} if kind == "distilbert" else sizes
    config = AutoConfig.for_model(kind, vocab_size=tokens, max_position_embeddings=40, pad_token_id=0, **named_otherwise)
    torch.manual_seed(2)
    model = AutoModelForMaskedLM.from_config(config).eval()
    table = model.get_output_embeddings()
    if table.bias is not None:
        torch.nn.init.normal_(table.bias)
    model.save_pretrained(folder)
    backbone = load_backbone(named(folder, "good=great", "bad=terrible"))
    expected = logits_at_the_mask(folder, [f"{text} it was [MASK] ." for text in TEXTS], ["terrible", "great"])
    torch.testing.assert_close(zero_shot(backbone, TEXTS, ["bad", "good"]), expected, atol=1e-5, rtol=0)


def test_several_words_of_a_class_are_averaged(folder: Path) -> None:
    backbone = load_backbone(named(folder, "good=great,good", "bad=terrible"))
    own = logits_at_the_mask(folder, [f"{text} it was [MASK] ." for text in TEXTS], ["terrible", "great", "good"])
    expected = torch.stack([own[:, 0], own[:, 1:].mean(1)], dim=1)
    torch.testing.assert_close(zero_shot(backbone, TEXTS, ["bad", "good"]), expected, atol=1e-5, rtol=0)


def test_a_slash_in_a_name_is_no_second_word(folder: Path) -> None:
    """Two words of a class of another collection are two; `good/bad` is a name that no word stands for."""
    backbone = load_backbone(named(folder))
    start = backbone.start()
    other = prompted(make_examples(Texts(["cat"]), ["up"]), Template("{text} ? [MASK]"), LabelWords({"up": ("great", "good")}))
    found, great, good = class_vectors(backbone, start, [*other.class_names, "great", "good"], ("{}",))
    torch.testing.assert_close(found, (great + good) / 2)
    for slashed in (named(folder), named(folder, "up=good/bad")):
        with pytest.raises(InputError, match=r"a label word is one token, but 'good/bad' \(of the class '(good/bad|up)'\) is"):
            class_vectors(load_backbone(slashed), start, ["up" if "words" in slashed else "good/bad", "cat"], ("{}",))


def test_a_class_without_words_is_its_name_and_a_pair_fills_two_fields(folder: Path) -> None:
    backbone = load_backbone(named(folder, template="{1} ? [MASK] , {2}", fields=("a", "b")))
    expected = logits_at_the_mask(folder, ["cat dog ? [MASK] , red", "it ? [MASK] , was bad"], ["good", "bad"])
    found = zero_shot(backbone, [joined(["cat dog", "red"]), joined(["it", "was bad"])], ["good", "bad"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_long_texts_are_cut_and_template_and_mask_stay(folder: Path) -> None:
    backbone = load_backbone(named(folder) + ",max_length=12")
    long, marked = "cat red " * 20, "dog [MASK] dog"  # a mask in a text is not the mask of the prompt
    fitting = " ".join(long.split()[:6])
    expected = logits_at_the_mask(folder, [f"{fitting} it was [MASK] ."], ["good", "bad"])
    found = zero_shot(backbone, [long, marked], ["good", "bad"])
    torch.testing.assert_close(found[:1], expected, atol=1e-5, rtol=0)
    preparation = backbone.preparation
    assert isinstance(preparation, TextPreparation)
    tokens = preparation.batch([long, marked, "cat", "cat " * 1_000_000])
    assert tokens["input_ids"].shape[1] == 12
    assert tokens["mask_place"].tolist() == [9, 6, 4, 9]
    assert preparation.cut([long, marked, "cat"]) == [True, False, False]
    with pytest.raises(InputError, match="the template alone has 6 tokens, more than the 5"):
        zero_shot(load_backbone(named(folder) + ",max_length=5"), ["cat"], ["good", "bad"])


def test_the_longer_field_is_cut_first(folder: Path) -> None:
    backbone = load_backbone(named(folder, template="{1} ? [MASK] , {2}", fields=("a", "b")) + ",max_length=12")
    assert isinstance(backbone.preparation, TextPreparation)
    ids = backbone.preparation.batch([joined(["cat " * 20, "red blue"]), joined(["cat " * 20, "red " * 20])])["input_ids"]
    read = [" ".join(backbone.preparation.tokenizer.convert_ids_to_tokens(row)) for row in ids]
    assert read[0] == "[CLS] cat cat cat cat cat ? [MASK] , red blue [SEP]"
    assert read[1] == "[CLS] cat cat cat ? [MASK] , red red red red [SEP]"


def test_rows_with_their_own_template_keep_it(folder: Path) -> None:
    backbone = load_backbone(named(folder))
    other = prompted(make_examples(Texts(["cat"]), ["bad"], class_names=["bad", "good"]), Template("{text} ? [MASK]"), LabelWords())
    both = RowSpace([make_examples(Texts(["cat"])), other])
    found = backbone.embed(backbone.start(), both, np.arange(2))
    vectors = class_vectors(backbone, backbone.start(), ["good", "bad"], ("{}",))
    expected = torch.cat([logits_at_the_mask(folder, [p], ["good", "bad"]) for p in ("cat it was [MASK] .", "cat ? [MASK]")])
    torch.testing.assert_close(found @ vectors[:, :-1].T + vectors[:, -1], expected, atol=1e-5, rtol=0)


def test_heads_that_compare_angles_leave_the_bias_out() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(1, 6, 5, generator=generator), torch.randn(1, 3, 5, generator=generator)
    vectors = torch.randn(1, 3, 6, generator=generator)
    labels, rows = torch.tensor([[0, 0, 1, 1, 2, 2]]), torch.arange(6)[None]
    episode = Episodes(rows, labels, rows[:, :3], labels[:, :3], torch.arange(3)[None], torch.zeros(1, dtype=torch.int64))
    plain = torch.nn.functional.normalize(vectors[..., :5], dim=-1)
    for head in (TextPrior(), NamedLogistic(), Shrink()):
        found, expected = (answer(head, support, query, episode, given) for given in (vectors, plain))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found = answer(Text(temperature=2.0), support, query, episode, vectors)
    torch.testing.assert_close(found, 2 * (query @ vectors[..., :5].mT + vectors[..., 5]), atol=1e-5, rtol=1e-5)


def test_gradients_reach_the_table_of_words_and_the_layers(folder: Path) -> None:
    backbone = load_backbone(named(folder))
    weights = {n: t.clone().requires_grad_(t.is_floating_point()) for n, t in backbone.start().items()}
    space = RowSpace([make_examples(Texts(TEXTS[:2]))])
    features = backbone.embed(weights, space, np.arange(2))
    vectors = class_vectors(backbone, weights, ["good", "bad"], ("{}",))
    (features @ vectors[:, :-1].T + vectors[:, -1])[:, 0].sum().backward()
    groups = {name for _, group in backbone.groups for name in group}
    moved = {n for n in groups if weights[n].grad is not None and float(weights[n].grad.abs().sum()) > 0}
    assert (
        any("word_embeddings" in n for n in moved)
        and any("layer.0" in n for n in moved)
        and any("bias" in n and "pred" in n for n in moved)
    )
    assert groups == {n for n, t in backbone.start().items() if t.is_floating_point()}


@pytest.mark.parametrize("tied", [True, False])
def test_a_packed_copy_is_the_same(tmp_path: Path, tied: bool) -> None:
    backbone = load_backbone(named(tiny_masked(tmp_path / "m", 2, tied=tied), "good=great"))
    (tmp_path / "packed").mkdir()
    pack(backbone, tmp_path / "packed")
    again = load_packed(tmp_path / "packed")
    assert again.digest() == backbone.digest()
    assert torch.equal(zero_shot(again, TEXTS, ["good", "bad"]), zero_shot(backbone, TEXTS, ["good", "bad"]))


def test_what_cannot_answer_prompts_is_refused_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "encoder", 0)
    for name, said in (
        (named(encoder), "has no masked-LM head"),
        (f"hf:{folder},words=good=great", "give its template too"),
        (f"hf:{folder},template=it was [MASK] .", "found no {text}"),
        (f"hf:{folder},template=nothing", "unknown template 'nothing'"),
    ):
        with pytest.raises(InputError) as problem:
            load_backbone(name)
        assert said in str(problem.value) and "\n" not in str(problem.value)
    for word, said in (("great.", "2 tokens (great, .)"), ("cats", "2 tokens (cat, ##s)"), ("zebra", "no word of its vocabulary")):
        with pytest.raises(InputError) as problem:
            zero_shot(load_backbone(named(folder, f"good={word}")), ["cat"], ["good", "bad"])
        assert said in str(problem.value) and "--words 'good'=WORD" in str(problem.value)
