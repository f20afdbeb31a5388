"""Values of a list behind one flag, or each behind a flag of its own: the same command."""

from __future__ import annotations

import pytest

from fewtune.cli.app import app
from fewtune.cli.lists import spread


@pytest.mark.parametrize(
    ("line", "means"),
    [
        ("compare d --method a b --ways 3", "compare d --method a --method b --ways 3"),
        ("compare d --method a --method b c", "compare d --method a --method b --method c"),
        ("compare d --source x y z --sweep lr p.q=1,2", "compare d --source x --source y --source z --sweep lr --sweep p.q=1,2"),
        ("compare d --seeds 0 -1 --method a", "compare d --seeds 0 --seeds -1 --method a"),
        ("adapt photos --source a b --quiet", "adapt photos --source a --source b --quiet"),
        ("compare --source a d", "compare --source a d"),  # the data come last: one value for each flag
        ("adapt --label price houses.csv", "adapt --label price houses.csv"),
        ("predict run a b --text x y", "predict run a b --text x y"),  # any number of inputs: nothing is moved
        ("compare d --out r --ways 5 6", "compare d --out r --ways 5 6"),  # no list
        ("compare d --method a -- b c", "compare d --method a -- b c"),
        ("compare d --method=a b", "compare d --method=a b"),
        ("compare", "compare"),
        ("--version", "--version"),
        ("nonsense x --y z", "nonsense x --y z"),
        ("", ""),
    ],
)
def test_lists(line: str, means: str) -> None:
    assert spread(app, line.split()) == means.split()
