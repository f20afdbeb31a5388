"""What the page is put together from: maps, thumbnails, labels, numbers in words."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from fewtune.report.drawing import cells, short
from fewtune.report.figures_guard import guard_figure
from fewtune.report.figures_selection import coverage_figure
from fewtune.report.findings import Confusion, Looked, MethodRow
from fewtune.report.maps import map_2d, map_rows, maps_2d, turned_onto, way_of
from fewtune.report.page_tables import class_rows, method_rows, method_tables, mistakes
from fewtune.report.page_words import breakable, chance, duration, percent, points
from fewtune.report.thumbnails import data_address, thumbnail
from fewtune.report.umap_provider import has_umap
from fewtune.statistics import Interval
from tests.made_findings import around, judged


def blobs(rows: int = 36, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    return 6 * random.normal(size=(3, 20))[labels] + random.normal(size=(rows, 20)), labels


def test_a_map_keeps_groups_apart_and_is_the_same_again() -> None:
    x, labels = blobs()
    places = map_2d(x, seed=3, way="t-SNE")
    assert places.shape == (36, 2) and np.allclose(places.mean(0), 0, atol=1e-4)
    assert np.array_equal(places, map_2d(x, seed=3, way="t-SNE"))
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(36)
    assert (labels[distance.argmin(1)] == labels).mean() == 1.0


def test_few_rows_are_mapped_by_their_principal_components() -> None:
    x = np.random.default_rng(0).normal(size=(6, 4))
    u, s, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    places = map_2d(x)
    assert way_of(6) == "PCA" and np.allclose(np.abs(places), np.abs(u[:, :2] * s[:2]))
    wide = map_2d(np.random.default_rng(0).normal(size=(5, 300)))
    assert np.isfinite(wide).all() and np.linalg.matrix_rank(wide) == 2


@pytest.mark.parametrize("x", [np.zeros((0, 5)), np.zeros((1, 5)), np.ones((20, 5)), np.full((9, 3), np.nan), np.arange(20.0)[:, None]])
def test_features_without_variety_still_have_places(x: np.ndarray) -> None:
    places = map_2d(x)
    assert places.shape == (len(x), 2) and np.isfinite(places).all()


def test_turning_onto_a_map_undoes_a_similarity() -> None:
    """Places that were turned, mirrored, scaled and moved come back exactly."""
    target = np.random.default_rng(0).normal(size=(30, 2)) + 5
    turn = np.array([[np.cos(2.0), -np.sin(2.0)], [np.sin(2.0), np.cos(2.0)]]) @ np.diag([1, -1])
    assert np.allclose(turned_onto(0.3 * target @ turn - 7, target), target)
    assert np.allclose(turned_onto(np.zeros((4, 2)), target[:4]), target[:4].mean(0))


def test_before_and_after_share_an_orientation() -> None:
    """Features that barely moved have nearly the same map: rows stay nearer to themselves than to other groups."""
    x, labels = blobs()
    before, after = maps_2d(x, x + 0.05 * np.random.default_rng(1).normal(size=x.shape), seed=0, way="t-SNE")
    centres = np.stack([before[labels == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(after[:, None] - centres[None], axis=-1).argmin(1)
    assert (nearest == labels).all()


def test_rows_of_a_map_are_drawn_by_the_seed() -> None:
    assert np.array_equal(map_rows(5), np.arange(5))
    rows = map_rows(10_000, seed=1, most=200)
    assert len(np.unique(rows)) == 200 and np.array_equal(rows, np.sort(rows)) and rows.max() < 10_000
    assert np.array_equal(rows, map_rows(10_000, seed=1, most=200)) and not np.array_equal(rows, map_rows(10_000, seed=2, most=200))
    assert abs(rows.mean() - 5_000) < 800


def test_thumbnails_are_small_upright_and_without_metadata() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((800, 600))
    image.info["exif"] = b"Exif\x00\x00where it was taken"
    small = thumbnail(image, 100)
    assert isinstance(small, bytes) and b"where it was" not in small and len(small) < 8_000
    assert Image.open(io.BytesIO(small)).size == (100, 75)
    flat = thumbnail(np.zeros((20, 20), dtype=np.uint8))
    assert isinstance(flat, bytes) and flat.startswith(b"\x89PNG") and data_address(flat).startswith("data:image/png;base64,iVBOR")
    assert isinstance(thumbnail(np.zeros((20, 20, 1), dtype=np.uint8)), bytes) and image.size == (800, 600)
    assert thumbnail(np.zeros(8, dtype=np.float32)) is None
    assert thumbnail("a  text\non two lines") == "a text on two lines"
    long = thumbnail("word " * 200)
    assert isinstance(long, str) and len(long) <= 240 and long.endswith("…")
    with pytest.raises(ValueError, match="PNG or a JPEG"):
        data_address(b"<svg onload=alert(1)>")


def test_labels_are_shortened_in_the_middle_by_their_width() -> None:
    assert short("dog", 10) == "dog" and short("a\nb", 10) == "a b"
    for name in ("photos/animals/elephant/african", "播放音乐播放音乐播放音乐", "ab" * 40):
        assert cells(short(name, 14)) <= 14 and "…" in short(name, 14) and short(name, 14)[0] == name[0]


def test_numbers_in_words() -> None:
    assert [duration(s) for s in (0.04, 8.3, 59.4, 125, 4320, float("nan"))] == [
        "0.0 s",
        "8.3 s",
        "59 s",
        "2 min 5 s",
        "1 h 12 min",
        "\N{EN DASH}",
    ]
    assert (points(0.0312), points(-0.02), points(-0.0001), points(None)) == ("+3.1", "\u22122.0", "0.0", "\N{EN DASH}")
    assert (percent(1.0), percent(0.07, 0), chance(0.0004), chance(0.0213), chance(1.0), chance(None)) == (
        "100.0%", "7%", "< .001", ".021", "1", "",
    )  # fmt: skip
    assert str(breakable("a/<b>(c=1)")) == "a/<wbr>&lt;b&gt;(<wbr>c=<wbr>1)"


def test_methods_are_sorted_and_their_bars_share_a_scale() -> None:
    def row(name: str, accuracy: float, half: float) -> MethodRow:
        return MethodRow(
            name=name, kind="frozen", accuracy=accuracy, interval=Interval(accuracy, accuracy - half, accuracy + half, 0.95, 9, "t")
        )

    lines = method_rows([row("low", 0.5, 0.1), MethodRow(name="unknown", kind="frozen", accuracy=float("nan")), row("high", 0.7, 0.2)])
    assert [line.row.name for line in lines] == ["high", "low", "unknown"] and lines[2].bar is None
    high, low = lines[0].bar, lines[1].bar
    assert high and low and high.high == 96 and low.low == 4
    assert high.middle - low.middle == pytest.approx(92 * 0.2 / 0.5, abs=0.02)


def test_learners_that_answered_different_folds_stand_in_tables_of_their_own() -> None:
    def row(name: str, accuracy: float, folds: str, **given: Any) -> MethodRow:
        return MethodRow(name=name, accuracy=accuracy, folds=folds, **given)

    ahead = Interval(0.1, 0.0, 0.2, 0.95, 9, "t")
    rows = [
        row("ridge", 0.9, "5 folds", kind="frozen"),
        row("frozen", 0.6, "4 folds", kind="frozen", difference=ahead),
        row("tuned", 0.7, "4 folds", kind="finetuned", chosen=True),
        row("logistic", 0.8, "5 folds", kind="frozen"),
    ]
    first, second = method_tables(rows)
    assert (first.folds, [line.row.name for line in first.lines]) == ("4 folds", ["tuned", "frozen"])
    assert (second.folds, [line.row.name for line in second.lines]) == ("5 folds", ["ridge", "logistic"])
    assert (first.compared, first.kinds) == (True, 2)
    assert (second.compared, second.kinds) == (False, 1)


def test_mistakes_and_recalls_are_read_off_the_matrix() -> None:
    counts = np.array([[8.0, 2, 0], [5, 5, 0], [0, 0, 0]])
    confusion = Confusion(counts=counts, class_names=("a", "b", "c"))
    assert [(m.true, m.predicted, m.count, m.share) for m in mistakes(confusion)] == [("b", "a", 5, 0.5), ("a", "b", 2, 0.2)]
    rows = class_rows(confusion)
    assert [(r.name, r.taken_for) for r in rows] == [("b", "a"), ("a", "b"), ("c", "")] and [r.recall for r in rows[:2]] == [0.5, 0.8]


def test_a_coverage_curve_needs_coverage() -> None:
    def looked(coverage: float) -> Looked:
        return Looked(name="t", source="s", similarity=0.5, coverage=coverage, gain=0.1, taken=True)

    assert coverage_figure([looked(float("nan"))] * 5) is None
    figure = coverage_figure([looked(0.2), looked(0.4)])
    assert figure and figure.legend == (("var(--s0)", "s"),) and "%" in figure.caption


def test_a_folder_called_umap_is_not_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "umap").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "umap", raising=False)
    assert not has_umap()


@pytest.mark.parametrize(
    ("where", "said"), [("the target's own splits", "3 held-out rows"), ("held-out classes of the sources", "3 held-out classes")]
)
def test_the_dots_of_the_guard_are_called_what_they_are(
    where: Literal["the target's own splits", "held-out classes of the sources"], said: str
) -> None:
    drawn = guard_figure(judged(where, around(2 / 3, 0.2), np.array([1.0, 0.0, 1.0])))
    assert drawn is not None and said in drawn.caption


def test_letters_of_another_font_take_room_for_two() -> None:
    """A page in a browser with few fonts: signs come from any font there is, as wide as a Chinese letter."""
    assert cells("Ab é Ωж") == 7 and cells("\u2026\u2212\u00d7") == 3
    assert cells("\ufffd") == 2 and cells("☃☃") == 4 and cells("日本") == 4 and cells("क") == 2
    assert cells(short("\ufffd" * 30, 14)) <= 14
