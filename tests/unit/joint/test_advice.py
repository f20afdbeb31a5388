"""Advice: each rule fires on one side of its edge and not on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewtune.joint.advice import Advice, Findings, advice, learning_steps
from fewtune.learning.affinity import Affinity, Spread
from fewtune.statistics import Interval, choose_groups

NAMES = ("price", "kind", "tags")
HELP = np.array([[0.5, 0.2, 0.1], [0.2, 0.5, 0.1], [0.1, 0.1, 0.5]])


def spread(mean: np.ndarray, half: float = 0.01) -> Spread:
    return Spread(mean, mean - half, mean + half)


def gain(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 0.95, 50, "paired t")


def findings(
    gains: tuple[Interval | None, ...] = (None, None, None), help: np.ndarray = HELP, cosine: float = 0.1, budget: int = 2, **more: object
) -> Findings:
    cosines = np.full((3, 3), cosine)
    np.fill_diagonal(cosines, 1.0)
    losses = np.linspace(1.0, 0.1, 10)[:, None] * np.ones(3)
    affinity = Affinity(NAMES, spread(help), spread(cosines), 10.0 * np.arange(1, 11), losses, ("head.trunk.0.weight",))
    return Findings(affinity=affinity, grouping=choose_groups(help, budget), gains=gains, **more)  # type: ignore[arg-type]


def kinds(found: Findings) -> list[tuple[str, tuple[int, ...]]]:
    return [(one.kind, one.tasks) for one in advice(found)]


def test_nothing_is_said_where_nothing_is_shown() -> None:
    assert kinds(findings((gain(-0.1, 0.0), gain(0.0, 0.1), None))) == [("nothing", (0, 1, 2))]


def test_a_column_that_is_hurt_keeps_the_company_of_its_group() -> None:
    (one,) = advice(findings((gain(-0.1, -0.001), None, None)))
    assert (one.kind, one.tasks) == ("less", (0,))
    assert one.sentence == "Learning together makes price worse (-0.051, 95% -0.100 to -0.001): train it only with kind."


def test_columns_whose_gradients_oppose_are_named() -> None:
    found = advice(findings((gain(-0.1, -0.001), None, None), cosine=-0.02))
    assert (found[0].kind, found[0].tasks) == ("less", (0, 1, 2))
    assert found[0].sentence.endswith("and share less with kind and tags.")
    assert [one.tasks for one in found[1:]] == [(0, 1), (0, 2), (1, 2)] and {one.kind for one in found[1:]} == {"interference"}
    assert kinds(findings((gain(-0.1, -0.001), None, None), cosine=-0.01)) == [("less", (0,))]  # its interval ends at 0


def test_a_column_that_nobody_helps_is_trained_apart() -> None:
    alone = HELP.copy()
    alone[1:, 0] = 0.0
    (one,) = advice(findings((gain(-0.1, -0.001), None, None), alone))
    assert (one.kind, one.tasks) == ("apart", (0,))
    alone[1, 0] = 0.001
    assert kinds(findings((gain(-0.1, -0.001), None, None), alone, budget=1)) == [("less", (0,))]


def test_a_column_whose_group_is_no_help_is_trained_apart() -> None:
    hurt = (gain(-0.1, -0.001), None, None)
    (one,) = advice(findings(hurt, grouped=(gain(-0.2, -0.002), None, None)))
    assert (one.kind, one.tasks) == ("apart", (0,))
    assert one.sentence.endswith("and so does a network for its group (-0.101, 95% -0.200 to -0.002): train it apart.")
    for unshown in (gain(-0.2, 0.0), None):
        assert kinds(findings(hurt, grouped=(unshown, gain(-0.2, -0.1), None))) == [("less", (0,))]


def test_a_column_that_harms_half_of_the_others_is_left_out() -> None:
    harm = HELP.copy()
    harm[2, 0] = -0.02
    assert ("leave out", (2,)) in kinds(findings((gain(-0.1, -0.001), None, None), harm))
    assert ("leave out", (2,)) not in kinds(findings((None, gain(-0.1, -0.001), None), harm))  # who is hurt is not who it harms
    assert ("leave out", (2,)) not in kinds(findings((None, None, None), harm))
    harm[2, 0] = -0.01  # its interval ends at 0: not shown
    assert ("leave out", (2,)) not in kinds(findings((gain(-0.1, -0.001), None, None), harm))


def test_a_column_that_gains_goes_on_sharing() -> None:
    assert kinds(findings((gain(0.001, 0.1), None, None))) == [("more", (0,))]


def test_what_was_not_measured_is_not_called_without_a_difference() -> None:
    (unmeasured,) = advice(findings((None, None, None)))
    assert (unmeasured.kind, unmeasured.tasks) == ("nothing", (0, 1, 2))
    assert unmeasured.sentence == "Whether the columns are better learned together or alone was not measured."
    (measured,) = advice(findings((None, gain(-0.1, 0.1), None)))
    assert measured.sentence.startswith("Neither together nor alone is shown to be better")


@pytest.mark.parametrize(("ratio", "expected"), [(2.0, [("more", (1,))]), (1.9, [("nothing", (0, 1, 2))])])
def test_a_column_that_overfits_alone_shares_more(ratio: float, expected: object) -> None:
    assert kinds(findings(overfits=(1.0, ratio, float("nan")))) == expected
    hurt = findings((None, gain(-0.1, -0.001), None), overfits=(1.0, ratio, 1.0))
    assert [one.kind for one in advice(hurt)] == ["less"]


@pytest.mark.parametrize(("look", "said"), [(7, True), (6, False)])
def test_speeds_that_differ_by_three(look: int, said: bool) -> None:
    """Two columns are learned after the first look, one after look `look`: as three looks are averaged, two looks later."""
    losses = np.ones((10, 3))
    losses[1:, :2] = 0.0
    losses[look:, 2] = 0.0
    found = replace(findings(), affinity=replace(findings().affinity, losses=losses))
    assert learning_steps(found.affinity).tolist() == [30, 30, 10 * (look + 2)]
    assert any((one.kind, one.tasks) == ("speeds", (0, 2)) for one in advice(found)) == said


def test_a_loss_that_does_not_fall_has_no_speed() -> None:
    flat = replace(findings().affinity, losses=np.ones((10, 3)))
    assert np.isnan(learning_steps(flat)).all()
    assert kinds(replace(findings(), affinity=flat)) == [("nothing", (0, 1, 2))]


def test_a_wider_network_that_helps_who_is_hurt() -> None:
    hurt = (gain(-0.1, -0.001), None, None)
    assert ("capacity", (0,)) in kinds(findings(hurt, wider=(gain(0.001, 0.1), None, None)))
    assert ("capacity", (0,)) not in kinds(findings(hurt, wider=(gain(0.0, 0.1), None, None)))
    assert kinds(findings(wider=(gain(0.001, 0.1), None, None))) == [("nothing", (0, 1, 2))]


def test_an_advice_is_a_plain_sentence() -> None:
    for one in advice(findings((gain(-0.1, -0.001), gain(0.001, 0.1), None), cosine=-0.02, overfits=(1.0, 1.0, 3.0))):
        assert isinstance(one, Advice) and one.sentence.endswith(".") and len(one.sentence) < 200
