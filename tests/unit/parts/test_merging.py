"""Rules of merging against references written by hand in NumPy and float64, and their laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewtune.backbones.edits import LoRA
from fewtune.errors import InputError
from fewtune.parts.merging import RULES, Dare, IsoC, ModelStock, RegMean, TaskArithmetic, Ties, Uniform, merge
from fewtune.spec import parse, text

SHAPES = {"a": (4, 3), "b": (5,), "c": (2, 3, 1, 1)}
SEEDS = st.integers(0, 10**6)
CASES = (
    Uniform(),
    TaskArithmetic(),
    TaskArithmetic(scale=1.0),
    Ties(),
    Ties(density=1.0),
    Ties(density=0.5, combine="sum", scale=0.3),
    Dare(),
    Dare(keep=0.3, rule=Ties(density=0.6)),
    ModelStock(),
    IsoC(),
    RegMean(),
    RegMean(shrink=1.0),
)
each_rule = pytest.mark.parametrize("rule", CASES, ids=text)


def weights(seed: int) -> dict[str, Tensor]:
    random = np.random.default_rng(seed)
    return {n: torch.from_numpy(random.standard_normal(shape)) for n, shape in SHAPES.items()} | {"count": torch.tensor(seed)}


def members(seed: int, count: int = 3) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    start = weights(seed)
    return start, [{n: start[n] + 0.3 * t if t.is_floating_point() else t for n, t in weights(seed + i + 1).items()} for i in range(count)]


def grams(seed: int, count: int = 3) -> list[dict[str, Tensor]]:
    found = []
    for i in range(count):
        x = np.random.default_rng([seed, i]).standard_normal((20, 3))
        found.append({"a": torch.from_numpy(x.T @ x), "c": torch.from_numpy(x.T @ x)})
    return found


def deltas(start: Mapping[str, Tensor], ends: Sequence[Mapping[str, Tensor]]) -> dict[str, np.ndarray]:
    return {n: np.stack([(end[n] - start[n]).numpy() for end in ends]) for n in SHAPES}


def check(rule: Any, seed: int, expected: Mapping[str, Any], count: int = 3) -> None:
    start, ends = members(seed, count)
    found = merge(rule, start, ends, grams=grams(seed, count))
    for n in SHAPES:
        np.testing.assert_allclose((found[n] - start[n]).numpy(), expected[n], rtol=1e-6, atol=1e-9, err_msg=n)


def test_every_rule_is_a_case_and_its_text() -> None:
    assert {type(rule) for rule in CASES} == set(RULES)
    words = {rule.__name__: rule for rule in RULES}
    for rule in CASES:
        assert parse(text(rule), words) == rule


@settings(max_examples=8, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_means_and_sums(seed: int) -> None:
    d = deltas(*members(seed))
    check(Uniform(), seed, {n: v.mean(0) for n, v in d.items()})
    check(TaskArithmetic(scale=0.3), seed, {n: 0.3 * v.sum(0) for n, v in d.items()})


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=SEEDS, density=st.sampled_from([0.2, 0.5, 1.0]), combine=st.sampled_from(["mean", "sum"]))
def test_ties_entry_by_entry(seed: int, density: float, combine: str) -> None:
    d = deltas(*members(seed))
    whole = np.concatenate([v.reshape(3, -1) for v in d.values()], axis=1)
    kept = np.zeros_like(whole)
    for i, row in enumerate(whole):
        best = np.argsort(-np.abs(row))[: max(1, round(density * len(row)))]
        kept[i, best] = row[best]
    merged = np.zeros(whole.shape[1])
    for j in range(whole.shape[1]):
        total = kept[:, j].sum()
        sign = np.sign(total) if total != 0 else np.sign(np.sign(kept.sum(0)).sum())
        agree = [v for v in kept[:, j] if np.sign(v) == sign and v != 0]
        merged[j] = 0.3 * (sum(agree) if combine == "sum" else np.mean(agree) if agree else 0.0)
    cuts = np.cumsum([v[0].size for v in d.values()])[:-1]
    pieces = {n: piece.reshape(SHAPES[n]) for n, piece in zip(d, np.split(merged, cuts), strict=True)}
    check(Ties(density=density, combine=combine, scale=0.3), seed, pieces)  # type: ignore[arg-type]


def test_where_members_cancel_ties_takes_the_sign_of_most_entries() -> None:
    """Two of three sums are positive, although the negative one is the largest: the entry that cancels takes the positive member."""
    ends = [{"w": torch.tensor(end, dtype=torch.float64)} for end in ([1.0, -5.0, 1.0, 1.0], [-1.0, 0.0, 1.0, 1.0])]
    found = merge(Ties(density=1.0), {"w": torch.zeros(4, dtype=torch.float64)}, ends)["w"]
    assert found.tolist() == [1.0, -5.0, 1.0, 1.0]


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=SEEDS, count=st.integers(2, 4))
def test_model_stock_tensor_by_tensor(seed: int, count: int) -> None:
    expected = {}
    for n, v in deltas(*members(seed, count)).items():
        flat = v.reshape(count, -1)
        cosines = [flat[i] @ flat[j] / np.linalg.norm(flat[i]) / np.linalg.norm(flat[j]) for i in range(count) for j in range(i)]
        c = max(0.0, float(np.mean(cosines)))
        expected[n] = count * c / (1 + (count - 1) * c) * v.mean(0)
    check(ModelStock(), seed, expected, count)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_iso_c_has_equal_singular_values(seed: int) -> None:
    d = deltas(*members(seed))
    u, s, v = np.linalg.svd(d["a"].sum(0), full_matrices=False)
    check(IsoC(scale=2.0), seed, {"a": 2 * s.mean() * u @ v, "b": 2 * d["b"].mean(0), "c": 2 * d["c"].mean(0)})


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=SEEDS, shrink=st.sampled_from([1.0, 0.9, 0.0]))
def test_regmean_is_the_least_squares_of_all_outputs(seed: int, shrink: float) -> None:
    """With shrink = 1: stacked inputs regressed on stacked outputs. Otherwise the closed form with smaller off-diagonals."""
    start, ends = members(seed)
    inputs = [np.random.default_rng([seed, i]).standard_normal((20, 3)) for i in range(3)]
    d = deltas(start, ends)
    expected: dict[str, Any] = {"b": d["b"].mean(0)}
    for n in ("a", "c"):
        w = [end[n].numpy().reshape(-1, 3) for end in ends]
        if shrink == 1:
            x, y = np.concatenate(inputs), np.concatenate([i @ m.T for i, m in zip(inputs, w, strict=True)])
            best = np.linalg.lstsq(x, y, rcond=None)[0].T
        else:
            g = [np.where(np.eye(3, dtype=bool), i.T @ i, shrink * (i.T @ i)) for i in inputs]
            best = sum(m @ one for m, one in zip(w, g, strict=True)) @ np.linalg.inv(sum(g))
        expected[n] = best.reshape(SHAPES[n]) - start[n].numpy()
    start_, ends_ = members(seed)
    found = merge(RegMean(shrink=shrink), start_, ends_, grams=grams(seed))
    for n in SHAPES:
        np.testing.assert_allclose((found[n] - start_[n]).numpy(), expected[n], rtol=1e-5, atol=1e-6)


def test_regmean_where_inputs_say_nothing_is_the_mean() -> None:
    start, ends = members(0)
    dead = [{"a": torch.diag(torch.tensor([1.0 + i, 2.0, 0.0], dtype=torch.float64))} for i in range(3)]
    found = merge(RegMean(), start, ends, grams=dead)
    torch.testing.assert_close(found["a"][:, 2], torch.stack([e["a"][:, 2] for e in ends]).mean(0), rtol=1e-6, atol=1e-8)
    silent = [{"a": torch.zeros(3, 3, dtype=torch.float64)}] * 3
    torch.testing.assert_close(merge(RegMean(), start, ends, grams=silent)["a"], torch.stack([e["a"] for e in ends]).mean(0))
    small = [{n: 1e-200 * t for n, t in g.items()} for g in grams(0)]
    torch.testing.assert_close(merge(RegMean(), start, ends, grams=small), merge(RegMean(), start, ends, grams=grams(0)))
    with pytest.raises(InputError, match="inputs of every member"):
        merge(RegMean(), start, ends)


def test_dare_keeps_its_share_and_its_mean() -> None:
    start = {"w": torch.zeros(40_000, dtype=torch.float64)}
    ends = [{"w": torch.ones(40_000, dtype=torch.float64)}, {"w": torch.full((40_000,), 2.0, dtype=torch.float64)}]
    found = merge(Dare(keep=0.25), start, ends)["w"]
    assert {round(v, 6) for v in found.unique().tolist()} == {0.0, 2.0, 4.0, 6.0}  # masks of their own: both, either, none
    assert float(found.mean()) == pytest.approx(1.5, rel=0.03)
    assert float((found == 6).double().mean()) == pytest.approx(1 / 16, rel=0.1)
    assert torch.equal(found, merge(Dare(keep=0.25), start, ends)["w"]) and not torch.equal(
        found, merge(Dare(keep=0.25, seed=1), start, ends)["w"]
    )


def test_dare_draws_by_the_name_alone() -> None:
    start, ends = members(0)
    some = merge(Dare(), {"b": start["b"]}, [{"b": e["b"]} for e in ends])
    order = sorted(range(3), key=lambda i: float((ends[i]["b"] - start["b"]).sum()))
    whole_order = sorted(range(3), key=lambda i: sum(float((ends[i][n] - start[n]).sum()) for n in SHAPES))
    if order == whole_order:
        torch.testing.assert_close(some["b"], merge(Dare(), start, ends)["b"])


@each_rule
@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=SEEDS)
def test_the_order_of_members_is_irrelevant(rule: Any, seed: int) -> None:
    start, ends = members(seed)
    order = [2, 0, 1]
    one = merge(rule, start, ends, grams=grams(seed))
    two = merge(rule, start, [ends[i] for i in order], grams=[grams(seed)[i] for i in order])
    for n in SHAPES:
        torch.testing.assert_close(one[n], two[n], rtol=1e-9, atol=1e-11)


@each_rule
def test_members_that_have_not_moved_are_the_start(rule: Any) -> None:
    start, _ = members(0)
    untouched = merge(rule, start, [dict(start)] * 3, grams=grams(0))
    assert all(untouched[n] is t for n, t in start.items())
    zeros = merge(rule, start, [{n: t.clone() for n, t in start.items()}] * 3, grams=grams(0))  # moved, and back again
    for n in SHAPES:
        torch.testing.assert_close(zeros[n], start[n], rtol=0, atol=1e-12)


WHOLE = (Uniform(), TaskArithmetic(scale=1.0), Ties(density=1.0), Dare(keep=1.0), ModelStock(), RegMean())
MEANS = (Uniform(), TaskArithmetic(scale=1 / 3), Ties(density=1.0), Dare(keep=1.0), ModelStock(), RegMean())


@pytest.mark.parametrize("rule", WHOLE, ids=text)
def test_one_member_is_itself(rule: Any) -> None:
    """Rules that leave nothing out, at scale 1. Not IsoC: it changes the singular values of one member too."""
    start, ends = members(3, 1)
    found = merge(rule, start, ends, grams=grams(3, 1))
    for n in SHAPES:
        torch.testing.assert_close(found[n], ends[0][n], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("rule", MEANS, ids=text)
def test_equal_members_are_themselves(rule: Any) -> None:
    start, ends = members(4, 1)
    found = merge(rule, start, ends * 3, grams=grams(4))
    for n in SHAPES:
        torch.testing.assert_close(found[n], ends[0][n], rtol=1e-7, atol=1e-8)


@each_rule
def test_whole_numbers_and_what_nobody_moved_stay(rule: Any) -> None:
    start, ends = members(5)
    for end in ends:
        end["b"] = start["b"]
    found = merge(rule, start, ends, grams=grams(5))
    assert found["b"] is start["b"] and found["count"] is start["count"]


def test_what_nobody_moved_takes_no_part_where_members_are_copies() -> None:
    """Members that were read from files hold frozen weights as tensors of their own: they do not count in the density of Ties."""
    start = {"frozen": torch.arange(98.0), "moved": torch.zeros(2)}
    ends = [{"frozen": start["frozen"].clone(), "moved": torch.tensor(end)} for end in ([1.0, 2.0], [2.0, 4.0])]
    found = merge(Ties(density=0.5), start, ends)
    assert found["moved"].tolist() == [0.0, 3.0]
    assert found["frozen"] is start["frozen"]


@each_rule
def test_lora_is_merged_as_the_change_it_makes(rule: Any) -> None:
    """Factors that differ in every member: the rule sees up @ down, and the factors are those of the start afterwards."""
    edit = LoRA(patterns=("a",), rank=2, alpha=3.0)
    start = weights(6)
    random = np.random.default_rng(0)
    factors = [
        {"lora.a.down": torch.from_numpy(random.standard_normal((2, 3))), "lora.a.up": torch.from_numpy(random.standard_normal((4, 2)))}
        for _ in range(4)
    ]
    begun = {**start, **factors[0]}
    ends = [{**begun, **f} for f in factors[1:]]

    def change(f: Mapping[str, Tensor]) -> Tensor:
        return 1.5 * f["lora.a.up"] @ f["lora.a.down"]

    found = merge(rule, begun, ends, (edit,), grams=grams(6))
    moved = [{"a": start["a"] + change(f) - change(factors[0])} for f in factors[1:]]
    by_hand = merge(rule, {"a": start["a"]}, moved, grams=[{"a": g["a"]} for g in grams(6)])
    torch.testing.assert_close(found["a"], by_hand["a"])
    assert found["lora.a.up"] is begun["lora.a.up"] and found["lora.a.down"] is begun["lora.a.down"]


@each_rule
def test_half_precision_beside_double(rule: Any) -> None:
    """A tensor in half precision is merged as a double one is, and stays half; the other tensors do not lose digits by it."""
    start, ends = members(7)
    halves = [{**one, "a": one["a"].half()} for one in (start, *ends)]
    exact = [{**one, "a": one["a"].double()} for one in halves]
    found, expected = (merge(rule, one[0], one[1:], grams=grams(7)) for one in (halves, exact))
    assert found["a"].dtype == torch.float16
    torch.testing.assert_close(found["a"].double(), expected["a"], rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found["b"], expected["b"], rtol=1e-2 if "ModelStock" in text(rule) else 1e-12, atol=1e-12)


def test_odd_rules_and_members() -> None:
    start = weights(0)
    for rule, options in ((Ties, {"density": 0}), (Dare, {"keep": 1.5}), (TaskArithmetic, {"scale": np.inf}), (Ties, {"combine": "max"})):
        with pytest.raises(InputError):
            rule(**options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one member"):
        merge(Uniform(), start, [])
    with pytest.raises(InputError, match="come from one start"):
        merge(Uniform(), start, [{"a": start["a"]}])
