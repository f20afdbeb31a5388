"""Small random models and data made on the spot: everything a backbone's tests need without a download."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fewtune.backbones.providers.quiet import transformers_quietly
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels, Texts, Vectors
from fewtune.data.row_space import RowSpace

WORDS = "the a cat dog bird sat on mat red blue big small and of photo runs sleeps over under near".split()  # noqa: SIM905
SENTENCES = (
    "the cat sat on the mat",
    "a big red dog",
    "bird",
    "the small blue bird sleeps under a big red mat near the dog",
    "a photo of a cat",
)


@contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Inside, torch's generator starts at `seed`; outside it is as it was."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield


def images(count: int, *, seed: int = 0, height: int = 40, width: int = 56) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth random pictures, uint8 [N, H, W, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)
    made = [np.asarray(Image.fromarray(c).resize((width, height), Image.Resampling.BICUBIC)) for c in coarse]
    return np.stack(made) if made else np.zeros((0, height, width, 3), dtype=np.uint8)


def image_space(count: int = 7, **options: Any) -> RowSpace:
    return RowSpace([make_examples(Pixels(images(count, **options)), name="pictures")])


def text_space(texts: tuple[str, ...] = SENTENCES) -> RowSpace:
    return RowSpace([make_examples(Texts(list(texts)), name="sentences")])


def vector_space(count: int = 5, width: int = 3, *, seed: int = 0) -> RowSpace:
    vectors = np.random.default_rng(seed).standard_normal((count, width)).astype(np.float32)
    return RowSpace([make_examples(Vectors(vectors), name="vectors")])


def save_tokenizer(folder: Path, *, clip: bool = False) -> None:
    """A word tokenizer with the marks that BERT (or CLIP) puts around a sentence."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*marks, *WORDS])}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()  # type: ignore[assignment]
    made.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])  # type: ignore[assignment]
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    if clip:
        names |= {"bos_token": "[CLS]", "eos_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=32, **names).save_pretrained(folder)


def save_bert(folder: Path, *, seed: int = 0, pooler: bool = True) -> Any:
    """A BERT of two layers, width 16, with its tokenizer; returns the model."""
    from transformers import BertConfig, BertModel

    with transformers_quietly(), drawn(seed):
        config = BertConfig(
            vocab_size=5 + len(WORDS),
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=40,
        )
        model = BertModel(config, add_pooling_layer=pooler).eval()
        model.save_pretrained(folder)
        save_tokenizer(folder)
    return model


def save_vit(folder: Path, *, pooler: bool = True, size: int = 32) -> Any:
    """A ViT of two layers, width 16, patches of 8, with its image processor; returns the model."""
    from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

    with transformers_quietly(), drawn(1):
        config = ViTConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=size, patch_size=8)
        model = ViTModel(config, add_pooling_layer=pooler).eval()
        model.save_pretrained(folder)
        ViTImageProcessorPil(size={"height": size, "width": size}).save_pretrained(folder)
    return model


def save_clip(folder: Path) -> Any:
    """A CLIP with two small towers, tokenizer and image processor; returns the model."""
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "projection_dim": 12}
    with transformers_quietly(), drawn(2):
        text = CLIPTextConfig(
            vocab_size=5 + len(WORDS), hidden_size=16, max_position_embeddings=20, bos_token_id=2, eos_token_id=3, pad_token_id=0, **small
        )
        vision = CLIPVisionConfig(hidden_size=24, image_size=32, patch_size=8, **small)
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=12)).eval()
        model.save_pretrained(folder)
        save_tokenizer(folder, clip=True)
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return model
