"""Flags that say how other data is used are refused where none is given, instead of being ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fewtune.cli.source_flags import SourceFlags
from fewtune.errors import InputError

CHANGED: list[dict[str, Any]] = [{"rows": 5}, {"rates": [0.01]}, {"gain": "auto"}, {"mode": "stop"}, {"select": "random"}]


@pytest.mark.parametrize("changed", CHANGED)
def test_flags_of_other_data_are_refused_without_any(changed: dict[str, Any]) -> None:
    flag = f"--{next(iter(changed))}"
    said = f"{flag} says how other data is used, but there is none: give --source DATA, or leave {flag} out."
    with pytest.raises(InputError) as problem:
        SourceFlags(**changed).check()
    assert str(problem.value) == said
    SourceFlags(source=[Path("more.csv")], **changed).check()
    SourceFlags().check()
