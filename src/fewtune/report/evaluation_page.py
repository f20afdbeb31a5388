"""The HTML page of an evaluation: what the model answered wrongly, with pictures and texts. One file without scripts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from fewtune.data.examples import Examples
from fewtune.files import write_bytes
from fewtune.models.evaluate import Evaluation, Wrong
from fewtune.report.figures_confusion import confusion_figure
from fewtune.report.findings import Confusion, Doubt
from fewtune.report.page import environment
from fewtune.report.page_tables import class_rows
from fewtune.report.thumbnails import thumbnail

MOST_SHOWN = 200  # wrong answers with a picture


@final
@dataclass(frozen=True)
class _Pair:
    """What was wrong in the same way: rows of `true` that were taken for `said`."""

    true: str
    said: str
    rows: tuple[Doubt, ...]


def evaluation_page(made: Evaluation, examples: Examples) -> str:
    """The page as text. `examples`: the data that was evaluated on. The pairs of classes that are mistaken most often come first."""
    confusion = Confusion(counts=made.confusion.astype(np.float64), class_names=made.class_names)
    context = {
        "made": made,
        "pairs": _pairs(made.wrong[:MOST_SHOWN], examples),
        "hidden": max(0, len(made.wrong) - MOST_SHOWN),
        "confusion": confusion_figure(confusion),
        "classes": class_rows(confusion),
    }
    return environment().get_template("evaluation.html.j2").render(context)


def write_evaluation_page(path: Path, made: Evaluation, examples: Examples, *, overwrite: bool) -> None:
    """Write the page, whole or not at all. Raises FileExistsError where something is there, unless `overwrite`."""
    write_bytes(path, evaluation_page(made, examples).encode("utf-8", "replace"), new=not overwrite)


def _pairs(wrong: tuple[Wrong, ...], examples: Examples) -> list[_Pair]:
    rows: dict[tuple[str, str], list[Doubt]] = {}
    for w in wrong:
        shown = thumbnail(examples.items.fetch(w.row, size_hint=128))
        doubt = Doubt(name=w.name, given=w.true, answered=w.said, probability=w.probability, shown=shown)
        rows.setdefault((w.true, w.said), []).append(doubt)
    pairs = [_Pair(true, said, tuple(found)) for (true, said), found in rows.items()]
    return sorted(pairs, key=lambda pair: -len(pair.rows))
