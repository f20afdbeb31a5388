"""transformers encoders: `hf:NAME`, a hub name or a local folder; text, vision, and image-text models with both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import Groups, group_names
from fewtune.backbones.names import Name
from fewtune.backbones.pretrained import Quietly, image_settings, load_model, load_tokenizer, pooling_of
from fewtune.backbones.text import TextPreparation, pooled
from fewtune.machine import Machine

TEXT_OPTIONS = ("pooling", "max_length", "normalize", "pretrained")
IMAGE_OPTIONS = ("pooling", "pretrained")


def load_transformers(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """A transformers encoder, in float32 whatever the file's type; remote code is never run.

    Text options: `pooling` (mean, cls, max; by default what the folder says as sentence-transformers write it, else the mean over the
    mask), `normalize` (L2 at the end, by default true), `max_length` (tokens). Vision options: `pooling` (cls, mean, pooler). All:
    `pretrained=false` for random weights.
    """
    with Quietly():
        model, source = load_model(name, weights)
        if hasattr(model, "get_image_features") and hasattr(model, "get_text_features"):
            return _both(name, model, source, machine)
        if hasattr(model.config, "image_size") or hasattr(model.config, "num_channels"):
            return _vision(name, model, source, machine)
        return _text(name, model, source, machine)


@final
class TextEncoder(nn.Module):
    """Token batches to sentence features [B, D]."""

    def __init__(self, model: nn.Module, pooling: str, normalize: bool) -> None:
        super().__init__()
        self.model, self.pooling, self.normalize = model, pooling, normalize

    def forward(self, tokens: Mapping[str, Tensor], side: Literal["item", "label"] = "item") -> Tensor:  # noqa: ARG002  (one tower)
        states = self.model(**tokens).last_hidden_state
        features = pooled(states, tokens["attention_mask"], self.pooling)
        return nn.functional.normalize(features, dim=-1) if self.normalize else features


@final
class VisionEncoder(nn.Module):
    """Images to features [B, D]."""

    def __init__(self, model: nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, images: Tensor) -> Tensor:
        out = self.model(pixel_values=images)
        if self.pooling == "pooler":
            features: Tensor = out.pooler_output
            return features.flatten(1)
        states: Tensor = out.last_hidden_state
        if states.ndim == 4:  # a convolutional map
            return states.mean((2, 3))
        return states[:, 0] if self.pooling == "cls" else states.mean(1)


@final
class ImageText(nn.Module):
    """A CLIP-like model: images to features, or (side "label") token batches to class vectors, in one space."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Any, side: Literal["item", "label"] = "item") -> Tensor:
        out = self.model.get_text_features(**inputs) if side == "label" else self.model.get_image_features(pixel_values=inputs)
        features: Tensor = out if isinstance(out, Tensor) else out.pooler_output
        return features


def _text(name: Name, model: nn.Module, source: Mapping[str, str], machine: Machine) -> Backbone:
    name.check(TEXT_OPTIONS)
    said = pooling_of(name.model)
    pooling = name.choice("pooling", ("mean", "cls", "max"), said.pooling)
    tokenizer = load_tokenizer(name)
    longest = min(said.max_length or 10**9, _longest(model, tokenizer))
    preparation = TextPreparation(
        tokenizer=tokenizer,
        max_length=min(name.integer("max_length", longest), _longest(model, tokenizer)),
        pooling=pooling,
        normalize=name.flag("normalize", True),
    )
    network = TextEncoder(model, pooling, preparation.normalize).eval()
    width = int(model.config.hidden_size)  # type: ignore[union-attr,arg-type]
    return Backbone(
        name.full, network, preparation, width, _groups(network), machine, source, _structure(model, pooling), preparation.batch
    )


def _longest(model: Any, tokenizer: Any) -> int:
    """The most tokens the model can take."""
    places = getattr(model.config, "max_position_embeddings", None) or 512
    reserved = (getattr(model.config, "pad_token_id", 0) or 0) + 1 if "roberta" in str(model.config.model_type) else 0
    return int(min(tokenizer.model_max_length, places - reserved))


def _vision(name: Name, model: Any, source: Mapping[str, str], machine: Machine) -> Backbone:
    name.check((*IMAGE_OPTIONS, "size", "crop_pct", "mean", "std", "interpolation"))
    pooling = name.choice("pooling", ("cls", "mean", "pooler"), "pooler" if _has_pooler(model) else "cls")
    preparation = image_settings(name, model.config)
    network = VisionEncoder(model, pooling).eval()
    with torch.no_grad():
        width = network(torch.zeros(1, 3, preparation.height, preparation.width)).shape[-1]
    return Backbone(name.full, network, preparation, int(width), _groups(network), machine, source, _structure(model, pooling))


def _has_pooler(model: Any) -> bool:
    """Whether the model's pooled output is trained: ViT's pooler is often absent from the file, DINOv2 has none but its own cls output."""
    return getattr(model, "pooler", None) is not None or str(model.config.model_type) in ("dinov2", "resnet", "convnext", "convnextv2")


def _both(name: Name, model: Any, source: Mapping[str, str], machine: Machine) -> Backbone:
    name.check(("size", "crop_pct", "mean", "std", "interpolation", "pretrained", "max_length"))
    tokenizer = load_tokenizer(name)
    places = int(model.config.text_config.max_position_embeddings)
    texts = TextPreparation(
        tokenizer=tokenizer, max_length=min(name.integer("max_length", places), places), pooling="model", normalize=False
    )
    preparation = image_settings(name, model.config.vision_config)
    network = ImageText(model).eval()
    with torch.no_grad():
        width = network(torch.zeros(1, 3, preparation.height, preparation.width)).shape[-1]
    scale = float(model.logit_scale.detach().exp()) if hasattr(model, "logit_scale") else 1.0
    return Backbone(
        name.full,
        network,
        preparation,
        int(width),
        _towers(network),
        machine,
        source,
        f"{_structure(model, 'model')} {texts.text}",
        texts.batch,
        scale,
    )


def _structure(model: Any, pooling: str) -> str:
    """What the weights do not say: the architecture, its activation and its attention heads, and how features are read."""
    config = model.config
    vision = getattr(config, "vision_config", config)
    details = [getattr(vision, name, None) for name in ("hidden_act", "num_attention_heads", "layer_norm_eps", "patch_size")]
    return f"hf {config.model_type} {details} {pooling}"


def _groups(network: nn.Module) -> Groups:
    return group_names(n for n, _ in network.named_parameters())


def _towers(network: nn.Module) -> Groups:
    """The image side from input to output, then the text side, then what is shared."""
    names = [n for n, _ in network.named_parameters()]

    def part(words: Sequence[str]) -> list[str]:
        return [n for n in names if any(n.startswith(f"model.{w}") for w in words)]

    image, text = part(("vision", "visual")), part(("text",))
    shared = tuple(n for n in names if n not in image and n not in text)
    return (*group_names(image, "image "), *group_names(text, "text "), *((("shared", shared),) if shared else ()))
