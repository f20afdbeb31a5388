"""Supervised batches: every row once an epoch, the same whatever is drawn together, labels by the class's place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.support import support_tasks
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.pooled import Pooled
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
    assert (
        batch.query.tolist() == [[9, 6, 4, 1]] and batch.query_label.tolist() == [[0, 1, 2, 2]] and batch.classes.tolist() == [[30, 10, 20]]
    )


def test_several_tasks_are_refused() -> None:
    two = Tasks(TASKS.order, TASKS.start, TASKS.count, TASKS.slot_class, TASKS.slots, np.array([0, 1, 3]), ("a", "b"))
    with pytest.raises(InputError, match="expected one task"):
        Pooled().draw(two, key(0), 0, 1)
