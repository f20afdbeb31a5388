"""Figures of starts, checkpoints, heads and valleys: what they show is what was measured; each is a file or part of a page."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from fewtune.errors import InputError
from fewtune.report.sketch import Sketch
from fewtune.report.starts_figures import checkpoints_figure, curves_figure, heads_figure
from fewtune.report.valley_figure import PANELS, valley_figure
from fewtune.statistics.intervals import wilson_interval
from fewtune.studies.starts import CheckpointCurves, Curve, HeadRun, StartCurves
from fewtune.transfer import Valley

STEPS = (0, 10, 20)


def curve(start: str, accuracy: tuple[float, ...], block: int = 0) -> Curve:
    right = np.arange(20)[None] < 20 * np.array(accuracy)[:, None]
    return Curve(start, block, 0, STEPS, right)


def built(sketch: Sketch) -> Figure:
    figure = Figure(figsize=(5, sketch.height / 72))
    sketch.build(figure)
    return figure


CURVES = StartCurves(
    "photos", 0.1, (curve("pretrained", (0.1, 0.9, 0.9)), curve("random", (0.1, 0.2, 0.5)), curve("random", (0.1,) * 3, 8))
)
CHECKPOINTS = CheckpointCurves((5, 50), StartCurves("photos", 0.1, (curve("5", (0.1, 0.2, 0.6)), curve("50", (0.1, 0.6, 0.6)))))
HEADS = [
    HeadRun(v, wilson_interval(int(10 - 20 * v), 10), {"other": wilson_interval(int(5 + 20 * v), 10)}, 1.0, {}, {}, 1.0) for v in (0.0, 0.1)
]


def valleys(count: int) -> dict[str, Valley]:
    alphas, sigmas = np.array([0.0, 1.0]), np.array([0.0, 2.0])
    return {f"blocks.{i}": Valley(alphas, sigmas, np.array([[0.5, 0.7], [0.1 * i / count, 0.2]]), 1.0) for i in range(count)}


def test_learning_curves_and_where_they_count_as_converged() -> None:
    sketch = curves_figure(CURVES)
    lines = built(sketch).axes[0].lines
    assert [tuple(line.get_ydata()) for line in lines[::2][:2]] == [(0.1, 0.9, 0.9), (0.1, 0.2, 0.5)]
    assert lines[1].get_xdata()[0] == pytest.approx(10 * (0.9 * 0.8) / 0.8)  # 90% of the way to .9, on the straight line to step 10
    assert [name for _, name in sketch.legend] == ["pretrained, whole", "random, whole", "random, blocks 8"]
    assert "pretrained, whole 90%" in sketch.label


def test_checkpoints_have_final_accuracy_and_speed() -> None:
    sketch = checkpoints_figure(CHECKPOINTS)
    upper, lower = built(sketch).axes
    assert list(upper.lines[0].get_ydata()) == pytest.approx([0.6, 0.6])
    assert list(lower.lines[0].get_ydata()) == pytest.approx([10 + 10 * (0.55 - 0.2) / 0.4, 10 * 0.45 / 0.5])
    assert "step 5" in sketch.caption  # both end alike, row by row


def test_the_knob_of_the_head_upstream_and_downstream() -> None:
    lines = built(heads_figure(HEADS)).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[1.0, 0.8], [0.5, 0.7]]
    with pytest.raises(InputError, match="two or more runs"):
        heads_figure(HEADS[:1])


def test_valleys_have_a_panel_for_each_module_up_to_twelve() -> None:
    two, many = built(valley_figure(valleys(2))), valley_figure(valleys(30), "near")
    assert [ax.get_title(loc="left") for ax in two.axes] == ["blocks.0", "blocks.1"]
    assert [list(line.get_ydata()) for line in two.axes[1].lines] == [[0.5, 0.05], [0.7, 0.2]]
    titles = [ax.get_title(loc="left") for ax in built(many).axes]
    assert len(titles) == PANELS and titles[0] == "blocks.0" and titles[-1] == "blocks.29"
    assert "12 of 30 groups" in many.caption and "of near" in many.caption
    with pytest.raises(InputError, match="at least one module"):
        valley_figure({})


@pytest.mark.parametrize(
    "sketch",
    [curves_figure(CURVES), checkpoints_figure(CHECKPOINTS), heads_figure(HEADS), valley_figure(valleys(4))],
    ids=lambda sketch: sketch.name,
)
def test_each_is_a_file_and_part_of_a_page(sketch: Sketch, tmp_path: Path) -> None:
    content = sketch.save(tmp_path / "one.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    room = 18 * -(-len(sketch.legend) // 2)
    assert (width, height) == pytest.approx((360 / 72 * 300, (sketch.height + room) / 72 * 300), abs=1)
    written = sketch.save(tmp_path / "one.svg").read_text()
    assert all(name in written for _, name in sketch.legend)  # a file has its legend inside, a page beside it
    assert (
        "var(--" not in written
        and "var(--" in sketch.drawn().svg
        and sketch.drawn().legend == tuple((f"var(--s{i})", name) for i, (_, name) in enumerate(sketch.legend))
    )
    with pytest.raises(FileExistsError):
        sketch.save(tmp_path / "one.png")
    sketch.save(tmp_path / "one.png", overwrite=True)
    with pytest.raises(InputError, match=r"ends in .png or .svg"):
        sketch.save(tmp_path / "one.pdf")
