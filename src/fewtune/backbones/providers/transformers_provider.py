"""transformers encoders: `hf:NAME`, a hub name or a local folder; text, vision, and image-text models with both sides."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import Groups, group_names, tower_groups
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.pretrained import load_model, load_tokenizer, said_of_sentences
from fewtune.backbones.providers.processor import OPTIONS as PREPARATION_OPTIONS
from fewtune.backbones.providers.processor import image_settings
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.backbones.providers.structures import longest, structure
from fewtune.backbones.providers.text_options import fields_in
from fewtune.backbones.text_preparation import TextPreparation, pooled
from fewtune.errors import InputError
from fewtune.lengths import unit
from fewtune.machine import Machine

TEXT_OPTIONS = ("pooling", "max_length", "normalize", "pretrained", "fields", "pair", "long")
_ROWS = 64  # of tokens in one pass, of texts that have several

IMAGE_OPTIONS = ("pooling", "pretrained", *PREPARATION_OPTIONS)
BOTH_OPTIONS = ("max_length", "pretrained", *PREPARATION_OPTIONS)


def load_transformers(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """A transformers encoder, in float32 whatever the dtype of the file. Remote code is never run.

    Text options: `template` and `words` make prompts of texts (see `masked_provider`); `fields` (the names of the fields of texts that
    have two) with `pair` (apart: features u, v, |u - v| and u * v; together: one sequence); `long` (cut, or mean over windows of a long
    text); `pooling` (mean, cls, max, last) and `normalize` (L2 at the end), by default as the files of sentence-transformers in the
    folder say, else the mean over the mask and true; `max_length` (tokens). Vision options: `pooling` (pooler: the model's own, the default
    if its weights have one; cls; mean: of the patches), `size`, `crop_pct`, `mean`, `std`, `interpolation`. All: `pretrained=false` for
    random weights.
    """
    with transformers_quietly():
        if "template" in name.options:
            from fewtune.backbones.providers.masked_provider import load_masked_model

            return load_masked_model(name, weights, machine)
        if "words" in name.options:
            raise InputError(f"{name.full}: words are the answers to a prompt: give its template too.")
        model, source = load_model(name, weights)
        if hasattr(model, "get_image_features") and hasattr(model, "get_text_features"):
            return _both(name, model, source, machine)
        if hasattr(model.config, "image_size") or hasattr(model.config, "num_channels"):
            return _vision(name, model, source, machine)
        return _text(name, model, source, machine)


@final
class TextEncoder(nn.Module):
    """Token batches to sentence features [B, D]; of two fields `apart`, [B, 4 D]."""

    def __init__(self, model: nn.Module, pooling: str, normalize: bool, *, apart: bool = False) -> None:
        super().__init__()
        self.model, self.pooling, self.normalize, self.apart = model, pooling, normalize, apart

    def forward(self, tokens: Mapping[str, Tensor], side: Literal["item", "label"] = "item") -> Tensor:  # noqa: ARG002  (one tower)
        if tokens["input_ids"].ndim == 3:
            return self._parts(tokens)
        states = self.model(**tokens).last_hidden_state
        features = pooled(states, tokens["attention_mask"], self.pooling)
        return unit(features) if self.normalize else features

    def _parts(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Texts in several rows of tokens, [B, P, T]: two fields, as u, v, |u - v|, u * v, or windows, as their mean."""
        shape = tokens["attention_mask"].shape[:2]
        inside = tokens["attention_mask"].flatten(0, 1).any(1)
        there = inside.nonzero()[:, 0]
        rows = [{name: t.flatten(0, 1)[some] for name, t in tokens.items()} for some in torch.split(there, _ROWS)]
        parts = torch.cat([_trimmed_forward(self, one) for one in rows])
        features = parts.new_zeros(len(inside), parts.shape[-1]).index_copy(0, there, parts).view(*shape, -1)
        if self.apart:
            u, v = features.unbind(1)
            return torch.cat([u, v, (u - v).abs(), u * v], dim=1)
        mean = features.sum(1) / inside.view(shape).sum(1, keepdim=True).clamp_min(1)
        return unit(mean) if self.normalize else mean


def _trimmed_forward(encoder: TextEncoder, tokens: Mapping[str, Tensor]) -> Tensor:
    """Features of rows of tokens, without the columns that are padding in all of them."""
    used = tokens["attention_mask"].any(0).nonzero()
    width = int(used.max()) + 1 if len(used) else 1
    features: Tensor = encoder({name: t[:, :width] for name, t in tokens.items()})
    return features


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
    fields, pair, long = _read_as(name)
    most = longest(model, tokenizer)
    preparation = TextPreparation(
        tokenizer=tokenizer,
        max_length=min(name.integer("max_length", min(said.max_length or most, most)), most),
        pooling=name.choice("pooling", ("mean", "cls", "max", "last"), said.pooling),
        normalize=name.flag("normalize", said.normalize),
        fields=fields,
        pair=pair,
        long=long,
    )
    apart = bool(fields) and pair == "apart"
    width = int(model.config.hidden_size) * (4 if apart else 1)
    said_by_model = structure(model, preparation.pooling)
    if getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # features come from the states, so the pooler is not used and its weights are removed
    network = TextEncoder(model, preparation.pooling, preparation.normalize, apart=apart).eval()
    texts = None if apart else preparation.label_tokens  # a name is one text, and has no features of a pair
    return Backbone(name.full, network, preparation, width, _groups(network), machine, source, said_by_model, texts)


def _read_as(name: Name) -> tuple[tuple[str, ...], Literal["apart", "together"], Literal["cut", "mean"]]:
    """The fields of texts, how they are read, and what is done with long texts."""
    fields = fields_in(name.options.get("fields", ""))
    if len(fields) == 1 or len(fields) > 2:
        raise InputError(f"{name.full}: expected the names of two fields, as in fields=premise/hypothesis, found {len(fields)}.")
    if "pair" in name.options and not fields:
        raise InputError(f"{name.full}: pair is for texts of two fields: give them, as in fields=premise/hypothesis.")
    pair: Any = name.choice("pair", ("apart", "together"), "apart")
    long: Any = name.choice("long", ("cut", "mean"), "cut")
    if long == "mean" and fields:
        raise InputError(f"{name.full}: long=mean is for texts of one field: leave it out.")
    return fields, pair, long


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
    return Backbone(name.full, network, preparation, width, _groups(network), machine, source, structure(model, pooling))


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
    both = f"{structure(model, 'model')} {texts.text}"
    return Backbone(name.full, network, preparation, width, _towers(network), machine, source, both, texts.batch, scale)


def _groups(network: nn.Module) -> Groups:
    return group_names(n for n, _ in network.named_parameters())


def _towers(network: nn.Module) -> Groups:
    """The groups of both sides (see `tower_groups`)."""
    names = [n for n, _ in network.named_parameters()]

    def part(words: Sequence[str]) -> list[str]:
        return [n for n in names if any(n.startswith(f"model.{w}") for w in words)]

    image, text = part(("vision", "visual")), part(("text",))
    return tower_groups(image, text, (n for n in names if n not in image and n not in text))
