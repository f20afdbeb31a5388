"""open_clip models loaded by path, against open_clip itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.quiet import quietly
from fewtune.errors import InputError
from tests.tiny import SENTENCES, drawn, image_space

open_clip = pytest.importorskip("open_clip")

CONFIG = {
    "model_cfg": {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 16, "head_width": 8, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A folder in open_clip's layout and its model."""
    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with quietly(), drawn(3):
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False).eval()
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder, model


def test_both_sides_equal_a_plain_loop(made: tuple[Path, Any]) -> None:
    folder, model = made
    backbone = load_backbone(f"open_clip:{folder}")
    space = image_space()
    with quietly(), torch.no_grad():
        transform = open_clip.transform.image_transform_v2(
            open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model)), is_train=False
        )
        images = model.encode_image(torch.stack([transform(space.fetch(i)) for i in range(7)]))
        texts = model.encode_text(open_clip.get_tokenizer("ViT-B-32", context_length=16)(list(SENTENCES)))
    torch.testing.assert_close(backbone.embed(backbone.start(), space, np.arange(7)), images, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(backbone.embed_labels(backbone.start(), list(SENTENCES)), texts, atol=1e-5, rtol=1e-5)
    assert backbone.logit_scale == pytest.approx(float(model.logit_scale.detach().exp())) and backbone.width == 12


def test_groups_go_from_image_to_text(made: tuple[Path, Any]) -> None:
    groups = dict(load_backbone(f"open_clip:{made[0]}").groups)
    assert list(groups) == [
        *("image stem", "image model.visual.transformer.resblocks.0", "image model.visual.transformer.resblocks.1", "image final"),
        *("text stem", "text model.transformer.resblocks.0", "text model.transformer.resblocks.1", "text final", "shared", "projection"),
    ]
    assert groups["projection"] == ("model.visual.proj", "model.text_projection") and "model.visual.class_embedding" in groups["image stem"]
    assert "model.ln_final.weight" in groups["text final"] and "model.token_embedding.weight" in groups["text stem"]
    assert groups["shared"] == ("model.logit_scale",)


def test_weights_by_file_and_what_does_not_fit(made: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = made
    (tmp_path / "open_clip_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError, match="holds no weights"):
        load_backbone(f"open_clip:{tmp_path}")
    file = folder / "open_clip_pytorch_model.bin"
    assert load_backbone(f"open_clip:{tmp_path}", weights=file).digest() == load_backbone(f"open_clip:{folder}").digest()
    state = dict(model.state_dict())
    del state["text_projection"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(InputError, match=r"1 missing \(text_projection\)"):
        load_backbone(f"open_clip:{tmp_path}", weights=tmp_path / "less.pt")
    assert load_backbone(f"open_clip:{tmp_path},pretrained=false").source == {"weights": "random"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("open_clip:ViT-B-32", "say which weights"),
        ("open_clip:ViT-B-33/openai", "did you mean ViT-B-32"),
        ("open_clip:ViT-B-32/opnai", "did you mean openai"),
        ("open_clip:ViT-B-32/openai", "--weights"),
        ("open_clip:ViT-B-32/openai,pooling=mean", "pooling"),
        ("open_clip:/no/such/folder", "does not exist"),
    ],
)
def test_bad_names_are_refused_in_a_sentence(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        load_backbone(name)
    assert "\n" not in str(raised.value)


def test_a_folder_without_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"open_clip_config\.json"):
        load_backbone(f"open_clip:{tmp_path}")
