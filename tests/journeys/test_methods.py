"""`fewtune methods`: what can be compared."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.journeys.conftest import Ran

Run = Callable[..., Ran]


def test_methods_lists_what_compare_takes(fewtune: Run) -> None:
    ran = fewtune("methods", "--format", "json")
    assert ran.code == 0, ran.err
    listed = {one["name"]: one for one in json.loads(ran.out)}
    assert {"centroid", "multitask", "maml"} <= set(listed) and "Ridge" not in listed
    assert {option["name"]: option["default"] for option in listed["ridge"]["options"]} == {"penalty": "'loo'", "normalize": "True"}
    assert "Ridge" in fewtune("methods", "--parts").out
    wrong = fewtune("methods", "rigde")
    assert wrong.code == 2 and "did you mean ridge" in wrong.err
