"""Supervised batches: every row once an epoch, the same whatever is drawn together, labels by the class's place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.keys import key
from fewtune.learning.support import support_tasks
from fewtune.parts.losses import Contrast, Outcome
from fewtune.tasks import epochs
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.task import Tasks

COUNT = np.array([5, 3, 4])
TASKS = Tasks(100 + np.arange(12), np.array([0, 5, 8]), COUNT, np.array([7, 2, 9]), np.arange(3), np.array([0, 3]), ("all",))
LABEL_OF = dict(zip(range(100, 112), np.repeat([0, 1, 2], COUNT).tolist(), strict=True))


@pytest.mark.parametrize("batch", [1, 4, 5, 12, 50])
def test_every_row_is_met_once_an_epoch(batch: int) -> None:
    size = min(batch, 12)
    drawn = Pooled(batch=batch).draw(TASKS, key(0), 0, 12)  # 12 batches: `size` epochs
    met = drawn.query.reshape(-1, 12)
    assert (met.sort(1).values == torch.arange(100, 112)).all() and len(met) == size
    assert [LABEL_OF[row] for row in drawn.query.flatten().tolist()] == drawn.query_label.flatten().tolist()
    assert drawn.classes.tolist() == [[7, 2, 9]] * 12 and drawn.support.shape == (12, 0)
    if 1 < size < 12:
        assert not torch.equal(met[0], met[1])


def test_a_batch_is_a_function_of_the_key_and_its_number() -> None:
    whole = Pooled(batch=5).draw(TASKS, key(3), 0, 9)
    for number in range(9):
        assert torch.equal(Pooled(batch=5).draw(TASKS, key(3), number, 1).query[0], whole.query[number])


def test_a_support_becomes_a_task_whose_labels_keep_their_places() -> None:
    support, label = torch.tensor([[4, 9, 1, 6, -1]]), torch.tensor([[2, 0, 2, 1, -1]])
    none = torch.zeros(1, 0, dtype=torch.int64)
    episode = Episodes(support, label, none, none, torch.tensor([[30, 10, 20, -1]]), torch.tensor([0]))
    batch = Pooled().draw(support_tasks(episode), key(0), 0, 1)
    assert batch.query.tolist() == [[9, 6, 4, 1]] and batch.query_label.tolist() == [[0, 1, 2, 2]]
    assert batch.classes.tolist() == [[30, 10, 20, -1]]  # the place of padding stays one


def test_a_class_that_two_tasks_share_is_one_class() -> None:
    order, start, count = 100 + np.arange(14), np.array([0, 5, 8, 12]), np.array([5, 3, 4, 2])
    tasks = Tasks(order, start, count, np.array([7, 2, 9, 2]), np.array([0, 1, 2, 3, 2]), np.array([0, 2, 4, 5]), ("a", "b", "c"))
    drawn = Pooled(batch=7).draw(tasks, key(0), 0, 2)
    assert drawn.classes.tolist() == [[7, 2, 9]] * 2 and drawn.task.tolist() == [0, 0]
    assert sorted(drawn.query.flatten().tolist()) == order.tolist()  # the slot that b and c share is there once
    label_of = dict(zip(order.tolist(), [0] * 5 + [1] * 3 + [2] * 4 + [1] * 2, strict=True))
    assert [label_of[row] for row in drawn.query.flatten().tolist()] == drawn.query_label.flatten().tolist()


def test_epochs_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "_KEPT", 100)
    fresh = [key(5).child("epoch", e).generator().permutation(30) for e in range(20)]
    for e in (*range(20), 0, 19):
        assert (epochs.epoch_order(key(5), e, 30) == fresh[e]).all()
        assert sum(map(len, epochs._orders.values())) <= 100
    assert (epochs.epoch_order(key(5), 0, 200) == key(5).child("epoch", 0).generator().permutation(200)).all()


SIZES = (5, 3, 9)


@pytest.mark.parametrize("batch", [1, 4, 20])
def test_tasks_come_in_turn_and_each_meets_its_rows_once_an_epoch(batch: int) -> None:
    count = np.array([2, 3, 3, 4, 5])
    bounds = np.array([0, 2, 3, 5])
    tasks = Tasks(np.arange(17), np.cumsum(count) - count, count, np.array([4, 5, 6, 4, 5]), np.arange(5), bounds, ("a", "b", "c"))
    drawn = PerTask(batch=batch).draw(tasks, key(0), 0, 90)
    assert drawn.task.tolist() == [0, 1, 2] * 30
    assert drawn.classes.unique(dim=0).tolist() == [[4, 5], [6, -1]] and drawn.query.shape == (90, min(batch, 9))
    for t, size in enumerate(SIZES):
        mine = drawn.query[t::3]
        met = mine[mine >= 0]
        assert len(met) == 30 * min(batch, size)
        whole = met[: len(met) // size * size].view(-1, size)
        assert (whole.sort(1).values - whole.min() == torch.arange(size)).all()
    label_of = [0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    real = drawn.query >= 0
    assert [label_of[row] for row in drawn.query[real].tolist()] == drawn.query_label[real].tolist()


def test_pairs_name_the_texts_of_their_rows_once() -> None:
    drawn = Pairs(batch=6).draw(TASKS, key(0), 0, 2)
    for e in range(2):
        names = [[7, 2, 9][LABEL_OF[row]] for row in drawn.query[e].tolist()]
        assert drawn.classes[e].tolist() == [*dict.fromkeys(names), -1, -1, -1, -1][:6]
        assert [int(drawn.classes[e][k]) for k in drawn.query_label[e]] == names
    assert sorted(drawn.query.flatten().tolist()) == list(range(100, 112))


def test_contrast_over_pairs_is_that_of_clip_where_every_row_has_its_own_text() -> None:
    count = np.ones(4, dtype=np.int64)
    tasks = Tasks(np.arange(4), np.arange(4), count, np.arange(4), np.arange(4), np.array([0, 4]), ("all",))
    drawn = Pairs(batch=4).draw(tasks, key(0), 0, 1)
    images, texts = torch.randn(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T
    own = torch.arange(4)
    expected = (torch.nn.functional.cross_entropy(3 * z, own) + torch.nn.functional.cross_entropy(3 * z.T, own)) / 2
    outcome = Outcome(logits=torch.zeros(1, 4, 4), episodes=drawn, query=images[drawn.query], class_vectors=texts[drawn.classes])
    assert torch.allclose(Contrast(temperature=3.0)(outcome), expected, rtol=1e-12)


@pytest.mark.parametrize("batch", [4, 5, 6, 30])
def test_tasks_come_in_sequence_and_each_row_is_met_once_an_epoch(batch: int) -> None:
    count = np.array([3, 4, 6, 2, 3])
    tasks = Tasks(np.arange(18), np.cumsum(count) - count, count, 10 + np.arange(5), np.arange(5), np.array([0, 5]), ("all",))
    sampler = InSequence(ways=2, rows=3, epochs=3, batch=batch)
    assert sampler.steps_per_task == 3 * -(-6 // batch)
    drawn = sampler.draw(tasks, key(0), 0, 4 * sampler.steps_per_task)
    assert drawn.task.tolist() == np.repeat(np.arange(4), sampler.steps_per_task).tolist()
    seen = drawn.query.view(4, 3, -1)
    for t in range(4):
        rows = [sorted(row[row >= 0].tolist()) for row in seen[t]]
        assert rows[0] == rows[1] == rows[2] and len(rows[0]) == len(set(rows[0])) == 6  # the same 6 rows in each of 3 epochs
        assert drawn.classes[drawn.task == t].unique(dim=0).shape == (1, 2)
    orders = {tuple(row[row >= 0].tolist()) for row in seen[0]}
    assert len(orders) == 3 and 13 not in drawn.classes  # class 13 has but 2 rows


def test_a_sequence_over_collections_stays_in_one_at_a_time() -> None:
    count = np.full(6, 4)
    tasks = Tasks(np.arange(24), 4 * np.arange(6), count, np.arange(6), np.arange(6), np.array([0, 3, 6]), ("a", "b"))
    drawn = InSequence(ways=3, rows=2, epochs=1, batch=6).draw(tasks, key(0), 0, 40)
    sides = (drawn.classes < 3).all(1).long() + 2 * (drawn.classes >= 3).all(1)
    assert set(sides.tolist()) == {1, 2}
