"""Laws of plans and rates: every name is covered, the first match wins, rate 0 freezes, a plan is its text."""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fewtune.errors import InputError
from fewtune.parts.plan import (
    Plan,
    bias_and_norm,
    declared_rates,
    everything,
    gradual,
    layerwise,
    one_group,
    only,
    resolve,
    upper,
    upper_or_all,
)
from fewtune.parts.rates import (
    RATES,
    After,
    Constant,
    Cosine,
    Decaying,
    InTurn,
    Learned,
    LinearDecay,
    Steps,
    Upper,
    always_zero,
    rate,
    scaled,
)
from fewtune.spec import digest, parse, text

WORDS: dict[str, Any] = {word.__name__: word for word in (Plan, *RATES)}
GROUPS = (
    ("stem", ("conv.weight",)),
    ("blocks.0", ("b0.weight", "b0.bias")),
    ("blocks.1", ("b1.weight", "b1.bias")),
    ("final", ("norm.weight",)),
)
BODY = ("conv.weight", "b0.weight", "b0.bias", "b1.weight", "b1.bias", "norm.weight")
NAMES = (*BODY, "head.weight", "head.bias")

# drawn as texts and read inside the tests: shape checks draw random numbers of their own, which strategies may not
numbers = st.floats(0.0, 10.0).map(repr)
factors = st.floats(0.0, 1.0)
steps_at = st.lists(st.integers(1, 50), unique=True, max_size=3).map(lambda at: tuple(sorted(at)))
simple = st.one_of(
    st.builds("Constant(lr={})".format, numbers),
    st.builds(lambda lr, w, f: f"Cosine(lr={lr}, warmup={w}, floor={lr * f})", st.floats(0.0, 10.0), st.integers(0, 20), factors),
    st.builds("LinearDecay(lr={}, warmup={})".format, numbers, st.integers(0, 20)),
    st.builds("Steps(lr={}, at={}, factor={})".format, numbers, steps_at, st.floats(0.0, 2.0)),
)
timed = st.one_of(simple, st.builds("After(step={}, rate={})".format, st.integers(0, 50), simple))
rates = st.one_of(timed, st.builds("Learned(lr={}, per={!r})".format, numbers, st.sampled_from(("entry", "tensor"))))
decaying_timed = st.builds("Decaying(rate={}, factor={})".format, st.one_of(timed, numbers), factors)
decaying = st.builds("Decaying(rate={}, factor={})".format, st.one_of(rates, numbers), factors)
by_depth = st.one_of(
    decaying,
    st.builds("Upper(rate={}, groups={})".format, st.one_of(timed, numbers), st.integers(1, 5)),
    st.builds("InTurn(rate={}, every={})".format, st.one_of(timed, decaying_timed), st.integers(0, 9)),
)
patterns = st.sampled_from(
    ("*", "head.*", "*.bias", "b?.weight", "b[01].*", "norm.weight", "nothing", "group:*", "group:blocks.?", "group:stem")
)
rules = st.lists(
    st.one_of(
        st.builds("({!r}, {}), ".format, patterns, st.one_of(rates, numbers)),
        st.builds("({!r}, {}), ".format, st.sampled_from(("group:*", "group:blocks.*")), by_depth),
    ),
    max_size=6,
).map("".join)


def read(source: str) -> Any:
    return parse(source, WORDS)


@given(rules)
def test_a_plan_is_its_text(given_rules: str) -> None:
    plan = read(f"Plan(rules=({given_rules}))")
    assert parse(text(plan), WORDS) == plan
    assert hash(parse(text(plan), WORDS)) == hash(plan)


def test_a_bare_number_is_a_constant_rate() -> None:
    assert Plan(rules=(("*", 1),)) == Plan(rules=(("*", Constant(lr=1.0)),)) == everything(1)
    assert digest(Plan(rules=(("*", 1),))) == digest(everything(1.0))
    assert After(step=3, rate=2) == After(step=3, rate=Constant(lr=2.0))
    assert parse("Plan(rules=[('head.*', 0.1), ('*', 0)])", WORDS) == only("head.*", 0.1)
    assert rate(0.25, 3, 10) == 0.25


@given(rules)
def test_every_name_is_covered_and_the_first_match_wins(given_rules: str) -> None:
    plan = read(f"Plan(rules=({given_rules}('*', 0.5),))")
    group_of = {name: title for title, names in GROUPS for name in names}

    def matches(pattern: str, name: str) -> bool:
        if pattern.startswith("group:"):
            return name in group_of and fnmatchcase(group_of[name], pattern[6:])
        return fnmatchcase(name, pattern)

    try:
        resolved = resolve(plan, NAMES, GROUPS)
    except InputError as problem:
        assert "moves nothing" in str(problem)
        return
    assert tuple(resolved.rates) == NAMES
    for name in NAMES:
        alone = next((pattern, curve) for pattern, curve in plan.rules if matches(pattern, name))
        if not isinstance(alone[1], Decaying | InTurn | Upper):
            assert resolved.rates[name] == alone[1]
    assert set(resolved.moving) == {name for name in NAMES if not always_zero(resolved.rates[name])}
    assert sorted(name for _, names in resolved.schedules for name in names) == sorted(resolved.moving)
    now = resolved.rates_at(7, 60)
    assert now == {name: rate(resolved.rates[name], 7, 60) for name in NAMES}


def test_names_without_a_rule_are_told() -> None:
    with pytest.raises(InputError, match=r"no rule for 'conv\.weight', 'b0\.weight', 'b1\.weight' and 2 more: end it with \('\*', 0\)"):
        resolve(Plan(rules=(("*.bias", 1.0),)), NAMES, GROUPS)
    with pytest.raises(InputError, match=r"no rule for 'head\.weight': end"):
        resolve(Plan(rules=(("group:*", 1.0), ("*.bias", 1.0))), NAMES, GROUPS)
    assert resolve(Plan(rules=()), ()).rates == {}


def test_misspelt_patterns_are_told() -> None:
    with pytest.raises(InputError, match=r"unknown group 'bloks\.1': did you mean blocks\.1"):
        resolve(one_group("bloks.1", 1.0), NAMES, GROUPS)
    with pytest.raises(InputError, match=r"moves nothing: 'haed\.\*' matches none of the names, such as 'conv\.weight'"):
        resolve(only("haed.*", 1.0), NAMES, GROUPS)
    assert resolve(everything(0), NAMES, GROUPS).moving == ()  # a frozen plan is one
    with pytest.raises(InputError, match="begins with 'group:', found 'head"):
        Plan(rules=(("head.*", Decaying(rate=1.0, factor=0.5)),))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Constant(lr=-1.0),
        lambda: Constant(lr=math.nan),
        lambda: Cosine(lr=0.1, floor=0.2),
        lambda: LinearDecay(lr=math.inf),
        lambda: Steps(lr=1.0, at=(5, 5)),
        lambda: Steps(lr=1.0, at=(0,)),
        lambda: After(step=-1, rate=1.0),
        lambda: Decaying(rate=1.0, factor=-0.5),
        lambda: Learned(lr=-0.1),
        lambda: After(step=3, rate=Learned(lr=0.1)),
        lambda: Upper(rate=1.0, groups=0),
        lambda: Upper(rate=1.0, groups=True),
        lambda: Upper(rate=-1.0, groups=1),
        lambda: upper_or_all(1.0, -1),
        lambda: InTurn(rate=Decaying(rate=Learned(lr=0.1), factor=0.5), every=3),
    ],
)
def test_impossible_rates_are_refused(make: Any) -> None:
    with pytest.raises(InputError):
        make()


def test_cosine_and_steps_equal_torch() -> None:
    def curve(schedule: Any, lr: float, steps: int, **options: Any) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1)], lr=lr)
        scheduler = schedule(optimizer, **options)
        seen = []
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return seen

    cosine = curve(torch.optim.lr_scheduler.CosineAnnealingLR, 0.3, 40, T_max=40, eta_min=0.01)
    assert [rate(Cosine(lr=0.3, floor=0.01), s, 40) for s in range(40)] == pytest.approx(cosine, rel=1e-12)
    dropped = curve(torch.optim.lr_scheduler.MultiStepLR, 0.3, 40, milestones=[7, 20, 21], gamma=0.5)
    assert [rate(Steps(lr=0.3, at=(7, 20, 21), factor=0.5), s, 40) for s in range(40)] == pytest.approx(dropped, rel=1e-12)


def test_rates_by_hand() -> None:
    assert [rate(LinearDecay(lr=1.0), s, 4) for s in range(6)] == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    assert [rate(LinearDecay(lr=1.0, warmup=3), s, 7) for s in range(8)] == [0.25, 0.5, 0.75, 1.0, 0.75, 0.5, 0.25, 0.0]
    assert [rate(Cosine(lr=2.0, warmup=1, floor=1.0), s, 5) for s in (0, 1, 3, 5, 9)] == pytest.approx([1.0, 2.0, 1.5, 1.0, 1.0])
    assert [rate(Cosine(lr=1.0, warmup=9), s, 4) for s in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])  # the phase ends in its warm-up
    # on its own clock: a phase of 4 steps inside one of 7
    assert [rate(After(step=3, rate=LinearDecay(lr=1.0)), s, 7) for s in range(7)] == [0.0, 0.0, 0.0, 1.0, 0.75, 0.5, 0.25]
    assert [rate(After(step=9, rate=1.0), s, 4) for s in range(4)] == [0.0] * 4


@given(rates, st.floats(0.0, 3.0), st.integers(0, 70), st.integers(1, 60))
def test_scaling_scales_every_step(source: str, factor: float, step: int, steps: int) -> None:
    curve = read(source)
    assert rate(scaled(curve, factor), step, steps) == pytest.approx(factor * rate(curve, step, steps), rel=1e-9, abs=1e-300)
    assert rate(curve, step, steps) >= 0
    if always_zero(curve):
        assert rate(curve, step, steps) == 0


def test_layerwise_by_hand() -> None:
    expected = {"conv.weight": 0.0625, "b0.weight": 0.125, "b0.bias": 0.125, "b1.weight": 0.25, "b1.bias": 0.25, "norm.weight": 0.5}
    for groups in (GROUPS, None):
        resolved = resolve(layerwise(groups, 1.0, 0.5), NAMES, GROUPS)
        assert resolved.rates_at(0, 9) == expected | {"head.weight": 1.0, "head.bias": 1.0}
    assert resolve(layerwise(None, Cosine(lr=0.4), 0.5), NAMES, GROUPS).rates["b1.bias"] == Cosine(lr=0.1)


def test_gradual_by_hand() -> None:
    for groups in (GROUPS, None):
        resolved = resolve(gradual(groups, 1.0, 10), NAMES, GROUPS)
        assert resolved.moving == NAMES
        for step, moving in ((0, 3), (9, 3), (10, 5), (19, 5), (20, 7), (29, 7), (30, 8), (99, 8)):
            now = resolved.rates_at(step, 100)
            assert [name for name in NAMES if now[name]] == list(NAMES[8 - moving :]), step
            assert set(now.values()) <= {0.0, 1.0}


@given(timed, st.integers(1, 12), st.floats(0.1, 1.0))
def test_plans_for_a_backbone_and_for_any_agree(source: str, every: int, decay: float) -> None:
    curve = read(source)
    if always_zero(curve):
        return
    for make in (lambda groups: gradual(groups, curve, every), lambda groups: layerwise(groups, curve, decay)):
        assert resolve(make(GROUPS), NAMES, GROUPS) == resolve(make(None), NAMES, GROUPS)
    # both at once, as ULMFiT does
    both = Plan(rules=(("group:*", InTurn(rate=Decaying(rate=2.0, factor=0.5), every=every)), ("*", 2.0)))
    now = resolve(both, NAMES, GROUPS).rates_at(every, 100)
    assert [now[name] for name in ("norm.weight", "b1.weight", "b0.weight", "head.bias")] == [1.0, 0.5, 0.0, 2.0]


@given(rates, st.integers(1, 60), st.integers(1, 5), st.integers(0, 400))
def test_a_plan_is_read_at_the_same_fraction_of_a_phase_of_another_length(source: str, steps: int, longer: int, step: int) -> None:
    """Step `longer` x s of a phase that is `longer` times as long is step s of the one that the plan is written for, exactly."""
    curve = read(source)
    named = resolve(Plan(rules=(("*", curve),), steps=steps), ("w",))
    assert named.rates_at(step * longer, steps * longer)["w"] == rate(curve, step, steps)
    own = resolve(everything(curve), ("w",))
    assert named.rates_at(step, steps) == own.rates_at(step, steps)  # of the length that it is written for nothing changes


def test_stretched_courses_by_hand() -> None:
    """Plans for 200 steps in a phase of 31: half of it is over from step 16 on (15.5), three quarters from step 24 on (23.25)."""

    def course(curve: Any) -> list[float]:
        plan = resolve(Plan(rules=(("*", curve),), steps=200), ("w",))
        return [plan.rates_at(step, 31)["w"] for step in range(31)]

    dropped = [1.0] * 16 + [0.1] * 8 + [0.1**2] * 7
    assert course(Steps(lr=1.0, at=(100, 150))) == pytest.approx(dropped, rel=1e-12)
    assert course(After(step=100, rate=1.0)) == [0.0] * 16 + [1.0] * 15
    warm = course(LinearDecay(lr=1.0, warmup=50))  # a quarter: 7.75 steps
    assert warm[:8] == pytest.approx([(step * 200 / 31 + 1) / 51 for step in range(8)], rel=1e-12)
    assert warm[8:] == pytest.approx([(31 - step) / 31 / 0.75 for step in range(8, 31)], rel=1e-12)
    now = resolve(gradual(None, 1.0, 20), NAMES, GROUPS)
    short = resolve(Plan(rules=gradual(None, 1.0, 20).rules, steps=200), NAMES, GROUPS)
    assert [n for n, r in now.rates_at(30, 31).items() if not r] == ["conv.weight", "b0.weight", "b0.bias"]
    thaws = {"norm.weight": 0, "b1.weight": 4, "b0.weight": 7, "conv.weight": 10}  # 3.1, 6.2 and 9.3 steps
    for name, first in thaws.items():
        assert [bool(short.rates_at(step, 31)[name]) for step in range(31)] == [step >= first for step in range(31)]


def test_a_plan_for_less_than_no_steps_is_refused() -> None:
    with pytest.raises(InputError, match="steps of Plan is the length of a phase"):
        Plan(rules=(("*", 1.0),), steps=-1)


def test_learned_rates_are_declared_by_the_names_they_move() -> None:
    plan = Plan(
        rules=(
            ("head.bias", Learned(lr=0.0, per="tensor")),
            ("norm.*", 0.3),
            ("group:*", Decaying(rate=Learned(lr=0.4), factor=0.5)),
            ("*", 0),
        )
    )
    resolved = resolve(plan, NAMES, GROUPS)
    assert tuple(resolved.learned) == ("conv.weight", "b0.weight", "b0.bias", "b1.weight", "b1.bias", "head.bias")
    assert resolved.moving == (*BODY, "head.bias")  # a learned rate that starts at 0 may grow
    assert resolved.rates_at(7, 9)["b1.bias"] == 0.1 and resolved.rates_at(7, 9)["norm.weight"] == 0.3
    weights = {name: torch.zeros(3, 2, dtype=torch.float64, requires_grad=True) for name in NAMES}
    declared = declared_rates(resolved, weights, "inner")
    assert list(declared) == [f"inner.{name}" for name in resolved.learned]
    assert torch.equal(declared["inner.b1.bias"], torch.full((3, 2), 0.1, dtype=torch.float64))
    assert declared["inner.head.bias"].shape == () and not any(t.requires_grad for t in declared.values())
    assert declared_rates(resolve(everything(0.1), NAMES), weights) == {}


def test_towers_are_counted_each_for_itself() -> None:
    groups = (
        ("image stem", ("i0",)),
        ("image final", ("i1",)),
        ("text stem", ("t0",)),
        ("text 1", ("t1",)),
        ("text final", ("t2",)),
        ("shared", ("s",)),
    )
    now = resolve(layerwise(None, 1.0, 0.5), ("i0", "i1", "t0", "t1", "t2", "s"), groups).rates_at(0, 1)
    assert now == {"i0": 0.25, "i1": 0.5, "t0": 0.125, "t1": 0.25, "t2": 0.5, "s": 0.5}


def test_group_names_are_taken_as_they_are() -> None:
    groups = (("block[0]", ("a",)), ("block0", ("b",)))
    assert resolve(one_group("block[0]", 1.0), ("a", "b"), groups).moving == ("a",)
    assert resolve(layerwise(groups, 1.0, 0.5), ("a", "b"), groups).rates_at(0, 1) == {"a": 0.25, "b": 0.5}


def test_only_and_one_group() -> None:
    assert resolve(only(("head.*", "*.bias"), 1.0), NAMES, GROUPS).moving == ("b0.bias", "b1.bias", "head.weight", "head.bias")
    assert resolve(one_group("blocks.0", 1.0), NAMES, GROUPS).moving == ("b0.weight", "b0.bias")


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv2_050", "swin_tiny_patch4_window7_224", "regnetx_002", "mixer_s32_224"]
)
def test_bias_and_norm_finds_the_layers_of_real_networks(name: str) -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        network = timm.create_model(name)
    kinds = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)
    norms = {f"{at}.{part}" for at, layer in network.named_modules() if isinstance(layer, kinds) for part, _ in layer.named_parameters()}
    names = [n for n, _ in network.named_parameters()]
    expected = {n for n in names if n in norms or n.endswith("bias")} - {n for n in norms if n.endswith("downsample.1.weight")}
    assert set(resolve(bias_and_norm(1.0), names).moving) == expected


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("last", "moving"),
    [
        (1, {"norm.weight"}),
        (2, {"norm.weight", "b1.weight", "b1.bias"}),
        (3, {"norm.weight", "b1.weight", "b1.bias", "b0.weight", "b0.bias"}),
        (4, set(BODY)),
        (9, set(BODY)),
    ],
)
def test_the_last_groups_and_the_head_move(last: int, moving: set[str], known: bool) -> None:
    """Counted from the head, whether the groups are known when the plan is written or when it is resolved."""
    resolved = resolve(upper(GROUPS if known else None, 0.5, last), NAMES, GROUPS)
    assert set(resolved.moving) == moving | {"head.weight", "head.bias"}
    assert {r for n, r in resolved.rates_at(3, 10).items() if n in resolved.moving} == {0.5}
    assert {r for n, r in resolved.rates_at(3, 10).items() if n not in resolved.moving} <= {0.0}


def test_a_rate_over_time_stays_one_in_the_upper_groups_and_none_of_them_is_all() -> None:
    resolved = resolve(upper(None, LinearDecay(lr=0.4), 1), NAMES, GROUPS)
    assert resolved.rates_at(5, 10)["norm.weight"] == rate(LinearDecay(lr=0.4), 5, 10) == resolved.rates_at(5, 10)["head.bias"]
    assert upper_or_all(0.1, 0) == everything(0.1) and upper_or_all(0.1, 2) == upper(None, 0.1, 2)
