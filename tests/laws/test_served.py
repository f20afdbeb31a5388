"""Laws of training samplers where tasks are uneven: every class and task is learned from, or named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.keys import key
from fewtune.spec import text
from fewtune.tasks.chosen import Chosen, Named
from fewtune.tasks.episodes import join
from fewtune.tasks.fit import left_out, served
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Imbalanced, Sampled, Varied
from fewtune.tasks.task import Tasks, group_tasks


def _uneven() -> Tasks:
    """Three groups: "large" of ten classes of 1, 2, 3, 5, 8, 13, 20, 20, 20 and 20 rows, "small" of two classes of 20, "lone" of one."""
    sizes = [1, 2, 3, 5, 8, 13, 20, 20, 20, 20, 20, 20, 20]
    groups = ["large"] * 10 + ["small"] * 2 + ["lone"]
    labels = np.repeat(np.arange(13), sizes)
    examples = make_examples(
        Vectors(np.zeros((len(labels), 1), dtype=np.float32)),
        labels,
        class_names=[f"c{i}" for i in range(13)],
        groups=[groups[label] for label in labels],
    )
    return group_tasks(RowSpace([examples]))


UNEVEN = [
    Sampled(ways=5, shots=5, queries=15),
    Sampled(ways=5, shots=0, queries=30),
    Sampled(ways=20, shots=1, queries=9),
    InSequence(ways=4, rows=15, epochs=2, batch=16),
    Varied(least_ways=3),
    Imbalanced(ways=3, most=4, queries=6),
    Pooled(batch=16),
    Pairs(batch=16),
    PerTask(batch=16),
    Chosen(sampler=Sampled(ways=5, shots=5, queries=15), selection=Named(names=("small", "large", "lone"))),
]


@pytest.mark.parametrize("sampler", UNEVEN, ids=text)
def test_every_class_and_task_is_learned_from_or_named(sampler: Sampler) -> None:
    """What no episode of many holds is what the notes count, and no more than that."""
    tasks = _uneven()
    made, notes = served(sampler, tasks)
    drawn = made.draw(tasks, key(0), 0, 3000)
    met = {int(row) for part in (drawn.support, drawn.query) for row in np.unique(part.numpy()) if row >= 0}
    classes = {int(c) for c in np.unique(drawn.classes.numpy()) if c >= 0}
    asked = made.sampler if isinstance(made, Chosen) else made
    if isinstance(asked, Pooled | Pairs | PerTask):
        assert notes == () and met == set(tasks.order.tolist())
        return
    rows, ways = asked.needs  # type: ignore[union-attr]
    drawable = [task for task in tasks if sum(len(mine) >= rows for mine in task.rows) >= ways]
    expected = {int(c) for task in drawable for c, mine in zip(task.classes, task.rows, strict=True) if len(mine) >= rows}
    assert classes == expected
    assert met == {row for task in drawable for mine in task.rows if len(mine) >= rows for row in mine.tolist()}
    assert (len(expected) < 13) == any("left out" in note for note in notes)
    if isinstance(asked, Sampled):  # all but a class without a row to ask beside one to learn from, and the task of one class
        assert len(expected) == (12 if asked.shots == 0 else 11)


def test_what_is_left_out_is_counted() -> None:
    tasks = _uneven()
    assert left_out(tasks, 20, 5) == (
        "6 of 13 classes have fewer than 20 rows and are left out",
        "3 of 3 tasks (large, lone, small) have fewer than 5 classes of 20 rows or more and are left out",
    )
    assert left_out(tasks, 2, 2) == (
        "1 of 13 classes has fewer than 2 rows and is left out",
        "1 of 3 tasks (lone) has fewer than 2 classes of 2 rows or more and is left out",
    )
    assert left_out(tasks, 1, 1) == ()
    assert served(Sampled(ways=5, shots=5, queries=15), tasks)[1] == (
        "5 of 13 classes have fewer than 20 rows (the smallest 2): all they have is drawn",
        "1 of 3 tasks (small) has fewer than 5 classes (the smallest 2): all they have is drawn",
        *left_out(tasks, 2, 2),
    )


def test_ragged_episodes_hold_what_there_is() -> None:
    """By hand, 5 + 15 rows asked: 2 rows give 1 + 1, 3 give 2 + 1, 5 give 4 + 1, 8 give 5 + 3, 13 give 5 + 8."""
    tasks = _uneven()
    drawn = Sampled(ways=5, shots=5, queries=15, task="collection", ragged=True).draw(tasks, key(0), 0, 400)
    given = {1: (1, 1), 2: (2, 1), 3: (4, 1), 4: (5, 3), 5: (5, 8)}
    for e in range(len(drawn)):
        classes = drawn.classes[e][drawn.classes[e] >= 0].tolist()
        assert len(classes) == {"large": 5, "small": 2}[tasks.names[drawn.task[e]]]
        for place, c in enumerate(classes):
            found = tuple(int((labels[e] == place).sum()) for labels in (drawn.support_label, drawn.query_label))
            assert found == given.get(c, (5, 15))
    shares = np.bincount(drawn.task.numpy(), minlength=3) / len(drawn)
    assert shares[tasks.names.index("lone")] == 0 and abs(shares[tasks.names.index("small")] - 0.5) < 5 * 0.5 / 400**0.5


def test_a_ragged_sampler_draws_full_tasks_as_ever() -> None:
    tasks = _uneven().keep(20, 2)
    for sampler in (Sampled(ways=4, shots=3, queries=5), InSequence(ways=3, rows=5, epochs=2, batch=4)):
        ragged = replace(sampler, ragged=True)
        full = tasks.take([tasks.names.index("large")])
        assert join([ragged.draw(full, key(1), 0, 20)]).digest() == sampler.draw(full, key(1), 0, 20).digest()


def test_a_smaller_task_in_sequence_takes_as_many_steps() -> None:
    """Two classes of 20 rows, 4 x 15 asked: 30 rows, 2 batches an epoch instead of 4, so 4 epochs in the 8 steps of a task."""
    tasks = _uneven()
    small = tasks.take([tasks.names.index("small")])
    sampler = InSequence(ways=4, rows=15, epochs=2, batch=16, ragged=True)
    drawn = sampler.draw(small, key(0), 0, 8)
    assert sampler.steps_per_task == 8 and set(drawn.task.tolist()) == {0}
    rows = [query[query >= 0].tolist() for query in drawn.query]
    assert [len(row) for row in rows] == [16, 14] * 4
    epochs = [sorted(rows[i] + rows[i + 1]) for i in range(0, 8, 2)]
    assert all(epoch == epochs[0] and len(set(epoch)) == 30 for epoch in epochs)
