"""The page of a comparison, its figures and its tables, on answers that are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.outline import outline_of
from fewtune.evaluation.result import UNTRAINED, Result, make_result
from fewtune.evaluation.run_study import run_study
from fewtune.evaluation.study import Bench
from fewtune.evaluation.summary import Line, Summary, summarise
from fewtune.report.comparison import comparison_table
from fewtune.report.paper_table import paper_table
from fewtune.report.study_details import (
    Answers,
    agreement_table,
    answers_of,
    by_backbone,
    class_table,
    group_table,
    pairs_table,
    rows_of,
    with_most_shots,
)
from fewtune.report.study_figures import alike, apart, backbones_figure, ranks_figure
from fewtune.report.study_page import study_page
from fewtune.report.tables import Table, render
from tests.unit.evaluation.test_cells import bench


@pytest.fixture(scope="module")
def ran() -> tuple[Bench, Outcomes, Summary]:
    whole = bench(("centroid", "ridge", "logistic", "matching"), targets=2, backbones=1)
    outcomes = run_study(whole)
    return whole, outcomes, summarise(outcomes.result, outcomes.drawn, "rows")


def test_the_page_holds_every_part_and_is_the_same_twice(ran: tuple[Bench, Outcomes, Summary]) -> None:
    whole, outcomes, summary = ran
    table = Table.of(["method"], [["<b>centroid</b>"]], "a & b")
    page = study_page(table, summary, outcomes, answers_of(outline_of(whole), outcomes, rows_of(whole)))
    assert page == study_page(table, summary, outcomes, answers_of(outline_of(whole), outcomes, rows_of(whole)))
    for part in ("shots", "intervals", "ranks", "cost", "classes", "errors"):
        assert f'<section id="{part}">' in page
    assert 'id="groups"' not in page and "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert "&lt;b&gt;centroid" in page and "<b>centroid" not in page
    assert "mathdefault" not in page


def test_queries_come_back_class_by_class(ran: tuple[Bench, Outcomes, Summary]) -> None:
    """The mean over all queries of the setting is the mean accuracy of its episodes."""
    whole, outcomes, summary = ran
    for number, answers in enumerate(answers_of(outline_of(whole), outcomes, rows_of(whole))):
        setting = whole.setting(number, 1)
        for line in (line for line in summary.lines if line.setting == setting):
            assert np.nanmean(answers.right[line.method]) == pytest.approx(line.mean)
        table = class_table(answers)
        assert len(table.rows) == 5 and table.columns == ("class", "centroid", "ridge", "logistic", "matching")
        by_class = {row[0].value: row[1].value for row in table.rows}
        for place, name in enumerate(whole.studies[number].target.class_names):
            assert by_class[name] == pytest.approx(answers.right["centroid"][answers.label == place].mean())


def answers(**right: list[float]) -> Answers:
    labels, groups = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    return Answers(
        ("t", "b", "1"), np.arange(4), labels, groups, ("x", "y"), ("n", "s"), {name: np.array(values) for name, values in right.items()}
    )


def test_agreement_by_hand() -> None:
    """a errs on 1 2, b on 2 3, c on nothing: of {1, 2, 3} both err on one; of a's errors c shares none."""
    found = agreement_table(answers(a=[1, 0, 0, 1], b=[1, 1, 0, 0], c=[1, 1, 1, 1]))
    assert found is not None
    values = [[cell.value for cell in row[1:]] for row in found.rows]
    assert values[0][1] == pytest.approx(1 / 3) and values[0][2] == 0 and values[1][0] == pytest.approx(1 / 3) and values[0][0] is None
    half = agreement_table(answers(a=[1, 0.5, 0, 1], b=[1, 1, 0, np.nan]))
    assert half is not None and half.rows[0][2].value == pytest.approx(1 / 1.5)
    assert agreement_table(answers(a=[1, 0, 0, 1])) is None


def test_pairs_by_hand() -> None:
    """a is right on 0 and 3, b on 0 and 1: each kind of query once, which is what independent errors give."""
    found = pairs_table(answers(a=[1, 0, 0, 1], b=[1, 1, 0, 0], c=[1, 0.4, 0.2, 1]))
    assert found is not None and [row[0].value for row in found.rows] == ["a, b", "a, c", "b, c"]
    assert [cell.value for cell in found.rows[0][1:]] == [0.25, 0.25, 0.25, 0.25, 0.25, 0.0]
    assert [cell.value for cell in found.rows[1][1:]] == [0.5, 0.0, 0.0, 0.5, 0.25, 1.0]
    lopsided = pairs_table(answers(a=[1, 1, 1, 0], b=[1, 0, 0, np.nan]))
    assert lopsided is not None and [c.value for c in lopsided.rows[0][1:6]] == pytest.approx([1 / 3, 2 / 3, 0, 0, 0])
    tied = pairs_table(answers(a=[0.5, 0.5, 1, 0], b=[1, 0, 1, 0]))  # one of two runs is not most of them
    assert tied is not None and [cell.value for cell in tied.rows[0][1:5]] == [0.25, 0.0, 0.25, 0.5]
    assert pairs_table(answers(a=[1, 0, 0, 1])) is None


def test_backbones_are_paired_on_the_same_queries_by_hand() -> None:
    """Through p, a errs on 1 and 2; through q on 2 and 3; r answered other queries, and nobody else b."""
    p, q = answers(a=[1, 0, 0, 1], b=[1, 1, 1, 1]), replace(answers(a=[1, 1, 0, 0], b=[np.nan] * 4), place=("t", "q", "1"))
    r = replace(answers(a=[1, 1, 1, 1]), place=("t", "r", "1"), asked=np.array([0, 1, 2, 9]))
    other = replace(answers(a=[0, 0, 0, 0]), place=("u", "q", "1"))
    found = by_backbone([p, q, r, other])
    assert [one.title for one in found] == ["t, a, 1 shots"] and list(found[0].right) == ["b", "q"]
    table = pairs_table(found[0])
    assert table is not None and [row[0].value for row in table.rows] == ["b, q"]
    assert [cell.value for cell in table.rows[0][1:]] == [0.25, 0.25, 0.25, 0.25, 0.25, 0.0]
    assert by_backbone([p, other]) == []


def test_groups_and_missing_answers_by_hand() -> None:
    found = group_table(answers(a=[1, 0, 0, np.nan], b=[1, 1, 1, 0]))
    assert found is not None and {row[0].value: (row[1].value, row[2].value) for row in found.rows} == {"n": (0.5, 1.0), "s": (0.0, 1.0)}
    assert found.notes == ("On the queries that all of these methods answered.",) and not found.rows[0][1].best
    whole = group_table(answers(a=[1, 0, 0, 1], b=[np.nan] * 4))
    assert whole is not None and not whole.notes and {row[0].value: row[1].value for row in whole.rows} == {"n": 0.5, "s": 0.5}
    assert [row[0].value for row in found.rows] == ["s", "n"]  # the hardest first


def test_bars_join_neighbours_within_the_critical_difference() -> None:
    assert alike([1.0, 1.5, 2.6, 4.0], 1.2) == [(0, 1), (1, 2)]
    assert alike([1.0, 1.5, 2.0, 4.0], 1.2) == [(0, 2)]
    assert alike([1.0, 3.0], 1.2) == []
    assert alike([1.0, 2.0, 2.2], 1.0) == [(0, 1), (1, 2)]


def test_ranks_say_whether_methods_differ(ran: tuple[Bench, Outcomes, Summary]) -> None:
    figure = ranks_figure(ran[2])
    assert figure is not None and "over 4 settings" in figure.caption and "critical difference of" in figure.caption
    few = Summary(tuple(line for line in ran[2].lines if line.method in ("ridge", "centroid")), {}, ())
    assert ranks_figure(few) is None


def test_methods_on_fewer_episodes_are_ranked_on_those_that_all_answered() -> None:
    """b answered the first two episodes, the easy ones: its mean is the best, and on those two it is the worst."""
    values = {"a": [1.0, 0.9, 0.1, 0.1], "b": [0.8, 0.8], "c": [0.9, 0.9, 0.2, 0.2]}
    lines = [line for setting in (0, 1) for line in made_lines(values, setting)]
    assert [line.shared for line in lines[:3]] == pytest.approx([0.95, 0.8, 0.9])
    found = summarise(made_result(values), {}, "rows")
    assert found.ranks == {"a": 1.0, "b": 3.0, "c": 2.0}
    figure = ranks_figure(found)
    assert figure is not None and "a 1.00, c 2.00, b 3.00" in figure.svg


def made_result(values: dict[str, list[float]], settings: tuple[int, ...] = (0, 1), metric: str = "accuracy") -> Result:
    columns = []
    for setting in settings:
        for name, scores in values.items():
            constant = {"study": "s", "target": "t", "backbone": "b", "method": name, "spec": "", "setting": setting, "seed": 0}
            constant |= {"training": UNTRAINED, "task": "", "ways": "3", "shots": str(setting + 1), "metric": metric}
            rows = {name: [value] * len(scores) for name, value in constant.items()}
            columns.append(rows | {"episode": range(len(scores)), "value": scores, "loss": scores, "seconds": scores})
    return make_result(columns)


def made_lines(values: dict[str, list[float]], setting: int = 0, metric: str = "accuracy") -> list[Line]:
    return list(summarise(made_result(values, (setting,), metric), {}, "rows").lines)


def test_few_episodes_have_the_interval_of_student_and_one_has_none() -> None:
    """Five splits: t of 4 degrees of freedom is 2.776, where the normal one is 1.96."""
    (line,) = made_lines({"a": [0.1, 0.2, 0.3, 0.4, 0.5]})
    assert line.interval.half_width == pytest.approx(2.776445 * np.sqrt(0.025) / np.sqrt(5), rel=1e-6)
    (many,) = made_lines({"a": list(np.linspace(0, 1, 30))})
    assert many.interval.half_width == pytest.approx(1.959964 * np.std(np.linspace(0, 1, 30), ddof=1) / np.sqrt(30), rel=1e-6)
    alone = summarise(made_result({"a": [0.5], "b": [0.25]}), {}, "rows")
    shown = [render(comparison_table(alone, full=full), "markdown") for full in (True, False)] + [paper_table(alone)]
    assert not any("nan" in text for text in shown) and "-25.00 |" in shown[1] and "$50.00$" in shown[2]


def test_figures_say_what_episodes_are_judged_by() -> None:
    lines = made_lines({"a": [-0.5, -0.3], "b": [-0.2, 0.1]}, metric="mcc")
    summary = Summary(tuple(lines), {}, ())
    page = study_page(comparison_table(summary), summary, Outcomes(made_result({"a": [0.1], "b": [0.2]}), {}, (), ()), [])
    assert "Cost and Matthews" in page and "ccuracy" not in page.split("</style>")[1] and "is on top with -5.0." in page


def test_the_setting_with_the_most_shots_is_shown_whatever_the_order() -> None:
    settings = [(0, 0, "3", "5"), (0, 1, "3", "10"), (0, 2, "3", "1"), (1, 0, "3", "varied"), (1, 1, "3", "varied")]
    assert with_most_shots([(s, p, w, n) for s, p, w, n in settings]) == [1, 4]


def test_the_table_of_a_paper(ran: tuple[Bench, Outcomes, Summary]) -> None:
    whole, _, summary = ran
    text = paper_table(summary, "50% & more", ["note_1"])
    lines = text.splitlines()
    assert r"\caption{50\% \& more}" in lines and r"\begin{tabular}{lrrrr}" in lines
    assert rf" & \multicolumn{{2}}{{c}}{{{whole.targets[0]}}} & \multicolumn{{2}}{{c}}{{{whole.targets[1]}}} \\" in lines
    row = next(line for line in lines if line.startswith("ridge & "))
    first = next(line for line in summary.lines if line.method == "ridge")
    assert row.count(r"\pm") == 4 and f"{100 * first.mean:.2f}" in row
    assert text.count(r"\mathbf") == sum(line.winner for line in summary.lines)
    assert r"\footnotesize note\_1" in text


def test_backbones_are_told_apart_by_what_they_do_not_share() -> None:
    assert apart(["timm:a,size=64", "timm:a,size=64,pretrained=false"]) == ["as named", "pretrained=false"]
    assert apart(["conv4,size=28", "run:nets", "run:nets,step=5"]) == ["conv4,size=28", "run:nets", "run:nets,step=5"]


def test_a_method_through_several_backbones_has_a_line_each() -> None:
    whole = bench(("centroid", "ridge"), targets=1, backbones=2)
    outcomes = run_study(whole)
    lines = [line for line in summarise(outcomes.result, outcomes.drawn, "rows").lines if line.method == "ridge"]
    figure = backbones_figure(lines, "x, ridge", 0)
    assert figure is not None and len(figure.legend) == 2 and "Coloured" not in figure.caption
    one = [line for line in lines if line.backbone == lines[0].backbone]
    assert backbones_figure(one, "x, ridge", 0) is None
    summary = summarise(outcomes.result, outcomes.drawn, "rows")
    for said, shown in ((summary, True), (replace(summary, lines=tuple(lines)), False)):  # one line in each panel is no comparison
        page = study_page(Table.of(["method"], [["ridge"]], "a"), said, outcomes, [])
        assert ('<section id="intervals">' in page) is shown and '<section id="starts">' in page
    apart_from_starts = replace(summary, lines=tuple(one))
    assert '<section id="intervals">' in study_page(Table.of(["method"], [["ridge"]], "a"), apart_from_starts, outcomes, [])
    single = backbones_figure([line for line in lines if line.shots == lines[0].shots], "x, ridge", 0)
    assert single is not None and single.svg.startswith("<svg") and "Coloured" not in single.caption
