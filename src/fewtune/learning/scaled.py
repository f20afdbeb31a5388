"""A method meets a backbone: heads that leave their temperature open get the one that the backbone was pretrained with."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from fewtune.backbones.backbone import Backbone
from fewtune.parts.heads.class_texts import Text
from fewtune.parts.heads.linear import Linear
from fewtune.parts.heads.prompts import USUAL

Spec = TypeVar("Spec")


def scaled(spec: Spec, backbone: Backbone) -> Spec:
    """The same method (or head, or tuple of them), with `backbone_scale` in every head that compares names by cosines and says no
    temperature. What says one stays the very object that it was.
    """
    found: Spec = _filled(spec, backbone_scale(backbone))
    return found


def backbone_scale(backbone: Backbone) -> float:
    """The number that multiplies cosines with class names: exp(logit_scale) of an image-text model, to six digits; 1 where products are
    logits already (a masked language model); 100 of a backbone that has none, such as a sentence encoder.
    """
    if backbone.label_metric == "dot":
        return 1.0
    return USUAL if backbone.logit_scale == 1.0 else float(f"{backbone.logit_scale:.6g}")


def _filled(spec: Any, scale: float) -> Any:
    if isinstance(spec, tuple):
        items = tuple(_filled(item, scale) for item in spec)
        return spec if all(new is old for new, old in zip(items, spec, strict=True)) else items
    if not is_dataclass(spec) or isinstance(spec, type):
        return spec
    if isinstance(spec, Text) or (isinstance(spec, Linear) and spec.cosine):
        return replace(spec, temperature=scale) if spec.temperature is None else spec
    given = {f.name: getattr(spec, f.name) for f in fields(spec) if f.init}
    changed = {name: _filled(value, scale) for name, value in given.items()}
    changed = {name: value for name, value in changed.items() if value is not given[name]}
    return replace(spec, **changed) if changed else spec
