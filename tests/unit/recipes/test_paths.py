"""A path changes the number that it stands for and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fewtune.errors import InputError
from fewtune.recipes import named, read_method, variants
from fewtune.recipes.language import varied
from fewtune.recipes.paths import meant, numbers_of, put
from fewtune.spec import text

SPELLED = (
    "Method(phases=(Phase(sampler=Sampled(ways=10, shots=5), learner=Centroid(), plan=only('head.*', 1e-3), steps=200),"
    " Phase(sampler=Pooled(batch=8), learner=Linear(rows='class'), plan=everything(Cosine(lr=0.1)), steps=7)), learner=Logistic())"
)


@pytest.mark.parametrize("source", ["multitask", "maml", "lora(on='support')", SPELLED])
def test_every_number_can_be_put_and_the_rest_stays(source: str) -> None:
    method = read_method(source)
    known = dict(numbers_of(method))
    assert known
    for path, value in known.items():
        if value is None or path[-1] in ("beta", "decay") or "betas" in path:
            continue
        try:
            changed = put(method, path, value * 2)
        except InputError:
            continue  # a number beyond its range
        assert dict(numbers_of(changed)) == {**known, path: value * 2}
        assert put(changed, path, value) == method


def test_short_paths_stand_for_one_value() -> None:
    method = read_method(SPELLED)
    assert meant(method, "phases.0.lr") == [("phases", "0", "plan", "rules", "0", "1", "lr")]
    assert meant(method, "phases.1.lr") == [("phases", "1", "plan", "rules", "0", "1", "lr")]
    assert meant(method, "phases.0.steps") == [("phases", "0", "steps")]  # the exact path, not the plan's
    assert meant(method, "learner.C") == [("learner", "C")] and meant(method, "phases.0.momentum") == []
    with pytest.raises(InputError, match=r"phases\.lr stands for several values .* give phases\.0\.plan\.rules\.0\.1\.lr or phases\.1"):
        meant(method, "phases.lr")


def test_methods_that_are_spelled_out_are_swept() -> None:
    found = variants(SPELLED, (("phases.0.lr", (1e-4, 1e-2)), ("phases.1.steps", (3.0, 5.0)), ("lr", (1.0, 2.0))))
    assert list(found)[:2] == ["", "phases.0.lr=0.0001, phases.1.steps=3"] and len(found) == 5
    last = found["phases.0.lr=0.01, phases.1.steps=5"]
    assert text(last) == text(read_method(SPELLED.replace("1e-3", "1e-2").replace("steps=7", "steps=5")))
    assert varied(read_method(SPELLED), (("phases.0.lr", (1e-4, 1e-2)),)).keys() == {"", "phases.0.lr=0.0001", "phases.0.lr=0.01"}


def test_an_option_and_a_path_together() -> None:
    found = variants("multitask(ways=5)", (("lr", (0.1, 0.2)), ("phases.0.shots", (1.0, 3.0))))
    assert len(found) == 5
    assert found["lr=0.2, phases.0.shots=3"] == read_method("multitask(ways=5, lr=0.2, shots=3)")


def test_a_fraction_where_whole_numbers_stand_is_refused() -> None:
    with pytest.raises(InputError, match=r"Phase: steps is a whole number, found 2\.5"):
        variants(SPELLED, (("phases.0.steps", (2.5, 3.0)),))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mine=ridge(penalty=10)", ("mine", "ridge(penalty=10)")),
        ("my ridge = ridge", ("my ridge", "ridge")),
        ("ridge(penalty=10)", ("ridge(penalty=10)",) * 2),
        ("ridge", ("ridge",) * 2),
        ("=ridge", ("=ridge",) * 2),
    ],
)
def test_names(source: str, expected: Sequence[str]) -> None:
    assert named(source) == expected
