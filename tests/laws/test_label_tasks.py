"""Label columns as tasks: which rows and targets a task has, what is drawn of them, and what a mixed batch costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from fewtune.data.examples import Column, Examples, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.support import support_tasks
from fewtune.parts.losses import BinaryCrossEntropy, ByKind, CrossEntropy, Outcome, SquaredError
from fewtune.tasks import PerTask, Points, Pooled, Tasks, join, label_tasks, load_episodes
from fewtune.tasks.label_columns import check_varies

NAN = np.nan


def films(count: int = 12) -> Examples:
    """Rows with a class, a number and several labels; some of each are missing."""
    g = np.random.default_rng(0)
    genre = g.integers(0, 3, count)
    genre[[1, 4]] = -1
    rating = g.normal(6, 2, (count, 1))
    rating[[0, 4, 5]] = NAN
    tags = g.integers(0, 2, (count, 2))
    tags[2], tags[3, 0] = -1, -1
    made = make_examples(Vectors(g.normal(size=(count, 4)).astype(np.float32)), [str(c) if c >= 0 else None for c in genre])
    columns = {"genre": made.column, "rating": Column("float", rating), "tags": Column("multi", tags, ("sad", "loud"))}
    return replace(made, columns=columns, target="genre")


def tasks_of(examples: Examples, **more: object) -> Tasks:
    return label_tasks(RowSpace([examples]), ("genre", "rating", "tags"), **more)  # type: ignore[arg-type]


def test_a_task_has_the_rows_with_a_label_in_its_column() -> None:
    tasks = tasks_of(films())
    assert tasks.sizes().tolist() == [10, 9, 11]
    assert [task.kind for task in tasks] == ["class", "float", "multi"]
    assert [task.column for task in tasks] == ["genre", "rating", "tags"]
    assert [task.classes.tolist() for task in tasks] == [[0, 1, 2], [3], [4, 5]]
    assert 4 not in tasks[0].rows[0] and 4 not in tasks[1].rows[0]


def test_numbers_are_learned_in_standard_deviations_of_the_rows_given() -> None:
    examples, rows = films(), np.arange(6)
    tasks = tasks_of(examples, rows=rows)
    assert tasks.targets is not None
    mine = tasks.targets[tasks.start[1] : tasks.start[1] + tasks.count[1], 0]
    known = examples.columns["rating"].values[[1, 2, 3], 0]
    np.testing.assert_allclose(mine, (known - known.mean()) / known.std(), rtol=1e-12)
    other = tasks_of(examples, rows=rows, scales=[(0, 1), (5.0, 2.0), (0, 1)])
    assert other.targets is not None
    np.testing.assert_allclose(other.targets[other.start[1] : other.start[1] + 3, 0], (known - 5) / 2, rtol=1e-12)


def test_a_missing_label_equals_a_row_that_never_was() -> None:
    examples = films()
    kept = np.flatnonzero(examples.columns["genre"].values >= 0)
    whole, part = label_tasks(RowSpace([examples]), ["genre"]), label_tasks(RowSpace([examples.take(kept)]), ["genre"])
    one, other = (PerTask(batch=4).draw(tasks, key(1), 0, 5) for tasks in (whole, part))
    assert torch.equal(one.query, torch.from_numpy(kept)[other.query])
    assert torch.equal(one.query_label, other.query_label)


def test_a_batch_holds_every_task_once_whatever_its_size_and_kind() -> None:
    tasks = tasks_of(films())
    drawn = PerTask(batch=4).draw(tasks, key(0), 0, 6)
    assert drawn.task.tolist() == [0, 1, 2, 0, 1, 2]
    assert drawn.kind is not None and drawn.kind.tolist() == [0, 1, 2, 0, 1, 2]
    assert drawn.classes[:3].tolist() == [[0, 1, 2], [3, -1, -1], [4, 5, -1]]
    assert drawn.query_label[1, :, 1:].isnan().all() and not drawn.query_label[1, :, 0].isnan().any()
    values = films().columns["genre"].values
    assert drawn.query_label[0].argmax(-1).tolist() == values[drawn.query[0].numpy()].tolist()
    singles = join([PerTask(batch=4).draw(tasks, key(0), i, 1) for i in range(6)])
    assert torch.equal(singles.query, drawn.query) and singles.kind is not None and torch.equal(singles.kind, drawn.kind)
    assert torch.equal(singles.query_label.nan_to_num(-9), drawn.query_label.nan_to_num(-9))


def test_tasks_may_be_drawn_by_their_size() -> None:
    random = np.random.default_rng(0)
    made = make_examples(Vectors(random.normal(size=(4000, 1)).astype(np.float32)), ["a", "b"] * 2000)
    rare = made.column.values.copy()
    rare[100:] = -1
    examples = replace(made, columns={"often": made.column, "rare": replace(made.column, values=rare)}, target="often")
    tasks = label_tasks(RowSpace([examples]), ["often", "rare"])
    for order, share in (("turn", 0.5), ("proportional", 100 / 4100), ("sqrt", 10 / (10 + 4000**0.5))):
        drawn = PerTask(batch=1, order=order).draw(tasks, key(0), 0, 3000).task.double().mean()  # type: ignore[arg-type]
        assert abs(float(drawn) - share) < 4 * (share * (1 - share) / 3000) ** 0.5 + 1e-9
    with pytest.raises(InputError, match="unknown order of tasks 'root'"):
        PerTask(order="root")  # type: ignore[arg-type]


def test_episodes_of_several_kinds_are_saved_and_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    drawn = PerTask(batch=4).draw(tasks_of(films()), key(0), 0, 3)
    drawn.save(tmp_path / "episodes.npz")
    read = load_episodes(tmp_path / "episodes.npz")
    assert read.kind is not None and read.digest() == drawn.digest()
    assert replace(drawn, kind=None).digest() != drawn.digest()


def test_few_shot_points_of_a_column() -> None:
    drawn = Points(shots=3, queries=4).draw(tasks_of(films()), key(0), 0, 8)
    assert drawn.kind is not None and torch.equal(drawn.kind, drawn.task)
    assert drawn.support_label.shape == (8, 3, 3)


def test_a_support_inside_adapt_keeps_its_kind() -> None:
    drawn = Points(shots=3, queries=4).draw(tasks_of(films()), key(0), 0, 8)
    for e in range(8):
        inner = Pooled().draw(support_tasks(drawn[e : e + 1]), key(0), 0, 1)
        again = PerTask(batch=3).draw(support_tasks(drawn[e : e + 1]), key(0), 0, 1)
        assert drawn.kind is not None and again.kind is not None and again.kind[0] == drawn.kind[e]
        assert torch.equal(again.classes, drawn.classes[e : e + 1]) and torch.equal(inner.classes, again.classes)
        assert sorted(again.query[0].tolist()) == sorted(inner.query[0].tolist()) == sorted(drawn.support[e].tolist())


def test_some_of_the_tasks_keep_their_kinds_and_outputs() -> None:
    part = tasks_of(films()).take([2, 1])
    drawn = PerTask(batch=3).draw(part, key(0), 0, 2)
    assert drawn.kind is not None and drawn.kind.tolist() == [2, 1]
    assert drawn.classes.tolist() == [[4, 5, -1], [3, -1, -1]]


def test_a_mixed_batch_costs_what_each_kind_costs_alone() -> None:
    examples = films()
    drawn = PerTask(batch=5).draw(tasks_of(examples), key(0), 0, 3)
    logits = torch.randn(3, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).masked_fill(
        (drawn.classes < 0)[:, None], -torch.inf
    )
    costs = ByKind()(Outcome(logits=logits, episodes=drawn))
    label = torch.from_numpy(examples.columns["genre"].values[drawn.query[0].numpy()])
    torch.testing.assert_close(costs[0], functional.cross_entropy(logits[0], label))
    torch.testing.assert_close(costs[1], (logits[1, :, 0] - drawn.query_label[1, :, 0]).square().mean())
    hot = torch.from_numpy(examples.columns["tags"].values[drawn.query[2].numpy()])
    known = hot >= 0
    cost = functional.binary_cross_entropy_with_logits(logits[2, :, :2][known], hot[known].double())
    torch.testing.assert_close(costs[2], cost)


def test_by_kind_equals_the_loss_of_each_kind() -> None:
    g = torch.Generator().manual_seed(1)
    drawn = PerTask(batch=4).draw(tasks_of(films()), key(2), 0, 3)
    logits = torch.randn(3, 4, 3, generator=g, dtype=torch.float64)
    whole = ByKind()(Outcome(logits=logits, episodes=drawn))
    plain = replace(drawn, kind=None)
    one = replace(plain[0:1], query_label=plain.query_label[0:1].argmax(-1), support_label=plain.support[0:1])
    two = replace(
        plain[1:2], query_label=plain.query_label[1:2, :, :1], classes=plain.classes[1:2, :1], support_label=plain.support_label[1:2, :, :1]
    )
    hot = plain.query_label[2:3, :, :2].nan_to_num(-1).long()
    three = replace(plain[2:3], query_label=hot, classes=plain.classes[2:3, :2], support_label=hot[:, :0])
    torch.testing.assert_close(CrossEntropy()(Outcome(logits=logits[0:1], episodes=one))[0], whole[0])
    torch.testing.assert_close(SquaredError()(Outcome(logits=logits[1:2, :, :1], episodes=two))[0], whole[1])
    torch.testing.assert_close(BinaryCrossEntropy()(Outcome(logits=logits[2:3, :, :2], episodes=three))[0], whole[2])


def test_what_cannot_be_a_task_is_said() -> None:
    examples = films()
    space = RowSpace([examples])
    with pytest.raises(InputError, match="'genre' is named twice"):
        label_tasks(space, ["genre", "genre"])
    with pytest.raises(InputError, match="unknown label column 'gerne'"):
        label_tasks(space, ["gerne"])
    with pytest.raises(InputError, match="'rating' has no label in any row"):
        label_tasks(space, ["rating"], rows=np.array([0, 4]))
    with pytest.raises(InputError, match="Pooled puts the rows of all tasks together"):
        Pooled(batch=2).draw(tasks_of(examples), key(0), 0, 1)
    same = Column("float", np.ones((3, 1)))
    with pytest.raises(InputError, match="has the same label in all 3 labelled rows"):
        check_varies(same, np.arange(3), "label column 'x'")
    with pytest.raises(InputError, match="these episodes have no kind"):
        ByKind()(Outcome(logits=torch.zeros(1, 1, 2), episodes=replace(PerTask(batch=2).draw(tasks_of(examples), key(0), 0, 1), kind=None)))
