"""The list of known models is true, sizes stand for them, and names that are nearly right are told at once, with their prefix."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewtune.backbones import offered as listed
from fewtune.backbones.defaults import chosen, default_backbone
from fewtune.backbones.known import KNOWN, SIZES, Known
from fewtune.backbones.load import load_backbone
from fewtune.backbones.measured_speeds import keep_speeds, known_speeds
from fewtune.backbones.offered import build, measured, offered, rows_per_second, weights_here
from fewtune.backbones.providers.check import check_name
from fewtune.backbones.providers.listed import open_clip_models, timm_models, timm_weights
from fewtune.backbones.providers.names import read_name
from fewtune.errors import InputError
from fewtune.report.backbones import render_backbones


@pytest.mark.parametrize("model", [m for m in KNOWN if m.parameters < 130], ids=lambda m: m.name)
def test_sizes_and_features_are_those_of_the_network(model: Known) -> None:
    with torch.device("meta"):
        network = build(model)
        assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1) == model.parameters
        if model.modality == "text":
            features = network(input_ids=torch.ones(1, 4, dtype=torch.int64)).last_hidden_state.shape[-1]
        else:
            out = network(torch.zeros(1, 3, model.pixels, model.pixels))
            features = getattr(out, "pooler_output", out).shape[-1]
    assert features == model.features


def test_every_name_is_one_that_its_library_has_weights_for() -> None:
    import open_clip
    import timm

    for model in KNOWN:
        check_name(model.name)
        library, _, name = model.name.partition(":")
        if library == "timm":
            assert timm.is_model_pretrained(name) and timm.get_pretrained_cfg(name).hf_hub_id in (model.repository, "timm/")
        if library == "open_clip":
            assert name.split("/")[1] in open_clip.list_pretrained_tags_by_model(name.split("/")[0])


def test_a_size_stands_for_one_model_of_each_modality() -> None:
    for modality in ("image", "text"):
        assert [sum(m.size == size and m.modality == modality for m in KNOWN) for size in SIZES] == [1, 1, 1]
    assert default_backbone("image") == chosen("small", "image") == chosen(None, "image") == "hf:facebook/dinov2-small"
    assert chosen("large,max_length=64", "text") == "hf:BAAI/bge-large-en-v1.5,max_length=64"
    assert chosen(None, "vector") == "precomputed" and chosen("pixels", "image") == "pixels"
    with pytest.raises(InputError, match="base is for images and texts, but the data holds embeddings"):
        chosen("base", "vector")
    with pytest.raises(InputError, match="small is one model for images and another for texts"):
        load_backbone("small")


def test_the_names_read_from_files_are_those_of_the_libraries() -> None:
    import open_clip
    import timm

    assert timm_models() == set(timm.list_models())
    assert open_clip_models() == set(open_clip.list_models())
    assert len(timm_weights() & set(timm.list_pretrained())) > 0.95 * len(timm.list_pretrained())


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("mobilenetv2_100", "timm:mobilenetv2_100"),
        ("mobilenetv2_100.ra_in1k", "timm:mobilenetv2_100.ra_in1k"),
        ("resnet18", "timm:resnet18"),  # and not resnet12, which is untrained
        ("mobilnetv2_100", "timm:mobilenetv2_100"),
        ("tim:resnet18", "timm:resnet18"),
        ("dinov2-small", "hf:facebook/dinov2-small"),
        ("Facebook/DINOv2-base", "hf:facebook/dinov2-base"),
        ("somebody/some-model", "hf:somebody/some-model"),
        ("ViT-B-32", "open_clip:ViT-B-32/TAG"),
        ("pixel", "pixels"),
        ("Resnet-12", "resnet12"),
        ("larg", "large"),
    ],
)
def test_what_was_meant_is_said_with_its_prefix(name: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"unknown backbone '{name}': did you mean {meant}( or|\\?)"):
        read_name(name)


@pytest.mark.parametrize("name", ["conv44", "resnet122", "mlpp"])
def test_an_untrained_network_is_never_offered_for_another_word(name: str) -> None:
    with pytest.raises(InputError) as caught:
        read_name(name)
    assert "did you mean" not in str(caught.value) or not {"conv4?", "resnet12?", "mlp?"} & set(str(caught.value).split())


def test_a_model_that_its_library_does_not_have_is_refused_before_it_is_imported() -> None:
    for name, said in (
        ("timm:mobilnetv2_100", "timm has no model 'mobilnetv2_100': did you mean timm:mobilenetv2_100 or"),
        ("open_clip:ViT-B32", "open_clip has no model 'ViT-B32': did you mean open_clip:ViT-B-32"),
        ("timm:zz", "`fewtune backbones zz` lists"),
    ):
        code = f"import sys\nfrom fewtune.backbones.providers.check import check_name\ntry: check_name({name!r})\n"
        code += "except ValueError as e: print(e)\nprint('torch' in sys.modules, 'timm' in sys.modules)"
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert said in ran.stdout and ran.stdout.endswith("False False\n")


def test_a_model_without_weights_is_refused_unless_they_are_given() -> None:
    import timm

    tagged = {name.partition(".")[0] for name in timm.list_pretrained()}
    bare = next(name for name in timm.list_models() if name not in tagged)
    with pytest.raises(InputError, match=f"timm has no weights for {bare}, and untrained it is of no use: give --weights FILE"):
        load_backbone(f"timm:{bare}")
    with pytest.raises(InputError, match=r"unknown weights of timm:mobilenetv2_100 'ra_in2k': did you mean ra_in1k"):
        load_backbone("timm:mobilenetv2_100.ra_in2k")


def test_weights_in_the_cache_of_the_hub_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert not weights_here("facebook/dinov2-small")
    folder = tmp_path / "models--facebook--dinov2-small"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "snapshots" / "abc" / "config.json").write_text("{}")
    assert not weights_here("facebook/dinov2-small")
    (folder / "snapshots" / "abc" / "model.safetensors").write_bytes(b"x")
    assert weights_here("facebook/dinov2-small") and [o.here for o in offered("dinov2-small")] == [True]


def test_a_word_finds_known_models_and_those_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {one.model.name: one.model for one in offered("mobilenetv2_1")}
    assert next(iter(found)) == "timm:mobilenetv2_100.ra_in1k" and found["timm:mobilenetv2_140.ra_in1k"].features == 1792
    assert [one.model.name for one in offered("languages")] == [m.name for m in KNOWN if "languages" in m.good_at]
    assert len(offered()) == len(KNOWN) and all(one.installed for one in offered())
    with pytest.raises(InputError, match=r"no model has 'mobilnetv2_100' in its name or description: did you mean timm:mobilenetv2_100"):
        offered("mobilnetv2_100")
    monkeypatch.setattr(listed, "installed", lambda library: library != "timm")
    assert [one.installed for one in offered("mobilenetv2_100")] == [False]


def test_the_speed_is_that_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    clock = iter(range(100))
    monkeypatch.setattr(listed.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(listed, "_SECONDS", 2)
    tiny = Known(
        name="hf:tiny", modality="text", parameters=0, features=8, licence="", good_at="", repository="x/y",
        shape={"model_type": "bert", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2},
    )  # fmt: skip
    assert rows_per_second(tiny) == 4 * 1 / 2  # began at 0, asked at 1 (go on) and at 2 (enough)
    said: list[str] = []
    here, absent = (listed.Offered(tiny, installed, False) for installed in (True, False))
    assert [one.per_second is None for one in measured([here, absent], said.append)] == [False, True]
    assert said == ["Measuring hf:tiny."] and known_speeds() == {"hf:tiny": 2.0}


def test_a_measured_speed_is_shown_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "cache"))
    name = offered("mobilenetv2_100")[0].model.name
    assert known_speeds() == {} and all(one.per_second is None for one in offered("mobilenetv2_100"))
    assert "a second" not in render_backbones(offered("mobilenetv2_100"), "table")
    keep_speeds({name: 12.5})
    keep_speeds({"hf:other": 3.0})
    assert known_speeds() == {name: 12.5, "hf:other": 3.0}
    assert next(one.per_second for one in offered("mobilenetv2_100") if one.model.name == name) == 12.5
    assert "when it was last measured" in " ".join(render_backbones(offered("mobilenetv2_100"), "table").split())
    (file,) = (tmp_path / "cache" / "speeds").iterdir()
    for broken in ("{", '["a"]', *(json.dumps({name: speed}) for speed in ("fast", math.nan, -1))):
        file.write_text(broken)
        assert known_speeds() == {}
    keep_speeds({name: 1.0})
    assert known_speeds() == {name: 1.0}
