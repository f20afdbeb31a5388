"""open_clip models: `open_clip:NAME[/PRETRAINED]`. The only file that imports open_clip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import tower_groups
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.check import INSTALL
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.offline import hub_reachable, not_found
from fewtune.backbones.providers.packable import Packable, tokenizer_files, with_options
from fewtune.backbones.providers.quiet import quietly, without_compiler
from fewtune.backbones.providers.seeded import seeded
from fewtune.backbones.weights import fit_weights
from fewtune.errors import InputError, unknown
from fewtune.files import read_json
from fewtune.machine import Machine
from fewtune.spec import digest
from fewtune.words import option

OPTIONS = ("pretrained",)
PROBES = ["The quick brown fox, naïve café №1!", "UPPER lower  12345 -- (a_b) don't 你好"]  # the tokens of these texts are recorded


@final
class OpenClip(nn.Module):
    """Images to features, or (side "label") tokens to class vectors, in one space; neither is normalised here."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, side: Literal["item", "label"] = "item") -> Tensor:
        features: Tensor = self.model.encode_text(inputs) if side == "label" else self.model.encode_image(inputs)
        return features


def load_open_clip(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """An open_clip model with both sides. NAME is one of open_clip's configurations or a local folder with its files.

    PRETRAINED is one of its tags; the weights come from the cache or the hub. Without it and without --weights, give `pretrained=false` for
    random weights.
    """
    name.check(OPTIONS)
    try:
        with quietly(), without_compiler(machine.compile):
            import open_clip
    except ImportError as problem:
        raise InputError(f"{INSTALL['open_clip']} ({problem})") from None
    architecture, tag = _taken_apart(open_clip, name)
    pretrained = weights is None and name.flag("pretrained", True)
    if pretrained and tag is None and not Path(architecture).is_dir():
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        raise InputError(
            f"{name.full}: say which weights: open_clip:{architecture}/TAG with one of the tags {', '.join(tags[:6])}, or "
            f"{option('--weights FILE')}."
        )
    local = Path(architecture).is_dir()
    where = weights or (Path(architecture) if local and pretrained else None)
    model = _create(open_clip, name, architecture, tag if pretrained else None)
    source = fit_weights(model, where) if where is not None else {"weights": f"open_clip {architecture} {tag}" if pretrained else "random"}
    network = OpenClip(model).eval()
    preparation = preparation_of(open_clip.get_model_preprocess_cfg(model))
    tokenizer = _tokenizer(open_clip, name, architecture)

    def tokens(texts: Sequence[str]) -> Tensor:
        found: Tensor = tokenizer(list(texts))
        return found

    with torch.no_grad():
        width = network(torch.zeros(1, 3, preparation.height, preparation.width)).shape[-1]
    structure = f"open_clip {_configuration(open_clip, architecture)} {digest(str(tokens(PROBES).tolist()))}"
    names = [n for n, _ in network.named_parameters()]
    image = [n for n in names if n.startswith("model.visual.")]
    shared = tuple(n for n in names if n in ("model.logit_scale", "model.logit_bias"))
    text = [n for n in names if n not in image and n not in shared]
    groups = tower_groups(image, text, shared)
    return Backbone(
        name.full, network, preparation, int(width), groups, machine, source, structure, tokens, float(model.logit_scale.detach().exp())
    )


def packable(name: Name, original: Backbone) -> Packable:
    """The model as a folder of open_clip: its configuration with the preprocessing that its weights were trained with, and a tokenizer of
    transformers where it has one (open_clip holds the others itself)."""
    with quietly():
        import open_clip
    architecture, _ = _taken_apart(open_clip, name)
    model: Any = original.network.model
    if Path(architecture).is_dir():
        configuration = _said(Path(architecture) / "open_clip_config.json").get("model_cfg")
    else:
        configuration = open_clip.get_model_config(architecture)
    whole = {"model_cfg": configuration, "preprocess_cfg": dict(open_clip.get_model_preprocess_cfg(model))}
    files = {"open_clip_config.json": json.dumps(whole, indent=1).encode()}
    tokenizer = getattr(_tokenizer(open_clip, name, architecture), "tokenizer", None)
    if hasattr(tokenizer, "save_pretrained"):
        files |= tokenizer_files(tokenizer)
    weights = {n.removeprefix("model."): t for n, t in original.start().items()}
    return Packable(
        name=with_options(f"open_clip:{name.full.split(':', 1)[1]}", ("pretrained",)), weights=weights, files=files, folder=True
    )


def _taken_apart(open_clip: Any, name: Name) -> tuple[str, str | None]:
    if Path(name.model).is_dir():
        return name.model, None
    architecture, _, tag = name.model.partition("/")
    if architecture not in open_clip.list_models():
        raise unknown("open_clip model", architecture, open_clip.list_models())
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        raise unknown(f"pretrained tag of open_clip:{architecture}", tag, tags)
    return architecture, tag or None


def _create(open_clip: Any, name: Name, architecture: str, tag: str | None) -> Any:
    local = Path(architecture).is_dir()
    if tag is not None:
        hub_reachable()  # switches the libraries to offline mode if the hub cannot be reached
    try:
        with seeded(name.full), quietly():
            if local:  # we read the weights ourselves
                return open_clip.create_model(f"local-dir:{architecture}", load_weights=False, pretrained_text=False).eval()
            return open_clip.create_model(architecture, pretrained=tag, pretrained_text=False).eval()
    except Exception as problem:  # hub libraries raise many kinds of errors
        if local or tag is None:
            raise InputError(f"{name.full} cannot be made: {(str(problem) or type(problem).__name__).splitlines()[0]}") from None
        raise not_found(name.full, f"{architecture}/{tag}", f"give a local file with {option('--weights FILE')}.") from problem


def _configuration(open_clip: Any, architecture: str) -> str:
    """The model's configuration: what cannot be seen from its weights."""
    if not Path(architecture).is_dir():
        return str(sorted((open_clip.get_model_config(architecture) or {}).items()))
    return json.dumps(_said(Path(architecture) / "open_clip_config.json").get("model_cfg"), sort_keys=True)


def _said(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected an object with model_cfg.")
    return found


def _tokenizer(open_clip: Any, name: Name, architecture: str) -> Any:
    try:
        with quietly():
            return open_clip.get_tokenizer(f"local-dir:{architecture}" if Path(architecture).is_dir() else architecture)
    except Exception as problem:
        raise not_found(name.full, f"the tokenizer of {architecture}", "give a local folder, open_clip:FOLDER.") from problem


def preparation_of(config: Any) -> ImagePreparation:
    """open_clip's evaluation transform, from its settings."""
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    mode = config.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise InputError(f"this open_clip model resizes by {mode!r}, which fewtune does not support: expected shortest or squash.")
    return ImagePreparation(
        height=height,
        width=width,
        short=min(height, width),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config.get("interpolation", "bicubic"),
        resize="short" if mode == "shortest" else "squash",
    )
