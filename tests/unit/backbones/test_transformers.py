"""transformers encoders loaded by path, against plain loops over the same folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fewtune.backbones.features.feature_table import feature_table
from fewtune.backbones.load import load_backbone
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.errors import InputError
from tests.tiny import SENTENCES, image_space, images, save_bert, save_clip, save_tokenizer, save_vit, text_space


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("models") / "bert"
    return folder, save_bert(folder)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("models") / "vit"
    return folder, save_vit(folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("models") / "clip"
    return folder, save_clip(folder)


def tokens_of(folder: Path, texts: list[str]) -> Any:
    from transformers import AutoTokenizer

    with transformers_quietly():
        return AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")


def states_one_by_one(folder: Path, model: Any) -> list[Tensor]:
    """The states [T, D] of each sentence alone: no padding at all."""
    with torch.no_grad():
        return [model(**tokens_of(folder, [s])).last_hidden_state[0] for s in SENTENCES]


def pixels_of(folder: Path, count: int, **options: Any) -> Tensor:
    from transformers import AutoImageProcessor

    with transformers_quietly():
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        pixels: Tensor = processor(list(images(count, **options)), return_tensors="pt")["pixel_values"]
    return pixels


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
@pytest.mark.parametrize("normalize", ["true", "false"])
def test_text_equals_a_plain_loop(bert: tuple[Path, Any], pooling: str, normalize: str) -> None:
    folder, model = bert
    states = states_one_by_one(folder, model)
    read = {"mean": lambda s: s.mean(0), "cls": lambda s: s[0], "max": lambda s: s.amax(0), "last": lambda s: s[-1]}[pooling]
    expected = torch.stack([read(s) for s in states])
    if normalize == "true":
        expected = expected / expected.norm(dim=1, keepdim=True)
    backbone = load_backbone(f"hf:{folder},pooling={pooling},normalize={normalize}")
    found = backbone.embed(backbone.start(), text_space(), np.arange(len(SENTENCES)))
    assert found.dtype == torch.float32 and backbone.width == 16
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_text_defaults_to_the_unit_mean_and_reads_labels_alike(bert: tuple[Path, Any]) -> None:
    folder, _ = bert
    backbone = load_backbone(f"hf:{folder}")
    start = backbone.start()
    found = backbone.embed(start, text_space(), np.arange(5))
    explicit = load_backbone(f"hf:{folder},pooling=mean,normalize=true")
    assert torch.equal(found, explicit.embed(explicit.start(), text_space(), np.arange(5)))
    assert backbone.label_side
    torch.testing.assert_close(backbone.embed_labels(start, list(SENTENCES)), found, atol=1e-6, rtol=0)
    assert backbone.embed_labels(start, []).shape == (0, 16)


def test_max_length_cuts(bert: tuple[Path, Any]) -> None:
    folder, model = bert
    backbone = load_backbone(f"hf:{folder},max_length=4,normalize=false")
    tokens = tokens_of(folder, [SENTENCES[3]])
    cut = {k: torch.cat([v[:, :3], v[:, -1:]], 1) for k, v in tokens.items()}
    with torch.no_grad():
        expected = model(**cut).last_hidden_state.mean(1)
    torch.testing.assert_close(backbone.embed(backbone.start(), text_space(), np.array([3])), expected, atol=1e-5, rtol=0)


def test_hostile_texts_are_embedded(bert: tuple[Path, Any]) -> None:
    backbone = load_backbone(f"hf:{bert[0]}")
    space = text_space(("", " ", "\x00", "\ud800 half a pair", "word " * 5000, "a"))
    assert bool(torch.isfinite(backbone.embed(backbone.start(), space, np.arange(6))).all())


@pytest.mark.parametrize("legacy", [True, False])
def test_sentence_transformers_folders_are_honoured(bert: tuple[Path, Any], tmp_path: Path, legacy: bool) -> None:
    folder = tmp_path / "sentences"
    shutil.copytree(bert[0], folder)
    pooling = (
        {"word_embedding_dimension": 16, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
        if legacy
        else {"pooling_mode": "cls"}
    )
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling | {"include_prompt": True}))
    steps = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    (folder / "modules.json").write_text(json.dumps(steps))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 6}))
    backbone, explicit = load_backbone(f"hf:{folder}"), load_backbone(f"hf:{bert[0]},pooling=cls,normalize=false,max_length=6")
    assert backbone.digest() == explicit.digest()
    (folder / "modules.json").write_text(json.dumps([*steps, {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]))
    with pytest.raises(InputError, match="Dense"):
        load_backbone(f"hf:{folder}")
    assert load_backbone(f"hf:{folder},pooling=cls").width == 16


def test_weights_file_equals_the_folder_and_half_precision_is_computed_in_float32(bert: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = bert
    (tmp_path / "bare").mkdir()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / file, tmp_path / "bare" / file)
    from_folder = load_backbone(f"hf:{folder}")
    from_file = load_backbone(f"hf:{tmp_path / 'bare'}", weights=folder / "model.safetensors")
    assert from_file.digest() == from_folder.digest()
    assert from_file.source["sha256"] == from_folder.source["sha256"]
    prefixed = {f"module.bert.{n}": t.half() for n, t in model.state_dict().items()} | {"module.cls.predictions.bias": torch.zeros(3)}
    torch.save({"epoch": 3, "state_dict": prefixed}, tmp_path / "half.pt")
    half = load_backbone(f"hf:{tmp_path / 'bare'}", weights=tmp_path / "half.pt")
    assert "cls.predictions.bias" in half.source["head left out"]
    assert all(t.dtype == torch.float32 for t in half.start().values() if t.is_floating_point())
    torch.testing.assert_close(
        half.embed(half.start(), text_space(), np.arange(5)),
        from_folder.embed(from_folder.start(), text_space(), np.arange(5)),
        atol=2e-3,
        rtol=0,
    )


def test_a_file_that_does_not_fit_says_what(bert: tuple[Path, Any], tmp_path: Path) -> None:
    folder, model = bert
    state = dict(model.state_dict())
    state["strange.weight"] = torch.zeros(2)
    del state["encoder.layer.1.output.dense.weight"]
    state["embeddings.word_embeddings.weight"] = torch.zeros(3, 16)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(
        InputError, match=r"1 missing \(encoder.layer.1.output.dense.weight\); 1 unexpected \(strange.weight\); 1 of another shape"
    ):
        load_backbone(f"hf:{folder}", weights=tmp_path / "w.pt")


def test_poolers_that_a_file_lacks_are_never_random(tmp_path: Path) -> None:
    save_bert(tmp_path / "bert", pooler=False)
    model = save_vit(tmp_path / "vit", pooler=False)
    for name in ("bert", "vit"):
        first, second = load_backbone(f"hf:{tmp_path / name}"), load_backbone(f"hf:{tmp_path / name}")
        assert first.digest() == second.digest()
        assert not any("pooler" in n for n in first.start())
    backbone = load_backbone(f"hf:{tmp_path / 'vit'}")
    with torch.no_grad():
        expected = model(pixel_values=pixels_of(tmp_path / "vit", 7)).last_hidden_state[:, 0]
    torch.testing.assert_close(backbone.embed(backbone.start(), image_space(), np.arange(7)), expected, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="no pooler"):
        load_backbone(f"hf:{tmp_path / 'vit'},pooling=pooler")


@pytest.mark.parametrize("pooling", ["", ",pooling=pooler", ",pooling=cls", ",pooling=mean"])
def test_vision_equals_a_plain_loop(vit: tuple[Path, Any], pooling: str) -> None:
    folder, model = vit
    with torch.no_grad():
        out = model(pixel_values=pixels_of(folder, 7))
    states = out.last_hidden_state
    expected = {"cls": states[:, 0], "mean": states[:, 1:].mean(1)}.get(pooling.rpartition("=")[2], out.pooler_output)
    backbone = load_backbone(f"hf:{folder}{pooling}")
    assert not backbone.label_side
    torch.testing.assert_close(backbone.embed(backbone.start(), image_space(), np.arange(7)), expected, atol=1e-5, rtol=0)


def test_another_image_size_interpolates_positions(vit: tuple[Path, Any]) -> None:
    folder, model = vit
    backbone = load_backbone(f"hf:{folder},size=48,pooling=cls")
    pixels = backbone.preparation.batch([backbone.preparation.prepare(image_space().fetch(i)) for i in range(7)])
    assert pixels.shape == (7, 3, 48, 48)
    with torch.no_grad():
        expected = model(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]
    torch.testing.assert_close(backbone.embed(backbone.start(), image_space(), np.arange(7)), expected, atol=1e-5, rtol=0)


def test_clip_has_two_sides(clip: tuple[Path, Any]) -> None:
    folder, model = clip
    backbone = load_backbone(f"hf:{folder}")
    with torch.no_grad():
        out = model(pixel_values=pixels_of(folder, 7), **tokens_of(folder, list(SENTENCES)))
    images_found = backbone.embed(backbone.start(), image_space(), np.arange(7))
    texts_found = backbone.embed_labels(backbone.start(), list(SENTENCES))
    unit = torch.nn.functional.normalize
    torch.testing.assert_close(unit(images_found), out.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(unit(texts_found), out.text_embeds, atol=1e-5, rtol=0)
    logits = backbone.logit_scale * unit(images_found) @ unit(texts_found).T
    torch.testing.assert_close(logits, out.logits_per_image, atol=1e-4, rtol=0)
    names = [name for name, _ in backbone.groups]
    assert names == [
        *("image stem", "image model.vision_model.encoder.layers.0", "image model.vision_model.encoder.layers.1", "image final"),
        *(
            "text stem",
            "text model.text_model.encoder.layers.0",
            "text model.text_model.encoder.layers.1",
            "text final",
            "shared",
            "projection",
        ),
    ]


def test_a_folder_without_preprocessing_asks_for_it(vit: tuple[Path, Any], tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(vit[0], folder)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"preprocessor_config\.json.*mean=0\.5"):
        load_backbone(f"hf:{folder}")
    assert "mean=(0.5, 0.4, 0.3)" in load_backbone(f"hf:{folder},mean=0.5/0.4/0.3,std=0.25").preparation.text


def test_random_weights_are_a_function_of_the_name(bert: tuple[Path, Any]) -> None:
    state = torch.get_rng_state()
    first, second = (load_backbone(f"hf:{bert[0]},pretrained=false") for _ in range(2))
    assert torch.equal(state, torch.get_rng_state())
    assert first.digest() == second.digest() != load_backbone(f"hf:{bert[0]}").digest()
    assert first.source == {"weights": "random"}


def test_broken_folders_say_so(bert: tuple[Path, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_backbone(f"hf:{tmp_path / 'nothing'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="cannot be loaded"):
        load_backbone(f"hf:{tmp_path / 'empty'}")
    folder = tmp_path / "torn"
    shutil.copytree(bert[0], folder)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_backbone(f"hf:{folder}")
    for file in folder.glob("tokenizer*"):
        file.unlink()
    (folder / "model.safetensors").write_bytes(whole)
    with pytest.raises(InputError, match="tokenizer"):
        load_backbone(f"hf:{folder}")


def test_digest_knows_weights_tokenizer_and_reading(bert: tuple[Path, Any], tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(bert[0], folder)
    same = load_backbone(f"hf:{bert[0]}").digest()
    assert load_backbone(f"hf:{folder}").digest() == same  # where it lies does not matter
    others = [load_backbone(f"hf:{folder},{option}").digest() for option in ("pooling=cls", "normalize=false", "max_length=5")]
    vocabulary = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(vocabulary.replace('"Lowercase"', '"NFC"'))
    others.append(load_backbone(f"hf:{folder}").digest())
    save_tokenizer(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_attention_heads": 4}))
    others.append(load_backbone(f"hf:{folder}").digest())
    assert len({same, *others}) == 1 + len(others)


@pytest.mark.kit
def test_minilm_equals_a_plain_loop(kit: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = kit / "weights" / "all-minilm-l6-v2"
    texts = [json.loads(line)["text"] for line in (kit / "text" / "trec6.jsonl").read_text().splitlines()[:40]]
    with transformers_quietly(), torch.no_grad():
        model, tokenizer = AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
        expected = []
        for text in texts:
            expected.append(
                torch.nn.functional.normalize(model(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1), dim=1)[0]
            )
    backbone = load_backbone(f"hf:{folder}")
    assert backbone.source["sha256"] == "553c9ff2a4d968014fb1c66fdb6f2c9dc19b3ac2360ba58a51c69e177e55d765"
    table = feature_table(backbone, text_space(tuple(texts)), memory=True, quiet=True)
    torch.testing.assert_close(table.features, torch.stack(expected), atol=1e-5, rtol=0)
