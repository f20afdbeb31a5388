"""Getting transformers models: from a local folder or the hub, checked, in float32, in silence, without remote code."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, final

import torch

from fewtune.backbones.names import Name
from fewtune.backbones.offline import hub_reachable, not_found
from fewtune.backbones.preparation import ImagePreparation
from fewtune.backbones.seeded import seeded
from fewtune.backbones.weights import fit_weights, weights_file
from fewtune.errors import InputError
from fewtune.files import sha256

_HEADS = ("classifier.", "lm_head.", "cls.", "qa_outputs.", "score.", "vocab_")
_SPARE = ("pooler.", "position_ids", "token_type_ids", "mask_token")  # may be missing: we read the states, or they are constants
_HINT = "give a local folder, hf:FOLDER (config.json, model.safetensors and, for texts, the tokenizer)."


@final
class Quietly:
    """Inside, transformers logs nothing, shows no bars and warns of nothing."""

    def __enter__(self) -> None:
        from transformers.utils import logging as their_logging

        self._stack = ExitStack()
        self._stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        before = their_logging.get_verbosity()
        their_logging.set_verbosity(logging.CRITICAL)
        self._stack.callback(their_logging.set_verbosity, before)
        if their_logging.is_progress_bar_enabled():
            their_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            self._stack.callback(their_logging.enable_progress_bar)

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()


def load_model(name: Name, weights: Path | None) -> tuple[Any, dict[str, str]]:
    """The bare encoder in eval mode and where its weights came from. Asserts that nothing but heads is missing or unexpected."""
    from transformers import AutoConfig, AutoModel

    folder = Path(name.model)
    local = folder.is_dir()
    offline = local or not hub_reachable()
    try:
        config = AutoConfig.from_pretrained(name.model, trust_remote_code=False, local_files_only=offline)
        if weights is not None or not name.flag("pretrained", True):
            with seeded(name.full):
                model = AutoModel.from_config(config, dtype=torch.float32).eval()  # type: ignore[no-untyped-call]
            return model, {"weights": "random"} if weights is None else fit_weights(model, weights, heads=_HEADS)
        model, report = AutoModel.from_pretrained(
            name.model, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, local_files_only=offline
        )
    except InputError:
        raise
    except Exception as problem:  # hub libraries raise many kinds; the first line says it best
        if local:
            raise InputError(f"hf:{name.model} cannot be loaded: {_first(problem)}; {_HINT}") from None
        raise not_found(name.full, name.model, _HINT) from problem
    _check(name, report)
    source = {"weights": name.model if not local else folder.name}
    if local:
        source["sha256"] = sha256(weights_file(folder))
    elif revision := getattr(config, "_commit_hash", None):
        source["revision"] = str(revision)
    return model.eval(), source


def _check(name: Name, report: Mapping[str, Any]) -> None:
    missing = [k for k in report["missing_keys"] if not any(spare in k for spare in _SPARE)]
    wrong = list(report["mismatched_keys"])
    if missing or wrong:
        first = ", ".join(str(k) for k in [*missing, *wrong][:3])
        raise InputError(
            f"hf:{name.model}: {len(missing)} weights are missing and {len(wrong)} have another shape ({first}): the file does not fit."
        )


def _first(problem: Exception) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0].rstrip(".")


def load_tokenizer(name: Name) -> Any:
    """The tokenizer beside the model."""
    from transformers import AutoTokenizer

    local = Path(name.model).is_dir()
    try:
        return AutoTokenizer.from_pretrained(name.model, trust_remote_code=False, local_files_only=local or not hub_reachable())
    except Exception as problem:
        if local:
            raise InputError(f"hf:{name.model} has no tokenizer that can be read ({_first(problem)}); {_HINT}") from None
        raise not_found(name.full, f"the tokenizer of {name.model}", _HINT) from problem


@final
@dataclass(frozen=True)
class Said:
    """What a folder written by sentence-transformers says of reading sentences."""

    pooling: str = "mean"
    max_length: int | None = None


def pooling_of(model: str) -> Said:
    """`1_Pooling/config.json` and `sentence_bert_config.json`, where they are; else the mean over the mask."""
    pooling, length = _json(Path(model) / "1_Pooling" / "config.json"), _json(Path(model) / "sentence_bert_config.json")
    kind = "cls" if pooling.get("pooling_mode_cls_token") else "max" if pooling.get("pooling_mode_max_tokens") else "mean"
    most = length.get("max_seq_length")
    return Said(kind, int(most) if most else None)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


_MODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def image_settings(name: Name, config: Any) -> ImagePreparation:
    """The preprocessing in `preprocessor_config.json`, read as transformers' own image processors apply it, with the name's options."""
    raw = _preprocessor(name)
    image = getattr(config, "image_size", None) or 224
    size = raw.get("size", image)
    sides = {"shortest_edge": size} if isinstance(size, int) and raw.get("do_center_crop") else size
    sides = {"height": sides, "width": sides} if isinstance(sides, int) else dict(sides)
    squash = "shortest_edge" not in sides
    crop = raw.get("crop_size", image) if raw.get("do_center_crop") else (image if not squash else sides)
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else dict(crop)
    height, width = int(crop.get("height", image)), int(crop.get("width", image))
    short = int(sides.get("shortest_edge", height))
    if "size" in name.options:
        height = width = name.integer("size", height)
        short = height
    if "crop_pct" in name.options:
        short = int(height / name.numbers("crop_pct", (1.0,))[0])
    normal = bool(raw.get("do_normalize", True))
    mean = name.numbers("mean", tuple(float(m) for m in (raw.get("image_mean") or (0.5,) * 3)) if normal else (0.0,) * 3)
    std = name.numbers("std", tuple(float(s) for s in (raw.get("image_std") or (0.5,) * 3)) if normal else (1.0,) * 3)
    mode = _MODES.get(int(raw.get("resample", 2) or 0), "bilinear")
    return ImagePreparation(
        height=height,
        width=width,
        short=short,
        mean=mean,
        std=std,
        interpolation=name.choice("interpolation", tuple(_MODES.values()), mode),  # type: ignore[arg-type]  # checked by choice
        resize="squash" if squash else "short",
        rounding="floor",
    )


def _preprocessor(name: Name) -> dict[str, Any]:
    folder = Path(name.model)
    if folder.is_dir():
        return _json(folder / "preprocessor_config.json")
    from huggingface_hub import try_to_load_from_cache

    if hub_reachable():
        from huggingface_hub import hf_hub_download

        try:
            return _json(Path(hf_hub_download(name.model, "preprocessor_config.json")))
        except Exception:
            return {}
    found = try_to_load_from_cache(name.model, "preprocessor_config.json")
    return _json(Path(found)) if isinstance(found, str) else {}
