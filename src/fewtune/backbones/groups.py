"""The parameters of a network in groups from input to output, read off their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

Groups = tuple[tuple[str, tuple[str, ...]], ...]

_NUMBERED = re.compile(r"^(.*?(?:^|\.)(?:\d+|(?:layer|stage|block)s?_?\d+))(?:\.|$)")


def group_names(parameters: Iterable[str], prefix: str = "") -> Groups:
    """(group, parameter names), every parameter once.

    A group is one numbered block (`blocks.3`, `layer2`, `encoder.layer.0`); what stands before the first block is "stem", what stands after
    the last "final". `parameters` come in the order of the network. `prefix` is put before the groups' names.
    """
    names = list(parameters)
    block = {name: _block(name) for name in names}
    numbered = [i for i, name in enumerate(names) if block[name]]
    first = numbered[0] if numbered else len(names)
    grouped: dict[str, list[str]] = {}
    for i, name in enumerate(names):
        grouped.setdefault(block[name] or ("stem" if i < first else "final"), []).append(name)
    order = sorted(grouped, key=lambda g: {"stem": 0, "final": 2}.get(g, 1))  # stable: blocks stay in order
    return tuple((prefix + group, tuple(grouped[group])) for group in order)


def _block(name: str) -> str:
    found = _NUMBERED.match(name)
    return found.group(1) if found else ""
