"""A text encoder small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ("cat", "dog", "red", "blue", "it", "was", "great", "terrible", "good", "bad", ".", "?", ",", "##s")


def tiny_masked(path: Path, seed: int = 0, *, old_names: bool = False, tied: bool = True, **options: int) -> Path:
    """A little masked language model with random weights, as a local folder. `old_names`: LayerNorm's tensors are gamma and beta."""
    import safetensors.torch
    from transformers import BertConfig, BertForMaskedLM

    torch.manual_seed(seed)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    settings = {"vocab_size": len(vocabulary), "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = BertForMaskedLM(BertConfig(**{**settings, "max_position_embeddings": 32, **options}, tie_word_embeddings=tied))
    torch.nn.init.normal_(model.cls.predictions.bias)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, mean=1.0, std=0.3)
            torch.nn.init.normal_(module.bias, std=0.3)
    model.save_pretrained(path)
    if old_names:
        file = path / "model.safetensors"
        named = safetensors.torch.load_file(file)
        renamed = {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t for n, t in named.items()
        }
        safetensors.torch.save_file(renamed, file, metadata={"format": "pt"})
    (path / "vocab.txt").write_text("\n".join(vocabulary))
    (path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    return path


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
