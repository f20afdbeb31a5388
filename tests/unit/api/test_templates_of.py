"""The templates of class names that `compare` puts into methods that say none."""

from __future__ import annotations

import numpy as np
import pytest

from fewtune.api.comparing import make_methods, templates_of
from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Texts
from fewtune.data.reading.read import read_examples
from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.learning.classes import prompts_of
from fewtune.machine import Machine
from fewtune.recipes.language import in_templates

COUNTED = ("An image of {} objects",)


def test_texts_are_named_alone_and_columns_have_their_own() -> None:
    texts = make_examples(Texts(("a", "b", "c", "d")), np.array([0, 0, 1, 1]))
    counting, shape = (read_examples(f"scenes:{one},rows=20") for one in ("counting", "shape"))
    assert templates_of([texts]) == ("{}",)
    assert templates_of([counting]) == templates_of([counting, counting]) == COUNTED
    assert templates_of([counting, shape]) == ()


def test_methods_get_the_templates_where_they_say_none() -> None:
    counting, backbone = read_examples("scenes:counting,rows=20"), load_backbone("embedded", machine=Machine(device="cpu"))
    given = ["zero_shot", "shrink(strength=1.0)", "text_prior('one {}')", "ridge", "coop", "standard(steps=3)"]
    made = make_methods(given, [backbone], (), [counting], has_source=True)
    read = {name: prompts_of(found[""].heads[0]) for name, found in made.items()}
    assert read == {
        given[0]: COUNTED,
        given[1]: COUNTED,
        given[2]: ("one {}",),
        given[3]: (),
        given[4]: ("a photo of a {}.",),
        given[5]: (),
    }
    usual = make_methods((), [backbone], (), [counting], has_source=False)
    named = [prompts_of(found[""].head) for found in usual.values() if found[""].head.reads_classes]
    assert named and set(named) == {COUNTED}
    photos = make_methods(("zero_shot",), [backbone], (), [counting, read_examples("scenes:shape,rows=20")], has_source=False)
    assert prompts_of(photos["zero_shot"][""].head) == PHOTO_TEMPLATES


@pytest.mark.parametrize("text", ["ridge", "zero_shot(prompts='a {}')", "zero_shot('a {}')", "maml"])
def test_what_says_its_own_or_reads_none_stays(text: str) -> None:
    assert in_templates(text, ("{}",)) == text and in_templates("zero_shot", ()) == "zero_shot"
