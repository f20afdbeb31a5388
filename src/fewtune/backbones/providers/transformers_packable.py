"""transformers models in a folder of their own: config.json, the weights of the encoder, its tokenizer and image settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.packable import Packable, licence_in, settings, tokenizer_files, with_options
from fewtune.backbones.providers.pretrained import load_tokenizer
from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.backbones.text_preparation import TextPreparation
from fewtune.backbones.weights import read_weights
from fewtune.errors import InputError
from fewtune.files import read_regular

_MODEL, _WORDS = "model.", "words."  # the encoder inside our network, and a table of output words
_IMAGES = ("preprocessor_config.json", "processor_config.json")
_LARGEST = 16 << 20  # bytes of a settings file


def packable(name: Name, original: Backbone) -> Packable:
    """The encoder as `hf:FOLDER` loads it, with the settings that are otherwise read from other files as options of the name."""
    network: Any = original.network
    config = _file(name, "config.json")
    if config is None:
        raise InputError(f"{name.full} cannot be packed: its config.json is no longer where it was loaded from.")
    files = {"config.json": settings(read_regular(config, most=_LARGEST))}
    options: dict[str, object] = {}
    if isinstance(original.preparation, TextPreparation):
        p = original.preparation
        read = {} if p.template is not None else {"pooling": p.pooling, "normalize": p.normalize}
        options = {**read, "max_length": p.max_length}
        files |= tokenizer_files(p.tokenizer)
    else:
        for file in _IMAGES:
            found = _file(name, file)
            if found is not None:
                files[file] = settings(read_regular(found, most=_LARGEST))
        options = _image_options(original, bare=not files.keys() & set(_IMAGES))
    if original.label_side and not isinstance(original.preparation, TextPreparation):
        with transformers_quietly():
            files |= tokenizer_files(load_tokenizer(name))
    elif hasattr(network, "pooling"):
        options["pooling"] = network.pooling
    weights = _weights(name, original)
    card = _file(name, "README.md")
    licence = None if card is None else licence_in(read_regular(card, most=_LARGEST).decode("utf-8", "replace"))
    return Packable(name=with_options(name.full, ("pretrained",), **options), weights=weights, files=files, folder=True, licence=licence)


def _image_options(original: Backbone, *, bare: bool) -> dict[str, object]:
    """The scale of the pixels, where no file of the model says it."""
    p: Any = original.preparation
    return {"mean": "/".join(map(repr, p.mean)), "std": "/".join(map(repr, p.std))} if bare else {}


def _weights(name: Name, original: Backbone) -> dict[str, Tensor]:
    """The weights by the names that transformers gives them. Of an encoder with a decoder, both, as they came."""
    model: Any = original.network.model
    if type(model).__name__.endswith(("Encoder", "Stack")):  # half of a model with a decoder, which transformers loads whole
        source = original.place.weights or _folder(name)
        if source is None:
            raise InputError(f"{name.full} cannot be packed: its weights are no longer where they were loaded from.")
        return read_weights(source)
    table = f"{getattr(original.network, 'decoder', '')}."  # of a masked language model, whose table of words is kept beside it
    whole = {n.removeprefix(_MODEL): t for n, t in original.start().items()}
    return {f"{table}{n.removeprefix(_WORDS)}" if n.startswith(_WORDS) else n: t for n, t in whole.items()}


def _folder(name: Name) -> Path | None:
    found = _file(name, "config.json")
    return None if found is None else found.parent


def _file(name: Name, file: str) -> Path | None:
    """A file of a model in its local folder, or in the cache of the hub; None if there is none."""
    if Path(name.model).is_dir():
        found = Path(name.model) / file
        return found if found.is_file() else None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name.model, file)
    return Path(cached) if isinstance(cached, str) else None
