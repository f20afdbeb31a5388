"""transformers encoders: `hf:NAME`, a hub name or a local folder; text, vision, and image-text models with both sides."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import Groups, group_names
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.pretrained import load_model, load_tokenizer, said_of_sentences
from fewtune.backbones.providers.processor import OPTIONS as PREPARATION_OPTIONS
from fewtune.backbones.providers.processor import image_settings
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.backbones.text_preparation import TextPreparation, pooled
from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.machine import Machine

TEXT_OPTIONS = ("pooling", "max_length", "normalize", "pretrained")
IMAGE_OPTIONS = ("pooling", "pretrained", *PREPARATION_OPTIONS)
BOTH_OPTIONS = ("max_length", "pretrained", *PREPARATION_OPTIONS)


def load_transformers(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """A transformers encoder, in float32 whatever the dtype of the file. Remote code is never run.

    Text options: `pooling` (mean, cls, max, last) and `normalize` (L2 at the end), by default as the files of sentence-transformers in the
    folder say, else the mean over the mask and true; `max_length` (tokens). Vision options: `pooling` (pooler: the model's own, the default
    if its weights have one; cls; mean: of the patches), `size`, `crop_pct`, `mean`, `std`, `interpolation`. All: `pretrained=false` for
    random weights.
    """
    with transformers_quietly():
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
        return unit(features) if self.normalize else features


@final
class VisionEncoder(nn.Module):
    """Images to features [B, D]. `patches`: how many tokens at the end of the sequence are patches (0: all)."""

    def __init__(self, model: nn.Module, pooling: str, patches: int, options: Mapping[str, bool]) -> None:
        super().__init__()
        self.model, self.pooling, self.patches, self.options = model, pooling, patches, dict(options)

    def forward(self, images: Tensor) -> Tensor:
        out = self.model(pixel_values=images, **self.options)
        if self.pooling == "pooler":
            features: Tensor = out.pooler_output
            return features.flatten(1)
        states: Tensor = out.last_hidden_state
        if states.ndim == 4:  # a convolutional map
            return states.mean((2, 3))
        return states[:, 0] if self.pooling == "cls" else states[:, -self.patches :].mean(1)


@final
class ImageText(nn.Module):
    """A CLIP-like model: images to features, or (side "label") token batches to class vectors, in one space."""

    def __init__(self, model: Any, options: Mapping[str, bool]) -> None:
        super().__init__()
        self.model, self.options = model, dict(options)

    def forward(self, inputs: Any, side: Literal["item", "label"] = "item") -> Tensor:
        if side == "label":
            out = self.model.get_text_features(**inputs)
        else:
            out = self.model.get_image_features(pixel_values=inputs, **self.options)
        features: Tensor = out if isinstance(out, Tensor) else out.pooler_output
        return features


def _text(name: Name, model: Any, source: Mapping[str, str], machine: Machine) -> Backbone:
    name.check(TEXT_OPTIONS)
    said = said_of_sentences(name)
    tokenizer = load_tokenizer(name)
    most = _longest(model, tokenizer)
    preparation = TextPreparation(
        tokenizer=tokenizer,
        max_length=min(name.integer("max_length", min(said.max_length or most, most)), most),
        pooling=name.choice("pooling", ("mean", "cls", "max", "last"), said.pooling),
        normalize=name.flag("normalize", said.normalize),
    )
    width = int(model.config.hidden_size)
    structure = _structure(model, preparation.pooling)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # features come from the states, so the pooler is not used and its weights are removed
    network = TextEncoder(model, preparation.pooling, preparation.normalize).eval()
    return Backbone(name.full, network, preparation, width, _groups(network), machine, source, structure, preparation.batch)


def _longest(model: Any, tokenizer: Any) -> int:
    """The largest number of tokens for the model; 512 if neither it nor its tokenizer has a limit."""
    places = getattr(model.config, "max_position_embeddings", None)
    reserved = (getattr(model.config, "pad_token_id", 0) or 0) + 1 if "roberta" in str(model.config.model_type) else 0
    return int(min(tokenizer.model_max_length, places - reserved if places else max(512, min(tokenizer.model_max_length, 4096))))


def _vision(name: Name, model: Any, source: Mapping[str, str], machine: Machine) -> Backbone:
    name.check(IMAGE_OPTIONS)
    preparation = image_settings(name, model.config)
    asked = name.choice("pooling", ("cls", "mean", "pooler"), "pooler" if _has_pooler(model) else "cls")
    pooling = asked if asked == "pooler" or _has_tokens(model) else "mean"
    if asked == "pooler" and not _has_pooler(model):
        raise InputError(f"hf:{name.model} has no pooler: say pooling=cls or pooling=mean.")
    if pooling != "pooler" and "add_pooling_layer" in inspect.signature(type(model).__init__).parameters:
        model.pooler = None
    network = VisionEncoder(model, pooling, _patches(model, preparation), _resizing(model, preparation)).eval()
    width = _width(name, network, preparation)
    return Backbone(name.full, network, preparation, width, _groups(network), machine, source, _structure(model, pooling))


def _has_pooler(model: Any) -> bool:
    """Whether the model has a pooled output: its own pooler (with weights), or one computed from its states as in DINOv2."""
    pools = (
        "dinov2",
        "dinov2_with_registers",
        "dinov3_vit",
        "resnet",
        "convnext",
        "convnextv2",
        "swin",
        "swinv2",
        "regnet",
        "efficientnet",
    )
    return getattr(model, "pooler", None) is not None or str(model.config.model_type) in pools


def _has_tokens(model: Any) -> bool:
    return isinstance(getattr(model.config, "patch_size", None), int)


def _patches(model: Any, preparation: ImagePreparation) -> int:
    """The number of patch tokens, after the class token and registers; 0 for networks without one grid of tokens."""
    patch = getattr(model.config, "patch_size", None)
    plain = isinstance(patch, int) and hasattr(model.config, "num_attention_heads")
    return (preparation.height // patch) * (preparation.width // patch) if plain and isinstance(patch, int) else 0


def _resizing(model: Any, preparation: ImagePreparation) -> dict[str, bool]:
    """Interpolate position embeddings, if the image size differs from the model's and the model supports it."""
    size = getattr(model.config, "image_size", None)
    other = isinstance(size, int) and (preparation.height, preparation.width) != (size, size)
    knows = "interpolate_pos_encoding" in inspect.signature(model.forward).parameters
    return {"interpolate_pos_encoding": True} if other and knows else {}


def _width(name: Name, network: nn.Module, preparation: ImagePreparation) -> int:
    try:
        with torch.no_grad():
            return int(network(torch.zeros(1, 3, preparation.height, preparation.width)).shape[-1])
    except (ValueError, RuntimeError) as problem:
        size = f"{preparation.height} x {preparation.width}"
        raise InputError(f"{name.full}: the model does not take images of {size} ({str(problem).splitlines()[0]}).") from None


def _both(name: Name, model: Any, source: Mapping[str, str], machine: Machine) -> Backbone:
    name.check(BOTH_OPTIONS)
    tokenizer = load_tokenizer(name)
    places = int(model.config.text_config.max_position_embeddings)
    texts = TextPreparation(
        tokenizer=tokenizer,
        max_length=min(name.integer("max_length", places), places),
        pooling="model",
        normalize=False,
        padded="siglip" in str(model.config.model_type),  # it was trained like this, without a mask
    )
    preparation = image_settings(name, model.config.vision_config)
    network = ImageText(model, _resizing(model.vision_model, preparation)).eval()
    width = _width(name, network, preparation)
    scale = float(model.logit_scale.detach().exp()) if hasattr(model, "logit_scale") else 1.0
    structure = f"{_structure(model, 'model')} {texts.text}"
    return Backbone(name.full, network, preparation, width, _towers(network), machine, source, structure, texts.batch, scale)


_DETAILS = ("hidden_act", "num_attention_heads", "layer_norm_eps", "patch_size", "position_embedding_type", "eos_token_id")


def _structure(model: Any, pooling: str) -> str:
    """What cannot be seen from the weights: the architecture, its activation and attention heads, and how features are read."""
    config = model.config
    parts = [getattr(config, part, None) for part in ("vision_config", "text_config")]
    details = [[str(getattr(part, detail, None)) for detail in _DETAILS] for part in (config, *parts) if part is not None]
    return f"hf {config.model_type} {details} {pooling}"


def _groups(network: nn.Module) -> Groups:
    return group_names(n for n, _ in network.named_parameters())


def _towers(network: nn.Module) -> Groups:
    """The groups of the image side from input to output, then of the text side, then the shared weights."""
    names = [n for n, _ in network.named_parameters()]

    def part(words: Sequence[str]) -> list[str]:
        return [n for n in names if any(n.startswith(f"model.{w}") for w in words)]

    image, text = part(("vision", "visual")), part(("text",))
    shared = tuple(n for n in names if n not in image and n not in text)
    return (*group_names(image, "image "), *group_names(text, "text "), *((("shared", shared),) if shared else ()))
