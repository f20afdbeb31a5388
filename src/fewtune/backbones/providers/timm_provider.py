"""timm models: `timm:NAME[,option=value]`. The only file that imports timm."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.groups import Groups, group_names, in_block
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.providers.bare import import_timm_model
from fewtune.backbones.providers.check import INSTALL, unknown_model
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.offline import hub_reachable, not_found
from fewtune.backbones.providers.packable import Packable, settings, with_options
from fewtune.backbones.providers.quiet import quietly, without_compiler
from fewtune.backbones.providers.seeded import seeded
from fewtune.backbones.weights import fit_weights
from fewtune.errors import InputError, unknown
from fewtune.files import read_regular
from fewtune.machine import Machine
from fewtune.words import option

OWN = ("size", "mean", "std", "crop_pct", "interpolation", "pretrained")


def load_timm(name: Name, weights: Path | None, machine: Machine) -> Backbone:
    """A timm model without its classifier.

    Options: `size`, `crop_pct`, `mean`, `std`, `interpolation` change the preprocessing; `pretrained=false` starts from random weights (a
    function of the name); any other option is passed to the model's constructor (`pad_type=same`). Without --weights, pretrained weights
    come from timm's cache or the hub.
    """
    folder = Path(name.model)
    try:
        with quietly(), without_compiler(machine.compile):
            if folder.is_dir() or machine.compile or not import_timm_model(name.model.partition(".")[0]):
                import timm  # noqa: F401
            from timm.models import _factory, _registry
    except ImportError as problem:
        raise InputError(f"{INSTALL['timm']} ({problem})") from None
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{name.full}: {folder} holds no config.json of timm: give timm:NAME and the folder with {option('--weights FOLDER')}."
            )
    elif not _registry.is_model(name.model.partition(".")[0]):
        raise unknown_model(name, _registry.list_models())
    pretrained = name.flag("pretrained", True) and weights is None
    if pretrained and not folder.is_dir():
        _check_pretrained(_registry, name)
    options = {k: _literal(v) for k, v in name.options.items() if k not in OWN}
    where = weights or (folder if folder.is_dir() and pretrained else None)
    network = _create(_factory, name, options, pretrained and where is None)
    source = _source(name, pretrained)
    if where is not None:
        source = fit_weights(network, where, heads=_heads(network), convert=_translation(network))
    preparation = _preparation(name, _evaluation_config(network))
    width = _width(name, network, preparation)
    config: Any = getattr(network, "pretrained_cfg", None) or {}
    architecture = config.get("architecture") or name.model
    structure = f"timm {architecture} {sorted(options.items())}"
    return Backbone(name.full, network, preparation, width, _groups(network), machine, source, structure)


def packable(name: Name, original: Backbone) -> Packable:
    """The weights without the classifier; of a model from a folder, its config.json too."""
    config: Any = getattr(original.network, "pretrained_cfg", None) or {}
    said = config.get("license")
    licence = said if isinstance(said, str) and said else None
    file = Path(name.model) / "config.json"
    files = {file.name: settings(read_regular(file))} if name.folder is not None else {}
    named = with_options(name.full, ("pretrained",)) if files else name.full  # a folder's weights are read whatever they began as
    return Packable(name=named, weights=original.start(), files=files, folder=bool(files), licence=licence)


def _check_pretrained(registry: Any, name: Name) -> None:
    """Raise InputError for a model that timm has no weights of: it would be an untrained network."""
    model, _, tag = name.model.partition(".")
    tags = registry.list_pretrained(f"{model}.*")
    if not tags and not registry.is_model_pretrained(model):
        raise InputError(f"timm has no weights for {name.model}, and untrained it is of no use: give {option('--weights FILE')}.")
    if tag and tags and name.model not in tags:
        raise unknown(f"weights of timm:{model}", tag, [found.partition(".")[2] for found in tags])


def _create(factory: Any, name: Name, options: Mapping[str, Any], pretrained: bool) -> nn.Module:
    """The network without its classifier. A size is passed to constructors that need one (vision transformers)."""
    folder = Path(name.model)
    if pretrained:
        hub_reachable()  # switches the libraries to offline mode if the hub cannot be reached
    model = f"local-dir:{folder}" if folder.is_dir() else name.model

    def made(**more: Any) -> nn.Module:
        with seeded(name.full), quietly():
            network: nn.Module = factory.create_model(model, pretrained=pretrained, num_classes=0, **options, **more).eval()
        return network

    try:
        if "size" in name.options and "img_size" not in options:
            try:
                return made(img_size=name.integer("size", 1))
            except TypeError as problem:
                if "img_size" not in str(problem):
                    raise
        return made()
    except TypeError as problem:
        strange = str(problem).split("argument ")[-1].strip("'\"")
        if strange == "weights":
            raise InputError(f"{name.full}: give the file of weights apart from the name, with {option('--weights FILE')}.") from None
        raise InputError(
            f"{name.full}: neither the preprocessing nor this model has an option {strange}; the preprocessing has {', '.join(OWN)}."
        ) from None
    except Exception as problem:  # hub libraries raise many kinds of errors; all mean that the weights cannot be downloaded
        if not pretrained:
            raise InputError(f"{name.full} cannot be made: {(str(problem) or type(problem).__name__).splitlines()[0]}.") from None
        raise not_found(
            name.full,
            name.model,
            f"give a local file with {option('--weights FILE')}, or carry the model over with `fewtune fetch`.",
        ) from problem


def _translation(network: nn.Module) -> Callable[[dict[str, Tensor]], Mapping[str, Any]] | None:
    """timm's own conversion of checkpoints in their authors' layouts, and of position embeddings of another size."""
    theirs = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if theirs is None:
        return None

    def convert(given: dict[str, Tensor]) -> Mapping[str, Any]:
        translated: Mapping[str, Any] = theirs(given, network)
        return translated

    return convert


def _width(name: Name, network: nn.Module, preparation: ImagePreparation) -> int:
    try:
        with torch.no_grad(), quietly():
            features = network(torch.zeros(2, 3, preparation.height, preparation.width))
    except (AssertionError, RuntimeError, ValueError) as problem:
        size = f"{preparation.height} x {preparation.width}"
        raise InputError(f"{name.full}: the model does not take images of {size} ({str(problem).splitlines()[0]}).") from None
    if features.ndim != 2:
        raise InputError(
            f"{name.full} gives features of shape {list(features.shape[1:])}, expected one vector for each image: choose global_pool=avg."
        )
    return int(features.shape[1])


def _groups(network: Any) -> Groups:
    """timm's own groups of the parameters, if they cover all of them; else groups from their names."""
    from timm.models._manipulate import group_parameters

    names = [name for name, _ in network.named_parameters()]
    try:
        found = group_parameters(network, network.group_matcher(coarse=False))
    except Exception:  # some models have none, or one that is out of date
        return group_names(names)
    parts = [tuple(found[place]) for place in sorted(found)]
    inner, outer = (tuple(n for n in parts[-1] if in_block(n) is inside) for inside in (True, False))
    parts[-1:] = [inner, outer] if inner and outer else [parts[-1]]  # timm puts the last norm with the last block
    if len(parts) < 3 or sorted(name for part in parts for name in part) != sorted(names):
        return group_names(names)
    titles = ["stem", *(_title(part) for part in parts[1:])]
    if not any(piece.isdecimal() for piece in titles[-1].split(".")):
        titles[-1] = "final"
    return tuple(zip(titles, parts, strict=True)) if len(set(titles)) == len(titles) else group_names(names)


def _title(names: Sequence[str]) -> str:
    """The common beginning of the names, up to a dot."""
    common: list[str] = []
    for pieces in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(pieces)) > 1:
            break
        common.append(pieces[0])
    return ".".join(common)


def _heads(network: nn.Module) -> tuple[str, ...]:
    """The names of the classifier's weights in a file: they are left out."""
    config = getattr(network, "pretrained_cfg", None) or {}
    named = config.get("classifier") or ()
    listed = (named,) if isinstance(named, str) else tuple(named)
    return tuple(f"{n}." for n in (*listed, "classifier", "head", "fc"))


def _evaluation_config(network: nn.Module) -> Mapping[str, Any]:
    import timm.data.config as config

    found: Mapping[str, Any] = config.resolve_data_config(model=network)  # type: ignore[no-untyped-call]
    return found


def _source(name: Name, pretrained: bool) -> dict[str, str]:
    return {"weights": f"timm {name.model}" if pretrained else "random"}


def _preparation(name: Name, config: Mapping[str, Any]) -> ImagePreparation:
    """timm's evaluation transform for this model, with the name's options."""
    _, height, width = config["input_size"]
    if "size" in name.options:
        height = width = name.integer("size", height)
    crop_pct = name.share("crop_pct", float(config.get("crop_pct") or 1.0))
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
    """A number, True, False, None, or the word itself."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(value.lower(), value)
