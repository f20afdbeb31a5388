"""Gradient-based meta-learning: inner steps on each episode's support, an outer step on what comes of them (METHODS, section 3).

Inner loops move a shared start: the backbone and a head of places, so test episodes have the ways of training. Settings that work
(Omniglot, Conv4) are in docs/reproductions.md.
"""

from __future__ import annotations

from typing import Literal

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Implicit, Phase
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy, Displacement, Loss
from fewtune.parts.optimizers import SGD, Adam, Optimizer
from fewtune.parts.plan import Plan, everything, only
from fewtune.parts.rates import Learned, Rate
from fewtune.recipes.parts import variant
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled

_CROSS_ENTROPY = (CrossEntropy(),)
_ADAM, _SGD = Adam(), SGD()
_INNER_ADAM = Adam(betas=(0.0, 0.999))


def _inner(what: Literal["all", "head", "body"], lr: float, head_lr: float | None = None) -> Plan:
    """The plan of an inner loop; a `head_lr` of its own goes with "all"."""
    if head_lr is not None:
        if what != "all":
            raise InputError(f"head_lr={head_lr:g} asks for an inner loop over all weights, found inner={what!r}: leave one of them out.")
        return Plan(rules=(("head.*", head_lr), ("*", lr)))
    match what:
        case "all":
            return everything(lr)
        case "head":
            return only("head.*", lr)
        case "body":
            return Plan(rules=(("head.*", 0.0), ("*", lr)))
    raise InputError(f"inner is 'all', 'head' or 'body', found {what!r}.")


def _adapting(
    ways: int,
    plan: Plan,
    steps: int,
    through: Literal["unroll", "first_order"] | Implicit,
    *,
    losses: tuple[Loss, ...] = _CROSS_ENTROPY,
    optimizer: Optimizer = _SGD,
    batch: int = 0,
    init: Literal["zeros", "random"] = "zeros",
) -> Adapt:
    """`steps` inner steps from the shared start; the whole support in each, or batches of it."""
    head = Linear(start="shared", init=init, ways=ways)
    inner = Phase(sampler=Pooled(batch=batch), learner=head, plan=plan, steps=steps, losses=losses, optimizer=optimizer)
    return Adapt(phases=(inner,), then=head, through=through)


def maml(
    ways: int = 5,
    shots: int = 1,
    queries: int = 5,
    inner_steps: int = 5,
    inner_lr: float = 0.1,
    test_steps: int = 0,
    steps: int = 1000,
    batch: int = 4,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = _ADAM,
    through: Literal["unroll", "first_order"] = "unroll",
    inner: Literal["all", "head", "body"] = "all",
    head_lr: float | None = None,
) -> Method:
    """MAML: theta <- theta - lr grad_theta L_query(theta - inner_lr grad L_support(theta) ...), through all inner steps.

    Reference: Finn, Abbeel, Levine, ICML 2017 (Omniglot: 1 or 5 inner steps, rate .4 or .1, Adam 1e-3, 32 or 16 tasks a batch; 3 more steps
    in testing). `test_steps` 0: as many as in training. `head_lr`: the head's own inner rate (rates of their own for parts of the
    network: Antoniou et al., "MAML++", ICLR 2019, where they are learned); by default `inner_lr`.
    """
    plan = _inner(inner, inner_lr, head_lr)
    sampler = Sampled(ways=ways, shots=shots, queries=queries)
    init: Literal["zeros", "random"] = "random" if inner == "body" else "zeros"
    learner = _adapting(ways, plan, inner_steps, through, init=init)
    phase = Phase(sampler=sampler, learner=learner, plan=everything(lr), steps=steps, batch=batch, optimizer=optimizer)
    return Method(phases=(phase,), learner=_adapting(ways, plan, test_steps or inner_steps, through, init=init))


fomaml = variant(
    maml,
    "fomaml",
    """First-order MAML: the query gradient at the tuned weights is taken for that at the start. Reference: Finn et al., ICML 2017,
    section 5.2.""",
    through="first_order",
)
anil = variant(
    maml,
    "anil",
    """ANIL: MAML whose inner loop moves the head alone. Reference: Raghu et al., "Rapid learning or feature reuse?", ICLR 2020.""",
    inner="head",
    head_lr=None,
)
boil = variant(
    maml,
    "boil",
    """BOIL: MAML whose inner loop moves the body alone, under a head that starts at random (at zero it would have no gradient).

    Reference: Oh et al., "BOIL", ICLR 2021.""",
    inner="body",
    head_lr=None,
)


def meta_sgd(
    ways: int = 5,
    shots: int = 1,
    queries: int = 5,
    inner_steps: int = 1,
    inner_lr: float = 0.1,
    per: Literal["entry", "tensor"] = "entry",
    steps: int = 1000,
    batch: int = 4,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = _ADAM,
) -> Method:
    """Meta-SGD: MAML whose inner rates are learned too, one an entry of the weights (or one a tensor), from `inner_lr`.

    Reference: Li et al., "Meta-SGD", 2017 (one inner step, rates from U(.005, .1)); per tensor: Antoniou et al., "MAML++", ICLR 2019.
    """
    sampler = Sampled(ways=ways, shots=shots, queries=queries)
    learner = _adapting(ways, everything(Learned(lr=inner_lr, per=per)), inner_steps, "unroll")
    phase = Phase(sampler=sampler, learner=learner, plan=everything(lr), steps=steps, batch=batch, optimizer=optimizer)
    return Method(phases=(phase,), learner=learner)


def reptile(
    ways: int = 5,
    shots: int = 15,
    inner_steps: int = 15,
    inner_batch: int = 10,
    inner_lr: float = 1e-3,
    test_steps: int = 50,
    steps: int = 1000,
    batch: int = 5,
    lr: Rate | float = 1.0,
    strength: float = 0.0,
) -> Method:
    """Reptile: theta <- theta + lr mean_e (theta_e - theta), theta_e after inner steps of Adam on batches of an episode's rows.

    No query is needed (one row a class is drawn and not learned from). With `strength` the inner loss has strength / 2 ||theta_e -
    theta||^2.
    Reference: Nichol, Achiam, Schulman, 2018 (15 shots, 10 to 15 rows an inner batch, Adam 1e-3 with beta1 = 0, outer rate 1 falling to
    0; 50 inner steps in testing). On 1-shot episodes it does not work: the sampler is a part of the method.
    """
    losses = (CrossEntropy(), Anchor(strength=strength)) if strength else _CROSS_ENTROPY
    plan, sampler = everything(inner_lr), Sampled(ways=ways, shots=shots, queries=1)
    learner = _adapting(ways, plan, inner_steps, "first_order", losses=losses, optimizer=_INNER_ADAM, batch=inner_batch)
    phase = Phase(sampler=sampler, learner=learner, plan=everything(lr), steps=steps, batch=batch, losses=(Displacement(),))
    test = _adapting(ways, plan, test_steps, "first_order", losses=losses, optimizer=_INNER_ADAM, batch=inner_batch)
    return Method(phases=(phase,), learner=test)


def minibatch_prox(
    ways: int = 5,
    shots: int = 15,
    strength: float = 0.1,
    inner_steps: int = 15,
    inner_batch: int = 10,
    inner_lr: float = 1e-3,
    test_steps: int = 50,
    steps: int = 1000,
    batch: int = 5,
    lr: Rate | float = 1.0,
) -> Method:
    """Meta-MinibatchProx: theta_e = argmin L_e + strength / 2 ||theta_e - theta||^2, theta <- theta - lr strength mean_e (theta - theta_e).

    Reference: Zhou et al., "Efficient meta learning via minibatch proximal update", NeurIPS 2019. Departs: `lr` stands for their
    lr x strength, so that it reads as Reptile's; the inner problem is solved by `inner_steps` of Adam on batches of the support.
    """
    same = {"inner_batch": inner_batch, "inner_steps": inner_steps, "test_steps": test_steps, "steps": steps, "batch": batch}
    return reptile(ways=ways, shots=shots, inner_lr=inner_lr, lr=lr, strength=strength, **same)


def imaml(
    ways: int = 5,
    shots: int = 1,
    queries: int = 5,
    strength: float = 0.5,
    inner_steps: int = 5,
    inner_lr: float = 0.1,
    solver_steps: int = 5,
    damping: float = 100.0,
    inner: Literal["all", "head"] = "all",
    steps: int = 1000,
    batch: int = 4,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = _ADAM,
) -> Method:
    """iMAML: the inner problem has strength / 2 ||theta_e - theta||^2; the outer gradient is (I + H / strength)^-1 g, by conjugate
    gradients.

    Reference: Rajeswaran et al., NeurIPS 2019 (strength 2, 16 inner steps of SGD .1, 5 solver steps). The residual is on the curve.
    Departs: damped by 100 (their code by 10 and twice the identity, with other normalisation): on Conv4 with GroupNorm the curvature
    along the support loss reaches 30 and more, five inner steps do not solve the problem, and with a damping of 10 residuals exceed 1 and
    nothing is learned. inner="head" is convex and needs no damping.
    """
    losses = (CrossEntropy(), Anchor(strength=strength))
    learner = _adapting(ways, _inner(inner, inner_lr), inner_steps, Implicit(steps=solver_steps, damping=damping), losses=losses)
    sampler = Sampled(ways=ways, shots=shots, queries=queries)
    phase = Phase(sampler=sampler, learner=learner, plan=everything(lr), steps=steps, batch=batch, optimizer=optimizer)
    return Method(phases=(phase,), learner=learner)


META = (maml, fomaml, anil, boil, meta_sgd, reptile, minibatch_prox, imaml)
