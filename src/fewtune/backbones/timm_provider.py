"""timm models: `timm:NAME[,option=value]`. The only file that imports timm."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import group_names
from fewtune.backbones.names import Name
from fewtune.backbones.offline import hub_reachable, not_found
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.seeded import seeded
from fewtune.backbones.weights import fit_weights
from fewtune.errors import InputError, unknown
from fewtune.machine import Machine

OWN = ("size", "mean", "std", "crop_pct", "interpolation", "pretrained")
_INSTALL = "timm:NAME needs timm: pip install 'fewtune[timm]'."


def load_timm(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """A timm model without its classifier.

    Options: `size`, `crop_pct`, `mean`, `std`, `interpolation` change the preprocessing; `pretrained=false` starts from random weights (a
    function of the name); any other goes to the model's constructor (`pad_type=same`). Without --weights, pretrained ones come from timm's
    cache or the hub.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import timm
    except ImportError as problem:
        raise InputError(f"{_INSTALL} ({problem})") from None
    folder = Path(name.model)
    if not folder.is_dir() and name.model.split(".")[0] not in timm.list_models():
        raise unknown("timm model", name.model, timm.list_models())
    pretrained = name.flag("pretrained", True) and weights is None
    options = {k: _literal(v) for k, v in name.options.items() if k not in OWN}
    if "size" in name.options and _fixed_size(timm, name.model, folder):
        options["img_size"] = name.integer("size", 0)
    network = _create(timm, name, options, pretrained)
    source = fit_weights(network, weights, heads=_heads(network)) if weights is not None else _source(name, pretrained)
    preparation = _preparation(name, _evaluation_config(network))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        width = network(torch.zeros(2, 3, preparation.height, preparation.width)).shape[-1]
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    architecture = config.get("architecture") or name.model
    structure = f"timm {architecture} {sorted(options.items())}"
    parameters = [n for n, _ in network.named_parameters()]
    return Backbone(name.full, network, preparation, int(width), group_names(parameters), machine, source, structure)


def _create(timm: Any, name: Name, options: Mapping[str, Any], pretrained: bool) -> nn.Module:
    folder = Path(name.model)
    if pretrained and not folder.is_dir():
        hub_reachable()  # tells the libraries to stay offline where they would only wait
    model = f"local-dir:{folder}" if folder.is_dir() else name.model
    try:
        with seeded(name.full), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made: nn.Module = timm.create_model(model, pretrained=pretrained, num_classes=0, **options).eval()
    except TypeError as problem:
        raise InputError(
            f"{name.full}: the model does not take these options ({problem}); the preprocessing takes {', '.join(OWN)}."
        ) from None
    except Exception as problem:  # hub libraries raise many kinds; all mean that the weights are not to be had
        if not pretrained:
            raise InputError(f"{name.full} cannot be made: {str(problem).splitlines()[0]}") from None
        raise not_found(name.full, name.model, "give a local file with --weights, or pretrained=false for random weights.") from problem
    if tuple(made.state_dict()) == ():
        raise InputError(f"{name.full} has no weights.")
    return made


def _fixed_size(timm: Any, model: str, folder: Path) -> bool:
    """Whether the model is built for one image size (vision transformers)."""
    if folder.is_dir():
        return False
    entry = timm.models.model_entrypoint(model.split(".")[0])
    module = inspect.getmodule(entry)
    return module is not None and any("img_size" in inspect.signature(c).parameters for c in vars(module).values() if _is_network(c))


def _is_network(thing: object) -> bool:
    return inspect.isclass(thing) and issubclass(thing, nn.Module)


def _heads(network: nn.Module) -> tuple[str, ...]:
    """What the classifier's weights are called in a file: they are left out."""
    config = getattr(network, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    listed = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{n}." for n in (*listed, "classifier", "head", "fc"))


def _evaluation_config(network: nn.Module) -> Mapping[str, Any]:
    from timm.data import config

    found: Mapping[str, Any] = config.resolve_data_config(model=network)  # type: ignore[no-untyped-call]
    return found


def _source(name: Name, pretrained: bool) -> dict[str, str]:
    return {"weights": f"timm {name.model}" if pretrained else "random"}


def _preparation(name: Name, config: Mapping[str, Any]) -> ImagePreparation:
    """timm's evaluation transform for this model, with the name's options."""
    _, height, width = config["input_size"]
    if "size" in name.options:
        height = width = name.integer("size", height)
    crop_pct = name.numbers("crop_pct", (float(config.get("crop_pct") or 1.0),))[0]
    if not 0 < crop_pct <= 1:
        raise InputError(f"{name.full}: expected crop_pct above 0 and at most 1, found {crop_pct:g}.")
    squash = config.get("crop_mode") == "squash"
    wanted = [math.floor(side / crop_pct) for side in (height, width)]
    known = ("nearest", "bilinear", "bicubic", "lanczos")
    interpolation = name.choice("interpolation", known, str(config.get("interpolation", "bicubic")))
    return ImagePreparation(
        height=height,
        width=width,
        short=wanted[0],
        mean=name.numbers("mean", tuple(float(m) for m in config["mean"])),
        std=name.numbers("std", tuple(float(s) for s in config["std"])),
        interpolation=interpolation,  # type: ignore[arg-type]  # checked by choice
        resize="squash" if squash else "short",
    )


def _literal(value: str) -> Any:
    """A number, true, false or the word itself."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(value.lower(), value)
