"""timm models against timm itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.quiet import quietly
from fewtune.data.reading.read import read_examples
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from tests.tiny import drawn, image_space

timm = pytest.importorskip("timm")
SMALL = "resnet10t"


def model(name: str, **options: Any) -> Any:
    with quietly(), drawn(0):
        return timm.create_model(name, pretrained=False, **options).eval()


def plain(network: Any, space: RowSpace, preparation: Any, rows: range) -> torch.Tensor:
    with torch.no_grad():
        return torch.cat([network(preparation.batch([preparation.prepare(space.fetch(i))])) for i in rows])


@pytest.mark.parametrize("suffix", ["safetensors", "pth", "nested.pth"])
def test_equals_a_plain_loop_and_leaves_the_head_out(tmp_path: Path, suffix: str) -> None:
    import safetensors.torch

    whole = model(SMALL)
    file = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        safetensors.torch.save_file(whole.state_dict(), file)
    else:
        torch.save({"model": {f"module.{n}": t for n, t in whole.state_dict().items()}} if "nested" in suffix else whole.state_dict(), file)
    backbone = load_backbone(f"timm:{SMALL},size=64", weights=file)
    whole.reset_classifier(0)
    space = image_space()
    expected = plain(whole, space, backbone.preparation, range(7))
    torch.testing.assert_close(backbone.embed(backbone.start(), space, np.arange(7)), expected, atol=1e-5, rtol=1e-5)
    assert backbone.source["weights"] == file.name and backbone.source["head left out"] == "fc.bias, fc.weight"
    assert not any(n.startswith("fc.") for n in backbone.start())


def test_pos_embeddings_of_another_size_are_translated(tmp_path: Path) -> None:
    whole = model("vit_tiny_patch16_224", depth=2)
    torch.save(whole.state_dict(), tmp_path / "vit.pt")
    backbone = load_backbone("timm:vit_tiny_patch16_224,depth=2,size=96", weights=tmp_path / "vit.pt")
    with quietly():
        expected = model("vit_tiny_patch16_224", depth=2, img_size=96, num_classes=0)
        from timm.layers import resample_abs_pos_embed

        state = {n: t for n, t in whole.state_dict().items() if not n.startswith("head.")}
        state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], new_size=[6, 6], num_prefix_tokens=1)
        expected.load_state_dict(state)
    space = image_space(3)
    found = backbone.embed(backbone.start(), space, np.arange(3))
    torch.testing.assert_close(found, plain(expected, space, backbone.preparation, range(3)), atol=1e-5, rtol=1e-5)


def test_local_folders_in_timms_layout(tmp_path: Path) -> None:
    whole = model(SMALL)
    config = {
        "architecture": SMALL,
        "num_classes": 1000,
        "num_features": 512,
        "pretrained_cfg": {"input_size": [3, 48, 48], "mean": [0.1, 0.2, 0.3]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    torch.save(whole.state_dict(), tmp_path / "pytorch_model.bin")
    backbone = load_backbone(f"timm:{tmp_path}")
    whole.reset_classifier(0)
    space = image_space(3)
    assert "height=48" in backbone.preparation.text and "mean=(0.1, 0.2, 0.3)" in backbone.preparation.text
    expected = plain(whole, space, backbone.preparation, range(3))
    torch.testing.assert_close(backbone.embed(backbone.start(), space, np.arange(3)), expected, atol=1e-5, rtol=1e-5)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        load_backbone(f"timm:{tmp_path}")


def test_constructor_options_are_part_of_the_digest() -> None:
    plain_padding, same = (load_backbone(f"timm:mobilenetv2_035,pretrained=false{o}") for o in ("", ",pad_type=same"))
    assert torch.equal(plain_padding.start()["conv_stem.weight"], plain_padding.start()["conv_stem.weight"])
    assert plain_padding.digest() != same.digest()


def test_options_that_neither_side_knows_are_refused_and_weights_are_given_apart() -> None:
    with pytest.raises(InputError, match="neither the preprocessing nor this model has an option colour"):
        load_backbone(f"timm:{SMALL},pretrained=false,colour=1")
    with pytest.raises(InputError, match="give the file of weights apart from the name, with --weights FILE"):
        load_backbone(f"timm:{SMALL},pretrained=false,weights=a.pth")


def test_random_weights_leave_no_trace() -> None:
    state = torch.get_rng_state()
    first, second = (load_backbone(f"timm:{SMALL},pretrained=false") for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert first.digest() == second.digest() and first.source == {"weights": "random"}


@pytest.mark.parametrize(
    ("name", "stem", "second", "last"),
    [
        ("vit_tiny_patch16_224,size=64", "cls_token", "blocks.0", "norm.weight"),
        ("mobilenetv2_035,size=64", "conv_stem.weight", "blocks.0.0", "conv_head.weight"),
        ("resnet10t,size=64", "conv1.0.weight", "layer1.0", "layer4.0.conv1.weight"),
        ("convnext_atto,size=64", "stem.0.weight", "stages.0.blocks.0", "head.norm.weight"),
    ],
)
def test_groups_go_from_input_to_output(name: str, stem: str, second: str, last: str) -> None:
    groups = load_backbone(f"timm:{name},pretrained=false").groups
    assert groups[0][0] == "stem" and stem in groups[0][1]
    assert groups[1][0] == second
    assert last in groups[-1][1]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:mobilnetv2_100", "did you mean timm:mobilenetv2_100"),
        (f"timm:{SMALL},pretrained=false,pad_typ=same", "pad_typ"),
        (f"timm:{SMALL}", "--weights"),
        ("timm:/no/such/folder", "does not exist"),
        ("timm:", "timm:NAME"),
        (f"timm:{SMALL},pretrained=false,global_pool=,", "expected options"),
    ],
)
def test_bad_names_are_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        load_backbone(name)
    assert "\n" not in str(raised.value)


def test_a_missing_extra_gives_the_pip_line() -> None:
    code = (
        "import sys; sys.modules['timm'] = None; sys.modules['open_clip'] = None\n"
        "from fewtune.backbones.load import load_backbone\n"
        "for name in ('timm:resnet18', 'open_clip:ViT-B-32'):\n"
        "    try: load_backbone(name)\n"
        "    except ValueError as problem: print(problem)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'fewtune[timm]'" in said and "pip install 'fewtune[clip]'" in said


@pytest.mark.kit
def test_the_kits_mobilenet_equals_a_plain_loop(kit: Path) -> None:
    import safetensors.torch
    from timm.data import create_transform

    file = kit / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
    backbone = load_backbone("timm:mobilenetv2_100,pad_type=same,mean=0.5,std=0.5,size=160,crop_pct=1", weights=file)
    network = model("mobilenetv2_100", pad_type="same", num_classes=1000)
    network.load_state_dict(safetensors.torch.load_file(file))
    network.reset_classifier(0)
    transform = create_transform((3, 160, 160), mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic", crop_pct=1.0)
    space = RowSpace([read_examples(kit / "images" / "caltech101.npz")])
    rows = np.arange(0, 6000, 500)
    with torch.no_grad():
        expected = torch.cat([network(transform(space.fetch(int(r)))[None]) for r in rows])
    torch.testing.assert_close(backbone.embed(backbone.start(), space, rows), expected, atol=1e-5, rtol=1e-5)
