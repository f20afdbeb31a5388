"""What transformers models say of themselves beside their weights: their structure, and how many tokens they read."""

from __future__ import annotations

from typing import Any

_DETAILS = ("hidden_act", "num_attention_heads", "layer_norm_eps", "patch_size", "position_embedding_type", "eos_token_id")


def structure(model: Any, pooling: str) -> str:
    """What cannot be seen from the weights: the architecture, its activation and attention heads, and how features are read."""
    config = model.config
    parts = [getattr(config, part, None) for part in ("vision_config", "text_config")]
    details = [[str(getattr(part, detail, None)) for detail in _DETAILS] for part in (config, *parts) if part is not None]
    return f"hf {config.model_type} {details} {pooling}"


def longest(model: Any, tokenizer: Any) -> int:
    """The largest number of tokens for the model; 512 if neither it nor its tokenizer has a limit."""
    places = getattr(model.config, "max_position_embeddings", None)
    reserved = (getattr(model.config, "pad_token_id", 0) or 0) + 1 if "roberta" in str(model.config.model_type) else 0
    return int(min(tokenizer.model_max_length, places - reserved if places else max(512, min(tokenizer.model_max_length, 4096))))
