"""Aligning two towers: what is learned from, what comes out, what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fewtune
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import TEST, TRAIN, VALIDATION, Examples, make_examples
from fewtune.data.items import Pixels, Texts
from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.machine import Machine
from fewtune.pretraining.align import aligned
from fewtune.pretraining.align_rows import paired_rows
from fewtune.pretraining.align_settings import AlignSettings
from fewtune.pretraining.by_contrast import projections_in
from fewtune.pretraining.closed_form import Moments, Projections, Rows, chosen_strengths
from fewtune.report.pretraining_page import pretraining_page
from fewtune.stopping import Stopped, ask_to_stop
from tests.tiny import images, save_bert, save_vit

CPU = Machine(device="cpu", dtype="float32", workers=1)
NAMES = ("red cat", "blue cat", "red dog", "blue dog", "red bird", "blue bird", "small cat", "small dog", "small bird", "big cat")


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Backbone, Backbone]:
    folder = tmp_path_factory.mktemp("towers")
    save_vit(folder / "vit")
    save_bert(folder / "bert")
    vit, bert = (load_backbone(f"hf:{folder / name}", machine=CPU) for name in ("vit", "bert"))
    return vit, bert


def labelled(per: int = 4, names: tuple[str, ...] = NAMES, seed: int = 0) -> Examples:
    """Pictures whose brightness and hue follow their class."""
    labels = np.arange(len(names) * per) % len(names)
    pixels = images(len(labels), seed=seed, height=32, width=32) // 4 + (labels[:, None, None, None] * 18).astype(np.uint8)
    pixels[..., 0] //= 1 + (labels % 2)[:, None, None].astype(np.uint8)
    return make_examples(Pixels(pixels), labels, name="pets", class_names=names)


def settings(**given: object) -> AlignSettings:
    return AlignSettings(**{"steps": 4, "batch": 16, "templates": ("a photo of a {}",), **given})  # type: ignore[arg-type]


def test_a_run_is_a_backbone_whose_label_side_knows_the_images(towers: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    found = fewtune.align(labelled(), image=towers[0], text=towers[1], out=tmp_path / "run", settings=settings(), cache=tmp_path)
    pair = fewtune.load_backbone(f"run:{tmp_path / 'run'}", machine=CPU)
    assert pair.digest() == found.backbone.digest() and pair.width == towers[0].width and pair.label_side
    assert pair.logit_scale == pytest.approx(float(pair.start()["logit_scale"].exp()))
    for name, tower in (("image", towers[0]), ("text", towers[1])):  # locked: as they were
        assert all(torch.equal(pair.start()[f"{name}.{n}"], t) for n, t in tower.start().items())
    space = fewtune.data.RowSpace([labelled()])
    features = unit(pair.embed(pair.start(), space, np.arange(40)))
    texts = unit(pair.embed_labels(pair.start(), [f"a photo of a {name}" for name in NAMES]))
    right = (features @ texts.T).argmax(1).numpy() == np.arange(40) % 10
    assert right.mean() >= 0.2  # chance: .1; the towers are random
    record = json.loads((tmp_path / "run" / "pretraining.json").read_text())
    page = pretraining_page(record)
    assert f"after 0 updates {100 * record['looks'][0][1]:.1f}%" in page and "update 0 is the closed form" in " ".join(page.split())
    assert "closed form. The full dot" not in " ".join(pretraining_page({**record, "looks": record["looks"][:1]}).split())
    assert record["settings"]["most"] == 0 and len(record["looks"]) == 5 and "pets" in record["backbone"]["source"]["pretrained"]
    assert any("held out" in said for said in found.sentences) and (tmp_path / "run" / "report.html").stat().st_size > 1000
    page = (tmp_path / "run" / "report.html").read_text()
    assert ">fewtune align<" in page and "strength of texts" in page and ">of texts<" not in page
    again = fewtune.align(labelled(), image=towers[0], text=towers[1], out=tmp_path / "again", settings=settings(), cache=tmp_path)
    assert again.backbone.digest() == pair.digest()  # the same each time


@pytest.mark.parametrize("moving", ["lora", "all"])
def test_towers_that_move(towers: tuple[Backbone, Backbone], tmp_path: Path, moving: str) -> None:
    told = settings(towers=moving, tower_steps=2, tower_batch=8, tower_lr=1e-3, loss="sigmoid")
    fewtune.align(labelled(), image=towers[0], text=towers[1], out=tmp_path / "run", settings=told, cache=tmp_path)
    pair = load_backbone("x", folder=tmp_path / "run" / "backbone", machine=CPU)
    for name, tower in (("image", towers[0]), ("text", towers[1])):
        moved = [n for n, t in tower.start().items() if not torch.equal(pair.start()[f"{name}.{n}"], t)]
        assert moved and (moving == "all" or not any("bias" in n or "norm" in n.lower() for n in moved))
    assert not any("lora" in n for n in pair.start())
    record = json.loads((tmp_path / "run" / "pretraining.json").read_text())
    chosen = record["steps"] - 2
    assert record["visits"] == 2 * 8 + chosen * 16 and "held-out texts have not judged" in record["remarks"][-1]


def test_towers_that_move_do_not_look_at_rows_that_cannot_be_read(towers: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    data = labelled(per=2)
    for label, name in enumerate(NAMES):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for row in np.flatnonzero(data.labels == label):
            data.items.fetch(row).save(tmp_path / "pets" / name / f"{row}.png")
    (tmp_path / "pets" / NAMES[0] / "0.png").write_bytes((tmp_path / "pets" / NAMES[0] / "0.png").read_bytes()[:-200])
    told = settings(towers="all", tower_steps=3, tower_batch=8, skip_bad=True)
    found = fewtune.align(tmp_path / "pets", image=towers[0], text=towers[1], out=tmp_path / "run", settings=told, cache=tmp_path)
    assert found.record["visits"] >= 24


def test_rows_texts_and_what_is_held_out() -> None:
    data = labelled(per=5)
    rows = paired_rows([data], settings(most=3))
    assert np.bincount(rows.own).tolist() == [3] * 10 and rows.prompts == ("a photo of a {}",)
    assert sorted(np.unique(rows.own[rows.held])) and len(np.unique(rows.own[rows.held])) == 2 and not rows.apart
    split = replace(data, class_split=np.array([TRAIN] * 5 + [VALIDATION] * 3 + [TEST] * 2))
    rows = paired_rows([split], settings())
    texts = {rows.texts[t] for t in rows.own[rows.held]}
    assert rows.apart and texts == set(NAMES[5:8]) and set(rows.texts) == set(NAMES[:8])
    rows = paired_rows([replace(data, row_split=np.arange(50) % 2 * TEST)], settings())
    assert len(rows.own) == 25


def test_validation_rows_are_never_learned_from() -> None:
    data = labelled(per=5)
    rows = paired_rows([replace(data, row_split=np.arange(50) // 40)], settings())  # their class names are learned: nothing to judge by
    assert len(rows.own) == 40 and not rows.apart
    said = [f"{name} {n // 5}" for n, name in enumerate(NAMES * 5)]
    rows = paired_rows([replace(data, row_split=np.arange(50) // 40, caption=said)], settings())
    assert rows.apart and {rows.texts[t] for t in rows.own[rows.held]} == {*said[40:]} and len(rows.own) == 50
    rows = paired_rows([replace(data, row_split=np.arange(50) // 40, caption=[*said[:40], *said[:3], *said[43:]])], settings())
    assert {rows.texts[t] for t in rows.own[rows.held]} == {*said[43:]} and len(rows.own) == 47  # a text that is learned judges nothing


def test_a_photo_is_held_out_with_all_its_captions() -> None:
    one = make_examples(Pixels(images(20)), name="photos")
    data = replace(one.take(np.repeat(np.arange(20), 3)), caption=[f"text {n}" for n in range(60)])
    rows = paired_rows([data], settings())
    held = {digest for digest, mask in zip(rows.sources[0].row_digests, rows.held, strict=True) if mask}
    fit = {digest for digest, mask in zip(rows.sources[0].row_digests, rows.held, strict=True) if not mask}
    assert len(held) == 4 and rows.held.sum() == 12 and not held & fit
    joined = replace(data, caption=["the same" if n % 3 == 0 else f"text {n}" for n in range(60)])  # one text ties all photos together
    rows = paired_rows([joined], settings())
    assert not rows.held.any() and any("too few to choose by" in said for said in rows.told)


def noisy(seed: int, texts: int) -> Rows:
    """Features of which five of ten numbers say nothing of the text."""
    g = torch.Generator().manual_seed(seed)
    vectors = unit(torch.randn(texts, 6, generator=g))
    truth = torch.randn(6, 10, generator=torch.Generator().manual_seed(9))
    own = torch.arange(texts * 8) % texts
    noise = torch.randn(len(own), 10, generator=g) * torch.tensor([3.2] * 5 + [0.2] * 5)
    return Rows(unit(vectors[own] @ truth + noise), vectors, own)


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_contrast_finds_what_the_closed_form_does_not(loss: str) -> None:
    fit, held, fresh = noisy(0, 60), noisy(1, 20), noisy(2, 20)
    told = AlignSettings(steps=40, batch=128, lr=0.03, loss=loss)  # type: ignore[arg-type]
    apart, joined = (aligned(fit, held, told, apart=way) for way in (True, False))
    closed = Moments(fit).projections(*chosen_strengths(fit, held)).accuracy(fresh)
    assert apart.facts["steps"] > 0 and apart.projections.accuracy(fresh) > closed + 0.1
    looks = dict(map(tuple, apart.facts["looks"]))
    assert looks[apart.facts["steps"]] == max(looks.values()) == apart.projections.accuracy(held)
    assert joined.projections.accuracy(held) > apart.projections.accuracy(held) - 0.05  # those too were learned from
    assert not torch.equal(joined.projections.text[0], apart.projections.text[0])
    assert aligned(fit, None, told, apart=False).facts["steps"] == 0  # nothing to choose by: the closed form
    assert aligned(fit, held, replace(told, steps=0), apart=True).facts["steps"] == 0


def test_captions_come_before_class_names() -> None:
    data = labelled(per=1)
    captions = ["the cat sat on the mat", "the cat sat on the mat", "a  big\nred dog", *[""] * 7]
    rows = paired_rows([replace(data, caption=captions)], settings())
    assert rows.prompts == ("{}",) and rows.own[0] == rows.own[1]  # equal captions are one text
    assert rows.texts[:3] == ("the cat sat on the mat", "a big red dog", "a photo of a blue dog")
    unlabelled = replace(make_examples(Pixels(images(30)), name="pictures"), caption=[f"picture {n}" for n in range(30)])
    assert len(paired_rows([unlabelled], settings(most=12)).own) == 12  # rows without a class: in all


def test_what_is_refused(towers: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    vit, bert = towers

    def align(data: object, image: Backbone = vit, text: Backbone = bert, **given: object) -> None:
        fewtune.align(data, image=image, text=text, out=tmp_path / "run", settings=settings(**given), cache=tmp_path)  # type: ignore[arg-type]

    with pytest.raises(InputError, match=r"pictures has neither captions nor classes|found 0 different texts"):
        align(make_examples(Pixels(images(6)), name="pictures"))
    with pytest.raises(InputError, match="words holds texts: `align` pairs photos"):
        align(make_examples(Texts(["a", "b"]), ["x", "y"], name="words"))
    with pytest.raises(InputError, match="the first tower reads images, but hf:bert reads texts"):
        align(labelled(), image=bert)
    with pytest.raises(InputError, match="the second tower reads texts, but hf:vit reads images alone"):
        align(labelled(), text=vit)
    with pytest.raises(InputError, match=r"a prompt has one \{\}"):
        settings(templates=("a photo",))
    with pytest.raises(InputError, match="unknown towers 'lokced': did you mean locked"):
        settings(towers="lokced")
    with pytest.raises(InputError, match="found 1 different texts"):
        align(labelled(names=("red cat",)))
    assert not (tmp_path / "run").exists() and not list(tmp_path.glob("run*"))
    align(labelled())
    with pytest.raises(InputError, match="exists already"):
        align(labelled())


def test_a_text_that_embeds_to_nothing_is_refused(towers: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    silent = towers[1].with_weights({n: torch.zeros_like(t) for n, t in towers[1].start().items() if t.is_floating_point()})
    with pytest.raises(InputError, match=r"the text 'red cat' embeds to nothing \(a vector of zeros\) by hf:bert"):
        fewtune.align(labelled(), image=towers[0], text=silent, out=tmp_path / "run", settings=settings(), cache=tmp_path)


def test_captions_of_thousands_of_words_are_cut_and_said(towers: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    data = replace(labelled(per=2), caption=[f"{name} " + "the cat " * (3000 if n == 3 else 1) for n, name in enumerate(NAMES * 2)])
    found = fewtune.align(data, image=towers[0], text=towers[1], out=tmp_path / "run", settings=settings(), cache=tmp_path)
    assert any("1 of 11 texts cut after 32 tokens, the most that hf:bert reads." in said for said in found.sentences)


def test_the_share_that_is_right_is_said_among_the_texts_that_are_held_out(towers: tuple[Backbone, Backbone], tmp_path: Path) -> None:
    data = replace(labelled(per=1), caption=[f"the {name}" for name in NAMES])
    found = fewtune.align(data, image=towers[0], text=towers[1], out=tmp_path / "run", settings=settings(), cache=tmp_path)
    assert any("by 2 rows of 2 texts held out" in said for said in found.sentences)
    assert any("the nearest of 2 is right" in said for said in found.sentences) and found.record["ways"] == 2


def test_a_stopped_alignment_leaves_nothing_that_would_have_to_be_resumed(
    towers: tuple[Backbone, Backbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def align() -> object:
        return fewtune.align(labelled(), image=towers[0], text=towers[1], out=tmp_path / "run", settings=settings(), cache=tmp_path)

    def stopped(weights: Mapping[str, torch.Tensor]) -> Projections:
        ask_to_stop()  # as Ctrl-C does, in the midst of training
        return projections_in(weights)

    with monkeypatch.context() as patch, pytest.raises(Stopped, match=r"^$"):
        patch.setattr("fewtune.pretraining.by_contrast.projections_in", stopped)
        align()
    assert not list(tmp_path.glob("run*"))
    align()
