"""What `fewtune backbones` lists: the known models and, for a word, timm's own, with what is on this machine and how fast it is here."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from fewtune.backbones.known import KNOWN, Known
from fewtune.backbones.measured_speeds import keep_speeds, known_speeds
from fewtune.backbones.providers.listed import installed, timm_weights
from fewtune.backbones.providers.quiet import quietly
from fewtune.backbones.providers.suggest import suggestions
from fewtune.errors import InputError

MOST = 20
"""So many models of timm are shown for a word."""

TOKENS = 32
"""Tokens of each text whose speed is measured: a sentence or two."""

_FILES = ("model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin")
_SPLIT = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SECONDS, _ROWS = 2.0, 4


@final
@dataclass(frozen=True)
class Offered:
    """A model, whether its library is `installed`, whether its weights are `here` in the hub's cache, and how many rows it embeds in a
    second on this machine (None: not measured), now or when it was last measured."""

    model: Known
    installed: bool
    here: bool
    per_second: float | None = None


def offered(word: str = "") -> list[Offered]:
    """The known models; with a word, those that have it in their name, size, licence or description, and the models of timm that have it in
    their name.

    Raises InputError where nothing has it, with the nearest names.
    """
    fold = word.casefold()
    known = [model for model in KNOWN if fold in _searched(model)]
    names = {model.name for model in known}
    rest = sorted(name for name in timm_weights() if fold in name.casefold() and f"timm:{name}" not in names) if word else []
    others = [] if not rest else _of_timm(rest)
    if not known and not others:
        near = suggestions(word, {}, ())
        hint = f"did you mean {' or '.join(near)}?" if near else "`fewtune backbones` alone lists those worth trying first."
        raise InputError(f"no model has {word!r} in its name or description: {hint}")
    speeds = known_speeds()
    return [
        Offered(model, installed(_library(model)), weights_here(model.repository), speeds.get(model.name)) for model in (*known, *others)
    ]


def measured(found: Sequence[Offered], say: Callable[[str], None]) -> list[Offered]:
    """The same with the speed on this machine, where the library is installed; it is kept. Weights do not change it: none are needed."""
    done = []
    for one in found:
        if one.installed:
            say(f"Measuring {one.model.name}.")
            one = replace(one, per_second=rows_per_second(one.model))
            keep_speeds({one.model.name: one.per_second or 0.0})
        done.append(one)
    return done


def weights_here(repository: str) -> bool:
    """Whether the hub's cache on this machine holds the weights of a repository; those in fewtune itself ("") always are here."""
    if not repository:
        return True
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in (*_FILES, *_SPLIT))


def build(model: Known) -> Any:
    """The network of a model, without weights of its own."""
    library, _, name = model.name.partition(":")
    with quietly():
        if library == "timm":
            import timm

            return timm.create_model(name, pretrained=False, num_classes=0).eval()
        if library == "open_clip":
            import open_clip

            return open_clip.create_model(name.partition("/")[0]).eval()
        if library == "embedded":
            from fewtune.backbones.providers.embedded_provider import Embedded

            return Embedded().eval()
        from transformers import AutoConfig, AutoModel

        config = AutoConfig.for_model(**model.shape)
        return AutoModel.from_config(config).eval()  # type: ignore[no-untyped-call]


def rows_per_second(model: Known) -> float:
    """Photos, or texts of 32 tokens, that go through the network in a second, in batches of four, on all threads of torch."""
    import torch

    network = build(model)
    if model.modality == "text":
        tokens = torch.ones(_ROWS, TOKENS, dtype=torch.int64)
        run = partial(network, input_ids=tokens, attention_mask=tokens)
    else:
        photos = torch.zeros(_ROWS, 3, model.pixels, model.pixels).to(memory_format=torch.channels_last)
        run = partial(getattr(network, "encode_image", network), photos)
    with torch.inference_mode(), quietly():
        run()  # the first pass warms up
        began, rows = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < _SECONDS:
            run()
            rows += _ROWS
    return rows / seconds


def _searched(model: Known) -> str:
    return f"{model.name} {model.size} {model.modality} {model.licence} {model.good_at}".casefold()


def _library(model: Known) -> str:
    return {"hf": "transformers", "embedded": "torch"}.get(found := model.name.partition(":")[0], found)


def _of_timm(names: Sequence[str]) -> list[Known]:
    """Models of timm as it describes them; names that it has no weights for are left out. Built without memory for their weights."""
    with quietly():
        try:
            import timm
        except ImportError as problem:
            raise InputError(f"timm is installed but cannot be imported ({problem}): `fewtune doctor` says what to type.") from None
        import torch

        found = []
        there = set(timm.list_pretrained())
        for name in [name for name in names if name in there][:MOST]:
            with torch.device("meta"):
                network = timm.create_model(name, pretrained=False, num_classes=0)
            config: Any = network.pretrained_cfg
            found.append(
                Known(
                    name=f"timm:{name}",
                    modality="image",
                    parameters=sum(p.numel() for p in network.parameters()) / 1e6,
                    features=_features(network),
                    licence=str(config.get("license") or "see its page on the hub"),
                    good_at=str(config.get("notes") or ""),
                    repository=str(config.get("hf_hub_id") or f"timm/{name}"),
                    pixels=int(config["input_size"][1]),
                )
            )
    return found


def _features(network: Any) -> int:
    """Numbers that a network of timm gives for each photo."""
    return int(getattr(network, "head_hidden_size", None) or network.num_features)
