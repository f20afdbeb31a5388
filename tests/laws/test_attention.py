"""Attention of torch's own modules: episodes that adapt together answer as one after another, and frozen networks keep the fast path."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fewtune.backbones.attention import plain_attention
from fewtune.backbones.backbone import Backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Vectors
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import IDENTITY
from fewtune.keys import key
from fewtune.learning import engine
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.together import fit_together
from fewtune.machine import Machine
from fewtune.parts.losses import CrossEntropy
from tests.laws.grounds import Doubles, all_classes, maml, shared_head, some_episodes


class Attending(nn.Module):
    """Three tokens of width 8, by nn.MultiheadAttention or a whole nn.TransformerEncoderLayer."""

    def __init__(self, layer: bool) -> None:
        super().__init__()
        self.inn, self.out = nn.Linear(4, 8), nn.Linear(8, 4)
        self.attn: nn.Module = (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) if layer else nn.MultiheadAttention(8, 2, batch_first=True)
        )
        self.layer = layer

    def forward(self, vectors: Tensor) -> Tensor:
        tokens = self.inn(vectors.view(len(vectors), 3, 4))
        seen: Tensor = self.attn(tokens) if self.layer else tokens + self.attn(tokens, tokens, tokens, need_weights=False)[0]
        features: Tensor = self.out(seen).mean(1)
        return features


def ground_of(layer: bool, together: int = 2) -> Ground:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(6), 10)
    vectors = (random.normal(size=(6, 12))[labels] + random.normal(size=(60, 12))).astype(np.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Attending(layer).double().eval()
    machine = Machine(device="cpu", dtype="float32", together=together).resolved()
    names = tuple(n for n, _ in network.named_parameters())
    return Ground(
        Backbone("own", network, Doubles(), 4, (("all", names),), machine, {}, "own"), RowSpace([make_examples(Vectors(vectors), labels)])
    )


@pytest.mark.parametrize("layer", [False, True], ids=["attention", "layer"])
@pytest.mark.parametrize("plan", ["*", "out.*"], ids=["all", "top"])
@pytest.mark.parametrize("through", ["unroll", "first_order"])
def test_attention_together_is_one_after_another(layer: bool, plan: str, through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ground = ground_of(layer)
    episodes = some_episodes(all_classes(ground), 2)
    start = {**ground.start(), **shared_head()}
    learner = maml(steps=2, through=through, plan=plan)

    def found() -> dict[str, Tensor]:
        leaves = {n: t.clone().requires_grad_() for n, t in start.items()}
        outcome = respond(ground, learner, leaves, episodes, key(0))
        with torch.no_grad():
            still = respond(ground, learner, leaves, episodes, key(0)).logits
        slopes = torch.autograd.grad(CrossEntropy()(outcome).sum(), list(leaves.values()), allow_unused=True)
        read = {n: torch.zeros_like(start[n]) if g is None else g for n, g in zip(leaves, slopes, strict=True)}
        return {"logits": outcome.logits.detach(), "without gradients": still, **read}

    assert fit_together(ground, learner, start, episodes, IDENTITY) == 2
    together = found()
    monkeypatch.setattr(engine, "fit_together", lambda *_: 0)
    alone = found()
    assert bool(together["0.weight" if "0.weight" in together else "out.weight"].any())
    for n, expected in alone.items():
        torch.testing.assert_close(together[n], expected, rtol=1e-8, atol=1e-10)


def test_the_fast_path_is_given_back() -> None:
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(RuntimeError, match="within"), plain_attention():
        assert not torch.backends.mha.get_fastpath_enabled()
        raise RuntimeError("within")
    assert torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with plain_attention():
            pass
        assert not torch.backends.mha.get_fastpath_enabled()
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def test_frozen_networks_keep_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    ground = ground_of(layer=False)
    taken: list[bool] = []
    plain = torch.nn.functional.linear

    def watched(*given: Tensor) -> Tensor:
        taken.append(torch.backends.mha.get_fastpath_enabled())
        return plain(*given)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    ground.embed(ground.start(), torch.arange(4)[None])
    assert taken and all(taken)
