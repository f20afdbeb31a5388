"""Our image preparation against the libraries' own, on images of many shapes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fewtune.backbones.load import load_backbone
from fewtune.backbones.own_module import image_preparation
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.names import read_name
from fewtune.backbones.providers.processor import image_settings
from fewtune.backbones.providers.quiet import quietly, transformers_quietly
from fewtune.data.examples import make_examples
from fewtune.data.items import Files
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from tests.tiny import images

SHAPES = [(40, 56), (56, 40), (224, 224), (300, 224), (225, 301), (31, 97), (257, 190), (8, 8), (1, 5)]


def picture(height: int, width: int) -> Image.Image:
    return Image.fromarray(images(1, height=height, width=width, seed=height * width)[0])


def ours(preparation: ImagePreparation, image: Image.Image) -> Tensor:
    return preparation.batch([preparation.prepare(image)])[0]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    "options", ["", ",crop_pct=1", ",size=64,interpolation=bilinear", ",size=50,crop_pct=0.7", ",size=33,mean=0.5,std=0.5/0.25/0.2"]
)
def test_equals_timms_evaluation_transform(shape: tuple[int, int], options: str) -> None:
    timm = pytest.importorskip("timm")
    from timm.data import create_transform

    preparation = timm_preparation(options)
    named = read_name(f"timm:resnet10t{options}")
    config = timm.get_pretrained_cfg("resnet10t").to_dict()
    transform = create_transform(
        (3, preparation.height, preparation.width),
        is_training=False,
        mean=named.numbers("mean", config["mean"]),
        std=named.numbers("std", config["std"]),
        interpolation=named.options.get("interpolation", config["interpolation"]),
        crop_pct=named.numbers("crop_pct", (config["crop_pct"],))[0],
    )
    image = picture(*shape)
    torch.testing.assert_close(ours(preparation, image), transform(image), atol=1e-6, rtol=0)


def timm_preparation(options: str, cache: dict[str, ImagePreparation] = {}) -> ImagePreparation:  # noqa: B006  (shared on purpose)
    if options not in cache:
        found = load_backbone(f"timm:resnet10t,pretrained=false{options}").preparation
        assert isinstance(found, ImagePreparation)
        cache[options] = found
    return cache[options]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["shortest", "squash"])
def test_equals_open_clips_transform(shape: tuple[int, int], mode: str) -> None:
    pytest.importorskip("open_clip")
    from open_clip.transform import PreprocessCfg, image_transform_v2

    from fewtune.backbones.providers.open_clip_provider import preparation_of

    config = {"size": 48, "mean": (0.48, 0.45, 0.40), "std": (0.26, 0.26, 0.27), "interpolation": "bicubic", "resize_mode": mode}
    image = picture(*shape)
    with quietly():
        expected = image_transform_v2(PreprocessCfg(**config), is_train=False)(image)
    torch.testing.assert_close(ours(preparation_of(config), image), expected, atol=1e-6, rtol=0)


PROCESSORS: dict[str, dict[str, Any]] = {
    "ViTImageProcessorPil": {"size": {"height": 64, "width": 64}},
    "SiglipImageProcessorPil": {"size": {"height": 60, "width": 60}},
    "DeiTImageProcessorPil": {"size": {"height": 64, "width": 64}, "crop_size": {"height": 56, "width": 56}},
    "CLIPImageProcessorPil": {"size": {"shortest_edge": 48}, "crop_size": {"height": 48, "width": 48}},
    "BitImageProcessorPil": {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}},
    "ConvNextImageProcessorPil": {"size": {"shortest_edge": 63}},
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_equals_transformers_image_processors(kind: str, tmp_path: Path) -> None:
    import transformers

    with transformers_quietly():
        processor = getattr(transformers, kind)(**PROCESSORS[kind])
        processor.save_pretrained(tmp_path)
        preparation = image_settings(read_name(f"hf:{tmp_path}"), object())
    for shape in SHAPES:
        image = picture(*shape)
        expected = processor(image, return_tensors="pt")["pixel_values"][0]
        torch.testing.assert_close(ours(preparation, image), expected, atol=2e-6, rtol=0, msg=f"{kind} {shape}")


def test_old_settings_with_plain_numbers_are_read(tmp_path: Path) -> None:
    old = '{"do_center_crop": true, "crop_size": 32, "do_resize": true, "size": 36, "do_normalize": true, "resample": 3,'
    old += ' "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "feature_extractor_type": "CLIPFeatureExtractor"}'
    (tmp_path / "preprocessor_config.json").write_text(old)
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with transformers_quietly():
        found = image_settings(read_name(f"hf:{tmp_path}"), object())
    assert (found.short, found.height, found.resize, found.interpolation, found.mean) == (36, 32, "short", "bicubic", (0.1, 0.2, 0.3))


def test_normalised_once_and_never_in_place() -> None:
    preparation = ImagePreparation(height=4, width=4, short=4, mean=(0.25,) * 3, std=(0.5,) * 3)
    prepared = preparation.prepare(Image.new("RGB", (9, 6), (255, 0, 51)))
    assert prepared.dtype == torch.uint8 and prepared.shape == (3, 4, 4)
    before = prepared.clone()
    batch = preparation.batch([prepared, prepared])
    expected = torch.tensor([1.5, -0.5, -0.1]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    torch.testing.assert_close(batch, expected, atol=1e-7, rtol=0)
    assert torch.equal(prepared, before)


def test_pixels_are_pixel_values() -> None:
    image = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    backbone = load_backbone("pixels,size=8")
    found = ours(backbone.preparation, image)  # type: ignore[arg-type]
    expected = torch.arange(192).reshape(8, 8, 3).permute(2, 0, 1) / 255 - 0.5
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)
    assert backbone.width == 192 and load_backbone("pixels,grey=true,size=8").width == 64


@pytest.mark.parametrize("size", [64, 224])
def test_drafted_photos_change_features_little(tmp_path: Path, size: int) -> None:
    """A JPEG is decoded at a fraction of its size where that suffices; the prepared image stays within a few grey levels."""
    large = picture(1200, 1600)
    large.save(tmp_path / "a.jpg", quality=92)
    preparation = ImagePreparation(height=size, width=size, short=size, mean=(0.0,) * 3, std=(1.0,) * 3)
    space = RowSpace([make_examples(Files([tmp_path / "a.jpg"]), name="photo")])
    drafted = preparation.prepare(space.fetch(0, preparation.size_hint)).int()
    whole = preparation.prepare(Image.open(io.BytesIO((tmp_path / "a.jpg").read_bytes()))).int()
    assert space.fetch(0, preparation.size_hint).size[1] >= 2 * size  # type: ignore[union-attr,operator]
    assert (drafted - whole).abs().float().mean() < 0.5 and (drafted - whole).abs().max() <= 4


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("timm:resnet10t,pretrained=false,crop_pct=0", "crop_pct"),
        ("timm:resnet10t,pretrained=false,mean=0.1/0.2", "mean"),
        ("timm:resnet10t,pretrained=false,size=big", "size"),
        ("timm:resnet10t,pretrained=false,interpolation=cubic", "did you mean bicubic"),
        ("timm:resnet10t,pretrained=false,std=0", "std"),
        ("timm:resnet10t,pretrained=false,mean=nan", "mean"),
    ],
)
def test_impossible_settings_are_refused(name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        load_backbone(name)


@pytest.mark.parametrize("size", [(1_000_000, 1), (1, 1_000_000)])
def test_a_strip_that_would_be_resized_to_billions_of_pixels_is_refused(size: tuple[int, int]) -> None:
    preparation = image_preparation(160)
    with pytest.raises(InputError, match=r"1,000,000.* are too long and narrow for this backbone: resized, they would be .*160,000,000"):
        preparation.prepare(Image.new("RGB", size))


def test_a_panorama_is_no_strip() -> None:
    assert image_preparation(160).prepare(Image.new("RGB", (1000, 1))).shape == (3, 160, 160)  # 25,600,000 pixels on the way
