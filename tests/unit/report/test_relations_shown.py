"""Help among label columns as people read it: numbers fit their cells, names are whole, and units are said."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from fewtune.learning.affinity import Affinity, Spread
from fewtune.report.drawing import WIDTH
from fewtune.report.figures_cells import grid
from fewtune.report.relations import help_table, unit_of


@pytest.mark.parametrize("largest", [3e-9, 4.9e-6, 8e-5, 1e-4, 9.8e-3, 0.0996, 0.12, 0.9996])
def test_all_numbers_of_a_table_have_one_unit_and_fit_a_cell(largest: float) -> None:
    """Of 120 thousandths, none is written 1.2e+02; of 0.005, none is written +0.0049 thousandths."""
    unit = unit_of(np.array([[0.0, largest], [-largest / 30, np.nan]]))
    shown = [unit.shown(value) for value in (largest, -largest, largest / 30)]
    assert all(len(text) <= 5 and "e" not in text for text in shown), shown
    assert float(shown[0]) / unit.times == pytest.approx(largest, rel=0.01, abs=0.005e-6)


def test_nothing_but_zeros_is_shown_in_thousandths() -> None:
    assert unit_of(np.zeros((2, 2))).name == "thousandths"


def test_what_a_column_does_for_itself_is_not_shown_and_does_not_choose_the_unit() -> None:
    """A step helps its own column most: by its size the others' help would all be written +0.0 thousandths."""
    mean = np.array([[9e-3, 4e-5], [-2e-5, 8e-3]])
    affinity = Affinity(("a", "b"), Spread(mean, mean, mean), Spread(mean, mean, mean), np.zeros(1), np.zeros((1, 2)), ())
    table = help_table(SimpleNamespace(affinity=affinity))  # type: ignore[arg-type]
    assert [[cell.text for cell in row[1:]] for row in table.rows] == [[None, "+40.0*"], ["-20.0*", None]]
    assert "millionths" in table.notes[0]


def test_names_with_wide_letters_stay_inside_the_figure() -> None:
    names = ["comedy", "commmmmmon", "WWWW", "a"]
    cells = grid(names, names, widest=44, tallest=34)
    figure = Figure(figsize=(WIDTH / 72, cells.height / 72), dpi=72)
    axes = cells.open(figure)
    figure.draw_without_rendering()
    for text in axes.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0 and box.y1 <= cells.height and box.x1 <= WIDTH, text.get_text()
