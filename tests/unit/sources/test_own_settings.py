"""Settings chosen on classes of other data: by what each method answers to episodes of them, after finetuning on their labelled rows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.learning.engine import tune
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Adapt
from fewtune.machine import Machine
from fewtune.sides.own import own_method
from fewtune.sources import own_settings
from fewtune.sources.held_out_classes import HeldOutClasses
from fewtune.sources.own_settings import EPISODES, best_on_classes
from fewtune.tasks.task import class_rows
from tests.unit.adaptation.small_job import BACKBONE, RECIPE, clusters

RATES = (1.0, 0.02, 0.0)


def classes() -> HeldOutClasses:
    space = RowSpace([clusters(12, 14, seed=1, name="more", letter="c")])
    rows: Any = SimpleNamespace(space=space, tasks=lambda *asked: class_rows(space) if asked == ("validation", ["more"]) else None)
    return HeldOutClasses(rows, ways=4, shots=3, seed=2)


def methods(*rates: float) -> list[Any]:
    return [own_method(RECIPE.replace("lr=0.02", f"lr={rate}")) for rate in rates]


def accuracy(method: Any) -> float:
    """Episode by episode: finetuned on its support, its own head fitted there, its query answered."""
    ways, space = classes(), classes().source_rows.space
    ground = Ground(BACKBONE, space)
    [episodes] = ways.episodes("validation", ["more"], EPISODES)
    right = []
    assert isinstance(method.learner, Adapt)
    for e in range(EPISODES):
        one = episodes[e : e + 1]
        with torch.no_grad():
            own = tune(ground, method.learner, ground.start(), one, key(2, "own settings").child(0, e).child("episode", 0))
            support, query = (ground.embed({**ground.start(), **own}, rows) for rows in (one.support, one.query))
            head = method.learner.then
            given = head.declare(support.shape[-1])
            logits = head.score(head.fit(support, one, None, given), query, given)
        right.append((logits.argmax(-1) == one.query_label).float().mean().item())
    return float(np.mean(right))


def test_the_best_on_their_episodes_is_chosen() -> None:
    given = methods(*RATES)
    expected = [accuracy(method) for method in given]
    assert len({round(x, 3) for x in expected}) > 1
    assert best_on_classes(given, BACKBONE, classes(), ("more",)) == int(np.argmax(expected))
    assert best_on_classes(given[::-1], BACKBONE, classes(), ("more",)) == len(given) - 1 - int(np.argmax(expected))


def test_ties_go_to_the_lower_loss_then_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(*scored: tuple[float, float]) -> int:
        left = [[SimpleNamespace(accuracy=np.array([a]), loss=np.array([x]))] for a, x in scored]
        monkeypatch.setattr(own_settings, "score_each", lambda *_, **__: left.pop(0))
        return best_on_classes(methods(*[0.1] * len(scored)), BACKBONE, classes(), ("more",))

    assert best((0.5, 1.0), (0.6, 2.0), (0.4, 0.1)) == 1
    assert best((0.6, 1.0), (0.6, 0.9), (0.6, 0.9)) == 1
    assert best((0.6, float("nan")), (0.6, 9.0)) == 1
    assert best((0.6, 1.0), (0.6, 1.0)) == 0


def test_episodes_are_shared_out_among_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(own_settings, "score_each", lambda *_, **__: [SimpleNamespace(accuracy=np.ones(1), loss=np.ones(1))])
    monkeypatch.setattr(HeldOutClasses, "episodes", lambda _, part, sources, count: asked.append(count) or [part, sources])
    for sources in (("a",), ("a", "b"), ("a", "b", "c")):
        best_on_classes(methods(0.1), BACKBONE, classes(), sources)
    assert asked == [4, 2, 2]
    assert load_backbone(BACKBONE.name, machine=Machine(device="cpu")).digest() == BACKBONE.digest()
