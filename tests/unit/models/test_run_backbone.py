"""`run:FOLDER`: the encoder of a saved model is a backbone, and a model made from it needs that folder no more."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import fewtune
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.edits import LoRA
from fewtune.errors import InputError
from fewtune.files import sealed
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from fewtune.models.finetuned_weights import Moved, since_origin, what_moved
from fewtune.models.its_backbone import load_its_backbone
from fewtune.models.named_backbone import FINETUNED, load_backbone, run_folder
from tests.unit.models.test_finetuned_weights import EDIT, HOW, data, finetuned, names, trained  # noqa: F401  # a fixture

CPU = Machine(device="cpu")


def made(kind: str, names: Mapping[str, str], how: str, folder: Path) -> tuple[Path, Backbone]:  # noqa: F811
    """(a saved model whose backbone was moved, its original backbone)."""
    adapted, original = finetuned(kind, names, how, folder / "cache")
    return adapted.save(folder / "first"), original


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("kind", ["image", "text", "vector"])
def test_a_model_made_from_a_run_lives_without_it(kind: str, how: str, names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    first, original = made(kind, names, how, tmp_path)
    encoder = load_backbone(f"run:{first}", machine=CPU)
    assert encoder.digest() == load_its_backbone(load_bundle(first), machine=CPU).digest()
    assert encoder.name == (original.name if how == "nothing" else "run:first") and str(tmp_path) not in encoder.name
    x, y = data(kind)
    adapted = fewtune.adapt((x, ["c", "d"] * (len(y) // 2)), backbone=encoder, method="ridge")
    shutil.rmtree(first)
    second = adapted.save(tmp_path / "second")
    loaded = fewtune.load(second, machine=CPU)
    assert loaded.predict(x[::-1]) == adapted.predict(x[::-1])
    record = loaded.bundle.backbone
    assert (record.name, record.digest) == (original.name, original.digest()) and loaded.backbone.digest() == encoder.digest()
    assert (loaded.bundle.moved is None) == (how == "nothing")
    assert (FINETUNED in record.source) == (how != "nothing") and (FINETUNED in loaded.bundle.card) == (how != "nothing")


def test_a_chain_of_runs_says_where_it_was_finetuned(names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    first, original = made("image", names, "some", tmp_path)
    second = fewtune.adapt(data("image"), backbone=f"run:{first}", method="ridge").save(tmp_path / "second")
    third = load_backbone(f"run:{second}", machine=CPU)
    digests = [load_bundle(run).read[:12] for run in (first, second)]
    assert third.origin is not None and third.origin.origin is None and third.origin.digest() == original.digest()
    assert third.origin.source[FINETUNED] == f"run:first (digest {digests[0]}), then run:second (digest {digests[1]})"


@pytest.mark.parametrize("again", ["full", "some", "lora", "both", "nothing"])
@pytest.mark.parametrize("how", ["some", "lora"])
def test_what_moved_twice_is_kept_from_the_first_start(how: str, again: str, names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    first, original = made("image", names, how, tmp_path)
    encoder = load_backbone(f"run:{first}", machine=CPU)
    moved = what_moved(encoder, trained(encoder, again), (EDIT,) if again in ("lora", "both") else ())
    start, kept = since_origin(encoder, moved)
    assert start.digest() == original.digest() and isinstance(kept, Moved)
    expected, found = (encoder if moved is None else moved.onto(encoder)).start(), kept.onto(original).start()
    assert all(torch.equal(expected[n], found[n]) for n in expected)
    assert any(not torch.equal(expected[n], original.start()[n]) for n in expected)


def test_what_came_back_to_the_start_is_not_kept(names: Mapping[str, str]) -> None:  # noqa: F811
    original = fewtune.load_backbone(names["image"], machine=CPU)
    start = {n: t.clone() for n, t in original.start().items()}
    first = next(iter(start))
    away = original.with_weights({first: start[first] + 1})
    assert since_origin(original, None) == (original, None)
    assert since_origin(away, what_moved(away, start)) == (original, None)
    back = away.with_weights(start)
    assert back.origin is original and since_origin(back, None) == (original, None)


def test_replaced_weights_are_saved_too(names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    """Before, such a model was saved under the digest of weights that could not be found again."""
    original = fewtune.load_backbone(names["image"], machine=CPU)
    away = original.with_weights({n: t * 1.1 for n, t in original.start().items() if t.is_floating_point()})
    adapted = fewtune.adapt(data("image"), backbone=away, method="ridge")
    run, new = adapted.save(tmp_path / "run"), data("image")[0][::-1]
    assert fewtune.load(run, machine=CPU).predict(new) == adapted.predict(new)
    for given in (away, original):  # both are what it was made with
        assert fewtune.load(run, backbone=given).predict(new) == adapted.predict(new)
    other = fewtune.load_backbone("conv4,width=8,seed=3", machine=CPU)
    with pytest.raises(InputError, match="is not the one this model was made with"):
        fewtune.load(run, backbone=other.with_weights(away.start()))


def test_every_door_reads_a_run(names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    first, _ = made("vector", names, "some", tmp_path)
    encoder = fewtune.load_backbone(f"run:{first}", machine=CPU)
    x, y = data("vector")
    adapted = fewtune.adapt((x, y), backbone=f"run:{first}", method="ridge")
    assert adapted.backbone.digest() == encoder.digest()
    classifier = fewtune.FewShotClassifier(method="ridge", backbone=f"run:{first}", device="cpu").fit(list(x), y)
    assert classifier.backbone_digest_ == encoder.digest()
    settings = fewtune.CompareSettings(episodes=5, queries=1)
    found = fewtune.compare((np.tile(x, (3, 1)), y * 3), methods=["ridge"], backbone=f"run:{first}", ways=2, shots=1, settings=settings)
    assert len(found.rows) == 1


def test_names_of_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run_folder("run:~/a,b") == tmp_path / "a,b" and run_folder("conv4") is None
    with pytest.raises(InputError, match=r"expected run:FOLDER\.$"):
        run_folder("run:")
    with pytest.raises(InputError, match="did you mean run:FOLDER"):
        fewtune.load_backbone("runs:pets")


def test_folders_that_are_no_model(names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    with pytest.raises(InputError, match=r"is no saved model: expected a folder with a fewtune\.json"):
        load_backbone(f"run:{tmp_path}/none")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "fewtune.json").write_bytes(sealed({"kind": "study", "format": 3}))
    with pytest.raises(InputError, match="is not a saved model"):
        load_backbone(f"run:{tmp_path}/study")
    first, _ = made("text", names, "some", tmp_path)
    moved = tmp_path / "moved"
    shutil.move(names["text"].removeprefix("hf:"), moved)
    with pytest.raises(InputError, match="say where they are now with --weights"):
        load_backbone(f"run:{first}")
    assert load_backbone(f"run:{first}", weights=moved, machine=CPU).name == "run:first"
    shutil.move(moved, names["text"].removeprefix("hf:"))


def test_a_run_of_your_own_network_is_given_in_python(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    own = Backbone.of(network, inputs=3, machine=CPU)
    away = own.with_weights({n: t + 1 for n, t in own.start().items()})
    x, y = data("vector")
    run = fewtune.adapt((x, y), backbone=away, method="ridge").save(tmp_path / "run")
    with pytest.raises(InputError, match="was made with your own network, module:Sequential"):
        load_backbone(f"run:{run}")
    encoder = fewtune.load(run, backbone=own).backbone
    second = fewtune.adapt((x, y), backbone=encoder, method="ridge").save(tmp_path / "second")
    assert fewtune.load(second, backbone=own).backbone.digest() == away.digest()


def test_the_edits_of_a_run_are_folded_in(names: Mapping[str, str], tmp_path: Path) -> None:  # noqa: F811
    first, original = made("text", names, "lora", tmp_path)
    encoder = load_backbone(f"run:{first}", machine=CPU)
    kept = since_origin(encoder, None)[1]
    assert kept is not None and kept.edits == "()" and set(kept.weights) <= set(original.start())
    factors = {n.removeprefix("lora.").removesuffix(".up") for n in LoRA(rank=2).declare(original) if n.endswith(".up")}
    assert set(kept.weights) == factors
    assert replace(kept, digest="").digest == "" and kept.digest == encoder.digest()
