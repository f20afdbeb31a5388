"""Laws of optimizers: both readings equal torch.optim, gradients flow through the inner one, the outer one resumes bit for bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from fewtune.errors import InputError
from fewtune.parts.inner import InnerState, start, update
from fewtune.parts.optimizers import OPTIMIZERS, SGD, Adam, AdamW, Optimizer, RAdam
from fewtune.parts.outer import outer
from fewtune.parts.plan import Plan, ResolvedPlan, everything, resolve
from fewtune.parts.rates import After, Cosine, LinearDecay, rate
from fewtune.spec import parse, text

WORDS: dict[str, Any] = {spec.__name__: spec for spec in OPTIMIZERS}
CASES = (
    SGD(),
    SGD(momentum=0.9),
    SGD(momentum=0.8, nesterov=True, weight_decay=0.1),
    Adam(),
    Adam(betas=(0.5, 0.7), eps=1e-3, weight_decay=0.1),
    AdamW(),
    AdamW(betas=(0.8, 0.9), weight_decay=0.3),
    RAdam(),
    RAdam(betas=(0.8, 0.9), eps=1e-2, weight_decay=0.1),
)
each_optimizer = pytest.mark.parametrize("spec", CASES, ids=text)
SHAPES = {"a": (3, 4), "b": (4,), "c": ()}

momenta = st.floats(0.0, 0.99)
betas = st.tuples(st.floats(0.0, 0.99), st.floats(0.0, 0.999)).map(repr)
decays = st.one_of(st.just(0.0), st.floats(1e-4, 0.5))
# drawn as texts and read inside the tests, as in test_plan.py
specs = st.one_of(
    st.builds("SGD(momentum={}, weight_decay={})".format, momenta, decays),
    st.builds("SGD(momentum={}, nesterov=True, weight_decay={})".format, st.floats(0.01, 0.99), decays),
    st.builds(
        "{}(betas={}, eps={}, weight_decay={})".format, st.sampled_from(("Adam", "AdamW", "RAdam")), betas, st.floats(1e-9, 1e-2), decays
    ),
)


def weights(seed: int, dtype: torch.dtype = torch.float64, lead: tuple[int, ...] = ()) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {name: torch.randn(lead + shape, generator=g, dtype=torch.float64).to(dtype) for name, shape in SHAPES.items()}


def reference(spec: Optimizer, held: list[Tensor], lr: float) -> torch.optim.Optimizer:
    """The twin in torch, in its plainest form."""
    options = {name: getattr(spec, name) for name in ("momentum", "nesterov", "betas", "eps", "weight_decay") if hasattr(spec, name)}
    return getattr(torch.optim, type(spec).__name__)(held, lr=lr, foreach=False, **options)


def run_inner(spec: Optimizer, held: dict[str, Tensor], gradients: list[dict[str, Tensor]], lr: float) -> dict[str, Tensor]:
    state = start(spec, held)
    for gradient in gradients:
        held, state = update(spec, held, gradient, state, dict.fromkeys(held, lr))
    return held


def copies(held: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in held.items()}


def plan(**curves: Any) -> ResolvedPlan:
    return resolve(Plan(rules=tuple(curves.items())), curves)


@pytest.mark.parametrize("spec", OPTIMIZERS)
def test_an_optimizer_is_its_text(spec: Any) -> None:
    assert parse(text(spec()), WORDS) == spec() == parse(spec.__name__, WORDS)


@given(specs, st.integers(0, 99), st.floats(1e-4, 0.5))
@example("RAdam(betas=(0.5, 0.75), eps=0.01)", 0, 0.5)
@example("Adam(betas=(0.5, 0.75), eps=0.01, weight_decay=0.1)", 0, 0.5)
@example("AdamW(betas=(0.5, 0.75), eps=0.01)", 0, 0.5)
@example("SGD(momentum=0.9, nesterov=True, weight_decay=0.1)", 0, 0.5)
@settings(max_examples=60, deadline=None)
def test_both_readings_equal_torch(source: str, seed: int, lr: float) -> None:
    spec = parse(source, WORDS)
    gradients = [weights(seed + 1 + step) for step in range(9)]
    twin = weights(seed)
    optimizer = reference(spec, list(twin.values()), lr)
    ours = weights(seed)
    moved = outer(spec, ours, resolve(everything(lr), ours))
    for step, gradient in enumerate(gradients):
        for name, value in twin.items():
            value.grad = gradient[name].clone()
        optimizer.step()
        moved.step(gradient, step, len(gradients))
    inner = run_inner(spec, weights(seed), gradients, lr)
    for name, value in twin.items():
        torch.testing.assert_close(inner[name], value.detach(), rtol=1e-10, atol=1e-11)
        torch.testing.assert_close(ours[name], value.detach(), rtol=1e-10, atol=1e-11)


@each_optimizer
def test_float32_stays_float32_and_nothing_given_is_changed(spec: Optimizer) -> None:
    held, gradient = weights(0, torch.float32), weights(1, torch.float32)
    before, slope = copies(held), copies(gradient)
    state: Any = start(spec, held)
    rates = {"a": torch.tensor(0.1, dtype=torch.float64), "b": torch.full((4,), 0.1, dtype=torch.float64), "c": 0.1}
    moved, state = update(spec, held, gradient, state, rates)
    again, later = update(spec, moved, gradient, state, rates)
    assert {value.dtype for value in (*again.values(), *(slot for slots in later.slots.values() for slot in slots))} == {torch.float32}
    assert all(torch.equal(held[n], before[n]) and torch.equal(gradient[n], slope[n]) for n in held)
    assert state.moves == {"a": 1, "b": 1, "c": 1} and later.moves == {"a": 2, "b": 2, "c": 2}
    repeated, _ = update(spec, moved, gradient, state, rates)
    assert all(torch.equal(repeated[n], again[n]) for n in held)


@each_optimizer
def test_episodes_move_as_they_would_alone(spec: Optimizer) -> None:
    held, gradients = weights(0, lead=(5,)), [weights(step, lead=(5,)) for step in (1, 2, 3)]
    together = run_inner(spec, held, gradients, 0.1)
    for episode in range(5):
        alone = run_inner(spec, {n: v[episode] for n, v in held.items()}, [{n: v[episode] for n, v in g.items()} for g in gradients], 0.1)
        assert all(torch.equal(together[name][episode], alone[name]) for name in held)


def tuned_loss(spec: Optimizer, held: dict[str, Tensor], rates: dict[str, Tensor], steps: int) -> Tensor:
    """A loss of another kind after some inner steps on a loss that is neither linear nor quadratic."""
    inputs, targets = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3), torch.linspace(1, -1, 4, dtype=torch.float64)
    state = start(spec, held)
    for _ in range(steps):
        with torch.enable_grad():
            loss = ((torch.tanh(inputs @ held["a"] + held["b"]).sum(-1) * held["c"] - targets) ** 2).mean()
            slopes = torch.autograd.grad(loss, list(held.values()), create_graph=True)
        held, state = update(spec, held, dict(zip(held, slopes, strict=True)), state, dict(rates))
    return torch.cos(held["a"]).sum() + (held["b"] ** 3).sum() + torch.exp(held["c"])


@each_optimizer
def test_gradients_through_three_steps_equal_central_differences(spec: Optimizer) -> None:
    steps = 8 if isinstance(spec, RAdam) else 3  # enough to be rectified
    names, rates = list(SHAPES), {name: torch.tensor(0.05, dtype=torch.float64) for name in SHAPES}
    held = weights(3)

    def after(*values: Tensor) -> Tensor:
        n = len(names)
        return tuned_loss(spec, dict(zip(names, values[:n], strict=True)), dict(zip(names, values[n:], strict=True)), steps)

    inputs = [value.clone().requires_grad_() for value in (*held.values(), *rates.values())]
    exact = torch.autograd.grad(after(*inputs), inputs)
    width = 1e-5
    for i, given_input in enumerate(inputs):
        for j in range(given_input.numel()):
            sides = []
            for sign in (1, -1):
                shifted = [value.detach().clone() for value in inputs]
                shifted[i].view(-1)[j] += sign * width
                sides.append(float(after(*(value.requires_grad_() for value in shifted)).detach()))
            assert (sides[0] - sides[1]) / (2 * width) == pytest.approx(float(exact[i].reshape(-1)[j]), rel=2e-6, abs=2e-8)


@each_optimizer
def test_two_steps_are_twice_differentiable(spec: Optimizer) -> None:
    names = list(SHAPES)

    def after(*values: Tensor) -> Tensor:
        held, slope = dict(zip(names, values[:3], strict=True)), dict(zip(names, values[3:6], strict=True))
        state = start(spec, held)
        for _ in range(2):
            held, state = update(spec, held, slope, state, dict.fromkeys(names, values[6]))
        return sum((value**2).sum() for value in held.values())  # type: ignore[return-value]

    inputs = [v.requires_grad_() for v in (*weights(5).values(), *weights(6).values(), torch.tensor(0.1, dtype=torch.float64))]
    assert torch.autograd.gradcheck(after, inputs)
    assert torch.autograd.gradgradcheck(after, inputs)


def test_maml_on_a_parabola_by_hand() -> None:
    # loss w^2/2 with rate r: w shrinks by (1 - r) a step, so d(w_3^2/2)/dw = (1-r)^6 w and /dr = -3 (1-r)^5 w^2
    w, r = torch.tensor(2.0, dtype=torch.float64, requires_grad=True), torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    held: dict[str, Tensor] = {"w": w}
    state = start(SGD(), held)
    for _ in range(3):
        (slope,) = torch.autograd.grad(held["w"] ** 2 / 2, [held["w"]], create_graph=True)
        held, state = update(SGD(), held, {"w": slope}, state, {"w": r})
    by_w, by_r = torch.autograd.grad(held["w"] ** 2 / 2, [w, r])
    assert float(by_w) == pytest.approx(0.75**6 * 2, rel=1e-14) and float(by_r) == pytest.approx(-3 * 0.75**5 * 4, rel=1e-14)


@pytest.mark.parametrize("spec", [spec for spec in CASES if not isinstance(spec, SGD)], ids=text)
def test_a_gradient_of_exactly_zero_has_a_true_derivative(spec: Any) -> None:
    # the first Adam step from g is rate x g / (|g| + eps), whose slope at g = 0 is rate / eps; an infinite one of the root must not show
    gradient = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    moved, _ = update(spec, {"w": torch.zeros(2, dtype=torch.float64)}, {"w": gradient}, InnerState(), {"w": 0.1})
    (slope,) = torch.autograd.grad(moved["w"].sum(), [gradient])
    expected = -0.1 if isinstance(spec, RAdam) else -0.1 / spec.eps
    torch.testing.assert_close(slope, torch.full((2,), expected, dtype=torch.float64))
    broken, _ = update(spec, {"w": torch.zeros(1)}, {"w": torch.tensor([torch.nan], requires_grad=True)}, InnerState(), {"w": 0.1})
    assert broken["w"].isnan().all()  # and nan is not hidden


@each_optimizer
def test_frozen_is_bitwise_and_holds_no_state(spec: Optimizer) -> None:
    held = weights(0, torch.float32)
    before = copies(held)
    resolved = plan(a=0.0, b=After(step=2, rate=0.1), c=0.1)
    optimizer = outer(spec, held, resolved, clip=1.0)
    inner, state = copies(held), start(spec, held)
    for step in range(4):
        gradient = weights(step + 1, torch.float32)
        optimizer.step(gradient, step, 4)
        inner_before = inner
        inner, state = update(spec, inner, weights(step + 1, torch.float32), state, resolved.rates_at(step, 4))
        assert torch.equal(held["a"], before["a"]) and inner["a"] is inner_before["a"]
        assert torch.equal(held["b"], before["b"]) == (step < 2) == (inner["b"] is inner_before["b"])
        names = {place.partition("/")[2] for place in optimizer.state()}
        remembers = spec != SGD()
        assert names == (({"c"} if step < 2 else {"b", "c"}) if remembers else set())
        assert set(state.moves) == ({"c"} if step < 2 else {"b", "c"})
    assert not torch.equal(held["c"], before["c"])
    assert state.moves == {"b": 2, "c": 4}


@each_optimizer
def test_what_has_no_gradient_is_not_touched(spec: Optimizer) -> None:
    held = weights(0)
    before, optimizer = copies(held), outer(spec, held, resolve(everything(0.1), held))
    optimizer.step({"a": torch.ones(3, 4, dtype=torch.float64), "b": None}, 0, 1)
    assert torch.equal(held["b"], before["b"]) and torch.equal(held["c"], before["c"]) and not torch.equal(held["a"], before["a"])
    moved, _ = update(spec, before, {"a": torch.ones(3, 4, dtype=torch.float64), "b": None}, InnerState(), {"a": 0.1, "b": 0.1})
    assert moved["b"] is before["b"] and moved["c"] is before["c"]
    torch.testing.assert_close(moved["a"], held["a"], rtol=1e-12, atol=1e-13)


@each_optimizer
def test_interrupted_and_resumed_is_bitwise_the_same(spec: Optimizer, tmp_path: Any) -> None:
    from safetensors.torch import load_file, save_file

    resolved = plan(a=Cosine(lr=0.1, warmup=3), b=After(step=5, rate=LinearDecay(lr=0.2)), c=0.05)

    def go(held: dict[str, Tensor], optimizer: Any, first: int, last: int) -> list[Tensor]:
        seen = []
        for step in range(first, last):
            for name, value in weights(step + 1, torch.float32).items():
                held[name].grad = value * held[name] + 0.1
            optimizer.step(None, step, 12)
            seen.append(torch.cat([value.reshape(-1) for value in held.values()]).clone())
        return seen

    held = weights(0, torch.float32)
    held["a"] = held["a"].t().contiguous().t()  # a weight that is dense in another order
    through = copies(held)
    optimizer = outer(spec, through, resolved, clip=0.7)
    whole = go(through, optimizer, 0, 12)
    for cut in (0, 1, 4, 7):
        part = copies(held)
        early = outer(spec, part, resolved, clip=0.7)
        seen = go(part, early, 0, cut)
        save_file({f"weights/{n}": v.contiguous() for n, v in part.items()} | early.state(), tmp_path / "state.safetensors")
        saved = load_file(tmp_path / "state.safetensors")
        fresh = {name: torch.empty_like(held[name]).copy_(saved.pop(f"weights/{name}")) for name in held}
        late = outer(spec, fresh, resolved, clip=0.7)
        late.load(saved)
        seen += go(fresh, late, cut, 12)
        assert all(torch.equal(x, y) for x, y in zip(whole, seen, strict=True))
        assert late.state().keys() == optimizer.state().keys()
        assert all(torch.equal(late.state()[place], value) for place, value in optimizer.state().items())


def test_a_state_that_does_not_fit_is_refused() -> None:
    held = weights(0)
    old = outer(Adam(), held, plan(a=0.1, b=0.1, c=0.1))
    old.step(weights(1), 0, 1)
    state = old.state()
    assert set(state) == {f"{slot}/{name}" for slot in ("step", "exp_avg", "exp_avg_sq") for name in SHAPES}
    with pytest.raises(InputError, match="does not fit: it has"):
        outer(SGD(momentum=0.9), held, plan(a=0.1, b=0.1, c=0.1)).load(state)
    with pytest.raises(InputError, match=r"'step/b' of shape \(\)"):
        outer(Adam(), held, plan(a=0.1, b=0.0, c=0.1)).load({"step/b": state["step/b"]})
    with pytest.raises(InputError, match=r"'exp_avg/a' of shape \(4,\)"):
        outer(Adam(), held, plan(a=0.1, b=0.1, c=0.1)).load({"exp_avg/a": state["exp_avg/b"]})
    old.load({})  # what it remembered is gone
    assert old.state() == {}
    with pytest.raises(InputError, match="step of 'a', where exp_avg, exp_avg_sq, step are needed"):
        outer(Adam(), held, plan(a=0.1, b=0.1, c=0.1)).load({"step/a": state["step/a"]})


@pytest.mark.parametrize("norm", [0.3, 2.0, 1e9])
def test_clipping_equals_torch(norm: float) -> None:
    gradient = weights(1)
    twin = {name: value.clone() for name, value in weights(0).items()}
    for name, value in twin.items():
        value.grad = gradient[name].clone()
    moving = [twin["a"], twin["c"]]
    whole = torch.nn.utils.clip_grad_norm_(moving, norm)
    torch.optim.SGD(moving, lr=0.1).step()
    for given_by in ("argument", "grad"):
        held, slopes = weights(0), copies(gradient)
        if given_by == "grad":
            for name, value in held.items():
                value.grad = slopes[name].clone()
        found = outer(SGD(), held, plan(a=0.1, b=0.0, c=0.1), clip=norm).step(slopes if given_by == "argument" else None, 0, 1)
        assert found is not None
        torch.testing.assert_close(found, whole)  # frozen gradients do not count
        for name in ("a", "c"):
            torch.testing.assert_close(held[name], twin[name].detach(), rtol=1e-13, atol=1e-14)
            assert held[name].grad is None
        assert all(torch.equal(slopes[name], gradient[name]) for name in slopes)  # what was given is unchanged
    with pytest.raises(InputError, match="clip is the largest norm"):
        outer(SGD(), weights(0), plan(a=0.1), clip=0.0)


@each_optimizer
def test_memory_layout_does_not_change_the_step(spec: Optimizer) -> None:
    """torch's fused kernels read a gradient as if it lay in memory as its weight does, whatever its strides say."""
    g = torch.Generator().manual_seed(0)
    plain = {n: torch.randn(6, 4, 3, 3, generator=g) for n in ("w", "v", "u")}
    gapped = torch.zeros(6, 4, 3, 6)[..., ::2]
    odd = {"w": plain["w"].to(memory_format=torch.channels_last), "v": plain["v"].clone(), "u": plain["u"].clone()}
    sparse = {"w": plain["w"].clone(), "v": gapped.copy_(plain["v"]), "u": plain["u"].clone()}
    held = copies(plain)
    optimizers = [outer(spec, each, resolve(everything(0.1), each), clip=5.0) for each in (held, odd, sparse)]
    for step in range(3):
        slopes = {n: torch.randn(6, 4, 3, 3, generator=g) for n in plain}
        slopes["u"] = torch.randn(6, 1, 1, 1, generator=g).expand(6, 4, 3, 3)  # as autograd gives the gradient of a sum
        optimizers[0].step({n: v.contiguous() for n, v in slopes.items()}, step, 3)
        optimizers[1].step(slopes | {"v": slopes["v"].permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0)}, step, 3)
        optimizers[2].step(slopes, step, 3)
    for name in plain:
        torch.testing.assert_close(odd[name], held[name], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(sparse[name], held[name], rtol=1e-5, atol=1e-6)


@each_optimizer
def test_one_gradient_for_two_names_is_not_used_twice(spec: Optimizer) -> None:
    held = {name: torch.ones(3, 2)[:, ::2] if name == "x" else torch.ones(3, 1) for name in ("x", "y")}
    slope = torch.tensor([[1.0], [2.0], [3.0]])
    optimizer = outer(spec, held, resolve(everything(0.1), held), clip=1.0)
    for step in range(3):
        optimizer.step({"x": slope, "y": slope}, step, 3)
    assert torch.equal(slope, torch.tensor([[1.0], [2.0], [3.0]]))
    torch.testing.assert_close(held["x"], held["y"], rtol=1e-6, atol=1e-7)


def test_rates_follow_their_schedules() -> None:
    curves = {"a": Cosine(lr=0.5, warmup=2), "b": 0.25, "c": LinearDecay(lr=1.0)}
    held = weights(0)
    before, optimizer = copies(held), outer(SGD(), held, plan(**curves))
    for step in range(6):
        optimizer.step({name: torch.ones_like(value) for name, value in held.items()}, step, 6)
        for name, curve in curves.items():
            passed = sum(rate(curve, s, 6) for s in range(step + 1))
            torch.testing.assert_close(held[name], before[name] - passed)


def test_a_frozen_plan_is_an_optimizer_that_does_nothing() -> None:
    held = weights(0)
    before, optimizer = copies(held), outer(AdamW(), held, plan(a=0.0, b=0.0, c=0.0))
    assert optimizer.step(weights(1), 0, 1) is None and optimizer.state() == {}
    optimizer.load({})
    assert all(torch.equal(held[name], before[name]) for name in held)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SGD(momentum=1.0),
        lambda: SGD(nesterov=True),
        lambda: Adam(betas=(0.9, 1.0)),
        lambda: AdamW(weight_decay=-1.0),
        lambda: RAdam(eps=-1e-8),
        lambda: SGD(weight_decay=float("nan")),
    ],
)
def test_impossible_settings_are_refused(make: Any) -> None:
    with pytest.raises(InputError):
        make()
