"""Several finished runs as one: what has one name in two of them must be one thing in both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fewtune.api.sharing import merge
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.evaluation.assembling import Outcomes
from fewtune.evaluation.class_roles import serving
from fewtune.evaluation.protocol import Protocol
from fewtune.evaluation.result import load_right, save_right
from fewtune.evaluation.run_folder import Keeping, load_run, run_kept
from fewtune.evaluation.study import Bench, Study
from fewtune.evaluation.training_settings import Training
from fewtune.machine import Machine
from fewtune.recipes import variants
from fewtune.tasks.samplers import Sampled
from tests.unit.evaluation.test_trainer import collection

TRAINED = "multitask(ways=3,queries=3,steps=3)"
RIDGE = {"mine": "ridge(penalty=1)"}
Kept = Callable[..., Path]


def mlp(seed: int = 0) -> Backbone:
    made = load_backbone("mlp,inputs=4,width=8", machine=Machine(device="cpu").resolved())
    if seed:
        with torch.no_grad():
            for weight in made.network.parameters():
                weight.add_(0.1 * seed)
    return made


def study(methods: dict[str, str], *, data: int = 9, name: str = "t", **given: object) -> Study:
    space = RowSpace([replace(collection(5, data), name=name)])
    model = given.get("model") or mlp()
    protocols = (Protocol(sampler=Sampled(ways=3, shots=1, queries=3), episodes=6, seeds=given.get("seeds", (0,))),)  # type: ignore[arg-type]
    source = RowSpace([serving(collection(10, given.get("source", 4)))])  # type: ignore[arg-type]
    training = Training(adapted=4, validation=5, **given.get("training", {}))  # type: ignore[arg-type]
    features = feature_table(model, space, memory=True, quiet=True).features  # type: ignore[arg-type]
    made = {shown: variants(text, ()) for shown, text in methods.items()}
    return Study(space, model, features, protocols, made, source, training)  # type: ignore[arg-type]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    def run(methods: dict[str, str], **given: object) -> Path:
        out = tmp_path / f"run{len(list(tmp_path.iterdir()))}"
        run_kept(Bench.of(study(methods, **given)), Keeping(out=out))  # type: ignore[arg-type]
        return out

    return run


def merged(*runs: Path) -> Outcomes:
    return merge(list(runs), runs[0].with_name("whole")).outcomes


def test_other_rows_under_the_same_name_are_refused(kept: Kept) -> None:
    """The episodes are the same numbers, because the labels are: only the content of the rows tells the data apart."""
    with pytest.raises(InputError, match=r"the data t of .* differ from those of the runs before it"):
        merged(kept({"a": "centroid"}), kept({"b": "ridge"}, data=10))


def test_another_backbone_under_the_same_name_is_refused(kept: Kept) -> None:
    with pytest.raises(InputError, match=r"the backbone mlp,inputs=4,width=8 of .* differ"):
        merged(kept({"a": "centroid"}), kept({"b": "ridge"}, model=mlp(1)))


@pytest.mark.parametrize("elsewhere", [{"seeds": (1,)}, {"name": "other"}])
def test_another_method_under_the_same_name_is_refused(elsewhere: dict[str, object], kept: Kept) -> None:
    with pytest.raises(InputError, match=r"method mine of .* is another than in the runs before it"):
        merged(kept(RIDGE), kept({"mine": "ridge(penalty=10)"}, **elsewhere))


def test_other_sources_in_one_line_are_refused_and_on_other_data_they_are_not(kept: Kept) -> None:
    first = kept({"mt": TRAINED})
    with pytest.raises(InputError, match=r"method mt of .* learned from other sources"):
        merged(first, kept({"mt": TRAINED}, seeds=(1,), source=6))
    with pytest.raises(InputError, match=r"method mt of .* learned from other sources"):
        merged(first, kept({"mt": TRAINED}, seeds=(1,), training={"visits": 40}))
    assert merged(first, kept({"mt": TRAINED}, name="other", source=6)).result.distinct("target") == ["t", "other"]


def test_training_seeds_that_answered_other_episodes_are_refused(kept: Kept) -> None:
    first, other = kept({"mt": TRAINED}), kept({"mt": TRAINED}, seeds=(1,), training={"seeds": (1,)})
    with pytest.raises(InputError, match=r"the training seeds of 'mt' on t, .* \(0, 1\) did not answer the same episodes"):
        merged(first, other)


def test_seeds_and_training_seeds_become_one_line(kept: Kept) -> None:
    """Episode seeds apart, or training seeds apart: the same rows as one run that has them all."""
    whole = kept({"mine": "ridge(penalty=1)", "mt": TRAINED}, seeds=(0, 1), training={"seeds": (0, 1)})
    halves = [kept({"mine": "ridge(penalty=1)"}, seeds=(seed,)) for seed in (0, 1)]
    trained = [kept({"mt": TRAINED}, seeds=(0, 1), training={"seeds": (seed,)}) for seed in (0, 1)]
    found, expected = merged(*halves, *trained).result.table, load_run(whole)[1].result.table
    order = [(name, "ascending") for name in ("method", "training", "seed", "episode")]
    assert found.sort_by(order)["value"].to_pylist() == expected.sort_by(order)["value"].to_pylist()


def test_what_was_merged_is_merged_again(kept: Kept) -> None:
    one, two = kept({"mt": TRAINED}), kept({"mt": TRAINED}, name="other", source=6)
    merged(one, two)
    both = one.with_name("whole")
    found = merge(
        [both, kept({"mt": TRAINED}, seeds=(1,)), kept({"mt": TRAINED}, name="other", source=6, seeds=(1,))], one.with_name("more")
    )
    assert found.outcomes.result.distinct("seed") == [0, 1] and len(found.summary.lines) == 2
    with pytest.raises(InputError, match="the data t of"):
        merge([both, kept({"mt": TRAINED}, data=10)], one.with_name("x"))


def test_what_was_trained_for_two_targets_is_kept_apart(kept: Kept) -> None:
    one, two = kept({"mt": TRAINED}), kept({"mt": TRAINED}, name="other", source=6)
    three = kept({"mt": TRAINED}, name="third")
    merged(one, two, three)
    kept_weights = {path.name: load_file(path) for path in (one.with_name("whole") / "weights").iterdir()}
    assert len(kept_weights) == 3 and all(name.endswith("mt-seed0.safetensors") for name in kept_weights)
    for run, target in ((one, "t-"), (two, "other-"), (three, "third-")):
        mine = load_file(run / "weights" / "mt-seed0.safetensors")
        theirs = next(weights for name, weights in kept_weights.items() if name.startswith(target))
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_notes_say_which_target_they_are_of(kept: Kept) -> None:
    one, two = kept({"a": "centroid"}, training={}), kept({"a": "centroid"}, name="other")
    assert not [note for note in merged(one, two).notes if not note.startswith(("t: ", "other: "))]


def test_answers_that_were_changed_are_refused(kept: Kept) -> None:
    one, two = kept({"a": "centroid"}), kept({"b": "ridge"})
    right = load_right(two / "answers.npz")
    save_right(two / "answers.npz", {place: ~values for place, values in right.items()})
    with pytest.raises(InputError, match="was changed or damaged after it was saved"):
        merged(one, two)


def test_accuracies_are_paired_after_merging(kept: Kept) -> None:
    found = merged(kept({"a": "centroid"}), kept({"b": "centroid"}))
    values = [found.result.where(method=name).column("value") for name in "ab"]
    assert np.array_equal(*values)
