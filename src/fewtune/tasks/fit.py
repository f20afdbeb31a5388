"""Samplers that need more rows or classes than the tasks have are made smaller; sentences with numbers say what changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.hard import Hard
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.points import Points
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Imbalanced, Marks, Sampled, Varied
from fewtune.tasks.task import Tasks
from fewtune.words import counted, one_line

_NAMED = 3  # how many tasks a sentence names


def served(sampler: Sampler, tasks: Tasks) -> tuple[Sampler, tuple[str, ...]]:
    """(a sampler for training that draws from every class and task of `tasks`, a sentence for each thing that is smaller or left out).

    If the tasks have enough rows and classes, the sampler is equal and there is no sentence. `Sampled` and `InSequence` are limited to
    what the largest task and class have. Where others have less they become `ragged`: each task and class gives what it has. In a `Chosen`
    the inner sampler is fitted to the chosen tasks. Other samplers stay as they are, and the sentences say what they leave out. Raises
    InputError where no task has 2 classes to draw.
    """
    match sampler:
        case Sampled():
            most, largest = _most(tasks, min(sampler.shots, 1) + 1)
            queries = min(sampler.queries, max(1, largest - sampler.shots))
            shots = min(sampler.shots, largest - queries)
            return _ragged(sampler, replace(sampler, ways=min(sampler.ways, most), shots=shots, queries=queries), tasks)
        case InSequence():
            most, largest = _most(tasks, 1)
            visit = replace(sampler, ways=min(sampler.ways, most), rows=min(sampler.rows, largest))
            return _ragged(sampler, visit, tasks)
        case Chosen():
            inner, notes = served(sampler.sampler, sampler.selection.select(tasks))
            return replace(sampler, sampler=inner), notes
        case Varied() | Imbalanced() | Hard():
            return sampler, left_out(tasks, *sampler.needs)
        case Points():
            few = tasks.sizes() < sampler.shots + sampler.queries
            return sampler, _tasks_left_out(tasks, few, f"{sampler.shots + sampler.queries} rows")
    return sampler, ()


def fitted(asked: Sampled, tasks: Tasks) -> tuple[Sampled, tuple[str, ...]]:
    """(episodes of one size for which some of the tasks have enough rows, a sentence for each number that shrank).

    Used to measure, because all classes then have the same weight. Ways and queries shrink so that an episode keeps as many query rows as
    possible (and then as many ways as possible). Shots shrink only where otherwise no class has a query row. Raises InputError where not
    even 2 ways fit.
    """
    episode = _fitted_episode(asked, tasks)
    return episode, _shrunk(asked, episode)


def left_out(tasks: Tasks, rows: int, ways: int) -> tuple[str, ...]:
    """Sentences about classes and tasks that are never drawn, because a class needs `rows` rows and a task `ways` classes."""
    slots = np.unique(tasks.slots)
    few = int((tasks.count[slots] < rows).sum())
    said = [f"{few:,} of {_classes(len(slots))} {_have(few)} fewer than {counted(rows, 'row')} and {_are(few)} left out"] if few else []
    kept = np.array([(tasks.count[tasks.slots_of(t)] >= rows).sum() for t in range(len(tasks))])
    such = f"{_classes(ways)} of {counted(rows, 'row')} or more"
    return (*said, *_tasks_left_out(tasks, kept < ways, such))


def _ragged(asked: Sampled | InSequence, given: Sampled | InSequence, tasks: Tasks) -> tuple[Sampler, tuple[str, ...]]:
    """The sampler as given where every task and class has enough, otherwise ragged; and sentences about what changed."""
    rows, ways = replace(given, ragged=False).needs
    slots, sizes = np.unique(tasks.slots), np.diff(tasks.bounds)
    if (tasks.count[slots] >= rows).all() and (sizes >= ways).all():
        return given, _shrunk(asked, given)
    made = replace(given, ragged=True)
    least, two = made.needs
    said = list(_shrunk(asked, given))
    counts = tasks.count[slots]
    fewer = counts[(counts >= least) & (counts < rows)]
    if len(fewer):
        said.append(
            f"{len(fewer):,} of {_classes(len(slots))} {_have(len(fewer))} fewer than {counted(rows, 'row')} "
            f"(the smallest {fewer.min():,}): all they have is drawn"
        )
    usable = np.array([(tasks.count[tasks.slots_of(t)] >= least).sum() for t in range(len(tasks))])
    narrow = (usable >= two) & (usable < ways)
    if narrow.any():
        said.append(f"{_of(tasks, narrow)} fewer than {_classes(ways)} (the smallest {usable[narrow].min():,}): all they have is drawn")
    return made, (*said, *left_out(tasks, least, two))


def _most(tasks: Tasks, rows: int) -> tuple[int, int]:
    """(the most classes of one task that have `rows` rows or more, the rows of the largest class). InputError below two classes."""
    counts = [tasks.count[tasks.slots_of(t)] for t in range(len(tasks))]
    usable = [mine[mine >= rows] for mine in counts]
    most = max(map(len, usable), default=0)
    if most < 2:
        raise _too_small(tasks, rows)
    return most, max(int(mine.max()) for mine in usable if len(mine) >= 2)


def _fitted_episode(asked: Sampled, tasks: Tasks) -> Sampled:
    most = _most_ways(tasks)
    fitting = [(min(asked.ways, most(asked.shots + queries)), queries) for queries in range(1, asked.queries + 1)]
    found = max((one for one in fitting if one[0] >= 2), key=lambda one: (one[0] * one[1], one[0]), default=None)
    if found:
        return replace(asked, ways=found[0], queries=found[1])
    for shots in range(asked.shots - 1, 0, -1):  # no class has a query row left: one query, and as many shots as still fit
        if most(shots + 1) >= 2:
            return replace(asked, ways=min(asked.ways, most(shots + 1)), shots=shots, queries=1)
    raise _too_small(tasks, min(asked.shots, 1) + 1)


def _most_ways(tasks: Tasks) -> Callable[[int], int]:
    """rows -> the most classes with that many rows or more in one task."""
    counts: list[Integers] = [tasks.count[tasks.slots_of(t)] for t in range(len(tasks))]
    return lambda rows: max(int((mine >= rows).sum()) for mine in counts)


def _shrunk(asked: Sampled | InSequence, given: Sampled | InSequence) -> tuple[str, ...]:
    pairs = ((f.name, getattr(asked, f.name), getattr(given, f.name)) for f in fields(asked))
    return tuple(
        f"{name} shrank from {before} to {after}, because the data has no more" for name, before, after in pairs if before != after
    )


def _tasks_left_out(tasks: Tasks, out: Marks, such: str) -> tuple[str, ...]:
    if not out.any():
        return ()
    return (f"{_of(tasks, out)} fewer than {such} and {_are(int(out.sum()))} left out",)


def _of(tasks: Tasks, which: Marks) -> str:
    """`1 of 2 tasks (small) has`: how many of the tasks, and their names where these are few."""
    found = [one_line(tasks.names[t]) for t in np.flatnonzero(which)]
    names = f" ({', '.join(found)})" if len(found) <= _NAMED else ""
    return f"{len(found):,} of {counted(len(tasks), 'task')}{names} {_have(len(found))}"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _classes(count: int) -> str:
    return f"{count:,} {'class' if count == 1 else 'classes'}"


def _too_small(tasks: Tasks, rows: int) -> InputError:
    found = _most_ways(tasks)(rows)
    return InputError(f"expected at least 2 classes of {rows} or more examples in one task, found {found}: add labelled examples.")
