"""Laws of every sampler: keyed by (seed, episode), disjoint, labelled 0..K-1, and uniform."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from scipy import stats

from fewtune.data.examples import Column, make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.spec import parse, text
from fewtune.tasks import draw
from fewtune.tasks.chosen import SELECTIONS, Chosen, Named
from fewtune.tasks.episodes import Episodes, join, load_episodes
from fewtune.tasks.few_tasks import FewTasks
from fewtune.tasks.fit import fitted, served
from fewtune.tasks.hard import Hard, nearest_classes, slot_means
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.per_task import PerTask
from fewtune.tasks.points import Points
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.replayed import Replayed
from fewtune.tasks.sampler import check_unit
from fewtune.tasks.samplers import SAMPLERS, Imbalanced, Sampled, Sampler, Varied
from fewtune.tasks.selection import Evidence
from fewtune.tasks.target_rows import target_tasks
from fewtune.tasks.task import Tasks, class_rows, group_tasks
from fewtune.tasks.twins import Twins

SIZES = [40, 23, 31, 60, 25, 90, 44, 38, 29, 55, 21, 33]


@pytest.fixture(scope="module")
def space() -> RowSpace:
    labels = np.repeat(np.arange(len(SIZES)), SIZES)
    labels = labels[np.random.default_rng(0).permutation(len(labels))]
    vectors = np.random.default_rng(1).normal(size=(len(labels), 4)).astype(np.float32) + labels[:, None]
    groups = [f"g{label % 2}" for label in labels]
    values = {"height": Column("float", np.random.default_rng(2).normal(size=(len(labels), 2)))}
    names = [f"c{i}" for i in range(len(SIZES))]
    return RowSpace([make_examples(Vectors(vectors), labels, class_names=names, groups=groups).with_columns(values)])


def of_classes(tasks: Tasks, *chosen: tuple[int, ...]) -> Tasks:
    """Tasks of these classes of a lone task, called all/0, all/1, ..."""
    slots = np.array([slot for classes in chosen for slot in classes])
    names = tuple(f"all/{i}" for i in range(len(chosen)))
    return replace(tasks, slots=slots, bounds=np.cumsum([0, *map(len, chosen)]), names=names)


def _tasks(space: RowSpace, sampler: Sampler) -> Tasks:
    tasks = class_rows(space)
    if isinstance(sampler, Points):
        return target_tasks(space, "height")
    if isinstance(sampler, PerTask | Chosen | InSequence):
        return group_tasks(space)
    if isinstance(sampler, Replayed):
        return of_classes(tasks, (2, 7, 4))
    if not isinstance(sampler, Hard):
        return tasks
    labels = space.labels
    vectors = np.stack([space.fetch(i) for i in range(len(space))])
    means = slot_means(tasks, vectors)
    np.testing.assert_allclose(means, np.stack([vectors[labels == c].astype(float).mean(0) for c in range(len(SIZES))]), rtol=1e-6)
    return nearest_classes(tasks, means)


CASES = [
    Sampled(ways=5, shots=1, queries=15),
    Sampled(ways=3, shots=5, queries=4),
    Sampled(ways=4, shots=0, queries=2),
    Sampled(ways=7, shots=10, queries=30, task="collection", ragged=True),
    Varied(),
    Varied(least_ways=3, most_ways=7, most_support=60),
    Imbalanced(ways=4, least=1, most=6, queries=5),
    Imbalanced(ways=4, least=2, most=6, queries=5, shape="linear"),
    Imbalanced(ways=5, least=2, most=6, queries=5, shape="step"),
    Hard(ways=4, shots=2, queries=3),
    Hard(ways=4, shots=2, queries=3, among=8),
    Points(shots=5, queries=10),
    Points(shots=0, queries=3),
    Pooled(batch=7),
    Pairs(batch=7),
    PerTask(batch=7),
    PerTask(batch=7, order="sqrt"),
    FewTasks(ways=4, shots=2, queries=3, tasks=5),
    FewTasks(ways=2, shots=0, queries=3, tasks=1),
    InSequence(ways=3, rows=5, epochs=2, batch=4),
    InSequence(ways=2, rows=6, epochs=1, batch=50),
    InSequence(ways=9, rows=40, epochs=1, batch=100, ragged=True),
    Chosen(sampler=Sampled(ways=3, task="collection"), selection=Named(names=("g1",))),
    Replayed(),
    Twins(batch=7),
    Twins(batch=50, copies=3),
]


def test_every_sampler_is_covered() -> None:
    assert {type(case) for case in CASES} == set(SAMPLERS)


def _same(a: Episodes, b: Episodes) -> bool:
    return join([a]).digest() == join([b]).digest()


@pytest.mark.parametrize("sampler", CASES, ids=text)
class TestEverySampler:
    def test_an_episode_is_a_function_of_the_key_and_its_number(self, space: RowSpace, sampler: Sampler) -> None:
        tasks = _tasks(space, sampler)
        whole = sampler.draw(tasks, key(3), 0, 20)
        singles = join([sampler.draw(tasks, key(3), i, 1) for i in range(20)])
        for name in ("support", "support_label", "query", "query_label", "classes", "task"):
            a, b = getattr(whole, name), getattr(singles, name)
            width = min(a.shape[-1], b.shape[-1])
            assert torch.equal(a[..., :width], b[..., :width])
            assert (a[..., width:] == -1).all() and (b[..., width:] == -1).all()

    def test_rows_belong_to_their_labels_and_sides_are_disjoint(self, space: RowSpace, sampler: Sampler) -> None:
        episodes = sampler.draw(_tasks(space, sampler), key(1), 0, 50)
        labels = torch.from_numpy(space.labels)
        values = torch.from_numpy(space.sources[0].columns["height"].values)
        for e in range(len(episodes)):
            seen: list[int] = []
            for rows, local in ((episodes.support[e], episodes.support_label[e]), (episodes.query[e], episodes.query_label[e])):
                inside = rows >= 0
                seen += rows[inside].tolist()
                if local.is_floating_point():
                    assert inside.all() and torch.equal(values[rows], local)
                    continue
                assert torch.equal(inside, local >= 0)
                assert torch.equal(labels[rows[inside]], episodes.classes[e][local[inside]])
            if isinstance(sampler, Replayed):  # the declared exception: every row is on both sides
                assert torch.equal(episodes.support[e], episodes.query[e]) and len(seen) == 2 * len(set(seen))
            elif isinstance(sampler, Twins):  # another: every row comes so many times, all of them before any comes again
                assert seen == seen[: len(seen) // sampler.copies] * sampler.copies and len(set(seen)) == min(sampler.batch, len(space))
            else:
                assert len(seen) == len(set(seen))
            classes = episodes.classes[e]
            ways = int((classes >= 0).sum())
            assert len(set(classes[:ways].tolist())) == ways and (classes[ways:] == -1).all()
            met = episodes.query_label[e]
            if met.is_floating_point():
                assert episodes.ways == ways == met.shape[-1]
            elif not isinstance(sampler, Pooled | PerTask | InSequence | Twins):  # their batches need not hold every class
                assert set(met[met >= 0].tolist()) == set(range(ways))

    def test_another_seed_gives_other_episodes(self, space: RowSpace, sampler: Sampler) -> None:
        tasks = _tasks(space, sampler)
        again = _same(sampler.draw(tasks, key(1), 0, 10), sampler.draw(tasks, key(2), 0, 10))
        assert again == isinstance(sampler, Replayed)  # which takes all there is

    def test_text_reads_back(self, sampler: Sampler) -> None:
        assert parse(text(sampler), {s.__name__: s for s in (*SAMPLERS, *SELECTIONS)}) == sampler

    def test_saved_episodes_come_back_whole_and_a_changed_file_is_refused(self, space: RowSpace, sampler: Sampler, tmp_path: Path) -> None:
        episodes = sampler.draw(_tasks(space, sampler), key(1), 0, 7)
        episodes.save(tmp_path / "e.npz")
        assert load_episodes(tmp_path / "e.npz").digest() == episodes.digest()
        stored = dict(np.load(tmp_path / "e.npz"))
        stored["query"] = stored["query"] + 1
        np.savez(tmp_path / "e.npz", **stored)
        with pytest.raises(InputError, match="changed after it was written"):
            load_episodes(tmp_path / "e.npz")


def test_files_that_are_no_episodes_are_refused_in_plain_words(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", x=np.arange(9))
    np.savez(tmp_path / "text.npz", **{name: np.array("a") for name in ("classes", "support", "query", "digest")})
    np.save(tmp_path / "array.npy", np.zeros(3))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.npz").touch()
    (tmp_path / "words.txt").write_text("no episodes")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(InputError, match="does not hold whole episodes: give the folder"):
            load_episodes(file)


def test_draws_are_uniform_and_in_uniform_order() -> None:
    """Every ordered pair out of 5 is as likely as any other (chi-square over 20 cells, 20,000 draws)."""
    picks = draw.choose(key(0), np.arange(20_000), np.full((20_000, 1), 5), 2)[:, 0]
    observed = np.bincount(picks[:, 0] * 5 + picks[:, 1], minlength=25).reshape(5, 5)
    assert (np.diag(observed) == 0).all()
    assert stats.chisquare(observed[~np.eye(5, dtype=bool)]).pvalue > 1e-3


def test_remembering_swaps_equals_shuffling_the_deck() -> None:
    sizes = np.random.default_rng(0).integers(3, 60, size=200)
    offsets = draw._offsets(key(5), draw._counters(np.arange(50), 4).reshape(-1), sizes, 20)
    inside = np.arange(20)[:, None] < sizes[None, :]
    assert np.array_equal(draw._sparse(offsets)[inside], draw._dense(offsets, 60)[inside])


def test_random_bits_pass_plain_checks() -> None:
    """Means, and no correlation between neighbouring counters or neighbouring seeds (5 standard errors)."""
    counters = np.arange(100_000, dtype=np.uint64)
    a, b = key(0, "a").uniform(counters), key(1, "a").uniform(counters)
    for other in (np.roll(a, 1), b):
        assert abs(np.corrcoef(a, other)[0, 1]) < 5 / np.sqrt(len(a))
    assert stats.kstest(a, "uniform").pvalue > 1e-3
    assert stats.chisquare(np.bincount(key(0).below(7, counters), minlength=7)).pvalue > 1e-3


def test_varied_follows_the_rules_of_meta_dataset(space: RowSpace) -> None:
    episodes = Varied(most_ways=8).draw(class_rows(space), key(0), 0, 300)
    ways = (episodes.classes >= 0).sum(1)
    assert ways.min() == 5 and ways.max() == 8
    counts = torch.tensor(SIZES)
    for e in range(300):
        classes = episodes.classes[e][: ways[e]]
        query = torch.bincount(episodes.query_label[e][episodes.query_label[e] >= 0])
        support = torch.bincount(episodes.support_label[e][episodes.support_label[e] >= 0], minlength=int(ways[e]))
        assert (query == min(10, int(counts[classes].min()) // 2)).all()
        assert (support >= 1).all() and (support <= counts[classes] - query).all() and support.sum() <= 500


def test_linear_and_step_shots(space: RowSpace) -> None:
    linear = Imbalanced(ways=5, least=1, most=5, queries=2, shape="linear").draw(class_rows(space), key(0), 0, 3)
    assert [torch.bincount(row[row >= 0]).tolist() for row in linear.support_label] == [[1, 2, 3, 4, 5]] * 3
    step = Imbalanced(ways=4, least=1, most=5, queries=2, shape="step").draw(class_rows(space), key(0), 0, 1)
    assert torch.bincount(step.support_label[0]).tolist() == [1, 1, 5, 5]


def test_group_tasks_stay_within_their_group(space: RowSpace) -> None:
    tasks = group_tasks(space)
    assert tasks.names == ("g0", "g1")
    episodes = Sampled(ways=3, shots=1, queries=2, task="collection").draw(tasks, key(0), 0, 40)
    groups = space.groups[episodes.query.numpy()]
    assert (groups == episodes.task.numpy()[:, None]).all() and set(episodes.task.tolist()) == {0, 1}


def test_hard_episodes_hold_the_nearest_classes(space: RowSpace) -> None:
    means = np.stack([[np.cos(i / 4), np.sin(i / 4)] for i in range(len(SIZES))]).astype(np.float32)  # nearest = neighbouring numbers
    episodes = Hard(ways=3, shots=1, queries=1).draw(nearest_classes(class_rows(space), means), key(0), 0, 60)
    for classes in episodes.classes.tolist():
        assert max(classes) - min(classes) == 2


@pytest.mark.parametrize(
    ("sampler", "sentence"),
    [
        (Sampled(ways=13), "expected at least 13 classes .ways., found 12"),
        (Sampled(shots=80), "5 classes with 95 or more examples each .shots . queries., found 0 .of 12; the smallest holds 21"),
    ],
)
def test_more_than_there_is_is_refused(space: RowSpace, sampler: Sampled, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        sampler.draw(class_rows(space), key(0), 0, 1)


def test_classes_too_small_are_left_out(space: RowSpace) -> None:
    episodes = Sampled(ways=3, shots=10, queries=20).draw(class_rows(space), key(0), 0, 200)
    assert set(episodes.classes.flatten().tolist()) == {i for i, n in enumerate(SIZES) if n >= 30}


@final
@dataclass(frozen=True, kw_only=True)
class Backwards:
    """The last three tasks, the last one first."""

    def select(self, tasks: Tasks, evidence: Evidence | None = None) -> Tasks:  # noqa: ARG002
        return tasks.take([len(tasks) - 1, len(tasks) - 2, len(tasks) - 3])


def test_a_choice_is_resolved_to_names(space: RowSpace) -> None:
    tasks = of_classes(class_rows(space), (0, 5, 2, 9), (1, 4, 8, 11), (3, 6, 7, 10), (2, 3, 5, 11), (0, 1, 6, 9), (4, 7, 8, 10))
    chosen = Chosen(sampler=Sampled(ways=3, shots=1, queries=2, task="collection"), selection=Backwards())
    resolved = chosen.resolved(tasks)
    assert resolved.selection == Named(names=("all/5", "all/4", "all/3"))
    drawn = resolved.draw(tasks, key(0), 0, 30)
    assert _same(chosen.draw(tasks, key(0), 0, 30), drawn)
    assert set(drawn.task.tolist()) == {3, 4, 5}
    for classes, t in zip(drawn.classes.tolist(), drawn.task.tolist(), strict=True):
        assert set(classes) <= set(tasks[t].classes.tolist())
    with pytest.raises(InputError, match="unknown task 'all/9'"):
        Named(names=("all/9",)).select(tasks)
    with pytest.raises(InputError, match="several are called 'all/5'"):
        chosen.resolved(replace(tasks, names=(*tasks.names[:4], "all/5", "all/5")))


def test_chosen_tasks_open_one_after_another(space: RowSpace) -> None:
    tasks = of_classes(class_rows(space), (0, 5, 2, 9), (1, 4, 8, 11), (3, 6, 7, 10), (2, 3, 5, 11), (0, 1, 6, 9), (4, 7, 8, 10))
    sampler = Sampled(ways=3, shots=1, queries=2, task="collection")
    chosen = Chosen(sampler=sampler, selection=Backwards(), opens=60).resolved(tasks)
    assert chosen.opens == 60
    drawn = chosen.draw(tasks, key(0), 0, 300)
    first, second, later = (drawn.task[i:j].tolist() for i, j in ((0, 20), (20, 40), (60, 300)))
    assert set(first) == {5} and set(second) == {5, 4} and set(later) == {3, 4, 5}
    assert _same(drawn[30:90], chosen.draw(tasks, key(0), 30, 60))  # an episode does not depend on its batch
    assert _same(drawn[100:120], replace(chosen, opens=0).draw(tasks, key(0), 100, 20))
    with pytest.raises(InputError, match="opens of at least 0"):
        replace(chosen, opens=-1)


@pytest.mark.parametrize(
    ("asked", "given"),
    [  # by hand from SIZES: 12 classes of 90 60 55 44 40 38 33 31 29 25 23 21 rows
        (Sampled(ways=5, shots=5, queries=15), Sampled(ways=5, shots=5, queries=15)),
        (Sampled(ways=20, shots=5, queries=15), Sampled(ways=12, shots=5, queries=15)),
        (Sampled(ways=12, shots=5, queries=20), Sampled(ways=10, shots=5, queries=20)),  # 200 query rows; 11 x 18 = 198; 12 x 16 = 192
        (Sampled(ways=5, shots=58, queries=15), Sampled(ways=2, shots=58, queries=2)),
        (Sampled(ways=5, shots=80, queries=15), Sampled(ways=2, shots=59, queries=1)),
    ],
    ids=text,
)
def test_episodes_to_measure_by_shrink_to_one_size(space: RowSpace, asked: Sampled, given: Sampled) -> None:
    tasks = class_rows(space)
    smaller, notes = fitted(asked, tasks)
    assert smaller == given and bool(notes) == (asked != given)
    assert fitted(smaller, tasks) == (smaller, ())
    smaller.draw(tasks, key(0), 0, 2)


@pytest.mark.parametrize(
    ("asked", "given"),
    [  # no more is asked than the largest class and task have; where others have less, each gives what it has
        (Sampled(ways=5, shots=5, queries=15), Sampled(ways=5, shots=5, queries=15)),
        (Sampled(ways=20, shots=5, queries=15), Sampled(ways=12, shots=5, queries=15)),
        (Sampled(ways=12, shots=5, queries=20), Sampled(ways=12, shots=5, queries=20, ragged=True)),
        (Sampled(ways=5, shots=80, queries=15), Sampled(ways=5, shots=80, queries=10, ragged=True)),
        (Sampled(ways=5, shots=95, queries=15), Sampled(ways=5, shots=89, queries=1, ragged=True)),
        (InSequence(ways=10, rows=21), InSequence(ways=10, rows=21)),
        (InSequence(ways=10, rows=25), InSequence(ways=10, rows=25, ragged=True)),
        (InSequence(ways=15, rows=100), InSequence(ways=12, rows=90, ragged=True)),
        (Varied(least_ways=20, most_ways=30), Varied(least_ways=20, most_ways=30)),
    ],
    ids=text,
)
def test_samplers_are_made_to_serve_all_tasks(space: RowSpace, asked: Sampler, given: Sampler) -> None:
    made, notes = served(asked, class_rows(space))
    assert made == given and bool(notes) == (asked != given or isinstance(asked, Varied))
    if not isinstance(asked, Varied):
        made.draw(class_rows(space), key(0), 0, 2)


def test_what_shrank_is_said(space: RowSpace) -> None:
    smaller, notes = served(Chosen(sampler=Sampled(ways=9, shots=1, queries=2), selection=Named(names=("g1",))), group_tasks(space))
    assert smaller == Chosen(sampler=Sampled(ways=6, shots=1, queries=2), selection=Named(names=("g1",)))
    assert notes == ("ways shrank from 9 to 6, because the data has no more",)
    lone = of_classes(class_rows(space), (0,), (5,), (3,))
    for sampler, rows in ((Sampled(), 2), (Sampled(shots=0), 1), (InSequence(), 1)):
        with pytest.raises(InputError, match=f"expected at least 2 classes of {rows} or more examples in one task, found 1"):
            served(sampler, lone)
    with pytest.raises(InputError, match="expected at least 2 classes of 2 or more examples in one task, found 1"):
        fitted(Sampled(), lone)


@pytest.mark.parametrize("make", [Sampled, Varied, Imbalanced, Hard, Points], ids=lambda kind: kind.__name__)
def test_an_episode_is_a_task_or_its_collection_is(space: RowSpace, make: type) -> None:
    with pytest.raises(InputError, match="task is 'episode' or 'collection', found 'group'"):
        check_unit("group")
    if make is Points:
        tasks = target_tasks(space, "height")
    else:
        tasks = group_tasks(space)
        tasks = nearest_classes(tasks, np.random.default_rng(0).normal(size=(12, 3))) if make is Hard else tasks
    small = {"queries": 3} if make is not Varied else {"least_ways": 3}
    assert make(**small).task == ("collection" if make is Points else "episode")
    assert make(**small, task="episode").draw(tasks, key(0), 5, 20).task.tolist() == list(range(5, 25))
    marked = make(**small, task="collection").draw(tasks, key(0), 5, 20)
    groups = [{int(g) for g in space.groups[q[q >= 0].numpy()]} for q in marked.query]
    assert groups == [{t} for t in marked.task.tolist()] and len(set(marked.task.tolist())) == 2


def test_replayed_rows_are_all_rows_of_one_task(space: RowSpace) -> None:
    one = of_classes(class_rows(space), (6, 1, 9))
    found = Replayed().draw(one, key(0), 0, 2)
    classes = one.classes if hasattr(one, "classes") else one[0].classes
    expected = [row for c in np.asarray(classes).tolist() for row in np.flatnonzero(space.labels == c).tolist()]
    assert found.query.tolist() == found.support.tolist() == [found.query[0].tolist()] * 2
    assert sorted(found.query[0].tolist()) == sorted(expected)
    found.query_label[0, 0] = 2  # each batch owns its numbers
    with pytest.raises(InputError, match="Replayed takes all rows of one task, found 2 tasks"):
        Replayed().draw(group_tasks(space), key(0), 0, 1)


@pytest.mark.parametrize(
    "sampler", [Sampled(ways=3, shots=1, queries=2), Hard(ways=3, shots=1, queries=2), Imbalanced(ways=3, queries=2)], ids=text
)
def test_episodes_name_their_task_where_small_ones_are_left_out(sampler: Sampler) -> None:
    labels = np.repeat(np.arange(8), 12)
    groups = np.array(["few"] * 24 + ["many"] * 36 + ["more"] * 36)  # two classes, three, three
    examples = make_examples(Vectors(np.zeros((96, 1), dtype=np.float32)), labels, class_names=list("abcdefgh"), groups=list(groups))
    tasks = group_tasks(RowSpace([examples]))
    if isinstance(sampler, Hard):
        tasks = nearest_classes(tasks, np.random.default_rng(0).normal(size=(8, 3)))
    names = group_tasks(RowSpace([examples])).names
    drawn = replace(sampler, task="collection").draw(tasks, key(0), 0, 20)
    for query, task in zip(drawn.query.tolist(), drawn.task.tolist(), strict=True):
        assert {groups[row] for row in query if row >= 0} == {names[task]}


def test_few_tasks_come_again_with_new_rows_and_are_those_in_sequence(space: RowSpace) -> None:
    tasks = class_rows(space)
    turns = FewTasks(ways=4, shots=2, queries=3, tasks=5).draw(tasks, key(3), 0, 15)
    sets = [tuple(row) for row in turns.classes.tolist()]
    assert sets[:5] == sets[5:10] == sets[10:] and len(set(sets[:5])) > 1
    assert all(set(a.tolist()) != set(b.tolist()) for a, b in zip(turns.support[:5], turns.support[5:10], strict=True))
    row = InSequence(ways=4, rows=5, epochs=1, batch=50)
    assert [tuple(c) for c in row.draw(tasks, key(3), 0, 5).classes.tolist()] == sets[:5]
