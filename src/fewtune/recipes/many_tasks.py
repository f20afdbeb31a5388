"""Finetuning on source tasks, then any head (METHODS, section 3). Each is an expression; the engine runs it.

`steps` are updates; `lr` is a number or a rate over time; `head` is what answers test episodes, a head or a frozen recipe such as
`ridge(penalty=10)`. A head that equals the one of training goes on with what was learned (its temperature); any other keeps what it is
given. Settings that work are those of docs/reproductions.md: MobileNetV2 with SGD of momentum .9.
"""

from __future__ import annotations

from typing import Literal

from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.data.views.views import Augment, View
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase
from fewtune.parts.heads import Centroid, Logistic, Matching, Ridge, Svm, Text
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Contrast
from fewtune.parts.optimizers import SGD, Adam, Optimizer, RAdam
from fewtune.parts.plan import everything
from fewtune.parts.rates import Rate
from fewtune.recipes.parts import MOMENTUM, as_head
from fewtune.tasks.chosen import Chosen, Selection
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.replayed import Replayed
from fewtune.tasks.sampler import Sampler
from fewtune.tasks.samplers import Sampled


def episodic(
    head: Head,
    *,
    ways: int,
    shots: int,
    queries: int,
    steps: int,
    batch: int,
    lr: Rate | float,
    optimizer: Optimizer,
    test: Head | None = None,
    selection: Selection | None = None,
) -> Method:
    """Train what you test: episodes answered by `head`, cross-entropy on the query, all weights and the head's parameters moved."""
    sampler: Sampler = Sampled(ways=ways, shots=shots, queries=queries)
    if selection is not None:
        sampler = Chosen(sampler=sampler, selection=selection)
    phase = Phase(sampler=sampler, learner=head, plan=everything(lr), steps=steps, batch=batch, optimizer=optimizer)
    return Method(phases=(phase,), learner=head if test is None else test)


def multitask(
    ways: int = 15,
    shots: int = 1,
    queries: int = 9,
    steps: int = 200,
    batch: int = 1,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    head: Head | Method | None = None,
    selection: Selection | None = None,
) -> Method:
    """Multitask finetuning: theta <- theta - lr grad CE(temperature x cosine(f(query), prototypes of f(support))), temperature too.

    Reference: Xu et al., "Towards few-shot adaptation of foundation models via multitask finetuning", ICLR 2024 (15 ways, 1 + 9 rows, 200
    tasks x 10 epochs, SGD .9, lr 1e-5 for CLIP and 1e-6 for DINOv2). Departs: features are normalised before they are averaged, and every
    step draws new tasks instead of ten epochs over the same ones. With a `selection`, such as consistency_diversity(), from those tasks
    alone that it chooses for the target (algorithm 1 there).
    """
    given = {"ways": ways, "shots": shots, "queries": queries, "steps": steps, "batch": batch}
    return episodic(Centroid(), **given, lr=lr, optimizer=optimizer, test=as_head(head), selection=selection)


def protonet(
    ways: int = 20,
    shots: int = 1,
    queries: int = 5,
    steps: int = 1000,
    batch: int = 1,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = Adam(),  # noqa: B008
) -> Method:
    """Prototypical networks: as multitask, by squared Euclidean distance to the prototypes.

    Reference: Snell, Swersky, Zemel, NeurIPS 2017 (Adam 1e-3, more ways in training than in testing). Departs: the temperature is learned.
    """
    head = Centroid(metric="euclidean")
    return episodic(head, ways=ways, shots=shots, queries=queries, steps=steps, batch=batch, lr=lr, optimizer=optimizer)


def matching_networks(
    ways: int = 15,
    shots: int = 1,
    queries: int = 9,
    steps: int = 200,
    batch: int = 1,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
) -> Method:
    """Matching networks: attention over the support rows, trained through.

    Reference: Vinyals et al., NeurIPS 2016. Departs: no full-context embedding; a learned temperature.
    """
    return episodic(Matching(), ways=ways, shots=shots, queries=queries, steps=steps, batch=batch, lr=lr, optimizer=optimizer)


def r2d2(
    ways: int = 5,
    shots: int = 5,
    queries: int = 6,
    steps: int = 200,
    batch: int = 8,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    penalty: float = 1.0,
) -> Method:
    """R2D2: cross-entropy on the query through ridge regression on the support; penalty and scale are learned.

    Reference: Bertinetto et al., ICLR 2019; the batch of 8 episodes is MetaOptNet's. Departs: unit features, so penalty 1 to begin with.
    """
    head = Ridge(penalty=penalty, scale=10.0)
    return episodic(head, ways=ways, shots=shots, queries=queries, steps=steps, batch=batch, lr=lr, optimizer=optimizer)


def metaoptnet(
    ways: int = 5,
    shots: int = 5,
    queries: int = 6,
    steps: int = 200,
    batch: int = 8,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    C: float = 0.1,
) -> Method:
    """MetaOptNet: cross-entropy on the query through a support vector machine, by the implicit function theorem; the scale is learned.

    Reference: Lee et al., CVPR 2019 (SGD .9 with Nesterov, 8 episodes a batch). Departs: the dual is solved to the end, features are unit
    vectors.
    """
    head = Svm(C=C, scale=10.0)
    return episodic(head, ways=ways, shots=shots, queries=queries, steps=steps, batch=batch, lr=lr, optimizer=optimizer)


def shared_heads(
    ways: int = 5,
    queries: int = 10,
    steps: int = 200,
    batch: int = 4,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = RAdam(),  # noqa: B008
    head: Head | Method | None = None,
) -> Method:
    """Multi-task learning with shared heads: a task with class ids c is answered by the rows H[c] of one class table; no support.

    Reference: Wang, Zhao, Li, "Bridging multi-task learning and meta-learning", ICML 2021, equation 4 (RAdam 1e-3, ResNet-12; logistic
    regression with C = 3 in the end). Departs: labels are places in c by lookup (the authors relabel in place, which mislabels 15% of
    tasks).
    """
    table = Linear(rows="class", start="random", bias=False, name="source")
    sampler = Sampled(ways=ways, shots=0, queries=queries)
    phase = Phase(sampler=sampler, learner=table, plan=everything(lr), steps=steps, batch=batch, optimizer=optimizer)
    return Method(phases=(phase,), learner=as_head(head) or Logistic(C=3.0))


def mamf(
    ways: int = 5,
    rows: int = 10,
    epochs: int = 2,
    batch: int = 32,
    steps: int = 200,
    lr: Rate | float = 1e-4,
    optimizer: Optimizer = Adam(),  # noqa: B008
    prompts: tuple[str, ...] = (),
    head: Head | Method | None = None,
    test_steps: int = 0,
    test_lr: Rate | float = 1e-5,
) -> Method:
    """MAMF: tasks in sequence, some epochs of plain cross-entropy on each, a fresh optimizer a task; no support, no outer step.

    With `prompts` the answer is by class texts, at the end too, after `test_steps` of the same on the support; without, by the shared
    class table and `head` (nearest centroid), after `test_steps` of a linear head that starts at the class means.
    Reference: Wang et al., "Model-agnostic multitask fine-tuning", 2022 (CLIP: Adam 1e-6, 8 epochs a task, 60 rows a class, batch 32;
    meta-test Adam 1e-7). Departs: the text side is the model's own in every method (the authors train a new random projection here).
    """
    sampler = InSequence(ways=ways, rows=rows, epochs=epochs, batch=batch)
    learner: Head = Text(prompts=prompts) if prompts else Linear(rows="class", name="source")
    restart = sampler.steps_per_task
    phase = Phase(sampler=sampler, learner=learner, plan=everything(lr), steps=steps, optimizer=optimizer, restart=restart)
    then = as_head(head) or (learner if prompts else Centroid())
    if not test_steps:
        return Method(phases=(phase,), learner=then)
    inside: Head = learner if prompts else Linear(start="centroid")
    inner = Phase(sampler=Pooled(), learner=inside, plan=everything(test_lr), steps=test_steps, optimizer=optimizer)
    return Method(phases=(phase,), learner=Adapt(phases=(inner,), then=then))


def meta_baseline(
    batch: int = 64,
    probe_steps: int = 100,
    ways: int = 5,
    shots: int = 1,
    queries: int = 15,
    steps: int = 100,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
) -> Method:
    """Meta-Baseline: classification of all base classes first, then episodes with cosine centroids and a learned temperature.

    Reference: Chen et al., "Meta-Baseline", ICCV 2021.
    """
    table = Linear(rows="class", name="source")
    first = Phase(sampler=Pooled(batch=batch), learner=table, plan=everything(lr), steps=probe_steps, optimizer=optimizer)
    second = Phase(
        sampler=Sampled(ways=ways, shots=shots, queries=queries), learner=Centroid(), plan=everything(lr), steps=steps, optimizer=optimizer
    )
    return Method(phases=(first, second), learner=Centroid())


def p_m_f(
    ways: int = 5,
    shots: int = 5,
    queries: int = 10,
    steps: int = 200,
    lr: Rate | float = 1e-3,
    test_steps: int = 20,
    test_lr: Rate | float = 1e-4,
    optimizer: Optimizer = MOMENTUM,
    view: View = Augment(),  # noqa: B008
) -> Method:
    """P>M>F: ProtoNet by cosine on the source, then finetuning on each support against augmented copies of itself as queries.

    Reference: Hu et al., "Pushing the limits of simple pipelines for few-shot learning", CVPR 2022. Departs: one `test_lr` for all tasks,
    chosen on validation tasks (the authors choose it for each test domain, on test tasks).
    """
    sampler = Sampled(ways=ways, shots=shots, queries=queries)
    source = Phase(sampler=sampler, learner=Centroid(), plan=everything(lr), steps=steps, optimizer=optimizer)
    inner = Phase(sampler=Replayed(), learner=Centroid(), plan=everything(test_lr), steps=test_steps, optimizer=optimizer, query_view=view)
    return Method(phases=(source,), learner=Adapt(phases=(inner,), then=Centroid()))


def flyp(
    batch: int = 32,
    steps: int = 200,
    lr: Rate | float = 1e-5,
    prompts: tuple[str, ...] = PHOTO_TEMPLATES,
    optimizer: Optimizer = SGD(momentum=0.9),  # noqa: B008
    on: Literal["source", "support"] = "source",
) -> Method:
    """FLYP: finetune as pretrained, by the contrastive loss between images and the texts of their classes, both towers moving.

    Reference: Goyal et al., "Finetune like you pretrain", CVPR 2023. Departs: rows of one class share a text, and count together (UniCL).
    """
    text = Text(prompts=prompts)
    phase = Phase(sampler=Pairs(batch=batch), learner=text, plan=everything(lr), steps=steps, losses=(Contrast(),), optimizer=optimizer)
    if on == "support":
        return Method(learner=Adapt(phases=(phase,), then=text))
    return Method(phases=(phase,), learner=text)


SOURCES = (multitask, protonet, matching_networks, r2d2, metaoptnet, shared_heads, mamf, meta_baseline, p_m_f, flyp)
