"""Pretraining from end to end: what is learned, that it goes on bit for bit, what is kept, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fewtune
from fewtune.data.examples import Examples, make_examples
from fewtune.data.items import Pixels, Texts, Vectors
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.files import entries
from fewtune.machine import Machine
from fewtune.models.named_backbone import load_backbone
from fewtune.pretraining import pretrain as module
from fewtune.pretraining.outcome import Pretrained
from fewtune.pretraining.pretrain import Surroundings, pretrain_examples
from fewtune.pretraining.settings import PretrainSettings
from fewtune.stopping import Stopped, ask_to_stop
from tests.tiny import WORDS, images, save_bert, save_clip

CPU = Machine(device="cpu")
MLP = "mlp,inputs=6,width=8"
HOW = PretrainSettings(objective="supervised", visits=400, batch=20, checkpoints=3)


def clouds(classes: int = 4, each: int = 30, seed: int = 0) -> Examples:
    """Classes that a linear layer cannot part: each lies on both sides of the middle."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    middle = random.normal(size=(classes, 6))
    signs = random.choice([-1.0, 1.0], size=(len(labels), 1))
    x = signs * middle[labels] * 3 + random.normal(size=(len(labels), 6))
    return make_examples(Vectors(x.astype(np.float32)), [f"c{k}" for k in labels], name="clouds")


def run(
    examples: Examples, out: Path, how: PretrainSettings = HOW, *, backbone: str = MLP, said: list[str] | None = None, **keep: bool
) -> Pretrained:
    at = Surroundings(say=(said if said is not None else []).append)
    found = pretrain_examples([examples], load_backbone(backbone, machine=CPU), how, Keeping(out=out, **keep), at)
    assert found is not None
    return found


def weights_of(name: str) -> dict[str, torch.Tensor]:
    return load_backbone(name, machine=CPU).start()


def equal(a: str, b: str) -> bool:
    mine, theirs = weights_of(a), weights_of(b)
    return all(torch.equal(mine[n], theirs[n]) for n in mine)


def test_a_supervised_run_learns_what_the_start_did_not_know(tmp_path: Path) -> None:
    said: list[str] = []
    found = run(clouds(each=80), tmp_path / "a", replace(HOW, visits=8000, lr=2e-2), said=said)
    points = found.record["probe"]["accuracies"]
    assert [one["step"] for one in points] == [0, 100, 200, 300, 400] and found.record["checkpoints"] == [100, 200, 300]
    assert points[0]["accuracy"] < 0.7 < 0.85 < points[-1]["accuracy"]
    assert all(one["low"] <= one["accuracy"] <= one["high"] for one in points)
    assert found.record["visits"] == 400 * 20 and found.curve[-1]["step"] == 400 and found.curve[-1]["loss"] < 0.5 * found.curve[0]["loss"]
    assert said[-1].startswith("400 updates of 20 rows each: 8,000 rows in all") and said[-1].endswith("checkpoints after 100, 200, 300.")
    assert json.loads((tmp_path / "a" / "pretraining.json").read_text())["curve"] == found.curve


def test_what_was_trained_is_the_backbone_and_the_checkpoints_lie_on_the_way(tmp_path: Path) -> None:
    found = run(clouds(), tmp_path / "a")
    start = weights_of(MLP)
    assert load_backbone(f"run:{tmp_path / 'a'}", machine=CPU).digest() == found.backbone.digest()
    ways = [weights_of(f"run:{tmp_path / 'a'},step={step}") for step in found.record["checkpoints"]]
    far = [sum(float((one[n] - start[n]).square().sum()) for n in start) for one in (*ways, found.backbone.start())]
    assert far[0] > 0 and far == sorted(far)
    assert found.backbone.source["pretrained"].startswith("supervised on clouds, 20 updates (run ")
    again = run(clouds(seed=1), tmp_path / "b", backbone=f"run:{tmp_path / 'a'}")
    assert again.backbone.source["pretrained"].count("supervised on clouds, 20 updates (run ") == 2
    assert again.record["lr"] == module.GIVEN and found.record["lr"] == module.FRESH


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_stopped_run_goes_on_bit_for_bit(at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(clouds(), tmp_path / "whole")
    looks: list[int] = []
    made = module._Work._made

    def stopping(self: Any, weights: Any, step: int) -> Any:
        looks.append(step)
        if len(looks) == at:
            ask_to_stop()
        return made(self, weights, step)

    monkeypatch.setattr(module._Work, "_made", stopping)
    with pytest.raises(Stopped, match="--resume"):
        run(clouds(), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert equal(f"run:{tmp_path / 'a.partial'},step={5 * at}", f"run:{tmp_path / 'whole'},step={5 * at}")
    with pytest.raises(InputError, match="an unfinished run is kept"):
        run(clouds(), tmp_path / "a")
    for other in (replace(HOW, lr=1e-2), replace(HOW, seed=1), replace(HOW, batch=10)):
        with pytest.raises(InputError, match="holds another unfinished run"):
            run(clouds(), tmp_path / "a", other, resume=True)
    with pytest.raises(InputError, match="holds another unfinished run"):
        run(clouds(seed=1), tmp_path / "a", resume=True)
    found = run(clouds(), tmp_path / "a", resume=True)
    for suffix in ("", ",step=5", ",step=10", ",step=15"):
        assert equal(f"run:{tmp_path / 'a'}{suffix}", f"run:{tmp_path / 'whole'}{suffix}")
    assert found.curve == whole.curve and found.record["probe"] == whole.record["probe"]
    assert not (tmp_path / "a.partial").exists()
    assert run(clouds(), tmp_path / "a", resume=True).record == json.loads((tmp_path / "a" / "pretraining.json").read_text())


def test_an_interrupted_run_of_minutes_keeps_its_length(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = replace(HOW, visits=0, minutes=1.0)
    monkeypatch.setattr(module, "seconds_of", lambda *_: 3.0)
    monkeypatch.setattr(module._Work, "_made", lambda *_: ask_to_stop())
    monkeypatch.setattr(module.RunFolder, "keep_step", lambda *_: None)
    with pytest.raises(Stopped):
        run(clouds(), tmp_path / "a", how)
    monkeypatch.undo()
    monkeypatch.setattr(module, "seconds_of", lambda *_: 30.0)
    assert run(clouds(), tmp_path / "a", how, resume=True).record["steps"] == 20
    assert run(clouds(), tmp_path / "b", how).record["steps"] == 2
    monkeypatch.setattr(module, "seconds_of", lambda *_: 61.0)
    with pytest.raises(InputError, match=r"minutes=1 does not allow one update, which takes 61\.0 s here"):
        run(clouds(), tmp_path / "c", how)
    assert not (tmp_path / "c.partial").exists() and not (tmp_path / "c").exists()


def test_a_dry_run_says_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    at = Surroundings(say=said.append, dry=True)
    assert pretrain_examples([clouds()], load_backbone(MLP, machine=CPU), HOW, Keeping(out=tmp_path / "a"), at) is None
    assert not list(tmp_path.iterdir())
    assert said[0] == "clouds: 4 classes." and said[1].startswith("The probe is a logistic regression") and "20 updates" in said[2]


def shaded(count: int = 64, seed: int = 0, *, labelled: bool = True) -> Examples:
    """Pictures of stripes that lean to one of four sides, on any grey and of any width: pixels do not show the class, edges do."""
    random = np.random.default_rng(seed)
    places = np.stack(np.mgrid[:20, :20], -1) @ np.array([[0, 1], [1, 0], [1, 1], [1, -1]]).T
    sides = np.arange(count) % 4
    waves = np.stack([np.sin(places[..., k] * random.uniform(0.7, 1.2) + random.uniform(0, 7)) for k in sides])
    pixels = 128 + random.uniform(30, 100, (count, 1, 1)) * waves + random.normal(0, 12, waves.shape)
    made = np.repeat(pixels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    return make_examples(Pixels(made), [f"c{k}" for k in sides] if labelled else None, name="stripes")


@pytest.mark.parametrize("loss", ["nt_xent", "one_negative", "population"])
def test_views_of_photos_find_each_other_without_labels(loss: str, tmp_path: Path) -> None:
    how = PretrainSettings(
        objective="simclr", loss=loss, visits=2 * 32 * 30, batch=32, checkpoints=1, lr=5e-3, view="Augment(crop=(0.8, 1.0))"
    )
    found = run(shaded(), tmp_path / "a", how, backbone="conv4,size=20,width=8")
    losses = [row["loss"] for row in found.curve]
    assert (
        len(losses) == 30
        and np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1 * np.mean(losses[:5])
        and found.record["visits"] == 2 * 32 * 30
    )
    assert found.record["remarks"] == ["stripes: 48 photos; labels are not looked at."]
    assert "projection" not in " ".join(found.backbone.start())
    bare = run(shaded(labelled=False), tmp_path / "b", replace(how, visits=2 * 64), backbone="conv4,size=20,width=8")
    assert bare.record["probe"] is None and bare.record["remarks"] == ["stripes: 64 photos; labels are not looked at."]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    save_clip(folder := tmp_path_factory.mktemp("clip"))
    return f"hf:{folder}"


def photographed(count: int = 24, *, captions: bool = True) -> Examples:
    """Pictures with a text each; every text belongs to two of them."""
    texts = [f"{WORDS[i % 12]} {WORDS[(7 * i + 3) % 12]}" for i in range(count // 2)]
    made = make_examples(Pixels(images(count, height=32, width=32)), [f"c{i % 3}" for i in range(count)], name="pictures")
    return replace(made, caption=[texts[i // 2] for i in range(count)]) if captions else made


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_a_contrastive_run_brings_pictures_and_their_texts_together(clip: str, loss: str, tmp_path: Path) -> None:
    how = PretrainSettings(objective="contrastive", loss=loss, visits=16 * 40, batch=16, checkpoints=1, lr=3e-3)
    said: list[str] = []
    found = run(photographed(), tmp_path / "a", how, backbone=clip, said=said)
    losses = [row["loss"] for row in found.curve]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert said[0].startswith("pictures: 18 rows with a caption; ") and said[0].endswith(" different texts.")
    learned = found.record["learned"]
    assert ("head.offset" in learned) == (loss == "sigmoid") and learned["head.log_temperature"] != pytest.approx(np.log(1 / 0.07))
    again = load_backbone(f"run:{tmp_path / 'a'}", machine=CPU)
    assert found.backbone.label_side and again.label_side
    # the scale of the cosines that was learned is kept with the model, and is where a run from it begins
    assert again.logit_scale == pytest.approx(np.exp(learned["head.log_temperature"]), rel=1e-6) == found.backbone.logit_scale
    half = load_backbone(f"run:{tmp_path / 'a'},step=20", machine=CPU).logit_scale
    assert half != pytest.approx(again.logit_scale, rel=1e-4) and half != pytest.approx(1 / 0.07, rel=1e-4)
    if loss == "softmax":
        on = run(photographed(), tmp_path / "b", replace(how, visits=16, lr=1e-9), backbone=f"run:{tmp_path / 'a'}")
        assert on.backbone.logit_scale == pytest.approx(again.logit_scale, rel=1e-5)


def test_class_names_in_templates_are_captions_where_there_are_none(clip: str, tmp_path: Path) -> None:
    how = PretrainSettings(visits=64, batch=16, checkpoints=0, templates=("a {} there", "one {}"))
    said: list[str] = []
    run(photographed(captions=False), tmp_path / "a", how, backbone=clip, said=said)
    assert said[0] == "pictures: 18 rows paired with the class name in a template; 6 different texts."


def test_the_same_by_name_from_python(tmp_path: Path) -> None:
    examples = clouds()
    x = np.stack([examples.items.fetch(i) for i in range(len(examples))])
    found = fewtune.pretrain((x, [f"c{k}" for k in examples.labels]), backbone=MLP, out=tmp_path / "a", settings=HOW)
    assert found.where == tmp_path / "a" and "Supervised pretraining of mlp" in found.sentences[0]
    page = (tmp_path / "a" / "report.html").read_text()
    assert "Supervised pretraining on data" in page and page.count("<svg") == 2 and "http-equiv" in page
    assert sorted(n for n in entries(found.where) if "/" not in n) == ["fewtune.json", "pretraining.json", "report.html"]


@pytest.mark.parametrize(
    ("backbone", "examples", "how", "sentence"),
    [
        ("conv4", clouds(), HOW, "clouds holds examples, but conv4 reads photos"),
        ("pixels", photographed(), HOW, "pixels has no weights, so there is nothing to pretrain"),
        (MLP, clouds(), replace(HOW, visits=19), "a budget of 19 visits does not allow one update of 20 rows: expected 20 or more"),
        (MLP, clouds(), PretrainSettings(objective="simclr", visits=100), "simclr compares views of photos, but mlp.* reads examples"),
        (
            "conv4",
            photographed(),
            replace(HOW, objective="simclr", visits=35),
            "35 visits does not allow one update of 36 rows",
        ),
        ("conv4", photographed().take([0]), replace(HOW, objective="simclr", loss=None), "simclr tells photos apart, but found one photo"),
        (MLP, clouds(), PretrainSettings(visits=100), "reads no texts, so examples cannot be paired with captions"),
        (MLP, make_examples(Vectors(np.zeros((9, 6), dtype=np.float32)), name="bare"), HOW, "bare has fewer than two classes"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    backbone: str, examples: Examples, how: PretrainSettings, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=sentence):
        run(examples, tmp_path / "a", how, backbone=backbone)
    assert not list(tmp_path.iterdir())


def test_pairs_without_texts_are_refused_in_a_sentence(clip: str, tmp_path: Path) -> None:
    how = PretrainSettings(visits=64, batch=16)
    bare = make_examples(Pixels(images(8, height=32, width=32)), name="bare")
    with pytest.raises(InputError, match="bare has neither captions nor classes"):
        run(bare, tmp_path / "a", how, backbone=clip)
    with pytest.raises(InputError, match="bare has one caption for all rows"):
        run(replace(bare, caption=["the cat"] * 8), tmp_path / "a", how, backbone=clip)
    with pytest.raises(InputError, match=r"pictures holds photos, but .* reads texts"):
        save_bert(folder := tmp_path / "bert")
        run(photographed(), tmp_path / "a", how, backbone=f"hf:{folder}")
    with pytest.raises(InputError, match="cannot be written into a run's folder"):
        own = fewtune.Backbone.of(torch.nn.Linear(6, 3), inputs=6)
        pretrain_examples([clouds()], own, HOW, Keeping(out=tmp_path / "a"))


def test_captions_of_thousands_of_words_are_cut_and_counted(clip: str, tmp_path: Path) -> None:
    said: list[str] = []
    long = replace(photographed(), caption=[" ".join(["the cat"] * (3000 + i)) if i < 2 else f"{WORDS[i % 9]} {i}" for i in range(24)])
    run(long, tmp_path / "a", PretrainSettings(visits=64, batch=16, checkpoints=0, probe=False), backbone=clip, said=said)
    assert said[1] == "1 caption longer than the text tower reads: cut there."  # both are the same once they are cut


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "one of the two, above 0; found 0 visits"),
        ({"visits": 5, "minutes": 1.0}, "one of the two"),
        ({"minutes": float("inf")}, "one of the two"),
        ({"visits": 5, "objective": "magic"}, "unknown objective 'magic'"),
        ({"visits": 5, "loss": "hinge"}, "unknown loss of contrastive 'hinge'"),
        ({"visits": 5, "batch": 1}, "batch of at least 2"),
        ({"visits": 5, "checkpoints": -1}, "checkpoints of at least 0"),
        ({"visits": 5, "lr": -1.0}, "lr of at least 0"),
        ({"visits": 5, "temperature": 0.0}, "temperature divides cosines"),
        ({"visits": 5, "view": "Sampled()"}, "unknown name 'Sampled'"),
        ({"visits": 5, "view": 3}, "3 is no view"),
        ({"visits": 5, "warmup": 1.0}, "warmup of at least 0 and below 1"),
        ({"visits": 5, "templates": ("no place",)}, "one {} for the class name"),
    ],
)
def test_settings_out_of_range_are_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        PretrainSettings(**given)


def test_texts_can_be_classes_too(tmp_path: Path) -> None:
    save_bert(folder := tmp_path / "bert")
    texts = [f"{a} {b}" for a in WORDS[:8] for b in WORDS[8:16]]
    data = make_examples(Texts(texts), [t.split()[0] for t in texts], name="texts")
    how = PretrainSettings(objective="supervised", visits=64 * 20, batch=32, lr=5e-3, checkpoints=0)
    found = run(data, tmp_path / "a", how, backbone=f"hf:{folder},pretrained=false")
    assert found.curve[-1]["loss"] < 0.7 * found.curve[0]["loss"] and found.record["probe"]["classes"] == 8
