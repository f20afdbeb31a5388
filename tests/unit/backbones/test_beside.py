"""Models side by side: their features one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fewtune.backbones.backbone import Backbone
from fewtune.backbones.beside import beside
from fewtune.backbones.load import load_backbone
from fewtune.errors import InputError
from fewtune.machine import Machine
from tests.tiny import SENTENCES, image_space, save_clip, vector_space

CPU = Machine(device="cpu")


def moved(backbone: Backbone, seed: int = 0) -> Backbone:
    g = torch.Generator().manual_seed(seed)
    start = backbone.start()
    some = [names[0] for _, names in backbone.groups]
    return backbone.with_weights({n: start[n] + 0.3 * torch.randn(start[n].shape, generator=g) for n in some})


@pytest.mark.parametrize("kind", ["mlp,inputs=3,width=5", "conv4,size=16,width=4"])
def test_features_are_those_of_each_one_after_the_other(kind: str) -> None:
    first = load_backbone(kind, machine=CPU)
    members = [first, moved(first), moved(first, 1)]
    both = beside(members)
    space = vector_space() if kind.startswith("mlp") else image_space(5)
    rows = np.array([[3, 0], [-1, 3]])
    expected = torch.cat([b.embed(b.start(), space, rows) for b in members], dim=-1)
    found = both.embed(both.start(), space, rows)
    assert torch.equal(found, expected) and both.width == found.shape[-1] == 3 * first.width
    assert not torch.equal(found[..., : first.width], found[..., first.width : 2 * first.width])


def test_it_has_the_weights_of_all_in_groups_of_their_own() -> None:
    first = load_backbone("mlp,inputs=3,width=5", machine=CPU)
    both = beside([first, moved(first)])
    names = [n for _, group in both.groups for n in group]
    assert len(set(names)) == len(names) and set(names) == set(both.start())
    own = [group[0] for _, group in first.groups]  # what was moved; the other weights are shared, and have one name
    assert set(names) == {f"members.0.{n}" for n in first.start()} | {f"members.1.{n}" for n in own}
    assert len({title for title, _ in both.groups}) == 2 * len(first.groups)
    name = f"members.1.{own[-1]}"
    other = both.with_weights({name: both.start()[name] + 1})
    space = vector_space()
    before, after = (b.embed(b.start(), space, np.arange(5)) for b in (both, other))
    assert torch.equal(before[:, :5], after[:, :5]) and not torch.equal(before[:, 5:], after[:, 5:])


def test_a_digest_says_which_members_and_in_which_order() -> None:
    first = load_backbone("mlp,inputs=3,width=5", machine=CPU)
    second = moved(first)
    made = [first, beside([first, second]), beside([second, first]), beside([first, first]), beside([first, second, second])]
    assert len({b.digest() for b in made}) == 5
    assert beside([first, moved(first)]).digest() == made[1].digest()


def test_class_names_are_read_by_each_member(tmp_path: Path) -> None:
    save_clip(tmp_path)
    first = load_backbone(f"hf:{tmp_path}", machine=CPU)
    second = moved(first)
    both = beside([first, second])
    texts = list(SENTENCES)
    expected = torch.cat([b.embed_labels(b.start(), texts) for b in (first, second)], dim=-1)
    assert both.label_side
    torch.testing.assert_close(both.embed_labels(both.start(), texts), expected, rtol=1e-5, atol=1e-6)
    space = image_space(4)
    seen = torch.cat([b.embed(b.start(), space, np.arange(4)) for b in (first, second)], dim=-1)
    torch.testing.assert_close(both.embed(both.start(), space, np.arange(4)), seen, rtol=1e-5, atol=1e-6)


def test_what_cannot_stand_side_by_side_is_refused() -> None:
    first, other, wide = (load_backbone(name, machine=CPU) for name in ("conv4,size=16", "conv4,size=28", "conv4,size=16,width=8"))
    for wrong in ([first], [first, other], [first, wide]):
        with pytest.raises(InputError, match="two or more that prepare inputs alike and have features of one width"):
            beside(wrong)
