"""One example a class: nothing can be held out, so a fixed learner is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

import fewtune
from fewtune.parts.heads import Centroid, NamedLogistic, Shrink
from fewtune.recipes import read_method
from tests.tiny import SENTENCES, save_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    save_bert(folder)
    return f"hf:{folder}"


@pytest.mark.parametrize(("each", "kind"), [(1, Shrink), (2, NamedLogistic)])
def test_one_text_a_class_is_joined_by_the_name_of_the_class(each: int, kind: type, bert: str, tmp_path: Path) -> None:
    texts, labels = list(SENTENCES[: 2 * each]), ["cat", "dog"] * each
    adapted = fewtune.adapt((texts, labels), backbone=bert, settings=fewtune.AdaptSettings(finetune="never"), cache=tmp_path)
    assert isinstance(read_method(adapted.bundle.method).head, kind)
    chosen = fewtune.FewShotClassifier(backbone=bert, cache=str(tmp_path)).fit(texts, labels).choice_
    assert isinstance(chosen.method.head, kind) and chosen.name == adapted.outcome.choice.name


def test_one_vector_a_class_is_its_centre() -> None:
    adapted = fewtune.adapt(([[1.0, 0.0], [0.0, 1.0]], ["a", "b"]))
    assert isinstance(read_method(adapted.bundle.method).head, Centroid)
