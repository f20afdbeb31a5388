"""Every file of the benchmark kit reads as its README says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fewtune.data.reading.read import read_examples
from fewtune.data.unreadable import unreadable

IMAGES = ("caltech101", "cifar10", "clothing10", "dtd10", "nlvr_dev", "omniglot8", "pacs", "tiny_imagenet")
TEXTS = ("agnews4", "clinc150", "cr", "hwu64", "news20", "sst2", "sst5", "subj", "trec6", "tweet_emotion4")


@pytest.mark.kit
@pytest.mark.parametrize("name", IMAGES)
def test_images(kit: Path, name: str) -> None:
    told = json.loads((kit / "images" / f"{name}.json").read_text())
    made = read_examples(kit / "images" / f"{name}.npz")
    assert made.name == name and len(made) == told["n_images"] and len(made.class_names) == told["n_classes"]
    assert [int(made.counts().min()), int(made.counts().max())] == told["per_class"]
    assert [int((made.class_split == code).sum()) for code in (0, 1, 2, -1)] == told["classes_train_val_test_any"]
    some = made.take(np.linspace(0, len(made) - 1, 200).astype(int))
    assert unreadable(some, deep=True) == {}


@pytest.mark.kit
@pytest.mark.parametrize("name", TEXTS)
def test_texts(kit: Path, name: str) -> None:
    told = json.loads((kit / "text" / f"{name}.json").read_text())
    made = read_examples(kit / "text" / f"{name}.jsonl")
    assert len(made) == told["n_texts"] and made.class_names == tuple(c["name"] for c in told["classes"])
    assert [int(made.counts().min()), int(made.counts().max())] == told["per_class"]
    assert [int((made.class_split == code).sum()) for code in (0, 1, 2, -1)] == told["classes_train_val_test_any"]
    if name == "clinc150":
        assert np.bincount(made.row_split).tolist() == [told["splits"][s] for s in ("train", "val", "test")] and len(made.group_names) == 10


@pytest.mark.kit
def test_groups_and_captions(kit: Path) -> None:
    pacs = read_examples(kit / "images" / "pacs.npz")
    assert pacs.group_names == ("art_painting", "cartoon", "photo", "sketch")
    assert all(pacs.row_names[row].startswith(pacs.group_names[pacs.group[row]]) for row in range(0, len(pacs), 37))
    nlvr = read_examples(kit / "images" / "nlvr_dev.npz")
    assert nlvr.caption is not None and nlvr.items.fetch(0).size == (400, 100)  # type: ignore[union-attr]
