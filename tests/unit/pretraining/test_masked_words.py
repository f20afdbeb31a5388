"""Masked words: what is asked for, what it costs, that it is learned; an encoder and a masked language model come of it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional

from fewtune.backbones.masking import ASKED, NOT_ASKED, masked
from fewtune.backbones.providers.masked_trainer import masked_trainer
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.data.examples import make_examples
from fewtune.data.items import Texts
from fewtune.data.row_space import RowSpace
from fewtune.data.views.augment import augment
from fewtune.data.views.views import MaskWords
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.keys import key
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone
from fewtune.parts.losses import Outcome
from fewtune.pretraining.objectives import MaskedWords
from fewtune.pretraining.pretrain import Surroundings, pretrain_examples
from fewtune.pretraining.settings import PretrainSettings
from fewtune.tasks.episodes import Episodes
from tests.tiny import save_bert, text_space, vector_space
from tests.tiny_text import tiny, tiny_masked

CPU, KEY = Machine(device="cpu"), key(4, "step")


def sentences(count: int = 200, seed: int = 0) -> list[str]:
    """The animal says the colour, so that a masked word can be known from the others: cats are red and great, dogs blue and terrible."""
    random = np.random.default_rng(seed)
    pairs = [("cat", "red", "great"), ("dog", "blue", "terrible")]
    return [" ".join([*pairs[i], "it", "was", pairs[i][random.integers(3)]]) for i in random.integers(0, 2, count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked(tmp_path_factory.mktemp("masked"))


def test_about_the_share_is_asked_for_and_replaced_as_in_bert(folder: Path) -> None:
    encoder = load_backbone(f"hf:{folder}", machine=CPU)
    preparation: Any = encoder.preparation
    words = "cat dog red blue it was great terrible good bad".split()  # noqa: SIM905
    texts = [" ".join(np.random.default_rng(i).choice(words, 20)) for i in range(600)]
    tokens = preparation.batch(texts)
    seen = masked(MaskWords(share=0.15), tokens, np.arange(600), KEY, preparation.tokenizer)
    asked = seen[ASKED] != NOT_ASKED
    special = torch.isin(tokens["input_ids"], torch.tensor(preparation.tokenizer.all_special_ids))
    assert not (asked & special).any() and asked.any(1).all()
    assert torch.equal(seen[ASKED][asked], tokens["input_ids"][asked]) and torch.equal(
        seen["input_ids"][~asked], tokens["input_ids"][~asked]
    )
    share = float(asked.sum()) / float((~special).sum())
    expected = 0.15 + 0.85**20 / 20  # a text without any is asked for one of its twenty
    assert abs(share - expected) < 4 * math.sqrt(0.15 * 0.85 / 12000)
    shown, before = seen["input_ids"][asked], tokens["input_ids"][asked]
    mask = preparation.tokenizer.mask_token_id
    counts = [int((shown == mask).sum()), int((shown == before).sum()), int(((shown != mask) & (shown != before)).sum())]
    others = len(preparation.tokenizer) - 5  # a random word may be the very word
    expected_counts = np.array([0.8, 0.1 + 0.1 / others, 0.1 - 0.1 / others]) * sum(counts)
    assert stats.chisquare(counts, expected_counts).pvalue > 1e-3
    assert not torch.isin(shown[shown != mask], torch.tensor(preparation.tokenizer.all_special_ids)).any()


def test_a_text_is_masked_alike_in_any_batch_and_by_its_key(folder: Path) -> None:
    preparation: Any = load_backbone(f"hf:{folder}", machine=CPU).preparation
    texts, rows = sentences(12), np.arange(12) * 7
    view = MaskWords(share=0.4)
    whole = masked(view, preparation.batch(texts), rows, KEY, preparation.tokenizer)
    for i in range(12):
        alone = masked(view, preparation.batch([texts[i]]), rows[i : i + 1], KEY, preparation.tokenizer)
        for name in ("input_ids", ASKED):
            assert torch.equal(alone[name][0], whole[name][i, : alone[name].shape[1]])
    other = masked(view, preparation.batch(texts), rows, KEY.child("again"), preparation.tokenizer)
    assert not torch.equal(other["input_ids"], whole["input_ids"])
    empty = masked(view, preparation.batch(["", "cat"]), rows[:2], KEY, preparation.tokenizer)
    assert (empty[ASKED][0] == NOT_ASKED).all() and int((empty[ASKED][1] != NOT_ASKED).sum()) == 1


def test_costs_are_those_of_transformers_and_features_those_of_the_encoder(folder: Path) -> None:
    from transformers import BertForMaskedLM

    encoder = load_backbone(f"hf:{folder}", machine=CPU)
    trainer = masked_trainer(encoder)
    space = RowSpace([make_examples(Texts(sentences(9)), name="texts")])
    rows = np.arange(9)
    features = trainer.backbone.embed(trainer.backbone.start(), space, rows)
    torch.testing.assert_close(features, encoder.embed(encoder.start(), space, rows))
    found = trainer.backbone.embed(trainer.backbone.start(), space, rows, MaskWords(), KEY)
    with transformers_quietly():
        theirs = BertForMaskedLM.from_pretrained(folder).eval()
    preparation: Any = encoder.preparation
    tokens = masked(MaskWords(), preparation.batch(sentences(9)), rows, KEY, preparation.tokenizer)
    labels = tokens.pop(ASKED)
    with torch.no_grad():
        each = functional.cross_entropy(theirs(**tokens).logits.mT, labels, reduction="none")
    torch.testing.assert_close(found, torch.stack([each.sum(1), (labels != NOT_ASKED).sum(1).float()], dim=1))
    none = torch.zeros(1, 0, dtype=torch.int64)
    asked = torch.tensor([[*range(9), -1]])
    episodes = Episodes(none, none, asked, torch.zeros_like(asked), none, torch.zeros(1, dtype=torch.int64))
    padded = torch.cat([found, torch.full((1, 2), 99.0)])[None]
    cost = MaskedWords()(Outcome(logits=padded, episodes=episodes, query=padded))
    with torch.no_grad():
        torch.testing.assert_close(cost, theirs(**tokens, labels=labels).loss[None])


def test_the_weights_that_a_backbone_has_now_are_trained_on(folder: Path) -> None:
    encoder = load_backbone(f"hf:{folder}", machine=CPU)
    moved = encoder.with_weights({n: t + 0.1 for n, t in encoder.start().items() if t.is_floating_point()})
    space, rows = text_space(("the cat", "red dog")), np.arange(2)
    trainer = masked_trainer(moved)
    torch.testing.assert_close(trainer.backbone.embed(trainer.backbone.start(), space, rows), moved.embed(moved.start(), space, rows))
    assert all(torch.equal(trainer.backbone.start()[at], moved.start()[n]) for n, at in trainer.encoder.items())


def learned(backbone: str, out: Path, **given: Any) -> Any:
    texts = sentences()
    data = make_examples(Texts(texts), ["cat" if "cat" in t else "dog" for t in texts], name="texts")
    how = PretrainSettings(objective="mlm", **{"visits": 32 * 60, "batch": 32, "checkpoints": 1, "lr": 5e-3, **given})
    found = pretrain_examples([data], load_backbone(backbone, machine=CPU), how, Keeping(out=out), Surroundings())
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["own head", "new head", "random"])
def test_masked_words_are_learned_from_a_head_of_its_own_from_a_new_one_and_from_nothing(kind: str, tmp_path: Path) -> None:
    (tiny if kind == "new head" else tiny_masked)(tmp_path / "model", 0)
    if kind == "new head":  # an encoder alone, without any head; its tokenizer has the words of the other one
        (tmp_path / "model" / "vocab.txt").write_text(
            "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "red", "blue"])
        )
    name = f"hf:{tmp_path / 'model'}" + (",pretrained=false" if kind == "random" else "")
    found = learned(name, tmp_path / "run")
    losses = [row["loss"] for row in found.curve]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.3
    encoder = load_backbone(f"run:{tmp_path / 'run'}", machine=CPU)
    assert encoder.digest() == found.backbone.digest() and encoder.label_side
    before = load_backbone(name, machine=CPU).start()
    assert set(encoder.start()) == set(before) and not torch.equal(encoder.start()[next(iter(before))], before[next(iter(before))])


def test_what_was_made_answers_prompts_and_can_be_trained_on(folder: Path, tmp_path: Path) -> None:
    found = learned(f"hf:{folder}", tmp_path / "run", visits=32 * 200, lr=1e-2)
    asked = TextOptions(template="{text} it was [MASK] .", words=("a=great", "b=terrible")).onto(f"hf:{tmp_path / 'run' / 'backbone'}")
    prompted = load_backbone(asked, machine=CPU)
    assert prompted.embed_labels(prompted.start(), ["a", "b"]).shape == (2, 9)
    trainer = masked_trainer(load_backbone(f"run:{tmp_path / 'run'}", machine=CPU))
    again = trainer.written(trainer.backbone.start())
    head = [n for n in again if n.startswith("cls.")]
    assert head and all(n in again for n in ("bert.embeddings.word_embeddings.weight",))
    space = RowSpace([make_examples(Texts(sentences(40, seed=1)), name="texts")])
    cost = [
        float((c := t.backbone.embed(t.backbone.start(), space, np.arange(40), MaskWords(), KEY).sum(0))[0] / c[1])
        for t in (
            masked_trainer(load_backbone(f"hf:{folder}", machine=CPU)),
            masked_trainer(load_backbone(f"run:{tmp_path / 'run'},step=100", machine=CPU)),
            trainer,
        )
    ]  # the head is kept too: what was learned is known again
    assert cost[0] > cost[1] > cost[2] and cost[2] < 1.5, cost
    assert found.record["visits"] == 32 * 200


def test_a_masked_language_model_comes_of_an_encoder_without_a_head(tmp_path: Path) -> None:
    from fewtune.backbones.providers.names import read_name
    from fewtune.backbones.providers.pretrained import load_masked

    tiny(tmp_path / "encoder", 0)
    with pytest.raises(InputError, match=r"make one with `fewtune pretrain DATA --mlm`"):
        load_masked(read_name(f"hf:{tmp_path / 'encoder'}"), None)
    learned(f"hf:{tmp_path / 'encoder'}", tmp_path / "run", visits=32 * 3, checkpoints=0)
    model, _ = load_masked(read_name(f"hf:{tmp_path / 'run' / 'backbone'}"), None)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_what_cannot_learn_masked_words_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mlm masks words of texts, but mlp.* reads examples"):
        how = PretrainSettings(objective="mlm", visits=10, batch=2)
        pretrain_examples([vector_space(9).sources[0]], load_backbone("mlp,inputs=3", machine=CPU), how, Keeping(out=tmp_path / "a"))
    with pytest.raises(InputError, match="leave out the view"):
        PretrainSettings(objective="mlm", visits=10, view="Noise()")
    with pytest.raises(InputError, match="above 0 and below 1"):
        PretrainSettings(objective="mlm", visits=10, share=1.0)
    save_bert(tmp_path / "bert")
    encoder = load_backbone(f"hf:{tmp_path / 'bert'}", machine=CPU)
    maskless: Any = replace(encoder.preparation, tokenizer=type("Tokenizer", (), {"mask_token_id": None})())  # type: ignore[type-var]
    with pytest.raises(InputError, match="has no mask token"):
        masked_trainer(replace(encoder, preparation=maskless))
    with pytest.raises(InputError, match=r"for texts, and these are photos"):
        augment(MaskWords(), torch.zeros(1, 3, 4, 4), np.arange(1), KEY)
    with pytest.raises(InputError, match="takes texts: expected the identity view"):
        from fewtune.data.views.views import Noise

        encoder.embed(encoder.start(), text_space(), np.arange(2), Noise(), KEY)
