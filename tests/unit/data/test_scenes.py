"""Drawn scenes: the same bytes everywhere, uniform attributes, captions that agree with the labels, and names that are read or refused."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fewtune.data.audit import inspect_examples
from fewtune.data.examples import NO_SPLIT, TEST, TRAIN, VALIDATION, Examples
from fewtune.data.reading.label_table import Wanted, read_label_table
from fewtune.data.reading.read import read_examples
from fewtune.data.reading.scenes import USUAL_SEED
from fewtune.data.row_space import RowSpace
from fewtune.data.scenes.attributes import ATTRIBUTES, CODES, COLOUR, COUNT, MATERIAL, RELATION, SHAPE, TARGETS
from fewtune.data.scenes.picture import drawn
from fewtune.data.scenes.sampler import Scene, attributes_of, scene
from fewtune.data.scenes.solids import LIGHT, distance, see
from fewtune.errors import InputError


def pixels(examples: Examples, row: int) -> np.ndarray[Any, Any]:
    return np.asarray(examples.items.fetch(row))


def digest(*arrays: np.ndarray[Any, Any]) -> str:
    return hashlib.blake2b(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays), digest_size=16).hexdigest()


def changed(one: Scene, other: Scene, side: int = 64) -> np.ndarray[Any, Any]:
    """Which pixels [side, side] two scenes draw differently."""
    return np.asarray((drawn(one, side) != drawn(other, side)).any(axis=2))


def only(one: Scene, objects: list[int]) -> Scene:
    """The scene with these of its objects alone."""
    kept = {name: tuple(getattr(one, name)[k] for k in objects) for name in ("x", "y", "radius", "turn")}
    return replace(one, **kept)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "seed", "expected"),
    [
        (64, 0, "f69b31d2abfe54ed9bd71b99c6abaff3"),
        (64, 5, "2c73efe2f46cc3a1ca7a3f3727117b29"),
        (100, 1, "99089da3931a4e14b9dc21795873c550"),
    ],
)
def test_pixels_are_the_same_on_every_machine(side: int, seed: int, expected: str) -> None:
    assert digest(*(drawn(scene(seed, row), side) for row in range(128))) == expected


def test_labels_and_captions_are_the_same_on_every_machine() -> None:
    made = read_examples("scenes:counting,rows=500,seed=3")
    assert digest(*(column.values for column in made.columns.values())) == "e695f5453e9bf212da47daca6e242e4f"
    assert hashlib.blake2b("\n".join(made.caption or ()).encode(), digest_size=16).hexdigest() == "1aa5524a91c8197ee9487d302512abe3"


def test_a_row_depends_on_seed_and_row_alone() -> None:
    few, many = (read_examples(f"scenes:shape,rows={rows},seed=7,splits=rows") for rows in (10, 60))
    other = read_examples("scenes:material,rows=10,seed=7")
    assert list(few.caption or ()) == list(many.caption or ())[:10] == list(other.caption or ())
    assert few.row_split.tolist() == many.row_split[:10].tolist()
    for name, column in few.columns.items():
        assert column.values.tolist() == many.columns[name].values[:10].tolist()
    for row in (9, 3, 0):  # in another order, and from a part
        assert np.array_equal(pixels(few, row), pixels(many, row))
        assert np.array_equal(pixels(few, row), pixels(many.take([row]), 0))
        assert few.items.digest(row) == many.items.digest(row) == other.items.digest(row)
    assert len({few.items.digest(row) for row in range(10)}) == 10


def test_scenes_are_not_those_that_the_embedded_model_was_trained_on_unless_they_are_asked_for() -> None:
    usual = read_examples("scenes:colour,rows=8")
    for seed in range(4):
        learned = read_examples(f"scenes:colour,rows=8,seed={seed}")
        assert not {*usual.row_digests} & {*learned.row_digests}
    assert usual.row_digests == read_examples("scenes:colour,rows=8,seed=10").row_digests


def test_seeds_and_sizes_give_other_pictures() -> None:
    base, seeded, larger = (read_examples(f"scenes:shape,rows=20{option}") for option in ("", ",seed=1", ",size=96"))
    assert not any(np.array_equal(pixels(base, row), pixels(seeded, row)) for row in range(20))
    assert pixels(base, 0).shape == (64, 64, 3) and pixels(larger, 0).shape == (96, 96, 3)
    assert len({one.items.digest(0) for one in (base, seeded, larger)}) == 3
    assert base.columns["count"].values.tolist() == larger.columns["count"].values.tolist()


def test_attributes_are_uniform_and_independent() -> None:
    found = attributes_of(11, np.arange(30_000))
    for attribute in ATTRIBUTES:
        counts = np.bincount(found[attribute.column], minlength=len(attribute.classes))
        assert len(counts) == len(attribute.classes)
        assert stats.chisquare(counts).pvalue > 1e-4, attribute.column
    for first, second in [("count", "colour"), ("count", "size"), ("shape", "material"), ("background", "relation"), ("count", "relation")]:
        table = np.zeros((found[first].max() + 1, found[second].max() + 1))
        np.add.at(table, (found[first], found[second]), 1)
        assert stats.chi2_contingency(table).pvalue > 1e-4, (first, second)


def test_a_scene_holds_what_its_labels_say() -> None:
    found = attributes_of(2, np.arange(200))
    for row in range(200):
        one = scene(2, row)
        assert len(one.x) == len(one.y) == len(one.radius) == len(one.turn) == found["count"][row] + 1
        for name in ("colour", "shape", "material", "background"):
            assert getattr(one, name) == found[name][row]
        assert list(one.y) == sorted(one.y)
        x, y = np.array(one.x), np.array(one.y)
        relation = RELATION.classes[found["relation"][row]]
        beside = {"left of": x < one.cross[0], "right of": x > one.cross[0], "behind": y < one.cross[1], "in front of": y > one.cross[1]}
        assert beside[relation].all()
        middle = np.median(one.radius) / 1024  # sizes do not overlap: nearness changes a radius by less than sizes differ
        assert ("small", "medium", "large")[int(middle > 0.067) + int(middle > 0.088)] == ("small", "medium", "large")[found["size"][row]]


def test_every_object_is_seen() -> None:
    for row in range(150):
        one = scene(4, row)
        everything = list(range(len(one.x)))
        for k in everything:
            assert changed(one, only(one, [j for j in everything if j != k])).sum() >= 8, (row, k)


def test_every_attribute_changes_the_picture() -> None:
    for row in range(12):
        one = scene(0, row)
        for name, count in {"colour": 8, "shape": 5, "material": 5, "background": 5}.items():
            other = replace(one, **{name: (getattr(one, name) + 1) % count})  # type: ignore[arg-type]
            assert changed(one, other).sum() >= 5, (row, name)
        assert changed(one, replace(one, radius=tuple(r * 4 // 3 for r in one.radius))).sum() >= 5
        assert changed(one, replace(one, cross=(one.cross[0] + 60, one.cross[1]))).sum() >= 5


@pytest.mark.parametrize("colour", range(8))
def test_objects_have_their_colour(colour: int) -> None:
    one = replace(scene(0, 3), colour=colour, shape=0, material=0, x=(512,), y=(600,), radius=(140,), turn=(0,))
    seen = drawn(one, 64)[changed(one, replace(one, colour=(colour + 1) % 8))].astype(float)
    mean = seen.mean(axis=0) / np.linalg.norm(seen.mean(axis=0))
    codes = np.array(CODES) / np.linalg.norm(np.array(CODES), axis=1, keepdims=True)
    assert int(np.argmax(codes @ mean)) == colour


@pytest.mark.parametrize("side", [16, 17, 50, 64, 300, 512])
def test_objects_at_the_edge_of_any_size(side: int) -> None:
    large = [one for one in (scene(8, row) for row in range(3000)) if max(one.radius) > 100]
    ends = [pick(large, key=key) for pick in (min, max) for key in (lambda one: min(one.x), lambda one: max(one.x), lambda one: max(one.y))]
    for one in [*ends, min(large, key=lambda one: min(one.y))]:
        made = drawn(replace(one, shape=0, material=0), side)
        assert made.shape == (side, side, 3) and made.dtype == np.uint8


def test_a_sphere_is_the_disc_that_geometry_says() -> None:
    across, upward = np.meshgrid(np.linspace(-1.5, 1.5, 61), np.linspace(-1.0, 2.4, 69))
    seen = see("sphere", 0, across, upward)
    x, y = across / 0.95, (upward - 0.95 * 0.8) / 0.95  # the centre is 0.95 above the floor, and the camera's upward has z = 0.8
    inside = x**2 + y**2
    assert seen.hit[inside < 0.97].all() and not seen.hit[inside > 1.06].any()
    toward = np.sqrt(np.clip(1 - inside, 0, 1))
    normal = np.stack([x, y * 0.6 - toward * 0.8, y * 0.8 + toward * 0.6])
    clear = inside < 0.9
    np.testing.assert_allclose(seen.diffuse[clear], np.maximum(np.tensordot(LIGHT, normal, 1), 0)[clear], atol=5e-3)
    np.testing.assert_allclose(seen.upward[clear], normal[2][clear], atol=5e-3)
    np.testing.assert_allclose(seen.rim[clear], 1 - toward[clear], atol=5e-3)


@pytest.mark.parametrize("shape", SHAPE.classes)
def test_distances_never_exceed_the_true_distance(shape: str) -> None:
    drawn_ = np.random.default_rng(0)
    points = drawn_.uniform(-2, 2, (3, 4000))
    inside = distance(shape, 2, tuple(points)) < 0  # type: ignore[arg-type]
    outer = distance(shape, 2, tuple(points))  # type: ignore[arg-type]
    gaps = np.linalg.norm(points[:, ~inside][:, :400, None] - points[:, inside][:, None, :], axis=0).min(axis=1)
    assert (outer[~inside][:400] <= gaps + 1e-9).all()
    assert inside.any() and (points[2][inside] >= -1e-6).all()  # nothing is below the floor
    near = points + 1e-4 * drawn_.normal(size=points.shape)
    moved = np.linalg.norm(near - points, axis=0)
    assert (np.abs(distance(shape, 2, tuple(near)) - outer) <= moved + 1e-12).all()  # type: ignore[arg-type]


CAPTION = re.compile(
    r"An image of (?:(?P<count>\d+) )?(?:(?P<size>small|medium|large) )?(?:(?P<colour>grey|red|blue|green|brown|purple|cyan|yellow) )?"
    r"(?:(?P<material>rubber|metal|glass|wood|stone) )?(?P<shape>sphere|cube|cylinder|cone|ring|object)(?P<plural>s?)"
    r"(?: on a (?P<background>\w+) background)?(?P<comma>,?)(?: (?P<relation>left of|right of|behind|in front of) a white cross)?"
)


@pytest.mark.parametrize("style", ["plain", "no_count"])
def test_captions_agree_with_the_labels(style: str) -> None:
    made = read_examples(f"scenes:all,rows=3000,seed=1,captions={style}")
    told: Counter[str] = Counter()
    for row, caption in enumerate(made.caption or ()):
        found = CAPTION.fullmatch(caption)
        assert found is not None, caption
        truth = {name: column.names[column.values[row]] for name, column in made.columns.items()}
        assert found["count"] == (truth["count"] if style == "plain" else None)
        assert found["plural"] == ("" if style == "plain" and truth["count"] == "1" else "s")
        assert bool(found["comma"]) == bool(found["background"] and found["relation"])
        for name in ("size", "colour", "material", "shape", "background", "relation"):
            assert found[name] in (truth[name], None, "object"), caption
            told[name] += found[name] == truth[name]
    assert all(abs(share / 3000 - 0.75) < 0.03 for share in told.values()), told


def test_captions_without_a_count_say_nothing_about_it() -> None:
    made = read_examples("scenes:all,rows=4000,captions=no_count")
    captions = made.caption or ()
    assert not any(re.search(r"\d", caption) for caption in captions)
    words = sorted({word for caption in captions for word in caption.split()})
    counts = made.labels
    for word in words:  # whether a word is there does not depend on the count
        there = np.array([word in caption.split() for caption in captions])
        if 40 <= there.sum() <= len(there) - 40:
            table = np.stack([np.bincount(counts[there], minlength=10), np.bincount(counts[~there], minlength=10)])
            assert stats.chi2_contingency(table).pvalue > 1e-5, word


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_each_attribute_is_a_labelled_set(name: str) -> None:
    made = read_examples(f"scenes:{name},rows=40")
    by_column = {a.column: a for a in ATTRIBUTES}
    assert made.target == TARGETS[name] and set(made.columns) == set(by_column)
    assert made.class_names == by_column[made.target].classes
    assert made.column.templates == by_column[made.target].templates and all(t.count("{}") == 1 for t in made.column.templates)
    assert made.labels.tolist() == attributes_of(USUAL_SEED, np.arange(40))[made.target].tolist()
    assert made.name == f"scenes:{name},rows=40" and len(made) == 40 and made.modality == "image"
    assert (made.class_split == NO_SPLIT).all() and (made.row_split == NO_SPLIT).all()
    relabelled = read_examples(f"scenes:{name},rows=40", label="material")
    assert relabelled.class_names == MATERIAL.classes and relabelled.target == "material"


def test_splits_of_rows() -> None:
    split = read_examples("scenes:counting,rows=5000,splits=rows").row_split
    shares = [(split == part).mean() for part in (TRAIN, VALIDATION, TEST)]
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.02)


def test_several_label_columns_of_one_set() -> None:
    table = read_label_table(Path("scenes:all,rows=300,seed=2"), Wanted(labels=("colour", "count")))
    assert list(table.examples.columns) == ["colour", "count"] and table.examples.target == "colour"
    truth = attributes_of(2, np.arange(300))
    colours = table.examples.columns["colour"]
    assert [colours.names[value] for value in colours.values] == [COLOUR.classes[value] for value in truth["colour"]]
    assert np.array_equal(pixels(table.examples, 5), drawn(scene(2, 5), 64))
    assert table.examples.caption is not None


def test_the_audit_finds_nothing_wrong() -> None:
    audit = inspect_examples(read_examples("scenes:colour,rows=200"))
    assert not audit.duplicates and not audit.clashes and not audit.leaks and not audit.unreadable
    assert audit.counts.keys() == set(COLOUR.classes) and audit.width is not None and audit.width.least == 64


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("scenes:counts", "unknown set of scenes 'counts': did you mean counting"),
        ("scenes:", "unknown set of scenes ''"),
        ("scenes:colour,row=3", "unknown option of scenes: 'row': did you mean rows"),
        ("scenes:colour,rows", "expected options such as rows=200, found 'rows'"),
        ("scenes:colour,rows=", "expected options such as rows=200, found 'rows='"),
        ("scenes:colour,", "expected options such as rows=200, found ''"),
        ("scenes:colour,rows=0", "expected a whole number from 1 to 1000000 for rows, found '0'"),
        ("scenes:colour,rows=1e3", "expected a whole number from 1 to 1000000 for rows, found '1e3'"),
        ("scenes:colour,rows=²", "expected a whole number from 1"),
        ("scenes:colour,rows=-5", "expected a whole number from 1"),
        ("scenes:colour,size=15", "expected a whole number from 16 to 512 for size, found '15'"),
        ("scenes:colour,size=513", "expected a whole number from 16 to 512 for size"),
        ("scenes:colour,seed=one", "for seed, found 'one'"),
        (f"scenes:colour,seed={2**63}", "for seed, found"),
        ("scenes:colour,captions=none", "unknown captions of scenes: 'none'"),
        ("scenes:colour,splits=classes", "unknown splits of scenes: 'classes'"),
    ],
)
def test_bad_names_are_one_sentence(name: str, said: str) -> None:
    with pytest.raises(InputError) as problem:
        read_examples(name)
    assert said in str(problem.value) and "\n" not in str(problem.value)


def test_options_of_tables_are_refused() -> None:
    with pytest.raises(InputError, match="unknown label column of scenes:colour 'hue'"):
        read_examples("scenes:colour", label="hue")
    for options in ({"input": "x"}, {"group": "x"}, {"split": "x"}):
        with pytest.raises(InputError, match="drawn and has no columns"):
            read_examples("scenes:colour", **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="labels are classes, not float"):
        read_examples("scenes:colour", kind="float")
    with pytest.raises(InputError, match="scenes does not exist: for drawn scenes, write scenes:counting"):
        read_examples("scenes")
    with pytest.raises(InputError, match="unknown label column of scenes:all,rows=30 'hue'"):
        read_label_table("scenes:all,rows=30", Wanted(labels=("hue", "count")))


def test_options_may_have_blanks_and_any_order() -> None:
    one, other = read_examples("scenes:size, seed = 4 ,rows=6"), read_examples("scenes:size,rows=6,seed=4")
    assert one.labels.tolist() == other.labels.tolist() and list(one.caption or ()) == list(other.caption or ())


def test_a_row_space_of_many_captions_makes_its_names_once() -> None:
    space = RowSpace([read_examples("scenes:counting,rows=20"), read_examples("scenes:colour,rows=20")])
    assert space.class_names == (*COUNT.classes, *COLOUR.classes)
    assert space.class_names is space.class_names  # training asks for a name of each class of each batch
