"""Inputs that are none, by the hundred: every surface answers, or says in one sentence what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewtune.backbones.providers import pretrained
from fewtune.backbones.providers.names import read_name
from fewtune.backbones.providers.pretrained import is_of_a_library, load_tokenizer, said_of_sentences
from fewtune.backbones.weights import read_weights
from fewtune.errors import InputError
from fewtune.files import read_json
from fewtune.recipes import variants

MANY = settings(max_examples=150, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
STATE = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.ones(3)}


def answered(call: Callable[[], object]) -> str:
    """The sentence of an InputError, or nothing where there was an answer; whatever else is raised comes through."""
    try:
        call()
    except InputError as problem:
        assert str(problem).strip()
        return str(problem)
    return ""


def saved() -> bytes:
    out = io.BytesIO()
    torch.save(STATE, out)
    return out.getvalue()


WHOLE = {".pt": saved(), ".safetensors": safetensors.torch.save(STATE)}


@pytest.mark.parametrize("kind", [".pt", ".safetensors", ".bin", ""])
@MANY
@given(data=st.data())
def test_weights_with_bytes_changed_or_cut_off(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    whole = WHOLE.get(kind, WHOLE[".pt"])
    content = bytearray(data.draw(st.one_of(st.just(whole), st.binary(max_size=80), st.text(max_size=40).map(str.encode))))
    for _ in range(data.draw(st.integers(0, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path / f"weights{kind}"
    file.write_bytes(bytes(content)[: data.draw(st.integers(0, len(content)))])
    answered(lambda: read_weights(file))


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.empty(3, device="meta"), "no values"),
        (torch.ones(2, dtype=torch.complex64), "complex"),
    ],
    ids=["sparse", "meta", "complex"],
)
def test_tensors_that_are_no_weights(tmp_path: Path, odd: torch.Tensor, words: str) -> None:
    torch.save({**STATE, "b": odd}, tmp_path / "w.pt")
    assert words in (said := answered(lambda: read_weights(tmp_path / "w.pt"))) and "tensor b" in said


@pytest.mark.timeout(30)
def test_a_dictionary_that_holds_itself(tmp_path: Path) -> None:
    itself: dict[str, Any] = {}
    itself["model"] = itself
    torch.save(itself, tmp_path / "w.pt")
    assert "no named tensors" in answered(lambda: read_weights(tmp_path / "w.pt"))
    torch.save({"state_dict": {"model": {"net": STATE}}}, tmp_path / "w.pt")
    assert read_weights(tmp_path / "w.pt").keys() == STATE.keys()


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@MANY
@given(content=st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_as_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    said = answered(lambda: read_json(tmp_path / "x.json"))
    assert not said or "x.json" in said


def test_json_too_deep_too_large_and_right(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text("[" * 100_000)
    assert "x.json cannot be read as JSON" in answered(lambda: read_json(file))
    file.write_text("[1, 2, 3]")
    assert read_json(file, most=9) == [1, 2, 3]
    assert "more than 8 bytes" in answered(lambda: read_json(file, most=8))
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(file) == {"a": 1}


KEYS = ("pooling_mode", "pooling_mode_cls_token", "max_seq_length", "type", "path")
SETTINGS = st.dictionaries(st.sampled_from(KEYS), ANY_JSON, max_size=3) | ANY_JSON


@MANY
@given(modules=ANY_JSON | st.lists(SETTINGS, max_size=3), pooling=SETTINGS, transformer=SETTINGS)
def test_any_json_in_a_folder_of_sentence_transformers(tmp_path: Path, modules: object, pooling: object, transformer: object) -> None:
    (tmp_path / "1_Pooling").mkdir(exist_ok=True)
    for name, value in (("modules", modules), ("1_Pooling/config", pooling), ("sentence_bert_config", transformer)):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    answered(lambda: said_of_sentences(read_name(f"hf:{tmp_path}")))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("256", ""),
        ("null", ""),
        ('"abc"', "max_seq_length"),
        ("Infinity", "max_seq_length"),
        ("0", "max_seq_length"),
        ("true", "max_seq_length"),
    ],
)
def test_the_longest_text_of_a_folder(tmp_path: Path, value: str, said: str) -> None:
    (tmp_path / "sentence_bert_config.json").write_text(f'{{"max_seq_length": {value}}}')
    assert said in (found := answered(lambda: said_of_sentences(read_name(f"hf:{tmp_path}")))) and bool(found) == bool(said)


def test_a_panic_of_a_tokenizer_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", lambda *_a, **_k: "a tokenizer")

    def panics(_tokenizer: object) -> None:
        raise panic("Precompiled: cannot parse\nmore")

    monkeypatch.setattr(pretrained, "_tried", panics)
    assert "has a tokenizer that cannot be read (Precompiled: cannot parse)" in answered(
        lambda: load_tokenizer(read_name(f"hf:{tmp_path}"))
    )
    assert is_of_a_library(ValueError()) and is_of_a_library(panic()) and not is_of_a_library(KeyboardInterrupt())

    def stopped(_tokenizer: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "_tried", stopped)
    with pytest.raises(KeyboardInterrupt):
        load_tokenizer(read_name(f"hf:{tmp_path}"))


WORDS = [
    "ridge",
    "centroid",
    "multitask",
    "penalty",
    "(",
    ")",
    "=",
    ",",
    "1",
    "-1",
    "1e999",
    "'",
    '"',
    "[",
    "]",
    "{",
    "None",
    "lambda x: x",
    "**",
    "\0",
]


@MANY
@given(st.one_of(st.text(max_size=30), st.lists(st.sampled_from(WORDS), max_size=9).map("".join)))
def test_any_text_as_a_method(text: str) -> None:
    answered(lambda: variants(text, ()))


def test_a_method_nested_too_deeply() -> None:
    assert answered(lambda: variants("(" * 5000 + ")" * 5000, ()))
    assert answered(lambda: variants("ridge(penalty=" + "-" * 5000 + "1)", ()))
