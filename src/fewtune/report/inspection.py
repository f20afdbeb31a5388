"""What `fewtune inspect` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

from fewtune.data.audit import Audit, Spread
from fewtune.report.encoded import json_text
from fewtune.report.prompts_said import PromptsSaid
from fewtune.report.tables import Cell, Table, to_terminal
from fewtune.words import noun_of, one_line

CLASSES_SHOWN = 40


def render_audit(audit: Audit, format: Literal["table", "json"], width: int | None = None, *, reading: PromptsSaid | None = None) -> str:
    """`table`: a summary, the classes with their counts, then what a person should look at. `json`: every fact. `reading`: how a backbone
    would read the texts."""
    if format == "json":
        more = {} if reading is None else {"reading": asdict(reading)}
        return json_text({**asdict(audit), "findings": audit.sentences(), **more})
    said = audit.sentences()
    findings = ["What to look at:", *(f"  - {sentence}" for sentence in said)] if said else ["Nothing wrong was found."]
    if not audit.deep:
        findings.append("(A quick look at headers only: damage inside files and duplicates were not looked for.)")
    table = to_terminal(_classes(audit), width=width)
    read = [] if reading is None else ["", *map(one_line, reading.sentences)]
    return "\n".join([*map(one_line, _summary(audit)), "", table, "", *map(one_line, findings), *read])


def _summary(audit: Audit) -> list[str]:
    present = [count for count in audit.counts.values() if count]
    lines = [f"{audit.name}: {audit.rows:,} {noun_of(audit.modality)}s, {len(present)} classes with examples."]
    for title, counted in (("splits", audit.splits), ("groups", audit.groups), ("formats", audit.formats), ("modes", audit.modes)):
        if counted:
            lines.append(f"{title}: {_counted(counted)}")
    if audit.width and audit.height:
        lines.append(f"width: {_spread(audit.width)} pixels; height: {_spread(audit.height)} pixels")
    if audit.length:
        lines.append(f"length: {_spread(audit.length)} characters")
    if audit.dimension:
        lines.append(f"dimension: {audit.dimension}")
    return lines


def _counted(counted: Mapping[str, int], shown: int = 12) -> str:
    listed = [f"{name} {count:,}" for name, count in list(counted.items())[:shown]]
    return ", ".join(listed) + (f" and {len(counted) - shown} more" if len(counted) > shown else "")


def _spread(spread: Spread) -> str:
    return f"{spread.least:g} to {spread.most:g} (median {spread.median:g})"


def _classes(audit: Audit) -> Table:
    shown = list(audit.counts.items())[:CLASSES_SHOWN]
    left = len(audit.counts) - len(shown)
    notes = (f"and {left} more classes (all of them with --format json)",) if left else ()
    return Table(columns=("class", "examples"), rows=tuple((Cell(name), Cell(count)) for name, count in shown), notes=notes)
