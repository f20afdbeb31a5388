"""Float and multi-hot targets: they stay with their rows through tasks, supports and batches, and a regression step is the one by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.data.examples import Column, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.support import support_tasks
from fewtune.parts.heads.head import answer
from fewtune.parts.heads.linear import Linear
from fewtune.parts.inner import start, update
from fewtune.parts.losses import BinaryCrossEntropy, Outcome, SquaredError
from fewtune.parts.optimizers import SGD
from fewtune.tasks.episodes import join
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.points import Points
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.samplers import EPISODIC
from fewtune.tasks.target_rows import target_tasks
from fewtune.tasks.task import class_rows

N = 40
VECTORS = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)
VALUES = np.random.default_rng(1).normal(size=(N, 2))
VALUES[4] = np.nan  # nothing known: left out
VALUES[5, 1] = np.nan  # half of it known: stays
HOT = np.random.default_rng(2).integers(0, 2, size=(N, 3))
GROUPS = [None if i == 7 else f"wave {i % 3}" for i in range(N)]


def examples(column: Column, *, groups: list[str | None] | None = None, name: str = "waves") -> RowSpace:
    return RowSpace([make_examples(Vectors(VECTORS), column, groups=groups, name=name)])


@pytest.fixture(scope="module")
def space() -> RowSpace:
    return examples(Column("float", VALUES), groups=GROUPS)


def test_a_group_is_a_task_of_rows_with_targets(space: RowSpace) -> None:
    tasks = target_tasks(space)
    assert tasks.names == ("wave 0", "wave 1", "wave 2") and tasks.sizes().tolist() == [14, 11, 13]
    for t, task in enumerate(tasks):
        assert task.kind == "float" and task.rows[0].tolist() == [i for i in range(N) if i % 3 == t and i not in (4, 7)]
    assert tasks.targets is not None and np.array_equal(tasks.targets, VALUES[tasks.order], equal_nan=True)
    some = target_tasks(space, rows=np.arange(10))
    assert sorted(some.order.tolist()) == [0, 1, 2, 3, 5, 6, 8, 9]
    assert target_tasks(examples(Column("float", VALUES))).names == ("all",)


@pytest.mark.parametrize("sampler", [Points(shots=4, queries=6), Pooled(batch=5), PerTask(batch=13)])
def test_targets_stay_with_their_rows(space: RowSpace, sampler: Points | Pooled | PerTask) -> None:
    drawn = sampler.draw(target_tasks(space), key(0), 0, 9)
    for rows, label in ((drawn.support, drawn.support_label), (drawn.query, drawn.query_label)):
        assert label.shape == (*rows.shape, 2) and label.dtype == torch.float64
        known = rows >= 0
        assert np.array_equal(label[known].numpy(), VALUES[rows[known].numpy()], equal_nan=True)
        assert label[~known].isnan().all()
    assert drawn.classes.tolist() == [[0, 1]] * 9 and drawn.ways == 2
    if not isinstance(sampler, Pooled):
        part = [drawn.query[e][drawn.query[e] >= 0] % 3 for e in range(9)]
        assert all((rows == drawn.task[e]).all() for e, rows in enumerate(part))


def test_multi_hot_targets_are_integers() -> None:
    tasks = target_tasks(examples(Column("multi", HOT, ("a", "b", "c"))))
    drawn = Points(shots=4, queries=6).draw(tasks, key(0), 0, 3)
    assert next(iter(tasks)).kind == "multi" and drawn.ways == 3
    assert torch.equal(drawn.query_label, torch.from_numpy(HOT)[drawn.query])
    inner = Pooled().draw(support_tasks(drawn[1:2]), key(0), 0, 1)
    cost = BinaryCrossEntropy()(Outcome(logits=torch.zeros(1, 4, 3), episodes=inner))
    assert torch.allclose(cost, torch.tensor([2.0]).log(), rtol=1e-6)


def test_a_support_carries_its_targets(space: RowSpace) -> None:
    drawn = Points(shots=4, queries=6).draw(target_tasks(space), key(3), 0, 2)
    wide = join([drawn, Points(shots=6, queries=6).draw(target_tasks(space), key(3), 0, 1)])[0:1]  # two rows of padding
    for episode in (drawn[0:1], wide):
        inner = Pooled().draw(support_tasks(episode), key(0), 0, 2)
        assert torch.equal(inner.query, drawn.support[:1].expand(2, -1)) and inner.support_label.shape == (2, 0, 2)
        assert np.array_equal(inner.query_label[0].numpy(), drawn.support_label[0].numpy(), equal_nan=True)
        batches = Pooled(batch=2).draw(support_tasks(episode), key(0), 0, 2)
        assert sorted(batches.query.flatten().tolist()) == sorted(drawn.support[0].tolist())


def test_one_step_of_regression_is_the_one_by_hand(space: RowSpace) -> None:
    """theta - r dL/dtheta with L = 1 / (S L) sum (x W^T + b - y)^2, so dL/dW = 2 / (S L) (x W^T + b - y)^T x."""
    episode = Points(shots=7, queries=5).draw(target_tasks(space, rows=np.arange(6, N)), key(1), 0, 1)
    inner = Pooled().draw(support_tasks(episode), key(0), 0, 1)
    head = Linear(rows="place", ways=2, start="random")
    held = {n: t.double().requires_grad_() for n, t in head.declare(3).items()}
    features = torch.from_numpy(VECTORS).double()[inner.query]
    predicted = answer(head, features[:, :0], features, inner, None, held)
    loss = SquaredError()(Outcome(logits=predicted, episodes=inner)).sum()
    slopes = dict(zip(held, torch.autograd.grad(loss, list(held.values())), strict=True))
    moved, _ = update(SGD(), held, slopes, start(SGD(), held), dict.fromkeys(held, 0.1))

    x, y = VECTORS[episode.support[0].numpy()].astype(np.float64), VALUES[episode.support[0].numpy()]
    w, b = (held[f"head.{part}"].detach().numpy() for part in ("weight", "bias"))
    off = x @ w.T + b - y
    assert np.allclose(moved["head.weight"].detach().numpy(), w - 0.1 * 2 / off.size * off.T @ x, rtol=1e-12)
    assert np.allclose(moved["head.bias"].detach().numpy(), b - 0.1 * 2 / off.size * off.sum(0), rtol=1e-12)
    assert torch.allclose(loss, torch.tensor((off**2).mean()), rtol=1e-12)


def test_wrong_columns_and_samplers_are_told(space: RowSpace) -> None:
    tasks, labels = target_tasks(space), np.arange(N) % 4
    named = RowSpace([make_examples(Vectors(VECTORS), labels, class_names=["a", "b", "c", "d"])])
    with pytest.raises(InputError, match="label column 'label' holds classes: expected float or multi-hot targets"):
        target_tasks(named)
    with pytest.raises(InputError, match="unknown label column 'heigth'"):
        target_tasks(space, "heigth")
    two = RowSpace([*space.sources, *examples(Column("float", VALUES[:, :1]), name="other").sources])
    with pytest.raises(InputError, match=r"one kind and width in all data sets, found float \[1\], float \[2\]"):
        target_tasks(two)
    with pytest.raises(InputError, match="no row has a target"):
        target_tasks(examples(Column("float", np.full((N, 1), np.nan))))
    with pytest.raises(InputError, match="Points draws rows with float or multi-hot targets"):
        Points().draw(class_rows(named), key(0), 0, 1)
    with pytest.raises(InputError, match=r"a task of 20 rows or more \(shots \+ queries\), found at most 14"):
        Points().draw(tasks, key(0), 0, 1)
    for sampler in (*EPISODIC, Pairs, InSequence):
        with pytest.raises(InputError, match=f"{sampler.__name__} draws by classes, but these rows"):
            sampler().draw(tasks, key(0), 0, 1)
