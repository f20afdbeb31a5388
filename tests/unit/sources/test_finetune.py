"""The advice of held-out classes and how finetuning follows it, on runs whose accuracies are made up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.errors import Diverged
from fewtune.sources import finetune
from fewtune.sources.advice import part_way
from fewtune.sources.finetune import SWEEP, Finetuner, Run
from fewtune.sources.held_out_classes import HeldOutClasses
from fewtune.tasks.task import Tasks

LOOKED_AT = {"lr=0.0001": (0.3, 0.5, 0.4), "lr=0.001": (0.4, 0.6, 0.6), "lr=0.01": (0.7, 0.2, 0.1)}
START, END = {"a": torch.tensor([0.0, 2.0]), "b": torch.ones(1)}, {"a": torch.tensor([9.0, -1.0]), "b": torch.ones(1)}


def trained(curve: list[dict[str, float]] | None = None) -> Any:
    """A run that moved `a` alone."""
    return SimpleNamespace(weights=END, moved=("a",), curve=curve or [{"loss": 1.0}], visits=90, steps=9, seconds=1.0)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(title, visits) of every run: a run that tries a rate looks at validation tasks after 3, 6 and 9 steps."""
    seen: list[tuple[str, int]] = []

    def train(_: Finetuner, method: Any, tasks: Any, visits: int, title: str, judged: tuple[str, ...] = ()) -> Any:  # noqa: ARG001
        seen.append((title, visits))
        if not judged:
            return Run(trained(), ())
        looks = LOOKED_AT[title.removeprefix("trying ")]
        return Run(trained([{"loss": 1.0} | ({"validation": looks[step // 3 - 1]} if step % 3 == 0 else {}) for step in range(1, 10)]), ())

    monkeypatch.setattr(Finetuner, "_train", train)
    monkeypatch.setattr(Finetuner, "ground", lambda _: SimpleNamespace(start=lambda: dict(START)))
    monkeypatch.setattr(HeldOutClasses, "validation", lambda _, sources: list(sources))
    monkeypatch.setattr(finetune, "what_moved", lambda backbone, weights, edits: weights)  # noqa: ARG005
    return seen


def tuner(shares: dict[float, float], monkeypatch: pytest.MonkeyPatch) -> Finetuner:
    """A finetuner with these accuracies by the share of the way that weight `a` went."""

    def accuracy(_: HeldOutClasses, ground: Any, weights: Any, sources: Any) -> float:  # noqa: ARG001
        gone = (weights["a"] - START["a"]) / (END["a"] - START["a"])
        assert torch.allclose(gone, gone[:1].expand(2))
        return shares[min(shares, key=lambda a: abs(a - float(gone[0])))]

    monkeypatch.setattr(HeldOutClasses, "accuracy", accuracy)
    source_rows: Any = SimpleNamespace(tasks=lambda part, _: part, leading=lambda *_: ("pool",))
    backbone: Any = SimpleNamespace(label_metric="cosine", logit_scale=1.0)
    return Finetuner(backbone, HeldOutClasses(source_rows, 5, 1), "multitask", 900)


EMPTY = np.zeros(0, dtype=np.int64)
CHOSEN = Tasks(EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, np.zeros(2, dtype=np.int64), ("one",))


def test_the_best_rate_its_best_steps_and_the_best_share_are_advised(runs: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    one = tuner({0.0: 0.1, 1 / 3: 0.65, 2 / 3: 0.8}, monkeypatch)
    advice = one.advice(("pool",), CHOSEN)
    assert advice.rate == "lr=0.01" and advice.tried == {"lr=0.0001": 0.5, "lr=0.001": 0.6, "lr=0.01": 0.7}
    assert advice.part == 3 / 9  # the first look was the best
    assert advice.share == 2 / 3 and advice.shares == {0.0: 0.1, 1 / 3: 0.65, 2 / 3: 0.8, 1.0: 0.7}
    assert [visits for _, visits in runs] == [int(900 * SWEEP)] * 3
    one.advice(("pool",), CHOSEN)
    assert len(runs) == 3  # asked once of the same sources


def test_the_advice_is_followed(runs: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A third of the steps, two thirds of the way."""
    made = tuner({0.0: 0.1, 1 / 3: 0.65, 2 / 3: 0.8}, monkeypatch).tuned(CHOSEN)
    assert runs[-1] == ("finetuning on 1 task, lr=0.01", 300)
    moved: Any = made.moved
    assert list(moved) == ["a"] and torch.allclose(moved["a"], torch.tensor([6.0, 0.0]))
    assert "lr=0.01" in str(made.method) and made.changed


def test_where_the_start_is_best_nothing_is_run_and_of_equal_shares_the_least_is_taken(
    runs: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tuner({0.0: 0.7, 1 / 3: 0.7, 2 / 3: 0.7}, monkeypatch).tuned(CHOSEN)
    assert not made.changed and made.advice.share == 0 and len(runs) == 3


def test_of_equal_looks_the_first_is_taken_and_rates_that_diverge_are_passed_over(
    runs: list[tuple[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Finetuner._train

    def train(self: Finetuner, method: Any, tasks: Any, visits: int, title: str, judged: tuple[str, ...] = ()) -> Any:
        if title == "trying lr=0.01":
            raise Diverged("training diverged")
        return whole(self, method, tasks, visits, title, judged)

    monkeypatch.setattr(Finetuner, "_train", train)
    advice = tuner({0.0: 0.1, 1 / 3: 0.2, 2 / 3: 0.3}, monkeypatch).advice(("pool",), CHOSEN)
    assert advice.rate == "lr=0.001" and advice.part == 6 / 9 and advice.share == 1 and advice.tried["lr=0.01"] == float("-inf")
    assert len(runs) == 2


def test_without_validation_tasks_the_middle_rate_goes_all_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    one = tuner({0.0: 1.0}, monkeypatch)
    monkeypatch.setattr(HeldOutClasses, "validation", lambda *_: [])
    advice = one.advice(("pool",), CHOSEN)
    assert (advice.rate, advice.part, advice.share) == ("lr=0.001", 1.0, 1.0) and one.worth(CHOSEN, ("pool",)) == 0


def test_the_share_is_that_of_the_way_from_the_start_to_the_end() -> None:
    for share, a in ((1 / 3, [3.0, 1.0]), (2 / 3, [6.0, 0.0]), (1.0, [9.0, -1.0])):
        moved = part_way(START, trained(), share, ())
        assert list(moved) == ["a"] and torch.allclose(moved["a"], torch.tensor(a))
    assert part_way(START, trained(), 0.0, ()) == {}
