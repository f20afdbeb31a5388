"""Kernels are taken where they are asked for, or where they pay off and can be compiled."""

from __future__ import annotations

import sys

import pytest

from fewtune.errors import InputError
from fewtune.fast import WORTH, can_compile, taken


def test_as_asked_or_where_it_pays_off() -> None:
    assert taken(True, 0) and not taken(False, 10**9)
    assert taken(None, WORTH) and not taken(None, WORTH - 1)


def test_without_numba_the_plain_path_is_taken_and_asking_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "fewtune.compiled", raising=False)
    can_compile.cache_clear()
    try:
        assert not taken(None, WORTH) and not taken(False, WORTH)
        with pytest.raises(InputError, match=r"numba cannot be imported: pip install 'fewtune\[fast\]'"):
            taken(True, 0)
    finally:
        can_compile.cache_clear()
