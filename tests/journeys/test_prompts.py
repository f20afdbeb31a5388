"""Prompts and pairs of texts through every command, with a tiny masked language model."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fewtune as api
from fewtune.errors import InputError
from fewtune.models.predict import Running
from fewtune.serving.answering import Answering
from tests.tiny_text import WORDS as TOKENS
from tests.tiny_text import tiny, tiny_masked

WORDS = ("--words", "good=great", "bad=terrible")
TEMPLATE = ("--template", "{text}, it was [MASK].")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked model, an encoder, a table of texts, one of pairs, and another of texts called sst2."""
    folder = tmp_path_factory.mktemp("place")
    tiny_masked(folder / "masked", max_position_embeddings=24)
    tiny(folder / "encoder", 0)
    rows = [
        (f"{a} {b} {'good' if n % 2 else 'bad'}", "good" if n % 2 else "bad")
        for n, (a, b) in enumerate([("cat", "dog"), ("red", "it")] * 8)
    ]
    write(
        folder / "texts.csv",
        ["text", "label"],
        [(f"{text} {'cat ' * (40 * (n == 0))}{'dog ' * n}", label) for n, (text, label) in enumerate(rows)],
    )
    pairs = [(f"cat {'red ' * n}", "cat" if n % 2 else "dog", "same" if n % 2 else "other") for n in range(16)]
    write(folder / "pairs.csv", ["premise", "hypothesis", "label"], pairs)
    write(
        folder / "sst2.csv",
        ["text", "label"],
        [(" ".join(TOKENS[(n * k) % 10] for k in range(3, 9)), "positive" if n % 2 else "negative") for n in range(1, 60)],
    )
    return folder


def write(file: Path, header: list[str], rows: list[Any]) -> None:
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([header, *rows])


def test_a_prompt_is_learned_saved_and_asked_again(fewtune: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", place / "texts.csv"
    ran = fewtune(
        "adapt", data, "--backbone", f"hf:{place / 'masked'}", *TEMPLATE, *WORDS, "--method", "prompt_finetuning(steps=3)", "--out", run
    )
    assert ran.code == 0, ran.err
    assert "of 16 texts are longer than the encoder's 24 tokens and are cut there" in ran.out + ran.err
    record = json.loads((run / "fewtune.json").read_text())
    assert record["backbone"]["name"] == "hf:masked,template={text}%2C it was [MASK].,words=bad=terrible;good=great"
    ran = fewtune("predict", run, data, "--text", "red cat", "--format", "json")
    assert ran.code == 0 and len(json.loads(ran.out)) == 17
    assert fewtune("evaluate", run, data, "--include-learned").code == 0
    assert fewtune("pack", run).code == 0 and fewtune("predict", run, data).code == 0
    model = api.load(run)
    assert model.predict(["red cat"])[0].label in ("good", "bad")


def test_inspect_shows_what_a_prompt_looks_like(fewtune: Callable[..., Any], place: Path) -> None:
    masked = f"hf:{place / 'masked'}"
    ran = fewtune("inspect", place / "texts.csv", *TEMPLATE, *WORDS, "--backbone", masked)
    assert ran.code == 0, ran.err
    assert "  red it good dog, it was [MASK]." in ran.out
    assert "Label words: bad: terrible, good: great" in ran.out and "longer than the encoder's 24 tokens" in ran.out
    ran = fewtune("inspect", place / "pairs.csv", "--input", "premise", "hypothesis", "--template", "rte", "--format", "json")
    said = json.loads(ran.out)["reading"]
    assert said["prompts"][1] == "cat red ? [MASK] , cat" and said["words"]["same"] == ["same"]
    for flags, problem in ((("--template", "rte"), "has one in each row"), ((*TEMPLATE, "--words", "fine=good"), "names the class 'fine'")):
        ran = fewtune("inspect", place / "texts.csv", *flags)
        assert ran.code == 2 and problem in ran.err
    assert "The backbone reads every text whole." in fewtune("inspect", place / "sst2.csv", "--backbone", masked).out


def test_names_alone_answer_prompts(fewtune: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    masked = f"hf:{place / 'masked'}"
    ran = fewtune("adapt", "--classes", "good", "bad", "--backbone", masked, *TEMPLATE, *WORDS, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert fewtune("predict", tmp_path / "run", "--text", "cat").code == 0


@pytest.mark.slow
def test_methods_are_compared_and_other_data_is_asked_in_its_own_way(fewtune: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    masked = ("--backbone", f"hf:{place / 'masked'}", *TEMPLATE, *WORDS)
    common = ("--ways", 2, "--shots", 2, "--queries", 2, "--episodes", 3)
    methods = ("--method", "prompt_zero_shot", "--method", "prompt_finetuning(steps=2)", "--method", "logistic")
    source = ("--source", place / "sst2.csv", "--method", "multitask_prompt_finetuning(steps=2)")
    ran = fewtune("compare", place / "texts.csv", *masked, *common, *methods, *source, "--format", "json")
    assert ran.code == 0, ran.err
    assert [row["method"] for row in json.loads(ran.out)].count("prompt_zero_shot") == 1 and len(json.loads(ran.out)) == 4
    ran = fewtune(
        "adapt",
        place / "texts.csv",
        *masked,
        "--source",
        place / "sst2.csv",
        "--method",
        "multitask_prompt_finetuning(steps=2)",
        "--out",
        tmp_path / "r",
    )
    assert ran.code == 0, ran.err
    write(tmp_path / "other.csv", ["text", "label"], [(f"it {'blue ' * n}", "zebra" if n % 2 else "cat") for n in range(1, 20)])
    ran = fewtune("adapt", place / "texts.csv", *masked, "--source", tmp_path / "other.csv", "--out", tmp_path / "q")
    assert ran.code == 2 and "other: a label word is one token, but 'zebra'" in ran.err


@pytest.mark.parametrize(
    "how", [(), ("--pair", "together"), ("--template", "{premise}? [MASK], {hypothesis}", "--words", "same=good", "other=bad")]
)
def test_pairs_go_through_every_command(fewtune: Callable[..., Any], place: Path, tmp_path: Path, how: tuple[str, ...]) -> None:
    data, run = place / "pairs.csv", tmp_path / "run"
    backbone = f"hf:{place / ('masked' if '--template' in how else 'encoder')}"
    given = ("--input", "premise", "hypothesis")
    ran = fewtune("adapt", data, *given, "--backbone", backbone, *how, "--finetune", "never", "--out", run)
    assert ran.code == 0, ran.err
    ran = fewtune("predict", run, data, "--text", "cat ||| dog", "--format", "json")
    assert ran.code == 0 and len(json.loads(ran.out)) == 17, ran.err
    assert fewtune("evaluate", run, data, "--include-learned").code == 0
    ran = fewtune("predict", run, "--text", "cat dog")
    assert ran.code == 2 and "reads two texts, premise and hypothesis" in ran.err
    ran = fewtune("predict", run, place / "texts.csv")
    assert ran.code == 2 and "has no column 'premise'" in ran.err
    ran = fewtune("predict", run, data, "--input", "premise")
    assert ran.code == 2 and "name two columns" in ran.err
    assert fewtune("inspect", data, *given).code == 0
    common = ("--ways", 2, "--shots", 2, "--queries", 2, "--episodes", 3, "--method", "centroid")
    assert fewtune("compare", data, *given, "--backbone", backbone, *how, *common).code == 0
    model = api.load(run)
    assert len(model.predict([("cat", "dog"), ("red", "cat")])) == 2
    with pytest.raises(InputError, match="has no ONNX form yet"):
        model.export(tmp_path / "m.onnx")
    served = Answering.of(model.bundle, Running())
    served.warm()
    assert served.answers([served.prepare("cat ||| dog", "it")])[0].label == model.predict([("cat", "dog")])[0].label
    with pytest.raises(InputError, match="reads two texts"):
        served.prepare("cat dog", "it")
    assert any(" | " in text for text in model.bundle.support.texts)  # what people see


@pytest.mark.parametrize("pair", ["apart", "together"])
def test_an_encoder_learns_from_pairs_and_reads_them_afterwards(
    fewtune: Callable[..., Any], place: Path, tmp_path: Path, pair: str
) -> None:
    """Next-sentence prediction is supervised pretraining on pairs."""
    data, given = place / "pairs.csv", ("--input", "premise", "hypothesis")
    how = ("--objective", "supervised", "--budget", "visits=32", "--batch", 8, "--checkpoints", 1, "--no-probe", "--quiet")
    ran = fewtune("pretrain", data, *given, "--pair", pair, "--backbone", f"hf:{place / 'encoder'}", *how, "--out", tmp_path / "net")
    assert ran.code == 0, ran.err
    ran = fewtune("adapt", data, *given, "--backbone", f"run:{tmp_path / 'net'}", "--finetune", "never", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    probed = ("transfer", tmp_path / "net", "--data", data, "--probe", "--quiet")
    ran = fewtune(*probed, *given)
    assert ran.code == 0 and "Between start of net and net" in ran.out, ran
    ran = fewtune(*probed, "--input", "premise")
    assert ran.code == 2 and "name both columns" in ran.err, ran
    ran = fewtune("pretrain", data, *given, "--mlm", "--backbone", f"hf:{place / 'encoder'}", *how[2:], "--out", tmp_path / "words")
    assert ran.code == 0 and "4 updates looked at 32 rows" in ran.out, ran.err


def test_the_estimator_reads_pairs_and_prompts(place: Path) -> None:
    X, y = [("cat " * n, "cat" if n % 2 else "dog") for n in range(1, 13)], ["same" if n % 2 else "other" for n in range(1, 13)]
    for backbone in (
        f"hf:{place / 'encoder'}",
        api.TextOptions(template="{1} [MASK] {2}", words=("same=good", "other=bad"), fields=("1", "2")).onto(f"hf:{place / 'masked'}"),
    ):
        made = api.FewShotClassifier(backbone=backbone, folds=2).fit(X, y)
        assert made.predict_proba(np.array(X, dtype=object)).shape == (12, 2)
        with pytest.raises(InputError, match="reads two texts"):
            made.predict(["cat"])
    with pytest.raises(InputError, match="has two texts in each row, 1 and 2, but this model reads one"):
        api.adapt((X, y), backbone=api.load_backbone(f"hf:{place / 'encoder'}"))


def test_label_columns_read_pairs_too(fewtune: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    rows = [("cat " * (n % 5 + 1), "dog " * (n % 3 + 1), "a" if n % 2 else "b", n * 0.5) for n in range(24)]
    write(tmp_path / "two.csv", ["first", "second", "kind", "price"], rows)
    given = (
        "--input",
        "first",
        "second",
        "--label",
        "kind",
        "--label",
        "price",
        "--backbone",
        f"hf:{place / 'encoder'}",
        "--finetune",
        "never",
    )
    ran = fewtune("adapt", tmp_path / "two.csv", *given, "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert fewtune("predict", tmp_path / "run", tmp_path / "two.csv").code == 0
    assert fewtune("evaluate", tmp_path / "run", tmp_path / "two.csv", "--include-learned").code == 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--template", "{text} was great"), "found none"),
        (("--template", "{text} [MASK] [MASK]"), "found 2"),
        (("--template", "{text} [MASK]", "--words", "good=great cat"), "'great cat' (of the class 'good') is 2 tokens"),
        (("--template", "{text} [MASK]", "--words", "fine=great"), "names the class 'fine'"),
        (("--template", "{text} [MASK]", "--words", "great"), "class=word"),
        (("--words", "good=great"), "give its --template too"),
        (("--template", "{1} [MASK] {2}"), "needs two text columns"),
        (("--template", "rte"), "needs two text columns"),
        (("--template", "sst3"), "unknown template"),
        (("--input", "text", "text"), "given twice"),
        (("--input", "text", "nothing"), "unknown input column"),
        (("--pair", "apart"), "for two text columns"),
    ],
)
def test_bad_input_is_one_sentence(fewtune: Callable[..., Any], place: Path, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    ran = fewtune("adapt", place / "texts.csv", "--backbone", f"hf:{place / 'masked'}", *flags, "--out", tmp_path / "run")
    assert ran.code == 2 and said in ran.err and not (tmp_path / "run").exists(), ran.err


def test_an_encoder_that_learned_masked_words_answers_prompts(fewtune: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    tiny(tmp_path / "encoder", 0)
    write(tmp_path / "plain.csv", ["text"], [("cat dog red " * (n % 4 + 1),) for n in range(20)])
    made = tmp_path / "made"
    ran = fewtune(
        "pretrain", tmp_path / "plain.csv", "--mlm", "--backbone", f"hf:{tmp_path / 'encoder'}", "--budget", "visits=64", "--out", made
    )
    assert ran.code == 0, ran.err
    asked = ("--classes", "cat", "dog", "--template", "{text} red [MASK]", "--out", tmp_path / "run")
    assert fewtune("adapt", "--backbone", f"hf:{made / 'backbone'}", *asked).code == 0
    assert fewtune("predict", tmp_path / "run", "--text", "red").code == 0
    ran = fewtune(
        "compare", place / "texts.csv", "--backbone", f"run:{made}", *TEMPLATE, "--ways", 2, "--shots", 2, "--queries", 1, "--episodes", 1
    )
    assert ran.code == 2 and "give hf:FOLDER/backbone" in ran.err


def test_a_model_without_a_masked_head_is_refused(fewtune: Callable[..., Any], place: Path, tmp_path: Path) -> None:
    ran = fewtune("adapt", place / "texts.csv", "--backbone", f"hf:{place / 'encoder'}", *TEMPLATE, "--out", tmp_path / "run")
    assert ran.code == 2 and "has no masked-LM head" in ran.err
