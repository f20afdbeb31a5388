"""Who helps whom among label columns: tables, a figure, and the page of the command `tasks`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

import numpy as np

from fewtune.errors import InputError
from fewtune.files import new_folder, write_bytes
from fewtune.joint.groups import GROUPS
from fewtune.joint.judged import INDEPENDENT, TOGETHER, TaskJudged
from fewtune.joint.relations import WIDTH, Relations, width_name
from fewtune.joint.words import NAMES, shown
from fewtune.learning.affinity import Floats, Spread
from fewtune.models.bundle import REPORT
from fewtune.report.drawing import ACCENT, INK, TEXT, WRONG, Drawn, drawn, picture, short
from fewtune.report.figures_cells import grid
from fewtune.report.joint_page import columns_page, sharing_figure
from fewtune.report.joint_tables import sharing_table
from fewtune.report.tables import Cell, Table, to_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THOUSAND, MILLION = 1000.0, 1e6  # help is kept in thousandths of a loss (CSV), and shown in thousandths or millionths
MATRICES = ("help.csv", "cosine.csv", "features.csv")
LINEARISED = "linearised.csv"
PICTURES = ("help.svg", "help.png")
WRITES = (REPORT, *MATRICES, LINEARISED, *PICTURES)


@final
@dataclass(frozen=True)
class Unit:
    """What numbers of one table are shown in: the `name` of the unit, how many there are in 1, and the format."""

    name: str
    times: float
    form: str

    def shown(self, value: float) -> str:
        return f"{self.times * float(value):{self.form}}"


AS_IS = Unit("", 1.0, "+.2f")


def unit_of(values: Floats) -> Unit:
    """Thousandths, or millionths where all values are below a ten-thousandth; as many places as fit into five letters. NaN is passed over.

    >>> unit_of(np.array([[0.0, 4.9e-6], [-3e-7, 0.0]])).shown(4.9e-6)
    '+4.9'
    >>> unit_of(np.array([0.12, 0.001])).shown(0.12)
    '+120'
    """
    largest = float(np.abs(values[~np.isnan(values)]).max(initial=0.0))
    name, times = ("thousandths", THOUSAND) if largest >= 1e-4 or largest == 0 else ("millionths", MILLION)
    places = 2 if times * largest < 0.995 else 1 if times * largest < 99.95 else 0
    return Unit(name, times, f"+.{places}f")


def unit_between(values: Floats) -> Unit:
    """The same of a square matrix [T, T] of which the diagonal is not shown."""
    return unit_of(values[~np.eye(len(values), dtype=bool)])


def help_table(found: Relations) -> Table:
    """Who helps whom, in thousandths of the loss of the column's task, for one small step of the row's task."""
    unit = unit_between(found.affinity.help.mean)
    notes = (
        f"Row: the column whose step is taken. Column: whose loss changes, in {unit.name}; above 0 it falls. * marks 95% intervals over "
        f"the {len(found.affinity.steps)} looks of one training run that leave out 0.",
    )
    return _matrix("Who helps whom", found.affinity.names, found.affinity.help, notes, THOUSAND, unit)


def cosine_table(found: Relations) -> Table:
    """The cosines of gradients by the shared weights."""
    notes = ("Below 0, two columns pull the shared weights apart.",)
    return _matrix("Gradients: do they agree?", found.affinity.names, found.affinity.cosine, notes)


def linearised_table(found: Relations) -> list[Table]:
    """Who helps whom by retraining, in thousandths of the loss of the column's task fitted alone; none where it was not asked for."""
    if (seen := found.linearised) is None:
        return []
    unit = unit_between(seen.help.mean)
    notes = (
        "Row: a column that is learned too. Column: by how much the loss of its task on other rows is below that of learning it alone, in "
        f"{unit.name}, over {len(seen.subsets)} sets of columns. A network that was trained on all columns is retrained on each set, "
        "linearised. * marks 95% intervals over the sets that leave out 0. The groups go by this.",
    )
    return [_matrix("Who helps whom, by retraining", seen.names, seen.help, notes, THOUSAND, unit)]


def features_table(found: Relations) -> Table:
    """The first look at frozen features."""
    notes = ("How much of the column's task is explained by what is read off the frozen features for the row's task (1: all that can be).",)
    whole = Spread(found.features, found.features, found.features)
    return _matrix("Do they need the same features?", found.affinity.names, whole, notes, show=Unit("", 1.0, ".2f"), mark=False)


def groups_table(found: Relations) -> Table:
    """The groups, and which columns each one answers."""
    names = found.affinity.names
    rows = tuple(
        (
            Cell(f"network {number + 1}"),
            Cell(", ".join(names[t] for t in group)),
            Cell(", ".join(names[t] for t in group if found.grouping.served[t] == number)),
        )
        for number, group in enumerate(found.grouping.groups)
    )
    value = found.grouping.value
    unit = unit_of(np.array([value]))
    measure = "who helps whom" if found.linearised is None else "who helps whom, by retraining"
    below = " Below 0: a network for each column is expected to do better; more networks (--groups) allow it." if value < 0 else ""
    notes = (
        f"{'The best choice of all' if found.grouping.exact else 'A greedy choice'} by the mean of {measure}: {unit.shown(value)} "
        f"{unit.name}.{below} A column in two networks is answered by one of them.",
    )
    return Table(columns=("network", "learns", "answers"), rows=rows, caption="Groups", notes=notes)


def grouped_table(grouped: Sequence[TaskJudged]) -> Table:
    """What a network for each group gets, beside one for all and one for each column."""
    ways = (INDEPENDENT, TOGETHER, GROUPS)
    rows = []
    for one in grouped:
        assert one.sharing is not None
        gain, name = one.sharing.gain, one.metric.name
        values = [Cell(one.ways[way].value.mean, shown(name, one.ways[way].value.mean)) for way in ways]
        between = Cell((gain.low, gain.high), f"{gain.mean:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})")
        rows.append((Cell(one.task.name), Cell(NAMES.get(name, name)), *values, between, Cell(one.sharing.verdict)))
    notes = ("Groups minus together, on the same held-out rows (95%). The groups were found on all rows: their gain is a little too high.",)
    columns = ("column", "metric", "alone", "all together", "in groups", "groups minus together", "groups")
    return Table(columns=columns, rows=tuple(rows), caption="The groups, trained as groups", notes=notes)


def widths_table(found: Relations) -> Table:
    """What shared networks of several widths get on held-out rows."""
    widths = sorted({*found.widths, WIDTH})
    rows = tuple(
        (
            Cell(task.task.name),
            Cell(NAMES.get(task.metric.name, task.metric.name)),
            *(Cell(value := task.ways[width_name(width)].value.mean, shown(task.metric.name, value)) for width in widths),
        )
        for task in found.outcome.tasks
    )
    notes = ("Held-out rows by one network for all columns, by its number of hidden units.",)
    return Table(columns=("column", "metric", *map(str, widths)), rows=rows, caption="How wide should the shared network be?", notes=notes)


def relations_tables(found: Relations) -> list[Table]:
    """All tables, in the order of the page."""
    pair = [sharing_table(found.outcome)] if any(task.sharing is not None for task in found.outcome.tasks) else []
    grouped = [] if found.grouped is None else [grouped_table(found.grouped)]
    widths = [widths_table(found)] if found.widths else []
    matrices = (*linearised_table(found), help_table(found), cosine_table(found), features_table(found))
    return [*pair, groups_table(found), *grouped, *widths, *matrices]


def help_figure(found: Relations) -> Drawn:
    """The matrix of help as a map."""
    build, height = _help_map(found)
    label = f"Who helps whom among {len(found.affinity.names)} columns; rows are the columns whose step is taken."
    unit = unit_between(found.affinity.help.mean).name
    caption = f"Rows: the column whose step is taken. Columns: whose loss changes, in {unit}. Blue: it falls. Orange: it rises."
    return drawn(build, name="help", label=label, caption=caption, height=height)


def help_pictures(found: Relations) -> dict[str, bytes]:
    """The same map as files, for papers and slides."""
    build, height = _help_map(found)
    return {name: picture(build, height=height, format=name.rpartition(".")[2]) for name in PICTURES}


def _help_map(found: Relations) -> tuple[Callable[[Figure], None], float]:
    """(what draws the map, its height)."""
    names = [short(name, 16) for name in found.affinity.names]
    values = found.affinity.help.mean
    unit = unit_between(values)
    off = values[~np.eye(len(values), dtype=bool)]
    largest = float(np.abs(off).max()) or 1.0
    cells = grid(names, names, widest=44, tallest=34, least_tall=21)

    def build(figure: Figure) -> None:
        from matplotlib.patches import Rectangle

        ax = cells.open(figure)
        for (r, c), value in np.ndenumerate(values):
            if r == c:
                continue
            alpha = round(0.06 + 0.84 * min(abs(float(value)) / largest, 1.0), 3)
            colour = ACCENT if value > 0 else WRONG
            ax.add_patch(Rectangle((c + 0.04, r + 0.05), 0.92, 0.9, facecolor=colour, alpha=alpha, linewidth=0))
            ax.text(c + 0.5, r + 0.5, unit.shown(value), ha="center", va="center_baseline", color=INK, fontsize=TEXT - 2)

    return build, cells.height


def relations_page(found: Relations) -> str:
    """The whole page as text."""
    outcome = replace(found.outcome, sentences=tuple(one.sentence for one in found.advice))
    figures = [figure for figure in (help_figure(found), sharing_figure(found.outcome.tasks)) if figure is not None]
    return columns_page(outcome, relations_tables(found), figures, command="tasks", heading="What to learn together")


def write_relations(found: Relations, out: Path, *, overwrite: bool) -> Path:
    """Write the page and the matrices (CSV) into a folder; returns where it is. Raises InputError for a name that is taken."""
    if out.suffix.lower() in (".csv", ".html"):
        raise InputError(f"{out}: expected the name of a folder for --out.")
    with (made := new_folder(out, overwrite=overwrite)) as folder:
        write_bytes(folder / REPORT, relations_page(found).encode("utf-8", "replace"))
        matrices = {name: make(found) for name, make in zip(MATRICES, (help_table, cosine_table, features_table), strict=True)}
        if again := linearised_table(found):
            matrices[LINEARISED] = again[0]
        for name, table in matrices.items():
            write_bytes(folder / name, (to_csv(table) + "\n").encode("utf-8", "replace"))
        for name, content in help_pictures(found).items():
            write_bytes(folder / name, content)
    return made.where


def _matrix(
    caption: str,
    names: Sequence[str],
    values: Spread,
    notes: tuple[str, ...],
    times: float = 1.0,
    show: Unit = AS_IS,
    *,
    mark: bool = True,
) -> Table:
    """A table of T rows and T columns; the diagonal is left empty. Cells hold `times` the values and show them in the unit `show`."""
    mean: Floats = values.mean
    sure = mark & ((values.low > 0) | (values.high < 0))
    rows = tuple(
        (
            Cell(name),
            *(
                Cell(None)
                if i == j or np.isnan(mean[i, j])
                else Cell(times * float(mean[i, j]), f"{show.shown(mean[i, j])}{'*' * bool(sure[i, j])}")
                for j in range(len(names))
            ),
        )
        for i, name in enumerate(names)
    )
    return Table(columns=("column", *names), rows=rows, caption=caption, notes=notes)
