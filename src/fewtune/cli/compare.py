"""`fewtune compare DATA --method ... --method ...`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.compare_flags import NO_EPISODE_FLAGS, NO_KEEPING_FLAGS, NO_SHARING_FLAGS, EpisodeFlags, KeepingFlags, SharingFlags
from fewtune.cli.learning import NO_LEARNING_FLAGS, LearningFlags
from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags
from fewtune.cli.text_flags import NO_TEXT_FLAGS, TextFlags


def compare(
    data: Path,
    /,
    *,
    method: Annotated[list[str] | None, Parameter(negative=())] = None,
    asked: EpisodeFlags = NO_EPISODE_FLAGS,
    start: Annotated[list[str] | None, Parameter(negative=())] = None,
    target: Annotated[list[Path] | None, Parameter(negative=())] = None,
    shift: Annotated[list[str] | None, Parameter(negative=())] = None,
    source: Annotated[list[Path] | None, Parameter(negative=())] = None,
    learning: LearningFlags = NO_LEARNING_FLAGS,
    format: Literal["table", "json", "csv", "latex", "markdown"] = "table",
    keeping: KeepingFlags = NO_KEEPING_FLAGS,
    sharing: SharingFlags = NO_SHARING_FLAGS,
    reading: DataFlags = NO_DATA_FLAGS,
    model: BackboneFlags = NO_BACKBONE_FLAGS,
    texts: TextFlags = NO_TEXT_FLAGS,
) -> None:
    """Compare methods on the same few-shot episodes.

    An episode is a small task: a few classes with a few labelled examples each, and more examples to label. Every method answers the same
    episodes. A winner is marked only if paired tests against every other method support it. Methods that train (multitask, maml, ...) do so
    on the train classes of --source, all with the same budget and the same sweep.

    With several --label, methods that learn label columns (independent, shared_bottom, mmoe, ...; heads: a regression for each column) are
    compared on held-out rows of every column, once for each of --training-seeds; the others are compared with the first.

    Parameters
    ----------
    data: Path
        A folder of class folders, a table, an .npz file, or drawn scenes by name, such as scenes:colour,rows=500,seed=11.
        sinusoid and latent are few-shot tasks of numbers, compared by RMSE.
    method: str
        A method with its options: centroid, 'ridge(penalty=10)', 'multitask(shots=5)', ... Repeat for more. 'NAME=METHOD' shows it under a
        name of your own. `fewtune methods` lists them. By default all learners that need no training of the backbone.
    start: str
        Several starts of one --backbone, a line each: pretrained, random, run:FOLDER (what a run made), step:K or step:all (checkpoints of
        the pretraining run among them).
    target: Path
        More data to draw episodes from, each with rows of its own in the table; repeat for more.
    shift: str
        DATA under a shift as a further target: a corruption with its severity (gaussian_noise:5, blur, jpeg, ...), blocks:SIZE
        (blocks of photos, brought to 224 pixels, in another order), shares:CLASS=NUMBER, subgroups (half of the groups). Repeat it.
    source: Path
        Other labelled data to train on; repeat for more. Its train classes are used; if it has no class splits, all classes are used, and
        a fifth of them is kept for validation. It may be DATA itself. Test examples and their near-duplicates (saved again, resized, other
        punctuation) are left out.
    format: str
        table is for people, json and csv are for programs, latex and markdown are for documents.
    """
    model = replace(model, reading=texts)
    from fewtune.cli.compare_columns import HEADS, refuse_episodes
    from fewtune.cli.compare_flags import check_episodes
    from fewtune.cli.compare_numbers import compare_family, family_in
    from fewtune.cli.first import check_data
    from fewtune.recipes.spelled import check_words, named

    for text in method or ():
        if text != HEADS:
            check_words(named(text)[1])
    check_episodes(asked)
    if (name := family_in(data)) is not None:
        more = {"--source": source, "--target": target, "--start": start, "--shift": shift}
        compare_family(name, method or (), asked, learning, format, model, others=(keeping, sharing, reading), more=more)
        return
    sharing.check(keeping)
    models = model.each(start or ())
    for one in models:
        one.check()
    check_data(data, *(target or ()), *(source or ()))
    if (wanted := reading.columns(data, episodes=True)) is not None:
        from fewtune.cli.compare_columns import compare_table

        refuse_episodes(asked, learning, keeping, sharing, {"--source": source, "--target": target, "--start": start, "--shift": shift})
        compare_table(data, wanted, method or (), learning, format, keeping, model, reading=reading)
        return
    if sharing.on is not None and keeping.out is not None and not sharing.dry_run:
        from fewtune.cli.engines import compare_on

        compare_on(sharing.on, sharing.jobs, keeping.out, format)
        return
    given = [data, *(target or ())]
    read = reading.read_each([*given, *(source or ())])
    targets, sources = read[: len(given)], read[len(given) :]
    if shift:
        from fewtune.data.shifts import each_shifted

        targets += each_shifted(targets[0], shift)
    for one in models:
        one.check_here(targets[0])

    from fewtune.api.benches import compared_data, make_protocols
    from fewtune.api.comparing import compare_examples, make_methods
    from fewtune.api.values import refuse_modalities, refuse_twins
    from fewtune.cli.compare_flags import settings_of
    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.words import counted

    refuse_modalities(targets)
    settings = settings_of(asked, learning, keeping, reading, model)
    protocols = [make_protocols(one, asked.ways, asked.shots, settings) for one in targets]
    backbones = [one.load(targets[0]) for one in models]
    refuse_twins(backbones)
    methods = make_methods(method or (), backbones, settings.training.sweep, targets, has_source=bool(source))
    compared = compared_data(backbones, targets, sources)
    if sharing.dry_run:
        from fewtune.api.sharing import planned_table
        from fewtune.cli.say import show

        show(planned_table(compared, backbones, methods, protocols, settings))
        return
    if sharing.shard is not None:
        from fewtune.api.sharing import work_on

        note(work_on(compared, backbones, methods, protocols, settings, sharing.value()))
        return
    found = compare_examples(compared, backbones, methods, protocols, settings)
    if not found.leads:
        return
    styled = format == "table"
    answer(found.render(format, width=terminal_width(), color=sys.stdout.isatty()), styled=styled)
    for remark in found.remarks if format in ("json", "csv") else ():  # programs read the rows alone; people see what was chosen
        note(remark)
    if found.unreadable:
        note(f"Left out because it cannot be read: {counted(len(found.unreadable), 'row')}.")
    if keeping.out is not None:
        note(f"The run is kept in {found.models}.")
