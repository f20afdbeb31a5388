"""Ways shrink to fit: a sampler that asks for more than the tasks can give, made smaller, and said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields, replace

from fewtune.data.examples import Integers
from fewtune.errors import InputError
from fewtune.tasks.chosen import Chosen
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Sampled
from fewtune.tasks.task import Tasks


def fitted(sampler: Sampler, tasks: Tasks) -> tuple[Sampler, tuple[str, ...]]:
    """(a sampler that the tasks can serve, what shrank, a sentence each); an equal sampler where nothing has to shrink.

    Of `Sampled` ways and queries shrink so that an episode keeps as many query rows as can be (then as many ways); shots only where no
    class has a row left to ask. Of `InSequence` ways and rows, so that a task keeps as many rows as can be. Of `Chosen`, what it draws
    with, on the chosen tasks. Others are returned as they are. Raises InputError where not even 2 ways fit.
    """
    match sampler:
        case Sampled():
            episode = _fitted_episode(sampler, tasks)
            return episode, _notes(sampler, episode)
        case InSequence():
            found = _largest(sampler.ways, range(1, sampler.rows + 1), _most_ways(tasks))
            if found is None:
                raise _too_small(tasks, 1)
            visit = replace(sampler, ways=found[0], rows=found[1])
            return visit, _notes(sampler, visit)
        case Chosen():
            inner, notes = fitted(sampler.sampler, sampler.selection.select(tasks))
            return replace(sampler, sampler=inner), notes
    return sampler, ()


def _fitted_episode(asked: Sampled, tasks: Tasks) -> Sampled:
    most = _most_ways(tasks)
    if found := _largest(asked.ways, range(1, asked.queries + 1), lambda queries: most(asked.shots + queries)):
        return replace(asked, ways=found[0], queries=found[1])
    for shots in range(asked.shots - 1, 0, -1):  # no room to ask: one query, and as many shots as leave room for it
        if most(shots + 1) >= 2:
            return replace(asked, ways=min(asked.ways, most(shots + 1)), shots=shots, queries=1)
    raise _too_small(tasks, min(asked.shots, 1) + 1)


def _most_ways(tasks: Tasks) -> Callable[[int], int]:
    """rows -> the most classes with that many rows or more in one task."""
    counts: list[Integers] = [tasks.count[tasks.slots_of(t)] for t in range(len(tasks))]
    return lambda rows: max(int((mine >= rows).sum()) for mine in counts)


def _largest(ways: int, amounts: Iterable[int], most: Callable[[int], int]) -> tuple[int, int] | None:
    """(ways, amount) of the largest product, the most ways among equals; None where no amount leaves 2 ways."""
    fitting = [(min(ways, most(amount)), amount) for amount in amounts]
    return max((one for one in fitting if one[0] >= 2), key=lambda one: (one[0] * one[1], one[0]), default=None)


def _notes(asked: Sampled | InSequence, given: Sampled | InSequence) -> tuple[str, ...]:
    pairs = ((f.name, getattr(asked, f.name), getattr(given, f.name)) for f in fields(asked))
    return tuple(
        f"{name} shrank from {before} to {after}, as the data has no more to give" for name, before, after in pairs if before != after
    )


def _too_small(tasks: Tasks, rows: int) -> InputError:
    found = _most_ways(tasks)(rows)
    return InputError(
        f"expected at least 2 classes of {rows} or more examples in one task, found {found}: add labelled examples, or pool the tasks."
    )
