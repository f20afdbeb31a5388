"""The parameters of a network in groups from input to output, derived from their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

Groups = tuple[tuple[str, tuple[str, ...]], ...]

_NUMBERED = re.compile(r"^(.*?(?:^|\.)(?:\d+|[a-z]*(?:layer|stage|block)s?_?\d+))(?:\.|$)")
# parameters are listed in the order of their creation, which is not always the order in the forward pass
_FIRST = re.compile(
    r"(?:^|\.)(?:\w*stem|patch_embed\w*|\w*embeddings?|pos_embed\w*|\w+_token|ln_pre|norm_pre|pre_layrnorm)(?:\.|$)"
    r"|^(?:model\.)?(?:visual\.|trunk\.)*(?:conv\d|bn\d)\."
)
_PROJECTION = re.compile(r"(?:^|\.)(?:visual_projection\.|text_projection(?:\.|$)|visual\.proj$|visual\.head\.proj\.)")
_LAST = re.compile(r"(?:^|\.)(?:proj|\w+_projection|ln_post|ln_final|fc_norm|post_layernorm|final_layer_norm|pooler|attn_pool)(?:\.|$)")


def group_names(parameters: Iterable[str], prefix: str = "") -> Groups:
    """Groups (name, parameter names); every parameter is in one group.

    A group is one numbered block (`blocks.3`, `layer2`, `encoder.layer.0`). Parameters before the first block are "stem", after the last
    one "final"; those between two blocks belong to the block before them. `prefix` is put before the names of the groups.
    """
    names = list(parameters)
    places = {name: _place(name) for name in names}
    left = sum(bool(places[name]) and places[name] not in ("stem", "final") for name in names)
    grouped: dict[str, list[str]] = {}
    current = "stem"
    for name in names:
        place = places[name]
        if place and place not in ("stem", "final"):
            current, left = place, left - 1
        grouped.setdefault(place or (current if left else "final"), []).append(name)
    order = sorted(grouped, key=lambda g: {"stem": 0, "final": 2}.get(g, 1))  # stable: blocks keep their order
    return tuple((prefix + group, tuple(grouped[group])) for group in order)


def tower_groups(image: Iterable[str], text: Iterable[str], shared: Iterable[str]) -> Groups:
    """The groups of an image side and of a text side, each from input to output, then "shared", and last "projection": the projections of
    both sides into one space, where a model has them."""
    sides = [("image ", list(image)), ("text ", list(text))]
    projection = tuple(name for _, names in sides for name in names if _PROJECTION.search(name))
    inner = [group for prefix, names in sides for group in group_names((n for n in names if not _PROJECTION.search(n)), prefix)]
    outer = (("shared", tuple(shared)), ("projection", projection))
    return (*inner, *(group for group in outer if group[1]))


def in_block(name: str) -> bool:
    """Whether a parameter is in a numbered block."""
    return _NUMBERED.match(name) is not None


def _place(name: str) -> str:
    """The numbered block of a parameter, "stem" or "final" if its name says so, or "" if it depends on its neighbours."""
    first, block = _FIRST.search(name), _NUMBERED.match(name)
    if block and not (first and first.end() <= block.end()):
        return block.group(1)
    return "stem" if first else "final" if _LAST.search(name) else ""
