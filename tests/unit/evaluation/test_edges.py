"""The edge of a sweep goes by value, whatever the order of the values, and each option has edges of its own."""

from __future__ import annotations

import itertools

import pytest

from fewtune.evaluation.edges import edges


@pytest.mark.parametrize("order", list(itertools.permutations([1e-3, 1e-2, 1e-1])))
def test_values_count_and_not_their_order(order: tuple[float, ...]) -> None:
    tried = [f"lr={value:g}" for value in order]
    assert edges("lr=0.01", tried) == []
    assert edges("lr=0.001", tried) == ["lr=0.001 lies at the edge of the sweep, so a lower value may do better"]
    assert edges("lr=0.1", tried) == ["lr=0.1 lies at the edge of the sweep, so a higher value may do better"]


def test_each_option_has_its_own_edges() -> None:
    tried = [f"lr={lr:g}, steps={steps}" for lr in (1e-4, 1e-3, 1e-2) for steps in (10, 20, 30)]
    found = {label: [said.split("=")[0] for said in edges(label, tried)] for label in tried}
    assert found["lr=0.001, steps=20"] == []
    assert found["lr=0.0001, steps=20"] == ["lr"] and found["lr=0.001, steps=30"] == ["steps"]
    assert found["lr=0.01, steps=10"] == ["lr", "steps"]


def test_two_values_have_no_edge_to_speak_of() -> None:
    assert edges("lr=0.1", ["lr=0.1", "lr=0.01"]) == []
    assert edges("steps=9, lr=0.1", [f"steps={s}, lr={lr}" for s in (5, 9) for lr in (0.1, 0.2, 0.3)])[0].startswith("lr=0.1 ")
