"""What a misspelt backbone, or one without its prefix, may have meant. An untrained network is never offered for a pretrained one."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from fewtune.backbones.known import KNOWN, SIZES
from fewtune.backbones.providers.listed import open_clip_models, timm_models, timm_weights

_MOST = 3


def suggestions(name: str, plain: Mapping[str, str], untrained: tuple[str, ...]) -> list[str]:
    """Names with their prefix, the most likely first; at most three.

    `plain`: the words that need no model or begin a name, and how each is shown ("timm" as "timm:NAME"). `untrained`: words that are
    offered only if nothing but case and punctuation differs.
    """
    if not name:
        return []
    provider, _, model = name.partition(":")
    if model and (near := difflib.get_close_matches(provider, plain, n=1, cutoff=0.5)):
        return [f"{near[0]}:{model}" if plain[near[0]].endswith(":NAME") else plain[near[0]]]
    wanted = model or name
    for word in untrained:
        if _bare(wanted) == _bare(word):
            return [word]
    known = _named()
    if wanted.lower() in known:
        return [known[wanted.lower()]]
    if "/" in wanted or Path(wanted).is_dir():
        return [f"hf:{wanted}"]
    words = known | {size: size for size in SIZES} | {word: shown for word, shown in plain.items() if word not in untrained}
    return [words[near] for near in difflib.get_close_matches(wanted.lower(), words, n=_MOST, cutoff=0.7)]


def _named() -> dict[str, str]:
    """Every name that is known without the network, in lower case, and how --backbone takes it."""
    found = {name.lower(): f"open_clip:{name}/TAG" for name in open_clip_models()}
    found |= {name.lower(): f"timm:{name}" for name in timm_weights() | timm_models()}
    for model in KNOWN:
        whole = model.name.partition(":")[2]
        found |= {whole.lower(): model.name, whole.rpartition("/")[2].lower(): model.name}
    return found


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
