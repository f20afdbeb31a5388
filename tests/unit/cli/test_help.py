"""Every flag of every command says what it is for."""

from __future__ import annotations

import pytest

from fewtune.cli.app import app

NAMES = [name for name in app if not name.startswith("-")]


@pytest.mark.parametrize("name", NAMES)
def test_every_flag_is_described(name: str) -> None:
    arguments = app[name].assemble_argument_collection(parse_docstring=True)
    bare = [argument.name for argument in arguments.filter_by(show=True) if not argument.parameter.help and not argument.children]
    assert not bare
