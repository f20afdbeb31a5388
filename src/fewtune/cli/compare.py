"""`fewtune compare DATA --method ... --method ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fewtune.cli.compare_flags import NO_EPISODE_FLAGS, NO_KEEPING_FLAGS, EpisodeFlags, KeepingFlags
from fewtune.cli.learning import NO_LEARNING_FLAGS, LearningFlags
from fewtune.cli.options import NO_BACKBONE_FLAGS, NO_DATA_FLAGS, BackboneFlags, DataFlags


def compare(
    data: Path,
    /,
    *,
    method: Annotated[list[str] | None, Parameter(negative=())] = None,
    asked: EpisodeFlags = NO_EPISODE_FLAGS,
    source: Annotated[list[Path] | None, Parameter(negative=())] = None,
    learning: LearningFlags = NO_LEARNING_FLAGS,
    format: Literal["table", "json", "csv", "latex", "markdown"] = "table",
    keeping: KeepingFlags = NO_KEEPING_FLAGS,
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
    source: Path
        Data to learn from: its train classes (all classes where it has no class splits, a fifth of them held out to validate); repeat for
        more. May be the data itself. Rows that are tested on are left out, near-duplicates too (saved again, resized, other punctuation).
    format: str
        What goes to standard output.
    """
    from fewtune.api.comparing import ComparedData, compare_examples, make_methods, make_protocols
    from fewtune.cli.compare_flags import settings_of
    from fewtune.cli.say import answer, note, terminal_width
    from fewtune.words import counted

    settings = settings_of(asked, learning, keeping, reading, model)
    examples = reading.read(data)
    protocols = make_protocols(examples, asked.ways, asked.shots, asked.seeds, settings)
    backbone = model.load(examples.modality)
    methods = make_methods(method or (), backbone, settings.training.sweep, has_source=bool(source))
    data_read = ComparedData(examples, tuple(map(reading.read, source or ())))
    found = compare_examples(data_read, backbone, methods, protocols, settings)
    if not found.leads:
        return
    styled = format == "table"
    answer(found.render(format, width=terminal_width(), color=sys.stdout.isatty()), styled=styled)
    for remark in found.remarks if format in ("json", "csv") else ():  # programs read the rows alone; people see what was chosen
        note(remark)
    if found.unreadable:
        note(f"Left out because it cannot be read: {counted(len(found.unreadable), 'row')}.")
    if keeping.out is not None:
        note(f"kept in {found.models}")
