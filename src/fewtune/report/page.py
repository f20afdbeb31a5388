"""The HTML page of the main job: one file without scripts that loads nothing else. The verdict comes first.

Names of classes and files and the texts of rows are strangers' text: they are escaped on the way into the page (jinja2 with autoescape,
an XML tree for the figures), and a Content-Security-Policy forbids scripts and every address should something slip through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewtune.files import write_bytes
from fewtune.report.drawing import Drawn
from fewtune.report.figures_confusion import confusion_figure
from fewtune.report.figures_forecast import forecast_figure
from fewtune.report.figures_guard import guard_figure
from fewtune.report.figures_learning import curves_figure
from fewtune.report.figures_map import map_figures
from fewtune.report.figures_selection import coverage_figure, similarity_figure
from fewtune.report.figures_sure import sure_figure
from fewtune.report.findings import Findings
from fewtune.report.page_tables import class_rows, method_tables, mistakes, nearest, trace_rows
from fewtune.report.page_words import WORDS, clean
from fewtune.report.thumbnails import data_address
from fewtune.words import noun_of

if TYPE_CHECKING:
    from jinja2 import Environment


def page(findings: Findings) -> str:
    """The whole page as text. The same findings give the same bytes."""
    context = {
        "f": findings,
        "noun": noun_of(findings.modality),
        "figures": _figures(findings),
        "tables": _tables(findings),
        "sections": _sections(findings),
        "deeper": _deeper(findings),
    }
    return environment().get_template("page.html.j2").render(context)


def write_page(path: Path | str, findings: Findings) -> None:
    """Write the page, whole or not at all."""
    write_bytes(Path(path), page(findings).encode("utf-8", "replace"))


def _figures(f: Findings) -> dict[str, list[Drawn]]:
    """The figures of each section for which there are data."""
    selection, guard = f.selection, f.guard
    made: Mapping[str, list[Drawn | None]] = {
        "guard": [guard_figure(guard) if guard else None],
        "selection": [
            coverage_figure(selection.trace) if selection else None,
            similarity_figure(selection.similarity) if selection and selection.similarity else None,
        ],
        "curves": [curves_figure(f.curves)],
        "confusion": [confusion_figure(f.confusion) if f.confusion else None],
        "maps": list(map_figures(f.maps, f.confusion)) if f.maps else [],
        "sure": [sure_figure(f.coverage, f.threshold) if f.coverage else None],
        "forecast": [forecast_figure(f.forecast) if f.forecast else None],
    }
    return {name: [figure for figure in figures if figure is not None] for name, figures in made.items()}


def _tables(f: Findings) -> dict[str, Any]:
    """Table rows that are computed from the findings."""
    similarity = f.selection.similarity if f.selection else None
    return {
        "methods": method_tables(f.methods),
        "trace": trace_rows(f.selection.trace) if f.selection else [],
        "nearest": nearest(similarity) if similarity else [],
        "classes": class_rows(f.confusion) if f.confusion else [],
        "mistakes": mistakes(f.confusion) if f.confusion else [],
        "seconds": math.fsum(stage.seconds for stage in f.stages),
    }


def _sections(f: Findings) -> list[tuple[str, str, str]]:
    """(id, title, short title) of the page's sections for all readers, in order."""
    noun = noun_of(f.modality)
    every = (
        ("mislabelled", f"{noun.capitalize()}s whose label may be wrong", "Wrong labels?", f.mislabelled is not None),
        ("confusion", "What is taken for what", "Mistakes", f.confusion is not None),
        ("uncertain", f"{noun.capitalize()}s that it is unsure of", "Unsure", bool(f.uncertain)),
        ("sure", "What if only sure answers count?", "Sure answers", f.coverage is not None),
        ("forecast", "Would more labels help?", "More labels", f.forecast is not None),
        ("skipped", f"{noun.capitalize()}s left out", "Left out", bool(f.skipped)),
        ("next", "What to type next", "Next", bool(f.commands)),
    )
    return [(name, title, brief) for name, title, brief, present in every if present]


def _deeper(f: Findings) -> list[tuple[str, str, str]]:
    """The same for the sections for specialists, which are folded."""
    every = (
        ("learners", "Learners compared", "Learners", bool(f.methods)),
        ("guard", "Did finetuning help?", "Did it help?", f.guard is not None),
        ("selection", "Which other data was chosen", "Chosen data", f.selection is not None),
        ("curves", "Learning curves", "Curves", bool(f.curves)),
        ("maps", "Map of what the model sees as alike", "Map", f.maps is not None and len(f.maps.labels) > 0),
        ("leaks", "Examples that the other data shares with yours", "Shared", f.leaks is not None),
        ("budget", "Time, budget and environment", "Budget", bool(f.stages or f.budget or f.environment)),
    )
    return [(name, title, brief) for name, title, brief, present in every if present]


@cache
def environment() -> Environment:
    """The templates of the pages. All values are escaped; a missing name is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("fewtune.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(WORDS)
    made.filters["address"] = data_address
    return made
