"""The HTML page of a comparison: its table and notes in one file without scripts that loads nothing else."""

from __future__ import annotations

from fewtune.report.page import environment
from fewtune.report.tables import Table


def comparison_page(table: Table) -> str:
    """The whole page as text. The same table gives the same bytes."""
    return environment().get_template("comparison.html.j2").render(table=table, title=table.caption or "Methods compared")
