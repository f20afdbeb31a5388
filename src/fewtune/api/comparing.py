"""`compare`: methods on the same few-shot episodes, from Python. `fewtune compare` calls the same functions."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias, final

from fewtune.api.comparison import Comparison
from fewtune.api.settings import CompareSettings, Episode
from fewtune.api.values import Data, backbone_of, examples_of, sources_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.readable import readable_features, remarks_on_length
from fewtune.data.class_names import remarks_on
from fewtune.data.examples import Examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.class_roles import source_space, usable_sources
from fewtune.evaluation.controls import SAID, with_controls, worth_of_choice
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.run_folder import run_kept
from fewtune.evaluation.run_study import Outcomes, run_study
from fewtune.evaluation.study import Study, Variants
from fewtune.evaluation.task_choice import Reserved, chooses, reserve
from fewtune.evaluation.training_settings import Sweep
from fewtune.learning.method import Method
from fewtune.learning.world import World, join_world, leave_world
from fewtune.recipes import named, variants, varied
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.paths import unknown_path
from fewtune.spec import digest, parse
from fewtune.tasks.samplers import EPISODIC, Sampled
from fewtune.tasks.task import default_classes
from fewtune.words import option

Methods: TypeAlias = Mapping[str, Method | str] | Sequence[str]
_DEFAULT = CompareSettings()
_RUN = "run"  # the folder in a temporary one that keeps what was trained


def compare(
    target: Data,
    *,
    methods: Methods = (),
    sources: Sequence[Data] = (),
    backbone: Backbone | str | None = None,
    ways: int = 5,
    shots: int | Sequence[int] = (1, 5),
    settings: CompareSettings = _DEFAULT,
) -> Comparison:
    """Compare methods on the same few-shot episodes.

    `target`: labelled rows that the episodes are drawn from, anything that `read_examples` reads.
    `methods`: `Method` values or their texts by the name to show them under, or a list of texts ("ridge", "mine=ridge(penalty=10)"); by
    default every frozen learner.
    `sources`: other labelled data, whose train classes the methods that learn are trained on; rows that are tested on are left out.
    `backbone`: the foundation model, by its name or as a `Backbone`; by default one that suits the data.
    `ways`: classes in an episode. `shots`: labelled rows of each class; several make several settings, all of the same classes.
    `settings`: what is seldom changed, such as `CompareSettings(episodes=100, seeds=(0, 1, 2))`.
    The answer has `.rows` (a record for each method and setting), `.table()`, `.report(path)` and `.save(folder)`; printed, it is the table
    that `fewtune compare` shows.
    Raises InputError (a ValueError), in one sentence, for data, methods and numbers that do not fit.

    >>> import numpy, fewtune
    >>> x = numpy.random.default_rng(0).normal(size=(60, 8)).astype("float32")
    >>> y = numpy.repeat([0, 1, 2], 20)
    >>> x[:, 0] += 3 * y
    >>> settings = fewtune.CompareSettings(episodes=20, queries=5)
    >>> found = fewtune.compare((x, y), methods=["centroid", "ridge"], ways=3, shots=5, settings=settings)
    >>> [(row["method"], row["shots"], row["n"]) for row in found.rows]
    [('centroid', 5, 20), ('ridge', 5, 20)]
    """
    examples = examples_of(target)
    protocols = make_protocols(examples, ways, _numbers(shots), settings)
    model = backbone_of(backbone, examples.modality)
    made = make_methods(methods, model, settings.training.sweep, has_source=len(sources) > 0)
    data = ComparedData(examples, tuple(sources_of(sources)))
    return compare_examples(data, model, made, protocols, settings, keeps_models=True)


@final
@dataclass(frozen=True, eq=False)
class ComparedData:
    """What a comparison reads: the collection that episodes are drawn from, and those that methods learn from."""

    target: Examples
    sources: tuple[Examples, ...] = ()


def make_protocols(examples: Examples, ways: int, shots: Sequence[int], settings: CompareSettings) -> tuple[Protocol, ...]:
    """One protocol for each of `shots` (or the one of `settings.episode`). Raises InputError where the data cannot give such episodes."""
    space = RowSpace([examples])
    samplers: tuple[Episode, ...]
    if settings.episode is None:
        samplers = tuple(Sampled(ways=ways, shots=s, queries=settings.queries) for s in shots)
    else:
        samplers = (_episode(settings.episode),)
    rows = max(s.needs[0] for s in samplers) if len(samplers) > 1 else 0  # every setting has the classes that fit them all
    first = Protocol(
        sampler=samplers[0],
        episodes=settings.episodes,
        seeds=_numbers(settings.seeds),
        classes=settings.classes or default_classes(space),
        within=settings.within,
        least_rows=rows,
    )
    found = tuple(replace(first, sampler=sampler) for sampler in samplers)
    for protocol in found:
        protocol.check(space)
    return found


def make_methods(methods: Methods, backbone: Backbone, sweep: Sweep, *, has_source: bool) -> Mapping[str, Variants]:
    """Each method and what a sweep makes of it, by name. Raises InputError for one that does not fit the backbone or lacks a source."""
    if not methods:
        frozen = candidates(
            label_side=backbone.label_side, modality=backbone.preparation.modality, answers_prompts=backbone.answers_prompts
        )
        return {name: {"": method} for name, method in frozen.items()}
    made = {name: _variants(name, method, sweep) for name, method in _named(methods).items()}
    for path, _ in sweep:
        if "." in path and not any(path in label for found in made.values() for label in found):
            raise unknown_path(
                path, [found[""] for found in made.values() if not found[""].frozen] or [found[""] for found in made.values()]
            )
    for name, method in ((name, m) for name, found in made.items() for m in found.values()):
        if any(head.reads_classes for head in method.heads) and not backbone.label_side:
            raise InputError(f"{name} compares with class names, but backbone {backbone.name!r} has no label side: leave it out.")
        if method.phases and not has_source:
            raise InputError(
                f"{name} trains on a source, but none is given: add other labelled data with {option('--source DATA', 'sources=[...]')}."
            )
        if not method.frozen and backbone.structure == "precomputed":
            raise InputError(
                f"{name} moves the backbone's weights, but precomputed embeddings have no backbone: give the data behind them."
            )
    return made


def compare_examples(
    data: ComparedData,
    backbone: Backbone,
    methods: Mapping[str, Variants],
    protocols: tuple[Protocol, ...],
    settings: CompareSettings,
    *,
    keeps_models: bool = False,
) -> Comparison:
    """The comparison of data that was read. `keeps_models`: trained models are kept until they are saved, in a temporary folder."""
    training, skip_bad = settings.training, settings.skip_bad
    examples = data.target.take(protocols[0].rows(data.target))  # nothing else is embedded
    methods, beside = with_controls(methods) if settings.controls else (methods, {})
    sources, remarks = usable_sources(data.sources, examples, training.seeds[0])
    reserved: Reserved | None = None
    if any(chooses(m) for found in methods.values() for m in found.values()):
        examples, reserved = reserve(examples, settings.reserved)
        for protocol in protocols:
            protocol.check(RowSpace([examples]))
        remarks.append(f"{settings.reserved} rows of each class were reserved to choose tasks by; no episode uses them.")
    if beside:
        remarks.append(SAID)
    world = join_world(backbone.machine.device)
    try:
        quiet = settings.quiet or not world.leads
        cache = None if settings.cache is None else Path(settings.cache)
        target, features, bad = readable_features(examples, backbone, cache=cache, skip_bad=skip_bad, quiet=quiet)
        remarks += (*remarks_on(examples), *remarks_on_length(examples, backbone))
        space = source_space(sources, skip_bad=skip_bad, memory=settings.memory)
        study = Study(target, backbone, features, protocols, methods, space, training, reserved, beside)
        scratch = Path(tempfile.mkdtemp(prefix="fewtune-")) if keeps_models and study.trains and settings.keeping.out is None else None
        outcomes = _run(study, settings, scratch, world, quiet)
    finally:
        leave_world()
    models = outcomes.kept or settings.keeping.out or (None if scratch is None else scratch / _RUN)
    remarks += (*outcomes.notes, *worth_of_choice(outcomes.result, beside))
    found = Comparison(study, outcomes, tuple(remarks), bad, models, world.leads)
    if scratch is not None:
        weakref.finalize(found, shutil.rmtree, scratch, ignore_errors=True)
    return found


def _run(study: Study, settings: CompareSettings, scratch: Path | None, world: World, quiet: bool) -> Outcomes:
    """Run the study where it is to be kept; else, with `scratch`, keep there what was trained."""
    if scratch is None:
        return run_kept(study, settings.keeping, world=world, quiet=quiet)
    try:
        partial = Partial(scratch / _RUN, settings.keeping.trained, writes=world.leads, resumes=False, reset=settings.keeping.reset)
        partial.begin(digest(study.text()))
        return run_study(study, partial, world=world, quiet=quiet)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def _named(methods: Methods) -> dict[str, Method | str]:
    """Methods by the name they are shown under. Raises InputError for one that is given twice."""
    if isinstance(methods, Mapping):
        return dict(methods)
    if isinstance(methods, str | Method):
        raise InputError('expected several methods, found one: write methods=["ridge"] or methods={"mine": Method(...)}.')
    for text in methods:
        if not isinstance(text, str):
            raise InputError(f'a list of methods holds their texts, found a {type(text).__name__}: write methods={{"mine": ...}}.')
    if repeated := {t for t in methods if list(methods).count(t) > 1}:
        raise InputError(f"method {sorted(repeated)[0]!r} is given twice: give each once.")
    made = dict(map(named, methods))
    if len(made) < len(methods):
        raise InputError("two methods have one name: give each another.")
    return {name: str(method) for name, method in made.items()}


def _variants(name: str, method: Method | str, sweep: Sweep) -> Variants:
    if isinstance(method, Method):
        return varied(method, sweep)
    if not isinstance(method, str):
        raise InputError(f"{name}: expected a fewtune.Method or the text of one, found a {type(method).__name__}.")
    return variants(method, sweep)


def _episode(given: Episode | str) -> Episode:
    made = parse(given, {s.__name__: s for s in EPISODIC}) if isinstance(given, str) else given
    if not isinstance(made, EPISODIC):
        raise InputError(f"{given!r} is no kind of episode: expected one of {', '.join(s.__name__ for s in EPISODIC)}.")
    return made


def _numbers(given: int | Sequence[int]) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else tuple(given)
