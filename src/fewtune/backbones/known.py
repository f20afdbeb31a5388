"""Foundation models worth trying first. The command line, its table `fewtune backbones` and the documents read this list.

Nothing heavy is imported here. Sizes and features are checked by a test that builds each model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

from fewtune.data.items import Modality

Size: TypeAlias = Literal["small", "base", "large"]
SIZES: tuple[Size, ...] = ("small", "base", "large")


@final
@dataclass(frozen=True, kw_only=True)
class Known:
    """One model.

    `name`: for --backbone. `size`: the short word that stands for it, or "". `labels`: whether it also reads class names. `parameters`:
    in millions; in memory each takes four bytes. `features`: numbers for each row. `pixels`: height and width of a
    photo in it. `licence`: of the weights, as their publisher states it. `repository`: where the weights are on the hub, "" if they are in
    fewtune itself. `shape`: the configuration of an `hf:` model (its `model_type` and what differs from the default), so that it can be
    built without its weights.
    """

    name: str
    modality: Modality
    parameters: float
    features: int
    licence: str
    good_at: str
    repository: str
    size: Size | Literal[""] = ""
    labels: bool = False
    pixels: int = 0
    shape: Mapping[str, Any] = field(default_factory=dict)


def _dinov2(size: Size, width: int, heads: int, layers: int, parameters: float, good_at: str) -> Known:
    shape = {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": layers, "image_size": 518, "patch_size": 14}
    return Known(
        name=f"hf:facebook/dinov2-{size}",
        modality="image",
        parameters=parameters,
        features=width,
        licence="Apache-2.0",
        good_at=good_at,
        repository=f"facebook/dinov2-{size}",
        size=size,
        pixels=224,
        shape={"model_type": "dinov2", **shape},
    )


def _timm(name: str, parameters: float, features: int, licence: str, good_at: str, pixels: int = 224) -> Known:
    return Known(
        name=f"timm:{name}",
        modality="image",
        parameters=parameters,
        features=features,
        licence=licence,
        good_at=good_at,
        repository=f"timm/{name}",
        pixels=pixels,
    )


def _text(
    name: str, parameters: float, features: int, licence: str, good_at: str, size: Size | Literal[""] = "", **shape: str | int
) -> Known:
    return Known(
        name=f"hf:{name}",
        modality="text",
        parameters=parameters,
        features=features,
        licence=licence,
        good_at=good_at,
        repository=name,
        size=size,
        shape=shape,
    )


KNOWN: tuple[Known, ...] = (
    _dinov2("small", 384, 6, 12, 22.1, "most photos, also fine differences; the first to try"),
    _dinov2("base", 768, 12, 12, 86.6, "as small, somewhat better, three times slower"),
    _dinov2("large", 1024, 16, 24, 304.4, "as base, somewhat better; wants a GPU"),
    _timm("mobilenetv2_100.ra_in1k", 2.2, 1280, "Apache-2.0", "everyday objects on a slow machine; fast, also in export"),
    _timm("mobilenetv4_conv_small.e2400_r224_in1k", 2.5, 1280, "Apache-2.0", "everyday objects, the fastest here"),
    _timm("convnext_tiny.in12k_ft_in1k", 27.8, 768, "Apache-2.0", "objects and scenes of many kinds"),
    _timm("vit_small_patch16_dinov3.lvd1689m", 21.6, 384, "DINOv3 License", "as DINOv2, newer; read its licence first", 256),
    _timm("vit_base_patch16_dinov3.lvd1689m", 85.6, 768, "DINOv3 License", "as DINOv2, newer; read its licence first", 256),
    _timm("vit_base_patch16_siglip_gap_224.v2_webli", 85.8, 768, "Apache-2.0", "photos of the web, products, signs"),
    Known(
        name="open_clip:ViT-B-32/laion2b_s34b_b79k",
        modality="image",
        parameters=151.3,
        features=512,
        licence="MIT",
        good_at="photos with class names that say what is seen; needs no labels to begin",
        repository="laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
        labels=True,
        pixels=224,
    ),
    Known(
        name="embedded",
        modality="image",
        parameters=0.7,
        features=128,
        licence="Apache-2.0",
        good_at="drawn scenes (scenes:colour) with class names; to try things out without a network",
        repository="",
        labels=True,
        pixels=64,
    ),
    _text(
        "sentence-transformers/all-MiniLM-L6-v2", 22.7, 384, "Apache-2.0", "English sentences; the first to try", "small",
        model_type="bert", hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536,
    ),
    _text("BAAI/bge-base-en-v1.5", 109.5, 768, "MIT", "English texts: topics, sentiment; slower", "base", model_type="bert"),
    _text(
        "BAAI/bge-large-en-v1.5", 335.1, 1024, "MIT", "as base, somewhat better; wants a GPU", "large",
        model_type="bert", hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
    ),
    _text(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2", 117.7, 384, "Apache-2.0", "50 languages, also mixed in one table",
        model_type="bert", vocab_size=250037, hidden_size=384, num_hidden_layers=12, num_attention_heads=12, intermediate_size=1536,
    ),
    _text(
        "sentence-transformers/paraphrase-multilingual-mpnet-base-v2", 278.0, 768, "Apache-2.0", "50 languages, better and slower",
        model_type="xlm-roberta", vocab_size=250002, max_position_embeddings=514, type_vocab_size=1,
    ),
)  # fmt: skip
