"""`fewtune embed`: features in shares, which compare then reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.journeys.conftest import Ran
from tests.journeys.test_compare_many import rows

Run = Callable[..., Ran]


def test_shares_are_embedded_and_joined(fewtune: Run, tmp_path: Path) -> None:
    data, cache = rows(tmp_path / "d.npz", 1), tmp_path / "cache"
    asked = ("embed", data, "--backbone", "mlp,inputs=8,width=8", "--chunk", 8, "--cache", cache, "--quiet")
    first = fewtune(*asked, "--shard", "1/2")
    assert first.code == 0 and "rows embedded; 1 of 2 shares still missing" in first.out, first.err + first.out
    second = fewtune(*asked, "--shard", "2/2")
    assert "the table of 60 rows is complete" in second.out, second.err
    assert "0 rows embedded; the table of 60 rows is complete" in fewtune(*asked).out
    wrong = fewtune(*asked, "--shard", "3/2")
    assert wrong.code == 2 and "--shard is i/n" in wrong.err
