"""Loading transformers models from a local folder or the hub: checked, in float32, without log messages, without remote code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch

from fewtune.backbones.providers.names import Name
from fewtune.backbones.providers.offline import hub_reachable, not_found
from fewtune.backbones.providers.seeded import seeded
from fewtune.backbones.weights import fit_weights, weights_record
from fewtune.errors import InputError
from fewtune.files import read_json

_HEADS = ("classifier.", "lm_head.", "cls.", "qa_outputs.", "score.", "vocab_", "pre_classifier.", "distillation_classifier.", "decoder.")
# these may be missing in the model or in the file: poolers (removed if the file lacks them), constants, and weights that are not used here
_SPARE = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids", "embeddings.mask_token")
_VOCABULARIES = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken", "tekken.json", "*.bpe")
_HINT = "give a local folder, hf:FOLDER (config.json, model.safetensors and, for texts, the tokenizer)."


def load_model(name: Name, weights: Path | None) -> tuple[Any, dict[str, str]]:
    """The encoder without a head, in eval mode, and where its weights came from. Only weights of heads may be missing or unexpected.

    A pooler that is not in the file is removed, because its weights would be random.
    """
    from transformers import AutoModel

    return _loaded(name, weights, AutoModel)


def load_masked(name: Name, weights: Path | None) -> tuple[Any, dict[str, str]]:
    """A masked language model with its head, as `load_model`. Raises InputError for a model without such a head."""
    from transformers import AutoModelForMaskedLM

    return _loaded(name, weights, AutoModelForMaskedLM)


def load_to_mask(name: Name, weights: Path | None) -> tuple[Any, dict[str, str]]:
    """A model with a masked-LM head, as `load_masked`; a head that is not in the file is new, and its table of words is that of the inputs.

    Raises InputError for a model that has no such head in transformers.
    """
    from transformers import AutoConfig, AutoModelForMaskedLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    config = AutoConfig.from_pretrained(
        name.model, trust_remote_code=False, local_files_only=Path(name.model).is_dir() or not hub_reachable()
    )
    if config.model_type not in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise InputError(f"{name.full} is a {config.model_type}, which cannot learn masked words: give an encoder such as BERT.")
    return _loaded(name, weights, AutoModelForMaskedLM, fresh=True)


def _loaded(name: Name, weights: Path | None, kind: Any, *, fresh: bool = False) -> tuple[Any, dict[str, str]]:
    """`fresh`: a head that is not in the file is new."""
    from transformers import AutoConfig

    folder = Path(name.model)
    local = folder.is_dir()
    offline = local or not hub_reachable()
    try:
        config = AutoConfig.from_pretrained(name.model, trust_remote_code=False, local_files_only=offline)
        with seeded(name.full):  # also if a file lacks some weights, so that they are the same every time
            if weights is not None or not name.flag("pretrained", True):
                model: Any = kind.from_config(config, dtype=torch.float32).eval()
                source = {"weights": "random"} if weights is None else _fitted(model, weights)
                return model, source
            model, report = kind.from_pretrained(
                name.model, dtype=torch.float32, output_loading_info=True, trust_remote_code=False, local_files_only=offline
            )
    except InputError:
        raise
    except BaseException as problem:  # hub libraries raise many kinds of errors; the first line is the most useful
        if not is_of_a_library(problem):
            raise
        if local:
            raise InputError(f"hf:{name.model} cannot be loaded: {_first(problem)}; {_HINT}") from None
        raise not_found(name.full, name.model, _HINT) from problem
    if fresh:
        report["missing_keys"] = [k for k in report["missing_keys"] if not _of_head(k)]
    elif model.get_output_embeddings() is not None:
        _check_head(name, report)
    _check(name, report)
    _without_pooler(model, report["missing_keys"])
    if local:
        return model.eval(), weights_record(folder)
    revision = getattr(config, "_commit_hash", None)
    return model.eval(), {"weights": name.model} | ({"revision": str(revision)} if revision else {})


def _fitted(model: Any, weights: Path) -> dict[str, str]:
    record = fit_weights(model, weights, heads=_HEADS, spare=_SPARE, prefixes=(f"{model.base_model_prefix}.",))
    _without_pooler(model, record.get("not in the file", "").split(", "))
    return record


def _without_pooler(model: Any, missing: Iterable[str]) -> None:
    if any(name.startswith("pooler.") for name in missing):
        model.pooler = None


def _of_head(key: str) -> bool:
    """Whether a weight is one of the head of a masked language model."""
    return any(f".{part}" in f".{key}" for part in _HEADS) or key.startswith(("head.", "predictions.", "generator_"))


def _check_head(name: Name, report: Mapping[str, Any]) -> None:
    """Raise InputError if the file holds no weights of the head of a masked language model."""
    lost = [k for k in report["missing_keys"] if _of_head(k)]
    if lost:
        raise InputError(
            f"{name.full} has no masked-LM head (its weights lack {', '.join(map(str, lost[:2]))}), so it cannot answer prompts: give a "
            "masked language model, or make one with `fewtune pretrain DATA --mlm`."
        )


def _check(name: Name, report: Mapping[str, Any]) -> None:
    missing = [k for k in report["missing_keys"] if not any(spare in k for spare in _SPARE)]
    strange = [k for k in report["unexpected_keys"] if not any(f".{part}" in f".{k}" for part in (*_HEADS, *_SPARE))]
    wrong = list(report["mismatched_keys"])
    if missing or wrong or strange:
        first = ", ".join(str(k) for k in [*missing, *wrong, *strange][:3])
        counts = f"{len(missing)} weights are missing, {len(wrong)} have another shape and {len(strange)} are unexpected"
        raise InputError(f"hf:{name.model}: {counts} ({first}): the file does not fit its config.json.")


def _first(problem: BaseException) -> str:
    return (str(problem).strip() or type(problem).__name__).splitlines()[0].rstrip(".")


def load_tokenizer(name: Name) -> Any:
    """The tokenizer beside the model."""
    from transformers import AutoTokenizer

    local = Path(name.model).is_dir()
    if local and not any(file for pattern in _VOCABULARIES for file in Path(name.model).glob(pattern)):
        # transformers would make a tokenizer without words
        raise InputError(f"hf:{name.model} holds no tokenizer (such as tokenizer.json), so texts cannot be read: {_HINT}")
    try:
        made = AutoTokenizer.from_pretrained(name.model, trust_remote_code=False, local_files_only=local or not hub_reachable())
        _tried(made)
        return made
    except BaseException as problem:
        if not is_of_a_library(problem):
            raise
        if local:
            raise InputError(f"hf:{name.model} has a tokenizer that cannot be read ({_first(problem)}); {_HINT}") from None
        raise not_found(name.full, f"the tokenizer of {name.model}", _HINT) from problem


def is_of_a_library(problem: BaseException) -> bool:
    """Whether an exception is an error, or a panic of a Rust library (which is not a subclass of Exception)."""
    return isinstance(problem, Exception) or type(problem).__module__.startswith("pyo3")


def _tried(tokenizer: Any) -> None:
    """Use a tokenizer once, because problems in its files often show only then. Raises whatever the tokenizer raises."""
    if isinstance(tokenizer.model_max_length, bool) or not isinstance(tokenizer.model_max_length, int | float):
        raise ValueError(f"model_max_length is {tokenizer.model_max_length!r}, expected a number")
    tokenizer(["one text", ""], padding=True, truncation=True, max_length=8, return_tensors="pt")


@final
@dataclass(frozen=True)
class Said:
    """How sentences are read, as a folder of sentence-transformers says."""

    pooling: str = "mean"
    normalize: bool = True
    max_length: int | None = None


_POOLINGS = {
    "mean": "mean",
    "mean_tokens": "mean",
    "cls": "cls",
    "cls_token": "cls",
    "max": "max",
    "max_tokens": "max",
    "lasttoken": "last",
}


def said_of_sentences(name: Name) -> Said:
    """The settings from `modules.json` and the files that it names, in a folder or on the hub; if they are missing, the mean over the mask,
    then L2. Raises InputError for steps that fewtune does not support.
    """
    modules = _json(_beside(name, "modules.json"))
    if not isinstance(modules, list):
        modules = [{"type": "Pooling", "path": "1_Pooling"}, {"type": "Normalize"}]  # the model says nothing, or only a part
    steps = {str(m.get("type", "")).rsplit(".", 1)[-1]: str(m.get("path", "")) for m in modules if isinstance(m, dict)}
    pooling = _beside(name, f"{steps['Pooling']}/config.json") if "Pooling" in steps else None
    modes = _modes(_settings(pooling))
    strange = sorted(steps.keys() - {"Transformer", "Pooling", "Normalize"})
    mode = _POOLINGS.get(modes[0]) if len(modes) == 1 else None
    if (strange or mode is None) and "pooling" not in name.options:
        told = f"the step {strange[0]}" if strange else f"pooling by {' and '.join(modes)}"
        raise InputError(
            f"hf:{name.model} ends in {told}, which fewtune does not support: say pooling=mean, cls, max or last to leave it out."
        )
    longest = _beside(name, f"{steps.get('Transformer', '')}/sentence_bert_config.json".lstrip("/"))
    return Said(mode or "mean", "Normalize" in steps, _longest(longest))


def _beside(name: Name, file: str) -> Path | None:
    """A file of a local folder, or of the hub's cache (fetched if the hub can be reached); None if there is none."""
    folder = Path(name.model)
    if folder.is_dir():
        return folder / file
    from transformers.utils.hub import cached_file

    found = cached_file(
        name.model,
        file,
        local_files_only=not hub_reachable(),
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


def _longest(path: Path | None) -> int | None:
    """The largest number of tokens of a text that a file gives; None if it gives none."""
    most = _settings(path).get("max_seq_length")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise InputError(f"{path}: expected max_seq_length to be a whole number above 0, found {most!r}.")
    return most


def _modes(pooling: Mapping[str, Any]) -> list[str]:
    """The kinds of pooling in a file: one word or several, or, in older files, one flag for each kind."""
    now = pooling.get("pooling_mode")
    if now:
        return [str(m) for m in now] if isinstance(now, list) else [str(now)]
    return [k.removeprefix("pooling_mode_") for k, on in pooling.items() if k.startswith("pooling_mode_") and on is True] or ["mean"]


def _settings(path: Path | None) -> dict[str, Any]:
    found = _json(path)
    return found if isinstance(found, dict) else {}


def _json(path: Path | None) -> Any:
    return read_json(path) if path is not None and path.is_file() else None
