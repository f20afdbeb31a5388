"""The sinusoids as a study: the same points for both ways."""

from __future__ import annotations

import pytest

from fewtune.errors import InputError
from fewtune.studies.sinusoid import phase_of, race


def test_both_ways_look_at_as_many_points() -> None:
    runs = race((2000, 4000), seeds=(0,))
    assert [(run.method, run.points) for run in runs] == [(m, b) for m in ("pretrained", "maml") for b in (2000, 4000)]
    assert all(0 < run.error < 20 for run in runs)
    with pytest.raises(InputError, match="unknown method 'moml'"):
        phase_of("moml", 5, 10)
