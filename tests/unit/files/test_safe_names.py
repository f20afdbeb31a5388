"""Names from any text: a plain name inside the folder, different for different texts."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fewtune.files import distinct_names, numbered, safe_name


def test_names_by_hand() -> None:
    for text, name in (
        ("robin", "robin"),
        ("../../etc/passwd", "__._etc_passwd"),
        ("..", "_"),
        (".", "_"),
        ("", "_"),
        ("/abs", "_abs"),
        (".hidden", "_hidden"),
        ("a\x1b[2J\n\u202eb", "a_[2J__b"),
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("ends. ", "ends"),
        ("日本", "日本"),
        ("tab\tname", "tab_name"),
    ):
        assert safe_name(text) == name, text
    long = safe_name("é" * 300 + ".jpg")
    assert len(long.encode()) <= 120 and long.endswith("é.jpg")
    assert numbered("a.tar.gz", 1) == "a.tar.gz" and numbered("a.jpg", 3) == "a-3.jpg"


def test_names_that_one_disk_takes_for_the_same_get_numbers() -> None:
    assert distinct_names(["Cat", "cat", "CAT", "a/b", "a:b", "caf\u00e9", "cafe\u0301"]) == [
        "Cat", "cat-2", "CAT-3", "a_b", "a_b-2", "caf\u00e9", "cafe\u0301-2",
    ]  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=200), max_size=6))
def test_any_texts_are_plain_and_distinct_names(texts: list[str]) -> None:
    names = distinct_names(texts)
    folded = [unicodedata.normalize("NFC", name).casefold() for name in names]
    assert len(set(folded)) == len(texts)
    for name in names:
        assert Path(name).name == name and not name.startswith(".") and "\x00" not in name and len(os.fsencode(name)) < 200
