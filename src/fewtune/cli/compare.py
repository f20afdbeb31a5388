"""`fewtune compare DATA --method ... --method ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.learning import NO_LEARNING_FLAGS, LearningFlags
from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewtune.backbones.backbone import Backbone
    from fewtune.data.examples import Examples
    from fewtune.data.row_space import RowSpace
    from fewtune.evaluation.protocol import Protocol
    from fewtune.evaluation.study import Study
    from fewtune.learning.method import Method


def compare(
    data: Path,
    /,
    *,
    method: Annotated[list[str] | None, Parameter(negative=())] = None,
    ways: int = 5,
    shots: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = [1, 5],  # noqa: B006  (cyclopts shows it)
    queries: int = 15,
    episodes: int = 600,
    seeds: Annotated[list[int], Parameter(consume_multiple=True, negative=())] = [0],  # noqa: B006
    classes: Literal["train", "validation", "test", "all"] | None = None,
    within: Literal["all", "group"] = "all",
    episode: str | None = None,
    source: Annotated[list[Path] | None, Parameter(negative=())] = None,
    learning: LearningFlags = NO_LEARNING_FLAGS,
    format: Literal["table", "json", "csv", "latex", "markdown"] = "table",
    out: Path | None = None,
    overwrite: bool = False,
    resume: Annotated[bool, Parameter(negative=())] = False,
    trained: Path | None = None,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
) -> None:
    """Compare methods on the same few-shot episodes.

    Every method answers the same episodes. The winner is marked only where paired tests against every other method say so. Methods that
    learn (multitask, maml, ...) do so on the train classes of --source, all within the same budget and after the same sweep.

    Parameters
    ----------
    data: Path
        A folder of class folders, a table, or an .npz file.
    method: str
        A method by its constructor text: centroid, 'ridge(penalty=10)', 'multitask(shots=5)', ...; repeat for more. By default all frozen
        learners.
    ways: int
        Classes in an episode.
    shots: int
        Support examples of each class; several make several settings, all drawn from the classes that have rows enough for the largest.
    queries: int
        Query examples of each class.
    episodes: int
        Episodes for each setting and seed.
    seeds: int
        Seeds of the episodes; with several, an interval over seeds is given too.
    classes: str
        Which classes episodes come from: by default the test classes where the data has class splits, else all.
    within: str
        group: every episode stays within one group (an alphabet, a domain).
    episode: str
        Another kind of episode instead of --ways, --shots and --queries: 'Varied()', 'Imbalanced(ways=5)', 'Hard(ways=5, shots=1)'.
    source: Path
        Data to learn from: its train classes (all classes where it has no class splits, a fifth of them held out to validate); repeat for
        more. May be the data itself. Rows that are tested on are left out, near-duplicates too (saved again, resized, other punctuation).
    format: str
        What goes to standard output.
    out: Path
        A folder that keeps the run: its description, episodes and every result row.
    overwrite: bool
        Replace an existing run in --out, finished or not.
    resume: bool
        Go on with the unfinished run of the same command in --out.
    trained: Path
        A folder that keeps trained models: another comparison that needs the very same training (on another target, say) takes it from
        there.
    """
    from fewtune.backbones.features.readable import readable_features, remarks_on_length
    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.data.class_names import remarks_on
    from fewtune.data.row_space import RowSpace
    from fewtune.evaluation.run_folder import run_kept
    from fewtune.evaluation.study import Study
    from fewtune.evaluation.summary import summarise
    from fewtune.evaluation.task_choice import chooses, reserve
    from fewtune.learning.world import join_world, leave_world
    from fewtune.report.comparison import comparison_table
    from fewtune.report.tables import render
    from fewtune.words import counted

    examples = reading.read(data)
    protocols = _protocols(examples, ways, shots, queries, episodes, seeds, classes, within, episode)
    backbone = model.load(examples.modality)
    methods = _methods(method, backbone, learning.swept(), has_source=bool(source))
    examples = examples.take(protocols[0].rows(examples))  # nothing else is embedded
    sources, remarks = _sources(source or (), reading, examples, learning)
    reserved = None
    if any(chooses(m) for variants in methods.values() for m in variants.values()):
        examples, reserved = reserve(examples, learning.reserved)
        for protocol in protocols:
            protocol.check(RowSpace([examples]))
        remarks.append(f"{learning.reserved} rows of each class were reserved to choose tasks by; no episode uses them.")
    world = join_world(backbone.machine.device)
    quiet = model.quiet or not world.leads
    try:
        target, features, bad = readable_features(examples, backbone, cache=model.cache, skip_bad=reading.skip_bad, quiet=quiet)
        remarks += (*remarks_on(examples), *remarks_on_length(examples, backbone))
        source_space = _space(sources, skip_bad=reading.skip_bad, memory=learning.memory)
        study = Study(target, backbone, features, protocols, methods, source_space, learning.training(), reserved)
        outcomes = run_kept(study, out, overwrite=overwrite, resume=resume, trained=trained, world=world, quiet=quiet)
    finally:
        leave_world()
    if not world.leads:
        return
    summary = summarise(outcomes.result, outcomes.drawn, f"{target.modality}s")
    full = format in ("json", "csv")
    table = comparison_table(summary, _caption(study), full=full, costs=outcomes.costs, remarks=(*remarks, *outcomes.notes))
    answer(render(table, format, width=terminal_width(), color=sys.stdout.isatty()), styled=format == "table")
    for remark in (*remarks, *outcomes.notes) if full else ():  # programs read rows alone, people shall know what was chosen
        note(remark)
    if bad:
        note(f"Left out because it cannot be read: {counted(len(bad), 'row')}.")
    if out is not None:
        note(f"kept in {outcomes.kept or out}")


def _sources(paths: Sequence[Path], reading: DataFlags, target: Examples, learning: LearningFlags) -> tuple[list[Examples], list[str]]:
    """What may be learned from of each source, and what was left out, in words."""
    from fewtune.evaluation.class_roles import left_out, serving, without_test_rows

    found, said = [], []
    for path in paths:
        kept, leaks = without_test_rows(serving(reading.read(path), seed=learning.training_seeds[0]), target)
        if leaks:
            said.append(left_out(kept, leaks))
        found.append(kept)
    return found, said


def _space(sources: Sequence[Examples], *, skip_bad: bool, memory: float) -> RowSpace | None:
    """The sources in one row space; rows that cannot be read have no label, or are refused."""
    from fewtune.backbones.features.readable import refuse_unreadable, without_labels
    from fewtune.data.audit import unreadable
    from fewtune.data.row_space import RowSpace

    if not sources:
        return None
    kept = []
    for one in sources:
        bad = unreadable(one, deep=False)
        refuse_unreadable(one, bad, skip_bad)
        kept.append(without_labels(one, bad))
    return RowSpace(kept, remember=int(memory * 2**30))


def _caption(study: Study) -> str:
    first = study.protocols[0]
    part = "all classes" if first.classes == "all" else f"{first.classes} classes"
    where = ", within groups" if first.within == "group" else ""
    queries = getattr(first.sampler, "queries", None)
    asked = f", {queries} queries a class" if queries else ""
    return f"{study.target.sources[0].name}, {part}{where}{asked}, {study.backbone.name}"


def _protocols(
    examples: Examples,
    ways: int,
    shots: Sequence[int],
    queries: int,
    episodes: int,
    seeds: Sequence[int],
    classes: Literal["train", "validation", "test", "all"] | None,
    within: Literal["all", "group"],
    episode: str | None,
) -> tuple[Protocol, ...]:
    """The settings asked for, tried on the data before anything is embedded."""
    from fewtune.data.row_space import RowSpace
    from fewtune.errors import InputError
    from fewtune.evaluation.protocol import Protocol
    from fewtune.spec import parse
    from fewtune.tasks.samplers import EPISODIC, Sampled
    from fewtune.tasks.task import default_classes

    space = RowSpace([examples])
    part = classes or default_classes(space)
    if episode is None:
        samplers = tuple(Sampled(ways=ways, shots=s, queries=queries) for s in shots)
    else:
        samplers = (parse(episode, {s.__name__: s for s in EPISODIC}),)
        if not isinstance(samplers[0], EPISODIC):
            raise InputError(f"{episode!r} is no kind of episode: expected one of {', '.join(s.__name__ for s in EPISODIC)}.")
    rows = max(s.needs[0] for s in samplers) if len(samplers) > 1 else 0  # every setting is of the classes that serve them all
    found = tuple(
        Protocol(sampler=s, episodes=episodes, seeds=tuple(seeds), classes=part, within=within, least_rows=rows) for s in samplers
    )
    for protocol in found:
        protocol.check(space)
    return found


def _methods(
    texts: Sequence[str] | None, backbone: Backbone, sweep: Sequence[tuple[str, Sequence[float]]], *, has_source: bool
) -> dict[str, dict[str, Method]]:
    from fewtune.errors import InputError
    from fewtune.recipes import variants
    from fewtune.recipes.default_learners import candidates

    if not texts:
        frozen = candidates(label_side=backbone.label_side, modality=backbone.preparation.modality)
        return {name: {"": method} for name, method in frozen.items()}
    if repeated := {t for t in texts if list(texts).count(t) > 1}:
        raise InputError(f"method {sorted(repeated)[0]!r} is given twice: give each once.")
    methods = {t: variants(t, sweep) for t in texts}
    for name, method in ((name, m) for name, made in methods.items() for m in made.values()):
        if any(head.reads_classes for head in method.heads) and not backbone.label_side:
            raise InputError(f"{name} compares with class names, but backbone {backbone.name!r} has no label side: leave it out.")
        if method.phases and not has_source:
            raise InputError(f"{name} learns from a source, but none is given: add --source DATA, whose train classes are learned from.")
        if not method.frozen and backbone.structure == "precomputed":
            raise InputError(
                f"{name} moves the backbone's weights, but precomputed embeddings have no backbone: give the data behind them."
            )
    return methods
