"""Which networks are compared: the one for each column is trained as the one for all is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fewtune.joint.adapt import USUAL, JointSettings, adapt_columns, methods_of
from fewtune.joint.judged import INDEPENDENT
from fewtune.joint.networks import alone_like, is_alone
from fewtune.learning.phase import phases_of
from fewtune.parts.optimizers import SGD
from fewtune.recipes.language import read_method
from fewtune.recipes.sharing import SHARING, independent
from tests.unit.joint.grounds import houses


def test_alone_differs_from_together_in_sharing_alone() -> None:
    text = "mmoe(steps=20, batch=8, lr=0.01, width=16, depth=2, optimizer=SGD(momentum=0.5), aggregator=PcGrad())"
    found = methods_of([text])
    assert list(found) == [INDEPENDENT, text]
    assert found[INDEPENDENT] == independent(steps=20, batch=8, lr=0.01, width=16, depth=2, optimizer=SGD(momentum=0.5))


@pytest.mark.parametrize("recipe", SHARING, ids=lambda recipe: recipe.__name__)
def test_alone_is_the_usual_network_beside_each_recipe(recipe: object) -> None:
    assert methods_of([recipe.__name__])[INDEPENDENT] == USUAL[INDEPENDENT]  # type: ignore[attr-defined]


def test_steps_of_several_phases_count_together() -> None:
    (one,) = phases_of(read_method("shared_bottom(steps=30)").phases)
    method = read_method("shared_bottom(steps=30)")
    two = type(method)(phases=(one, one), learner=method.learner)
    assert phases_of(alone_like(two).phases)[0].steps == 60


def test_a_network_for_each_column_is_not_called_shared(tmp_path: Path) -> None:
    """Spelled with settings of its own, it takes the place of the usual one, and there is nothing to compare it with."""
    found = methods_of(["independent(steps=7)"])
    assert found == {INDEPENDENT: independent(steps=7)} and is_alone(found[INDEPENDENT])
    assert not is_alone(read_method("soft_sharing")) and not is_alone(read_method("shared_bottom"))
    made = adapt_columns(houses(tmp_path, rows=30), None, JointSettings(methods=found, folds=2))
    assert all(task.sharing is None and "shared" not in " ".join(task.ways) for task in made.tasks)
    both = methods_of(["shared_bottom", "independent(steps=7)"])
    assert list(both) == [INDEPENDENT, "shared_bottom"] and both[INDEPENDENT] == independent(steps=7)
