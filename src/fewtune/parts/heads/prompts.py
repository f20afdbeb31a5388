"""Prompt templates and class vectors, as heads that read class names take them."""

from __future__ import annotations

from torch import Tensor

from fewtune.errors import InputError
from fewtune.lengths import unit

USUAL = 100.0  # what multiplies cosines where a backbone says nothing


def check_prompts(prompts: tuple[str, ...] | str) -> tuple[str, ...]:
    """The templates as a tuple; a lone string is one template. Raises InputError where `{}` is missing or there is no template."""
    templates = (prompts,) if isinstance(prompts, str) else tuple(prompts)
    if not templates:
        raise InputError("expected at least one prompt such as 'a photo of a {}.', found none.")
    for template in templates:
        if template.count("{}") != 1:
            raise InputError(f"a prompt has one {{}} for the class name, but found {template!r}: write something like 'a photo of a {{}}.'")
    return templates


def required(class_vectors: Tensor | None, head: str) -> Tensor:
    """The class vectors, or InputError where there are none."""
    if class_vectors is None:
        raise InputError(f"{head} compares with class names, but got no class vectors: use a text or image-text backbone.")
    return class_vectors


def has_bias(class_vectors: Tensor, width: int) -> bool:
    """Whether class vectors [..., D + 1] hold a bias behind the vector, for features of `width` D."""
    return class_vectors.shape[-1] == width + 1


def directions(class_vectors: Tensor | None, head: str, width: int) -> Tensor:
    """The class vectors [..., D] that are compared by their angle, without a bias; InputError where there are none."""
    given = required(class_vectors, head)
    return unit(given[..., :width]) if has_bias(given, width) else given
