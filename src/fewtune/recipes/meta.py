"""Gradient-based meta-learning: inner steps on each episode's support, then an outer step.

Inner loops start from shared weights: the backbone, and a head with one output for each way. So test episodes have as many ways as
training. Settings that work (Omniglot, Conv4) are in docs/reproductions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, Unpack, final

from fewtune.errors import InputError
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Implicit, Phase
from fewtune.parts.heads.class_texts import Text
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Anchor, CrossEntropy, Displacement, Loss
from fewtune.parts.optimizers import SGD, Adam, Optimizer
from fewtune.parts.plan import Plan, everything, only
from fewtune.parts.rates import Learned
from fewtune.recipes.pieces import sampled, train_all
from fewtune.recipes.shared_defaults import defaults
from fewtune.recipes.shared_settings import Differentiated, Displaced
from fewtune.tasks.few_tasks import FewTasks
from fewtune.tasks.pooled import Pooled
from fewtune.tasks.samplers import Sampled

Moved: TypeAlias = Literal["all", "head", "body"]
Through: TypeAlias = Literal["unroll", "first_order"]
_ADAM, _SGD = Adam(), SGD()
_INNER_ADAM = Adam(betas=(0.0, 0.999))


@final
@dataclass(frozen=True, kw_only=True)
class _Inner:
    """An inner loop from the shared start: what moves and how fast, and what each step sees (`batch` 0: the whole support)."""

    ways: int
    plan: Plan
    through: Through | Implicit
    losses: tuple[Loss, ...] = (CrossEntropy(),)
    optimizer: Optimizer = _SGD
    batch: int = 0
    init: Literal["zeros", "random"] = "zeros"
    prompts: tuple[str, ...] = ()

    def adapt(self, steps: int) -> Adapt:
        """So many steps on the support, then the head answers."""
        head: Head = Text(prompts=self.prompts) if self.prompts else Linear(start="shared", init=self.init, ways=self.ways)
        sampler = Pooled(batch=self.batch)
        phase = Phase(sampler=sampler, learner=head, plan=self.plan, steps=steps, losses=self.losses, optimizer=self.optimizer)
        return Adapt(phases=(phase,), then=head, through=self.through)


@defaults(ways=5, shots=1, queries=5, inner_steps=5, inner_lr=0.1, test_steps=..., steps=1000, batch=4, lr=1e-3, optimizer=_ADAM)
def maml(
    *,
    test_steps: int = 0,
    through: Through = "unroll",
    inner: Moved = "all",
    head_lr: float | None = None,
    prompts: tuple[str, ...] = (),
    tasks: int = 0,
    inner_optimizer: Optimizer = _SGD,
    **settings: Unpack[Differentiated],
) -> Method:
    """MAML: theta <- theta - lr grad_theta L_query(theta - inner_lr grad L_support(theta) ...), through all inner steps.

    `test_steps`: inner steps in testing; 0 means as many as in training. `through`: "unroll" for second order, or "first_order".
    `inner`: what the inner loop moves. `head_lr`: the head's own inner rate, `inner_lr` if None (rates of their own for parts of the
    network: Antoniou et al., "MAML++", ICLR 2019, where they are learned). `prompts`, such as 'a photo of a {}.', for models with a label
    side: class texts answer instead of a linear head, in training and testing, and what reads them moves too. `tasks`: that many sets of
    classes, which come again and again; 0: new classes in each episode. `inner_optimizer`: of the inner steps.
    Reference: Finn, Abbeel, Levine, ICML 2017 (Omniglot: 1 or 5 inner steps, rate .4 or .1, Adam 1e-3, 32 or 16 tasks a batch; 3 more steps
    in testing).

    >>> maml(inner_steps=3, test_steps=10).learner.phases[0].steps
    10
    """
    if prompts and (inner != "all" or head_lr is not None):
        raise InputError("with prompts the inner loop moves all weights, because there is no linear head: leave out inner and head_lr.")
    init: Literal["zeros", "random"] = "random" if inner == "body" else "zeros"
    plan = _inner_plan(inner, settings["inner_lr"], head_lr)
    loop = _Inner(ways=settings["ways"], plan=plan, through=through, init=init, prompts=prompts, optimizer=inner_optimizer)
    ways, shots, queries = settings["ways"], settings["shots"], settings["queries"]
    sampler = FewTasks(ways=ways, shots=shots, queries=queries, tasks=tasks) if tasks else sampled(settings)
    phase = train_all(sampler, loop.adapt(settings["inner_steps"]), settings)
    return Method(phases=(phase,), learner=loop.adapt(test_steps or settings["inner_steps"]))


@defaults(ways=5, shots=1, queries=5, inner_steps=5, inner_lr=0.1, test_steps=..., steps=1000, batch=4, lr=1e-3, optimizer=_ADAM)
def fomaml(
    *,
    test_steps: int = 0,
    inner: Moved = "all",
    head_lr: float | None = None,
    prompts: tuple[str, ...] = (),
    tasks: int = 0,
    inner_optimizer: Optimizer = _SGD,
    **settings: Unpack[Differentiated],
) -> Method:
    """First-order MAML: the query gradient at the tuned weights stands for the gradient at the start. Options as in `maml`.

    Reference: Finn et al., ICML 2017, section 5.2.

    >>> fomaml().learner.through
    'first_order'
    >>> fomaml(prompts="a photo of a {}.").learner.then.prompts
    ('a photo of a {}.',)
    """
    return maml(
        through="first_order",
        test_steps=test_steps,
        inner=inner,
        head_lr=head_lr,
        prompts=prompts,
        tasks=tasks,
        inner_optimizer=inner_optimizer,
        **settings,
    )


@defaults(ways=5, shots=1, queries=5, inner_steps=5, inner_lr=0.1, test_steps=..., steps=1000, batch=4, lr=1e-3, optimizer=_ADAM)
def anil(*, test_steps: int = 0, through: Through = "unroll", **settings: Unpack[Differentiated]) -> Method:
    """ANIL: MAML whose inner loop moves the head alone. Options as in `maml`.

    Reference: Raghu et al., "Rapid learning or feature reuse?", ICLR 2020.

    >>> anil(inner_lr=0.5).learner.phases[0].plan.rules[0]
    ('head.*', Constant(lr=0.5))
    """
    return maml(inner="head", test_steps=test_steps, through=through, **settings)


@defaults(ways=5, shots=1, queries=5, inner_steps=5, inner_lr=0.1, test_steps=..., steps=1000, batch=4, lr=1e-3, optimizer=_ADAM)
def boil(*, test_steps: int = 0, through: Through = "unroll", **settings: Unpack[Differentiated]) -> Method:
    """BOIL: MAML whose inner loop moves the body alone, under a head that starts at random (at zero the body would have no gradient).

    Options as in `maml`.
    Reference: Oh et al., "BOIL", ICLR 2021.

    >>> boil().learner.phases[0].plan.rules[0]
    ('head.*', Constant(lr=0.0))
    """
    return maml(inner="body", test_steps=test_steps, through=through, **settings)


@defaults(ways=5, shots=1, queries=5, inner_steps=1, inner_lr=0.1, per=..., steps=1000, batch=4, lr=1e-3, optimizer=_ADAM)
def meta_sgd(*, per: Literal["entry", "tensor"] = "entry", **settings: Unpack[Differentiated]) -> Method:
    """Meta-SGD: MAML whose inner rates are learned too, one for each entry of the weights (or each tensor), starting at `inner_lr`.

    Reference: Li et al., "Meta-SGD", 2017 (one inner step, rates from U(.005, .1)); per tensor: Antoniou et al., "MAML++", ICLR 2019.

    >>> meta_sgd(per="tensor").learner.phases[0].plan.rules[0][1].per
    'tensor'
    """
    plan = everything(Learned(lr=settings["inner_lr"], per=per))
    learner = _Inner(ways=settings["ways"], plan=plan, through="unroll").adapt(settings["inner_steps"])
    return Method(phases=(train_all(sampled(settings), learner, settings),), learner=learner)


@defaults(ways=5, shots=15, inner_steps=15, inner_batch=10, inner_lr=1e-3, test_steps=50, steps=1000, batch=5, lr=1.0)
def reptile(*, strength: float = 0.0, **settings: Unpack[Displaced]) -> Method:
    """Reptile: theta <- theta + lr mean_e (theta_e - theta), theta_e after inner steps of Adam on batches of an episode's rows.

    No query is needed (one row of each class is drawn but not used). With `strength` above 0 the inner loss has strength / 2 ||theta_e -
    theta||^2.
    Reference: Nichol, Achiam, Schulman, 2018 (15 shots, 10 to 15 rows an inner batch, Adam 1e-3 with beta1 = 0, outer rate 1 falling to
    0; 50 inner steps in testing). On 1-shot episodes it does not work: the sampler is a part of the method.

    >>> reptile(inner_steps=5, test_steps=20).learner.phases[0].steps
    20
    """
    losses = (CrossEntropy(), Anchor(strength=strength)) if strength else (CrossEntropy(),)
    loop = _Inner(
        ways=settings["ways"],
        plan=everything(settings["inner_lr"]),
        through="first_order",
        losses=losses,
        optimizer=_INNER_ADAM,
        batch=settings["inner_batch"],
    )
    phase = Phase(
        sampler=Sampled(ways=settings["ways"], shots=settings["shots"], queries=1),
        learner=loop.adapt(settings["inner_steps"]),
        plan=everything(settings["lr"]),
        steps=settings["steps"],
        batch=settings["batch"],
        losses=(Displacement(),),
    )
    return Method(phases=(phase,), learner=loop.adapt(settings["test_steps"]))


@defaults(ways=5, shots=15, strength=..., inner_steps=15, inner_batch=10, inner_lr=1e-3, test_steps=50, steps=1000, batch=5, lr=1.0)
def minibatch_prox(*, strength: float = 0.1, **settings: Unpack[Displaced]) -> Method:
    """Meta-MinibatchProx: theta_e = argmin L_e + strength / 2 ||theta_e - theta||^2, theta <- theta - lr strength mean_e (theta - theta_e).

    Reference: Zhou et al., "Efficient meta learning via minibatch proximal update", NeurIPS 2019. Departs: `lr` stands for their
    lr x strength, so that it reads as Reptile's; the inner problem is solved by `inner_steps` of Adam on batches of the support.

    >>> minibatch_prox() == reptile(strength=0.1)
    True
    """
    return reptile(strength=strength, **settings)


@defaults(
    ways=5,
    shots=1,
    queries=5,
    strength=...,
    inner_steps=5,
    inner_lr=0.1,
    solver_steps=...,
    damping=...,
    inner=...,
    steps=1000,
    batch=4,
    lr=1e-3,
    optimizer=_ADAM,
)
def imaml(
    *,
    strength: float = 0.5,
    solver_steps: int = 5,
    damping: float = 100.0,
    inner: Literal["all", "head"] = "all",
    **settings: Unpack[Differentiated],
) -> Method:
    """iMAML: the inner problem has strength / 2 ||theta_e - theta||^2; the outer gradient is (I + H / strength)^-1 g, by conjugate
    gradients.

    `solver_steps` (1 or more) are those of the conjugate gradients; the residual is on the curve.
    Reference: Rajeswaran et al., NeurIPS 2019 (strength 2, 16 inner steps of SGD .1, 5 solver steps).
    Departs: damped by 100 (their code by 10 and twice the identity, with other normalisation): on Conv4 with GroupNorm the curvature
    along the support loss reaches 30 and more, five inner steps do not solve the problem, and with a damping of 10 residuals exceed 1 and
    nothing is learned. inner="head" is convex and needs no damping.

    >>> imaml(inner="head", damping=0.0).learner.through.damping
    0.0
    """
    loop = _Inner(
        ways=settings["ways"],
        plan=_inner_plan(inner, settings["inner_lr"]),
        through=Implicit(steps=solver_steps, damping=damping),
        losses=(CrossEntropy(), Anchor(strength=strength)),
    )
    learner = loop.adapt(settings["inner_steps"])
    return Method(phases=(train_all(sampled(settings), learner, settings),), learner=learner)


def _inner_plan(moved: Moved, lr: float, head_lr: float | None = None) -> Plan:
    """The plan of an inner loop; a `head_lr` of its own goes with "all"."""
    if head_lr is not None:
        if moved != "all":
            raise InputError(f"head_lr={head_lr:g} is for an inner loop over all weights, found inner={moved!r}: leave one of them out.")
        return Plan(rules=(("head.*", head_lr), ("*", lr)))
    match moved:
        case "all":
            return everything(lr)
        case "head":
            return only("head.*", lr)
        case "body":
            return Plan(rules=(("head.*", 0.0), ("*", lr)))
    raise InputError(f"inner is 'all', 'head' or 'body', found {moved!r}.")


META = (maml, fomaml, anil, boil, meta_sgd, reptile, minibatch_prox, imaml)
