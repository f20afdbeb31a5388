"""Specs, keys, whole files and plain errors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewtune.errors import InputError
from fewtune.files import new_folder, read_record, write_bytes
from fewtune.keys import key
from fewtune.spec import digest, parse, text


@dataclass(frozen=True, kw_only=True)
class Leaf:
    number: float = 1.0
    word: str = "a"
    flag: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Tree:
    leaves: tuple[Leaf, ...] = ()
    count: int = 0


WORDS = {"Leaf": Leaf, "Tree": Tree}
leaves = st.builds(Leaf, number=st.floats(allow_nan=False), word=st.text(max_size=8), flag=st.sampled_from([None, True, False]))


@given(st.builds(Tree, leaves=st.lists(leaves, max_size=3).map(tuple), count=st.integers()))
def test_parse_reads_back_what_text_wrote(tree: Tree) -> None:
    assert parse(text(tree), WORDS) == tree


def test_texts() -> None:
    assert text(Tree(leaves=(Leaf(number=math.inf),))) == "Tree(leaves=(Leaf(number=inf, word='a', flag=None),), count=0)"
    assert text((1, 2)) == "(1, 2)" and text(()) == "()"
    assert parse("Leaf", WORDS) == Leaf() == parse("Leaf()", WORDS)
    assert digest(Leaf()) != digest(Leaf(number=2.0)) and len(digest(Leaf())) == 32


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("leaf(number=1)", "unknown name 'leaf': did you mean Leaf"),
        ("Leaf(size=1)", "Leaf has no option 'size': it takes number, word, flag"),
        ("Leaf(1, 2)", "it takes number, word, flag"),
        ("__import__('os').system('true')", "cannot read"),
        ("Leaf(number=1+1)", "cannot read '1 . 1'"),
        ("Leaf(number=", "expected something like"),
        ("Leaf(**{})", "cannot read"),
        ("[x for x in ()]", "cannot read"),
        ("(" * 5000, "cannot read"),
    ],
)
def test_what_cannot_be_read_says_so(source: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse(source, WORDS)


def test_keys_depend_on_seed_and_path_alone() -> None:
    counters = np.arange(4, dtype=np.uint64)
    assert key(1, "a", 2) == key(1, "a", 2)
    assert len({key(0, "a").value, key(1, "a").value, key(0, "b").value, key(0, "a", 0).value, key(0, "a", "0").value}) == 5
    assert np.array_equal(key(0).bits(counters)[2:], key(0).bits(counters[2:]))
    # a recorded value: the same on every machine and in every version
    assert key(0).value == 11603539203217368317
    assert key(0).bits(counters[:2]).tolist() == [7857450901255046976, 8430743228823847182]


def test_a_file_is_old_or_new_never_half(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    write_bytes(target, b"one")
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two" and [p.name for p in target.parent.iterdir()] == ["file"]


def test_a_folder_appears_only_when_complete(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_folder(tmp_path / "run") as folder:
        (folder / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "run") as folder:
        (folder / "fewtune.json").write_text("{}")
    with pytest.raises(InputError, match="exists already"), new_folder(tmp_path / "run"):
        pass
    with new_folder(tmp_path / "run", overwrite=True) as folder:
        (folder / "fewtune.json").write_text('{"two": 2}')
    record, whole = read_record(tmp_path / "run")
    assert whole and record["two"] == 2 and len(list(tmp_path.iterdir())) == 1


def test_overwrite_never_touches_what_we_did_not_write(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="was not written by fewtune"), new_folder(tmp_path / "mine", overwrite=True):
        pass
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
