"""What the commands say before, during and after the work."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

import numpy as np

from fewtune.progress import saying
from fewtune.words import noun_of, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fewtune.adaptation.outcome import Outcome
    from fewtune.backbones.backbone import Backbone
    from fewtune.cli.time_ahead import Speeds, Work
    from fewtune.data.examples import Examples
    from fewtune.report.tables import Table


def note(sentence: str) -> None:
    """A remark on standard error, so that standard output holds the answer alone."""
    saying()
    print(one_line(sentence), file=sys.stderr, flush=True)


def tell(*sentences: str) -> None:
    """Sentences on standard output, one a line: a name in them cannot make a second line, nor move the cursor."""
    saying()
    print("\n".join(map(one_line, sentences)), flush=True)


def answer(rendered: str, *, styled: bool = False) -> None:
    """The answer, on standard output. A program that reads it gets it as it was rendered; a terminal gets no control characters.

    `styled`: the text is a table with codes of its own, whose cells were cleaned.
    """
    if sys.stdout.isatty() and not styled:
        rendered = "\n".join(map(one_line, rendered.split("\n")))
    print(rendered)


def terminal_width() -> int | None:
    """The columns of the terminal standard output goes to; None (no limit) for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def show(table: Table) -> None:
    """A table on standard output, for people."""
    from fewtune.report.tables import to_terminal

    answer(to_terminal(table, width=terminal_width(), color=sys.stdout.isatty()) + "\n", styled=True)


def save_and_show(outcome: Outcome, out: Path, *, overwrite: bool) -> Path:
    """Save the model and its page, then show what was found out; returns where it was saved."""
    from fewtune.api.adapted import Adapted
    from fewtune.report.adapted import learners_table, recall_table

    where = Adapted(outcome).save(out, overwrite=overwrite)
    tell("", *outcome.verdict.sentences, "", "What to do next:")
    tell(*(f"{number}. {action}" for number, action in enumerate(outcome.verdict.to_do(shlex.quote(str(where))), 1)), "")
    show(recall_table(outcome))
    if outcome.choice.expected is not None:
        show(learners_table(outcome))
    tell("In detail:", *outcome.details)
    return where


def understood(examples: Examples, sources: Sequence[Examples] = ()) -> list[str]:
    """What was read, one sentence a line. Shown before any long work."""
    from fewtune.data.class_names import remarks_on
    from fewtune.data.examples import TEST, TRAIN, VALIDATION
    from fewtune.words import counted

    counts = examples.counts()
    counts = counts[counts > 0]
    lines = [f"{examples.name}: {len(examples):,} {noun_of(examples.modality)}s, {len(counts)} classes, {_range(counts)} examples a class."]
    if (examples.row_split >= 0).any():
        sizes = [int((examples.row_split == part).sum()) for part in (TRAIN, VALIDATION, TEST)]
        lines.append(
            f"Its own splits: {sizes[0]} train, {sizes[1]} validation, {sizes[2]} test rows; test rows are only measured on, once."
        )
    if missing := int((examples.labels < 0).sum()):
        lines.append(f"Not used, because it has no label: {counted(missing, 'row')}.")
    if examples.skipped:
        shown = "; ".join(f"{s.name} ({s.reason})" for s in examples.skipped[:3])
        more = f"; and {len(examples.skipped) - 3} more" if len(examples.skipped) > 3 else ""
        lines.append(f"{counted(len(examples.skipped), 'file', ('was', 'were'))} skipped: {shown}{more}.")
    return [*lines, *remarks_on(examples), *map(source_line, sources)]


def backbone_line(examples: Examples, backbone: Backbone) -> str:
    """Which backbone is used, and on what it runs."""
    machine = backbone.machine
    width = np.size(np.asarray(examples.items.fetch(0))) if examples.modality == "vector" and len(examples) else backbone.width
    return f"Backbone {backbone.name}: {width} features, {machine.dtype} on {machine.device}."


def source_line(source: Examples) -> str:
    """A source in one line."""
    return f"Source: {source.name}, {len(source):,} {noun_of(source.modality)}s, {int((source.counts() > 0).sum())} classes."


def expected_time(work: Work, speeds: Speeds, noun: str) -> str:
    """About how long all work takes from here, in words. `noun`: what an example is."""
    from fewtune.cli.time_ahead import seconds_ahead

    parts = ["comparing learners"]
    if speeds.row:
        others = f" and up to {work.others:,} of other data" if work.others else ""
        seconds = _shown((work.rows + work.others) * speeds.row)
        parts.insert(0, f"embedding {work.rows:,} {noun}s{others} (about {seconds}, less where they were embedded before)")
    if speeds.run or work.source_runs:
        parts.append("finetuning" if math.isinf(work.minutes) else f"finetuning within at most about {work.minutes:g} minutes (--budget)")
    return f"All work from here takes about {_shown(seconds_ahead(work, speeds))}: {', '.join(parts)}, and the report."


def embedding_time(examples: Examples, backbone: Backbone, minutes: float) -> str:
    """About how long embedding takes where label columns are learned afterwards; empty where the rows cannot be read."""
    from fewtune.cli.speeds import row_speed

    speed = row_speed(examples, backbone)
    if speed is None:
        return ""
    limit = "" if math.isinf(minutes) else f", in at most about {minutes:g} minutes (--budget)"
    shown = _shown(len(examples) * speed)
    return f"Embedding {len(examples):,} {noun_of(examples.modality)}s takes about {shown}; then the columns are learned{limit}."


def _shown(seconds: float) -> str:
    return "a second" if seconds < 1.5 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _range(counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> str:
    if not len(counts):
        return "0"
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def saved_in(where: Path, asked: Path) -> str:
    """Where a model was saved, as the beginning of a sentence."""
    return f"Saved to {where}" if where == asked else f"Another program used {asked} in the meantime, so this model is in {where}"
