"""`compare`: methods on the same few-shot episodes, from Python. `fewtune compare` calls the same functions."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from fewtune.api.benches import ComparedData, compared_data, make_bench, make_protocols
from fewtune.api.comparison import Comparison
from fewtune.api.settings import CompareSettings
from fewtune.api.values import Data, backbones_of, examples_of, refuse_modalities, sources_of, started, targets_of
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.providers.text_options import TextOptions
from fewtune.data.examples import Examples
from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.controls import worth_of_choice
from fewtune.evaluation.outline import outline_of
from fewtune.evaluation.partial import Partial
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.run_folder import run_kept
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.study import Bench, Variants
from fewtune.evaluation.training_settings import Sweep
from fewtune.learning.method import Method
from fewtune.learning.world import World, join_world, leave_world
from fewtune.models.reading_texts import NO_OPTIONS
from fewtune.recipes import named, variants, varied
from fewtune.recipes.default_learners import candidates
from fewtune.recipes.language import in_templates
from fewtune.recipes.paths import unknown_path
from fewtune.report.study_details import rows_of
from fewtune.spec import digest
from fewtune.words import option

Methods: TypeAlias = Mapping[str, Method | str] | Sequence[str]
_DEFAULT = CompareSettings()
_RUN = "run"  # the folder in a temporary one that keeps what was trained


def compare(
    target: Data,
    *,
    methods: Methods = (),
    sources: Sequence[Data] = (),
    backbone: Backbone | str | Sequence[Backbone | str] | None = None,
    starts: Sequence[str] = (),
    targets: Sequence[Data] = (),
    ways: int = 5,
    shots: int | Sequence[int] = (1, 5),
    texts: TextOptions = NO_OPTIONS,
    settings: CompareSettings = _DEFAULT,
) -> Comparison:
    """Compare methods on the same few-shot episodes.

    `target`: labelled rows that the episodes are drawn from, anything that `read_examples` reads.
    `methods`: `Method` values or their texts by the name to show them under, or a list of texts ("ridge", "mine=ridge(penalty=10)"); by
    default every frozen learner.
    `sources`: other labelled data, whose train classes the methods that learn are trained on; rows that are tested on are left out.
    `backbone`: the foundation model, by its name or as a `Backbone`, or several; by default one that suits the data.
    `starts`: several starts of one backbone, named: "pretrained", "random", "run:FOLDER", "step:K" or "step:all" (checkpoints of the
    pretraining run among them); each has lines of its own.
    `targets`: more data to draw episodes from, each with settings of its own in the table.
    `ways`: classes in an episode. `shots`: labelled rows of each class; several make several settings, all of the same classes.
    `texts`: how texts are read, such as `TextOptions(template="sst2")`.
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
    examples = [examples_of(target), *targets_of(targets)]
    refuse_modalities(examples)
    _refuse_numbers(examples)
    protocols = [make_protocols(one, ways, _numbers(shots), settings) for one in examples]
    models = backbones_of(started(backbone, starts) if starts else backbone, examples, texts)
    made = make_methods(methods, models, settings.training.sweep, examples, has_source=len(sources) > 0)
    data = compared_data(models, examples, sources_of(sources))
    return compare_examples(data, models, made, protocols, settings, keeps_models=True)


def _refuse_numbers(targets: Sequence[Examples]) -> None:
    for one in targets:
        if one.column.kind != "class":
            raise InputError(
                f"{one.name} is labelled with numbers or several labels, and compare draws its episodes from classes: use "
                "fewtune.studies.regression.compare_regression for few-shot tasks of numbers."
            )


def make_methods(
    methods: Methods, backbones: Sequence[Backbone], sweep: Sweep, targets: Sequence[Examples], *, has_source: bool
) -> Mapping[str, Variants]:
    """Each method and what a sweep makes of it, by name. Texts of methods that say no templates of class names get those of the `targets`.

    Raises InputError for one that does not fit a backbone or lacks a source.
    """
    templates = templates_of(targets)
    if not methods:
        usual = [
            candidates(
                label_side=one.label_side,
                modality=one.preparation.modality,
                prompts=templates,
                answers_prompts=one.answers_prompts,
            )
            for one in backbones
        ]
        return {name: {"": method} for name, method in usual[0].items() if all(name in other for other in usual)}
    given = {name: in_templates(m, templates) if isinstance(m, str) else m for name, m in _named(methods).items()}
    made = {name: _variants(name, method, sweep) for name, method in given.items()}
    for path, _ in sweep:
        if "." in path and not any(path in label for found in made.values() for label in found):
            raise unknown_path(path, [found[""] for found in made.values()])
    for name, method in ((name, m) for name, found in made.items() for m in found.values()):
        if method.phases and not has_source:
            raise InputError(
                f"{name} trains on a source, but none is given: add other labelled data with {option('--source DATA', 'sources=[...]')}."
            )
        for backbone in backbones:
            _check_fit(name, method, backbone)
    return made


def templates_of(targets: Sequence[Examples]) -> tuple[str, ...]:
    """The templates of class names that all targets have; else the name alone for texts, and none (those of photos) for others."""
    found = {one.column.templates for one in targets}
    if len(found) == 1 and (one := found.pop()):
        return one
    return ("{}",) if all(target.modality == "text" for target in targets) else ()


def _check_fit(name: str, method: Method, backbone: Backbone) -> None:
    if any(head.reads_classes for head in method.heads) and not backbone.label_side:
        raise InputError(f"{name} compares with class names, but backbone {backbone.name!r} has no label side: leave it out.")
    if method.moves_backbone and not any(names for _, names in backbone.groups):
        there = "precomputed embeddings have no backbone: give the data behind them"
        none = there if backbone.structure == "precomputed" else f"{backbone.name} has none: give a network, such as timm:NAME"
        raise InputError(f"{name} moves the backbone's weights, but {none}.")


def compare_examples(
    data: ComparedData,
    backbones: Sequence[Backbone],
    methods: Mapping[str, Variants],
    protocols: Sequence[tuple[Protocol, ...]],
    settings: CompareSettings,
    *,
    keeps_models: bool = False,
) -> Comparison:
    """The comparison of data that was read. `protocols`: those of each target. `keeps_models`: trained models are kept until they are
    saved, in a temporary folder."""
    world = join_world(backbones[0].machine.device)
    try:
        made = make_bench(data, backbones, methods, protocols, settings, quiet=settings.quiet or not world.leads)
        bench, keeping = made.bench, settings.keeping
        several = len(bench.studies) > 1  # what is trained for one target is tested on the others too
        scratch = Path(tempfile.mkdtemp(prefix="fewtune-")) if (keeps_models or several) and bench.trains and keeping.out is None else None
        outcomes = _run(bench, settings, scratch, world, settings.quiet or not world.leads)
    finally:
        leave_world()
    models = outcomes.kept or settings.keeping.out or (None if scratch is None else scratch / _RUN)
    remarks = (*made.remarks, *outcomes.notes, *worth_of_choice(outcomes.result, made.beside))
    found = Comparison(outline_of(bench), outcomes, rows_of(bench), remarks, made.unreadable, models, world.leads, bench)
    if world.leads and keeping.out is not None and models is not None:
        found.describe(models)
    if scratch is not None:
        weakref.finalize(found, shutil.rmtree, scratch, ignore_errors=True)
    return found


def _run(bench: Bench, settings: CompareSettings, scratch: Path | None, world: World, quiet: bool) -> Outcomes:
    """Run the study where it is to be kept; else, with `scratch`, keep there what was trained."""
    if scratch is None:
        return run_kept(bench, settings.keeping, world=world, quiet=quiet)
    try:
        resumes = len(bench.studies) > 1
        partial = Partial(scratch / _RUN, settings.keeping.trained, writes=world.leads, resumes=resumes, reset=settings.keeping.reset)
        partial.begin(digest(bench.text()))
        return run_study(bench, partial, world=world, quiet=quiet)
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


def _numbers(given: int | Sequence[int]) -> tuple[int, ...]:
    return (given,) if isinstance(given, int) else tuple(given)
