"""What can be learned from on this machine."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.adaptation.adapt import adapt_examples
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.errors import InputError
from fewtune.learners import target as usable
from fewtune.learners.target import BYTES
from fewtune.machine import Machine
from fewtune.recipes.language import read_frozen
from fewtune.sides.job import Workplace


def test_more_classes_than_memory_are_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 rows of 6 classes."""
    y = np.repeat(np.arange(6), 2)
    examples = make_examples(Vectors(np.eye(6, dtype=np.float32)[y]), y, class_names=list("abcdef"), name="many")
    backbone, methods = load_backbone("precomputed", machine=Machine(device="cpu")), {"centroid": read_frozen("centroid")}
    monkeypatch.setattr(usable, "SMALL", 0)
    monkeypatch.setattr(usable, "free_memory", lambda: BYTES * 72 - 1)
    with pytest.raises(InputError, match=r"^many has 12 rows of 6 classes: .* 0 GB, and 0\.0 GB are free: give fewer rows or classes"):
        adapt_examples(examples, backbone, methods=methods, at=Workplace(quiet=True))
    for free in (BYTES * 72, None):
        monkeypatch.setattr(usable, "free_memory", lambda free=free: free)
        assert adapt_examples(examples, backbone, methods=methods, at=Workplace(quiet=True)).class_names == tuple("abcdef")
