"""A text encoder small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def tiny(path: Path, seed: int, **options: int) -> Path:
    """A little BERT with random weights, as a local folder."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "dog", "red", "blue"]
    settings = {
        "vocab_size": len(vocabulary),
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        **options,
    }
    model = BertModel(BertConfig(**settings))
    model.save_pretrained(path)
    (path / "vocab.txt").write_text("\n".join(vocabulary))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return path
