"""Laws of rows that come several times in a query: each time is a view of its own; and the projection that such views are compared by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fewtune.backbones.load import load_backbone
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels
from fewtune.data.row_space import RowSpace
from fewtune.data.views.views import IDENTITY, Augment, Noise
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.engine import respond
from fewtune.learning.ground import Ground
from fewtune.learning.phase import Phase
from fewtune.learning.train import train
from fewtune.learning.world import ALONE
from fewtune.machine import Machine
from fewtune.parts.heads import Projection
from fewtune.parts.losses import NtXent
from fewtune.parts.plan import everything
from fewtune.tasks.episodes import Episodes
from fewtune.tasks.task import class_rows
from fewtune.tasks.twins import Twins
from tests.tiny import images

VIEW, KEY, FEATURES = Noise(most=0.3), key(5, "step"), Projection(layers=0)


@pytest.fixture(scope="module")
def ground() -> Ground:
    space = RowSpace([make_examples(Pixels(images(9, height=16, width=16)), ["a", "b", "c"] * 3)])
    return Ground(load_backbone("conv4,size=16,width=4", machine=Machine(device="cpu", dtype="float32")), space)


def asked(rows: list[list[int]]) -> Episodes:
    query = torch.tensor(rows)
    none, zeros = torch.zeros(len(rows), 0, dtype=torch.int64), torch.zeros_like(query).masked_fill(query < 0, -1)
    return Episodes(none, none, query, zeros, torch.zeros(len(rows), 1, dtype=torch.int64), torch.zeros(len(rows), dtype=torch.int64))


def seen(ground: Ground, rows: list[list[int]], view: Noise | Augment | None = VIEW) -> torch.Tensor:
    found = respond(ground, FEATURES, ground.start(), asked(rows), KEY, views=(IDENTITY, view or IDENTITY)).query
    assert found is not None
    return found


def test_each_time_is_a_view_of_its_own_and_the_first_is_as_ever(ground: Ground) -> None:
    found = seen(ground, [[3, 5, 3, 5, 3, -1], [5, 5, 2, 3, -1, -1]])
    first = ground.embed(ground.start(), torch.tensor([[3, 5, 2]]), VIEW, KEY.child("query"))[0]
    second = ground.embed(ground.start(), torch.tensor([[3, 5]]), VIEW, KEY.child("query", "again", 1))[0]
    third = ground.embed(ground.start(), torch.tensor([[3]]), VIEW, KEY.child("query", "again", 2))[0]
    expected = [[first[0], first[1], second[0], second[1], third[0]], [first[1], second[1], first[2], first[0]]]
    for e, features in enumerate(expected):
        assert torch.equal(found[e, : len(features)], torch.stack(features))
        assert not found[e, len(features) :].any()
    assert not torch.equal(first[0], second[0]) and not torch.equal(second[0], third[0])


def test_without_a_view_and_without_repeats_nothing_changes(ground: Ground) -> None:
    plain = seen(ground, [[3, 5, 3]], None)
    assert torch.equal(plain[0, 0], plain[0, 2])
    whole = ground.embed(ground.start(), torch.tensor([[3, 5, 2]]), VIEW, KEY.child("query"))
    assert torch.equal(seen(ground, [[3, 5, 2]]), whole)


def test_every_view_is_counted_as_a_row_that_was_looked_at(ground: Ground) -> None:
    here = ground.metered()
    seen(here, [[3, 5, 3, 5, 3, -1]])
    assert here.meter.visits == 5


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_a_projection_is_the_same_layers_of_torch(layers: int) -> None:
    head = Projection(layers=layers, out=3)
    parameters = {n: t.double() for n, t in head.declare(5).items()}
    assert sorted(parameters) == sorted(f"projection.{i}.{part}" for i in range(layers) for part in ("weight", "bias"))
    parts: list[nn.Module] = []
    for i in range(layers):
        linear = nn.Linear(5, 3 if i == layers - 1 else 5).double()
        linear.load_state_dict({part: parameters[f"projection.{i}.{part}"] for part in ("weight", "bias")})
        parts += [nn.ReLU(), linear] if i else [linear]
    x = torch.randn(2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.score({}, x, parameters), nn.Sequential(*parts)(x))
    assert all(
        torch.equal(a, b) for a, b in zip(head.declare(5).values(), Projection(layers=layers, out=3).declare(5).values(), strict=True)
    )


def test_a_projection_out_of_range_is_refused() -> None:
    for given in ({"layers": -1}, {"out": 0}):
        with pytest.raises(InputError, match="layers of at least 0 and out of at least 1"):
            Projection(**given)


def test_training_on_views_moves_projection_and_backbone_and_is_the_same_in_parts(ground: Ground) -> None:
    phase = Phase(
        sampler=Twins(batch=4), learner=Projection(out=6), plan=everything(0.05), steps=3, batch=4, losses=(NtXent(),), query_view=VIEW
    )
    tasks = class_rows(ground.space)
    whole = train(ground, (phase,), tasks, key(0), world=ALONE)
    assert whole.visits == 3 * 4 * 8
    assert {n for n in whole.moved if n.startswith("projection.")} == set(Projection(out=6).declare(5))
    assert any(not n.startswith("projection.") for n in whole.moved)
    split = replace(ground, backbone=ground.backbone.on(Machine(device="cpu", dtype="float32", accumulate=4)))
    again = train(split, (phase,), tasks, key(0))
    for name in whole.moved:
        torch.testing.assert_close(whole.weights[name], again.weights[name], rtol=1e-4, atol=1e-6)


def test_batches_of_twins_never_straddle_epochs() -> None:
    space = RowSpace([make_examples(Pixels(images(10, height=16, width=16)), ["a", "b"] * 5)])
    episodes = Twins(batch=4).draw(class_rows(space), key(2), 0, 6)
    for e in range(6):
        rows = episodes.query[e].tolist()
        assert rows[:4] == rows[4:] and len(set(rows)) == 4
    for epoch in range(3):
        assert len(np.unique(episodes.query[2 * epoch : 2 * epoch + 2])) == 8
    assert len({tuple(episodes.query[e].tolist()) for e in range(6)}) == 6  # every epoch in a new order
