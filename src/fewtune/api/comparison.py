"""`Comparison`: what `compare` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.outline import Outline
from fewtune.evaluation.run_folder import save_run
from fewtune.evaluation.study import Bench, Study
from fewtune.evaluation.summary import Summary, summarise
from fewtune.files import write_bytes
from fewtune.report.comparison import comparison_table
from fewtune.report.paper_table import paper_table
from fewtune.report.study_details import KnownRows, answers_of
from fewtune.report.study_files import write_study_files
from fewtune.report.study_page import study_page
from fewtune.report.tables import Format, Table, render, to_records

if TYPE_CHECKING:
    import pandas


@final
@dataclass(frozen=True, eq=False)
class Comparison:
    """Methods on the same few-shot episodes: the results and what may be claimed from them.

    `outline`: what was compared, in texts; `bench`: the same with data and backbones, a study for each pair (None where it was merged).
    `outcomes`: a row for each method and episode (`outcomes.result`), the episodes, and what training cost. `remarks`: what was noticed in
    the data and in training, a sentence each. `unreadable`: rows that were left out, with the reason. `models`: the folder with what was
    trained, if it is kept (a temporary one goes with this value). `leads`: whether this process is the one that writes, of several that
    torchrun started.

    >>> import numpy, fewtune
    >>> x, y = numpy.eye(4, dtype="float32").repeat(20, axis=0), numpy.repeat([0, 1, 2, 3], 20)
    >>> found = fewtune.compare((x, y), methods=["centroid"], ways=4, shots=1, settings=fewtune.CompareSettings(episodes=5))
    >>> found.rows[0]["method"], found.rows[0]["mean"]
    ('centroid', 1.0)
    >>> print(str(found).splitlines()[0])
    data, all classes, 15 queries a class, precomputed
    """

    outline: Outline
    outcomes: Outcomes
    rows_asked: Mapping[int, KnownRows]
    remarks: tuple[str, ...] = ()
    unreadable: Mapping[int, str] | None = None
    models: Path | None = None
    leads: bool = True
    bench: Bench | None = None

    @property
    def study(self) -> Study:
        """What was compared on the first target, through the first backbone."""
        if self.bench is None:
            raise InputError("a study that was merged from cells or runs holds no data and no backbone.")
        return self.bench.studies[0]

    @cached_property
    def summary(self) -> Summary:
        """Means, intervals and paired tests, a line for each method and setting."""
        return summarise(self.outcomes.result, self.outcomes.drawn, self.outline.items)

    @property
    def rows(self) -> list[dict[str, object]]:
        """A record for each method and setting, as `fewtune compare --format json` gives them.

        Keys: method, target, backbone, ways, shots, mean (accuracy, 0 to 1), interval [low, high], sd, n (episodes), difference (to the
        best method; None for the best), p, p_alone, p_wilcoxon, loss (nats), winner; with several seeds also interval_over_seeds; where
        something was trained also visits, steps, train_seconds and peak_megabytes. Unknown numbers are None.
        """
        return to_records(self._table(full=True))

    @property
    def notes(self) -> tuple[str, ...]:
        """What one has to know to read the numbers, a sentence each."""
        return self._table(full=False).notes

    def table(self) -> pandas.DataFrame:
        """`rows` as a pandas DataFrame. Raises InputError where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise InputError("a table as a DataFrame needs pandas: pip install 'fewtune[frames]' (`.rows` needs nothing).") from None
        return pandas.DataFrame(self.rows)

    def render(self, format: Format = "table", *, width: int | None = None, color: bool = False) -> str:
        """The table as text: table, json, csv, markdown, or latex (methods x shots); `width` (columns) and `color` are for "table"."""
        if format == "latex":
            shown = self._table(full=False)
            return paper_table(self.summary, shown.caption, shown.notes)
        return render(self._table(full=format in ("json", "csv")), format, width=width, color=color)

    def report(self, path: Path | str) -> Path:
        """Write table, figures and details as an HTML page of one file, which opens anywhere, and return its path."""
        write_bytes(Path(path), self._page().encode("utf-8", "replace"))
        return Path(path)

    def save(self, folder: Path | str, *, overwrite: bool = False) -> Path:
        """Write the run as `fewtune compare --out` does, and return where it is.

        The folder gets the study in full, the episodes, a row for each episode and method (`result.parquet`), the weights and curves of
        what was trained, `summary.json` (also `.csv` and `.parquet`), `report.html` and `table.tex`.
        `overwrite`: replace a run that fewtune wrote there. Raises InputError where the folder exists otherwise.
        """
        if self.bench is None:
            raise InputError("a merged study is in a folder already: copy that.")
        where = save_run(self.bench, self.outcomes, Path(folder), self.models, overwrite=overwrite)
        self.describe(where)
        return where

    def describe(self, folder: Path) -> None:
        """Write summary, page and the table of a paper into the folder of this run, where they are not there yet."""
        write_study_files(folder, self._table(full=True), self._table(full=False), self.summary, self._page)

    def _page(self) -> str:
        answers = answers_of(self.outline, self.outcomes, self.rows_asked)
        return study_page(self._table(full=False), self.summary, self.outcomes, answers)

    def __str__(self) -> str:
        return self.render()

    def _table(self, *, full: bool) -> Table:
        return comparison_table(self.summary, self.outline.caption, full=full, costs=self.outcomes.costs, remarks=self.remarks)
