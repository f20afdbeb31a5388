"""The folder of a pretraining run: `run:FOLDER` is the backbone that it made, `run:FOLDER,step=N` one of its checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import fewtune
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.packed import pack
from fewtune.backbones.providers.check import check_name
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.files import entries
from fewtune.machine import Machine
from fewtune.models.bundle import load_bundle
from fewtune.models.named_backbone import load_backbone, run_folder
from fewtune.pretraining.run import RunFolder
from fewtune.stopping import Stopped
from tests.tiny import drawn, images, save_bert, save_vit

CPU = Machine(device="cpu")


def shifted(backbone: Backbone, by: float) -> Backbone:
    """The same model with other weights."""
    with drawn(int(10 * by)):
        moved = {n: t + by * torch.randn_like(t) for n, t in backbone.start().items() if t.is_floating_point() and "running" not in n}
    return replace(backbone.with_weights(moved), origin=None, source={**backbone.source, "pretrained": "by hand"})


def written(out: Path, backbone: Backbone, *, steps: tuple[int, ...] = (1, 20), **keeping: bool) -> Path:
    with RunFolder(Keeping(out=out, **keeping), "abc") as run:
        for step in steps:
            run.keep_step(step, shifted(backbone, 0.1 * step))
        return run.finish(shifted(backbone, 0.5), {"objective": "none"}, "<html></html>")


@pytest.fixture(scope="module", params=["conv4,size=28", "mlp,inputs=3,width=4", "bert", "vit", "timm:resnet10t,pretrained=false,size=32"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    name = request.param
    folder = tmp_path_factory.mktemp("models")
    if name in ("bert", "vit"):
        (save_bert if name == "bert" else save_vit)(folder)
        name = f"hf:{folder}"
    return load_backbone(name, machine=CPU)


def test_what_a_run_made_and_its_checkpoints_are_backbones(start: Backbone, tmp_path: Path) -> None:
    out = written(tmp_path / "clip", start)
    for name, by in ((f"run:{out}", 0.5), (f"run:{out},step=1", 0.1), (f"run:{out},step=20", 2.0)):
        check_name(name)
        assert run_folder(name) == out
        found, expected = load_backbone(name, machine=CPU), shifted(start, by)
        assert found.name == "run:clip" + name.partition(str(out))[2] and found.origin is None and str(tmp_path) not in found.name
        assert found.digest() == expected.digest() != start.digest()
        assert found.source["pretrained"] == "by hand" and found.label_side == start.label_side
    assert sorted(n for n in entries(out) if "/" not in n) == ["fewtune.json", "pretraining.json", "report.html"]
    assert json.loads((out / "pretraining.json").read_text()) == {"objective": "none"}
    assert not (tmp_path / "clip.partial").exists()


def test_a_run_is_the_start_of_another_one(start: Backbone, tmp_path: Path) -> None:
    first = load_backbone(f"run:{written(tmp_path / 'first', start)},step=20", machine=CPU)
    second = load_backbone(f"run:{written(tmp_path / 'second', first)}", machine=CPU)
    assert second.digest() == shifted(first, 0.5).digest() and second.name == "run:second"
    assert pack(second, tmp_path / "unmoved").size and (tmp_path / "unmoved" / "backbone.json").is_file()


def test_a_model_adapted_from_a_run_finds_its_backbone_again(tmp_path: Path) -> None:
    out = written(tmp_path / "nets", load_backbone("conv4,size=28", machine=CPU))
    x, y = images(8, height=28, width=28), ["a", "b"] * 4
    for name in (f"run:{out}", f"run:{out},step=20"):
        adapted = fewtune.adapt((x, y), backbone=name, method="ridge")
        saved = adapted.save(tmp_path / "model", overwrite=True)
        record = load_bundle(saved).backbone
        assert record.name == "run:nets" + name.partition(str(out))[2] and record.folder
        assert not any(str(tmp_path).encode() in (saved / file).read_bytes() for file in entries(saved))
        assert fewtune.load(saved, machine=CPU).predict(x) == adapted.predict(x)
    adapted = fewtune.adapt((x, y), backbone=f"run:{out}", method="ridge")
    saved, packed = adapted.save(tmp_path / "model", overwrite=True), adapted.save(tmp_path / "packed", pack=True)
    moved = out.rename(tmp_path / "elsewhere")
    assert fewtune.load(packed, machine=CPU).predict(x) == adapted.predict(x)
    with pytest.raises(InputError, match="say where they are now with --weights"):
        fewtune.load(saved, machine=CPU).predict(x)
    for weights in (moved, moved / "backbone"):
        assert fewtune.load(saved, machine=CPU, weights=weights).predict(x) == adapted.predict(x)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("run:{out}-elsewhere,step=4", "does not exist: expected the folder of a pretraining run"),
        ("run:{out},step=7", "keeps no checkpoint of step 7: it has the steps 1, 20"),
        ("run:{out},step=many", "expected the number of a step after step=, found 'many'"),
        ("run:{out}.partial", "is not finished: name one of its checkpoints, such as run:FOLDER,step=3"),
        ("run:{out}.partial,step=4", "keeps no checkpoint of step 4: it has the steps 3"),
        ("run:{out}/nowhere", "holds no saved model: expected one that `fewtune adapt`, `pretrain` or `align` wrote"),
        ("run:,step=3", "run: lacks the folder"),
    ],
)
def test_what_a_run_does_not_hold_is_refused_in_a_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    start = load_backbone("mlp,inputs=3,width=4", machine=CPU)
    out = written(tmp_path / "mlp", start)
    run = RunFolder(Keeping(out=out, overwrite=True), "abc")
    with pytest.raises(Stopped, match="--resume"), run:
        run.keep_step(3, start)
        raise Stopped
    assert load_backbone(f"run:{out}.partial,step=3", machine=CPU).digest() == start.digest()
    with pytest.raises(InputError, match=sentence):
        check_name(name.format(out=out))
    if "nowhere" not in name:
        with pytest.raises(InputError, match=sentence):
            load_backbone(name.format(out=out))


class TestKept:
    start = load_backbone("mlp,inputs=3,width=4", machine=CPU)

    def test_a_run_that_is_refused_at_once_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no"), RunFolder(Keeping(out=tmp_path / "a"), "abc"):
            raise InputError("no")
        assert not list(tmp_path.iterdir())

    def test_an_unfinished_run_is_resumed_or_replaced_and_never_mixed(self, tmp_path: Path) -> None:
        out = tmp_path / "a"
        with pytest.raises(Stopped), RunFolder(Keeping(out=out), "abc") as run:
            run.keep_step(1, self.start)
            run.keep_fact("steps", 7)
            raise Stopped
        assert not out.exists()
        with pytest.raises(InputError, match="an unfinished run is kept"), RunFolder(Keeping(out=out), "abc"):
            pass
        with pytest.raises(InputError, match="holds another unfinished run"), RunFolder(Keeping(out=out, resume=True), "other"):
            pass
        with RunFolder(Keeping(out=out, resume=True), "abc") as run:
            assert run.steps == [1] and run.fact("steps") == 7 and run.fact("other") is None
        with RunFolder(Keeping(out=out, overwrite=True), "abc") as run:
            assert run.steps == [] and run.fact("steps") is None
            run.finish(self.start, {}, "")

    def test_only_what_fewtune_wrote_is_overwritten(self, tmp_path: Path) -> None:
        out = written(tmp_path / "a", self.start)
        with pytest.raises(InputError, match="exists already"):
            written(out, self.start)
        (out / "notes.txt").write_text("mine")
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "x").write_text("mine")
        with pytest.raises(InputError, match="was not written by fewtune"):
            written(tmp_path / "mine", self.start, overwrite=True)
        written(out, self.start, steps=(2,), overwrite=True)
        assert (out / "notes.txt").read_text() == "mine" and not (out / "checkpoints" / "step-000001").exists()

    def test_a_finished_run_is_read_again_only_if_it_is_the_same(self, tmp_path: Path) -> None:
        out = written(tmp_path / "a", self.start)
        assert RunFolder(Keeping(out=out, resume=True), "abc").finished() == {"objective": "none"}
        assert RunFolder(Keeping(out=out, resume=True), "other").finished() is None
        assert RunFolder(Keeping(out=out), "abc").finished() is None
        assert RunFolder(Keeping(out=tmp_path / "b", resume=True), "abc").finished() is None

    def test_a_checkpoint_without_its_record_is_none(self, tmp_path: Path) -> None:
        with RunFolder(Keeping(out=tmp_path / "a"), "abc") as run:
            run.keep_step(1, self.start)
            (tmp_path / "a.partial" / "checkpoints" / "step-000001" / "backbone.json").unlink()
            assert run.steps == []
            run.keep_step(1, self.start)
            assert run.steps == [1]
