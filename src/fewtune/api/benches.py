"""From data, backbones and settings to a bench of studies: what `compare` runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from fewtune.api.settings import CompareSettings, Episode
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features, remarks_on_length, without_labels
from fewtune.data.class_names import remarks_on
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.class_roles import source_space, usable_sources
from fewtune.evaluation.controls import SAID, with_controls
from fewtune.evaluation.protocol import Protocol, named_protocols
from fewtune.evaluation.saved_episodes import SavedEpisodes, read_saved
from fewtune.evaluation.study import Bench, Study, Variants, episode_metric
from fewtune.evaluation.task_choice import Reserved, chooses, reserve
from fewtune.models.reading_texts import sources_for
from fewtune.spec import parse
from fewtune.tasks.samplers import EPISODIC, Sampled
from fewtune.tasks.task import default_classes


@final
@dataclass(frozen=True, eq=False)
class ComparedData:
    """What a comparison reads: the collections that episodes are drawn from, and those that methods learn from."""

    targets: tuple[Examples, ...]
    sources: tuple[Examples, ...] = ()


def compared_data(backbones: Sequence[Backbone], targets: Sequence[Examples], sources: Sequence[Examples]) -> ComparedData:
    """The collections in the reading of the backbones. For those that answer prompts, sources and further targets are each asked in their
    own way (`sources_for`)."""
    prompting = next((one for one in backbones if one.answers_prompts), backbones[0])
    return ComparedData((targets[0], *sources_for(prompting, targets[1:])), sources_for(prompting, sources))


@final
@dataclass(frozen=True, eq=False)
class MadeBench:
    """A bench, what was noticed on the way, the rows that cannot be read, and which method each control stands beside."""

    bench: Bench
    remarks: tuple[str, ...]
    unreadable: Mapping[int, str]
    beside: Mapping[str, str]


def make_protocols(examples: Examples, ways: int, shots: Sequence[int], settings: CompareSettings) -> tuple[Protocol, ...]:
    """One protocol for each of `shots` (or the one of `settings.episode`, or those of saved episodes). Raises InputError where the data
    cannot give such episodes."""
    if not isinstance(settings.episodes, int):
        return _saved(settings).of_target(examples.name).protocols
    space = RowSpace([examples])
    if settings.protocol is not None:
        return _published(settings.protocol, space, settings.queries)
    samplers: tuple[Episode, ...]
    if settings.episode is None:
        if not shots or len(set(shots)) < len(shots):
            raise InputError(f"expected one or several different numbers of shots, found {', '.join(map(str, shots)) or 'none'}.")
        samplers = tuple(Sampled(ways=ways, shots=s, queries=settings.queries) for s in shots)
    else:
        samplers = (_episode(settings.episode),)
    rows = max(s.needs[0] for s in samplers) if len(samplers) > 1 else 0  # every setting has the classes that fit them all
    seeds = (settings.seeds,) if isinstance(settings.seeds, int) else tuple(settings.seeds)
    first = Protocol(
        sampler=samplers[0],
        episodes=settings.episodes,
        seeds=seeds,
        classes=settings.classes or default_classes(space),
        within=settings.within,
        least_rows=rows,
    )
    found = tuple(replace(first, sampler=sampler) for sampler in samplers)
    for protocol in found:
        protocol.check(space)
    return found


def _published(name: str, space: RowSpace, queries: int) -> tuple[Protocol, ...]:
    """The protocols of this name, of all classes, each with enough rows for all of them. Raises InputError where rows are too few."""
    made = named_protocols(name, len(space.class_names), queries)
    most = max(protocol.sampler.needs[0] for protocol in made)
    found = tuple(replace(protocol, least_rows=most) for protocol in made)
    for protocol in found:
        protocol.check(space)
    return found


def make_bench(
    data: ComparedData,
    backbones: Sequence[Backbone],
    methods: Mapping[str, Variants],
    protocols: Sequence[tuple[Protocol, ...]],
    settings: CompareSettings,
    *,
    quiet: bool,
) -> MadeBench:
    """A study for each target and backbone, of the same methods. `protocols`: those of each target."""
    targets = [one.take(mine[0].rows(one)) for one, mine in zip(data.targets, protocols, strict=True)]  # nothing else is embedded
    methods, beside = with_controls(methods) if settings.controls else (methods, {})
    sources, remarks = usable_sources(data.sources, targets, settings.training.seeds[0])
    reserved: list[Reserved | None] = [None] * len(targets)
    if any(chooses(m) for found in methods.values() for m in found.values()):
        for place, mine in enumerate(protocols):
            targets[place], reserved[place] = reserve(targets[place], settings.reserved)
            for protocol in mine:
                protocol.check(RowSpace([targets[place]]))
        remarks.append(f"{settings.reserved} rows of each class were reserved to choose tasks by; no episode uses them.")
    if beside:
        remarks.append(SAID)
    cache = None if settings.cache is None else Path(settings.cache)
    space = source_space(sources, skip_bad=settings.skip_bad, memory=settings.memory)
    studies: list[Study] = []
    unreadable: dict[int, str] = {}
    rows = 0
    for place, (examples, mine) in enumerate(zip(targets, protocols, strict=True)):
        read = [readable_features(examples, b, cache=cache, skip_bad=settings.skip_bad, quiet=quiet) for b in backbones]
        bad = {row: reason for _, _, found in read for row, reason in found.items()}
        target = RowSpace([without_labels(examples, bad)])  # one row space a target: of the rows that every backbone reads
        saved = {} if isinstance(settings.episodes, int) else _saved(settings).of_target(examples.name).on(target)
        metric = episode_metric(settings.metric)
        unreadable |= {rows + row: reason for row, reason in bad.items()}
        for backbone, (_, features, _) in zip(backbones, read, strict=True):
            given = (space, settings.training, reserved[place], beside, saved, metric)
            features = features.bfloat16() if backbone.machine.table == "bfloat16" else features
            studies.append(Study(target, backbone, features, mine, methods, *given))
            remarks += [said for said in remarks_on_length(examples, backbone) if said not in remarks]
        remarks += remarks_on(examples)
        rows += len(examples)
    return MadeBench(Bench.of(*studies), tuple(remarks), unreadable, beside)


def _saved(settings: CompareSettings) -> SavedEpisodes:
    assert not isinstance(settings.episodes, int)
    return read_saved(Path(settings.episodes))


def _episode(given: Episode | str) -> Episode:
    made = parse(given, {s.__name__: s for s in EPISODIC}) if isinstance(given, str) else given
    if not isinstance(made, EPISODIC):
        raise InputError(f"{given!r} is no kind of episode: expected one of {', '.join(s.__name__ for s in EPISODIC)}.")
    return made
