"""Laws of what a phase hands on: averages equal their closed forms, the best is bitwise the best, a resumed state goes on bit for bit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.keep import KEEPS, Best, Ema, Keep, KeepState, Last, Swa, begin, end, judged, observe, stretched, wants_validation
from fewtune.spec import parse, text

STEPS = 20
CASES: list[Keep] = [Last(), Best(every=3), Best(every=50), Ema(decay=0.9), Ema(decay=0.0), Swa(), Swa(start=0.0, every=3), Swa(start=1.0)]


def walk(dtype: torch.dtype = torch.float64) -> list[dict[str, Tensor]]:
    """The weights at the start and after each of the steps."""
    generator = torch.Generator().manual_seed(0)
    moves = {n: torch.randn(STEPS + 1, *shape, dtype=torch.float64, generator=generator) for n, shape in (("a", (3, 2)), ("b", ()))}
    return [{n: move[: i + 1].sum(0).to(dtype) for n, move in moves.items()} for i in range(STEPS + 1)]


def accuracy_at(step: int) -> float:
    return (0.2, 0.5, 0.9, 0.4, 0.9)[step % 5]


def run(keep: Keep, path: list[dict[str, Tensor]], resumed_at: int | None = None, folder: Path | None = None) -> dict[str, Tensor]:
    """A phase whose weights are moved in place along a path, as optimizers do."""
    leaves = {n: t.clone().requires_grad_() for n, t in path[0].items()}
    state = begin(keep, leaves)
    for step in range(len(path) - 1):
        with torch.no_grad():
            for n, leaf in leaves.items():
                leaf.copy_(path[step + 1][n])
        state = observe(keep, state, leaves, step, len(path) - 1)
        if wants_validation(keep, step, len(path) - 1):
            state = judged(keep, state, leaves, accuracy_at(step))
        if step == resumed_at and folder is not None:
            save_file(state.tensors(), folder / "keep.safetensors")
            numbers = json.loads(json.dumps(dict(state.numbers), allow_nan=False))
            state = KeepState(load_file(folder / "keep.safetensors"), numbers)
    handed = end(keep, state, leaves)
    assert list(handed) == list(leaves) and not any(t.requires_grad for t in handed.values())
    return handed


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[n], b[n]) for n in a)


def test_every_keep_is_covered() -> None:
    assert {type(case) for case in CASES} == set(KEEPS)


@pytest.mark.parametrize("keep", CASES, ids=text)
class TestEveryKeep:
    @pytest.mark.parametrize("at", [0, 7, 14, 18])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_resumed_state_goes_on_bit_for_bit(self, keep: Keep, at: int, dtype: torch.dtype, tmp_path: Path) -> None:
        assert same(run(keep, walk(dtype), at, tmp_path), run(keep, walk(dtype)))

    def test_weights_that_stand_still_are_handed_on(self, keep: Keep) -> None:
        path = [walk()[3]] * (STEPS + 1)
        handed = run(keep, path)
        assert all(torch.allclose(handed[n], path[0][n], rtol=1e-14, atol=0) for n in handed)

    def test_no_step_hands_on_the_start(self, keep: Keep) -> None:
        assert same(run(keep, walk()[:1]), walk()[0])

    def test_the_dtype_is_that_of_the_leaves(self, keep: Keep) -> None:
        assert {t.dtype for t in run(keep, walk(torch.bfloat16)).values()} == {torch.bfloat16}

    def test_text_reads_back(self, keep: Keep) -> None:
        assert parse(text(keep), {k.__name__: k for k in KEEPS}) == keep


def test_last_is_the_identity() -> None:
    leaves = walk()[5]
    handed = end(Last(), begin(Last(), leaves), leaves)
    assert all(handed[n].data_ptr() == leaves[n].data_ptr() for n in leaves)
    assert same(run(Last(), walk()), walk()[-1])


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_ema_equals_its_closed_form(decay: float) -> None:
    """e_n = d^n theta_0 + (1 - d) sum_i d^(n - i) theta_i."""
    path = walk()
    for n, handed in run(Ema(decay=decay), path).items():
        expected = decay**STEPS * path[0][n] + (1 - decay) * sum(decay ** (STEPS - i) * path[i][n] for i in range(1, STEPS + 1))
        assert torch.allclose(handed, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("keep", "visited"),
    [
        (Swa(), range(15, 21)),
        (Swa(start=0.0), range(1, 21)),
        (Swa(start=0.5, every=4), (10, 14, 18)),
        (Swa(start=0.33, every=100), (7,)),
        (Swa(start=0.35), range(7, 21)),
        (Swa(start=1.0), (20,)),
    ],
    ids=repr,
)
def test_swa_is_the_mean_of_the_visited_weights(keep: Swa, visited: Any) -> None:
    path = walk()
    for n, handed in run(keep, path).items():
        assert torch.allclose(handed, torch.stack([path[i][n] for i in visited]).mean(0), rtol=1e-12, atol=1e-14)


def test_the_best_is_bitwise_the_earliest_of_the_best() -> None:
    path = walk(torch.float32)
    assert same(run(Best(every=1), path), path[3])  # 0.9 first after step 2, then again and again
    assert same(run(Best(every=7), path), path[20])  # after 7, 14 and 20 steps: 0.5, 0.4, 0.9
    assert [s for s in range(STEPS) if wants_validation(Best(every=7), s, STEPS)] == [6, 13, 19]
    assert not any(wants_validation(keep, s, STEPS) for keep in (Last(), Ema(), Swa()) for s in range(STEPS))


def test_what_is_kept_is_stretched_with_the_phase() -> None:
    """From 200 steps to 31: 50 become 7.75 and so 8; the start weighs d^200 in the end of either."""
    assert stretched(Best(every=50), 200, 31) == Best(every=8)
    assert stretched(Best(every=3), 200, 31) == Best(every=1)
    assert stretched(Best(every=50), 200, 400) == Best(every=100)
    assert stretched(Swa(start=0.6, every=20), 200, 31) == Swa(start=0.6, every=3)
    average = stretched(Ema(decay=0.99), 200, 31)
    assert isinstance(average, Ema) and average.decay**31 == pytest.approx(0.99**200, rel=1e-12)
    assert stretched(Last(), 200, 31) == Last()
    assert all(stretched(keep, 20, 20) == keep for keep in CASES)


def test_what_was_never_judged_is_the_last() -> None:
    leaves, keep = walk()[4], Best()
    assert same(end(keep, begin(keep, leaves), leaves), leaves)
    assert same(end(keep, judged(keep, begin(keep, leaves), walk()[2], math.nan), leaves), leaves)
    assert same(end(keep, judged(keep, begin(keep, leaves), walk()[2], 0.0), leaves), walk()[2])


def test_any_memory_layout_is_saved(tmp_path: Path) -> None:
    leaf = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
    state = begin(Ema(), {"conv": leaf})
    save_file(state.tensors(), tmp_path / "keep.safetensors")
    assert torch.equal(load_file(tmp_path / "keep.safetensors")["conv"], leaf)


def test_half_precision_averages_lose_nothing() -> None:
    start, target = torch.zeros(4, dtype=torch.bfloat16), torch.ones(4, dtype=torch.bfloat16)
    state = begin(Ema(decay=0.999), {"a": start})
    for step in range(3000):
        state = observe(Ema(decay=0.999), state, {"a": target}, step, 3000)
    assert torch.allclose(state.tensors()["a"], torch.tensor(1 - 0.999**3000), rtol=1e-4)


@pytest.mark.parametrize(
    "make", [lambda: Ema(decay=1.0), lambda: Ema(decay=-0.1), lambda: Swa(start=1.1), lambda: Swa(every=0), lambda: Best(every=0)]
)
def test_impossible_keeps_are_refused(make: Any) -> None:
    with pytest.raises(InputError, match="found"):
        make()
