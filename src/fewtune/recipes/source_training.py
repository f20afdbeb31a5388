"""Other ways to train on the source, then any head: class tables, one task after the other, contrast with texts.

`lr` is a number or a rate over time. `head` answers test episodes: a head or a frozen recipe such as `ridge(penalty=10)`. A head equal to
the one of training keeps what was learned (its temperature). Settings that work are in docs/reproductions.md.
"""

from __future__ import annotations

from typing import Unpack

from fewtune.data.templates import PHOTO_TEMPLATES
from fewtune.data.views.views import Augment, View
from fewtune.learning.method import Method
from fewtune.learning.phase import Adapt, Phase
from fewtune.parts.heads import Centroid, Logistic, Text
from fewtune.parts.heads.head import Head
from fewtune.parts.heads.linear import Linear
from fewtune.parts.losses import Contrast
from fewtune.parts.optimizers import Adam, Optimizer, RAdam
from fewtune.parts.plan import everything
from fewtune.parts.rates import Rate
from fewtune.recipes.pieces import MOMENTUM, as_head, sampled, train_all, trained_on
from fewtune.recipes.shared_defaults import defaults
from fewtune.recipes.shared_settings import Answer, AtTest, DrawThenTest, Episodic, InSequenceThenTest, On, Training
from fewtune.tasks.in_sequence import InSequence
from fewtune.tasks.pooled import Pairs, Pooled
from fewtune.tasks.replayed import Replayed
from fewtune.tasks.samplers import Sampled


@defaults(steps=200, batch=4, lr=1e-3, optimizer=RAdam())
def shared_heads(ways: int = 5, queries: int = 10, *, head: Answer = None, **settings: Unpack[Training]) -> Method:
    """Multi-task learning with shared heads: a task with class ids c is answered by the rows H[c] of one class table; no support.

    `batch`: episodes of an update, each `ways` classes of `queries` rows.
    Reference: Wang, Zhao, Li, "Bridging multi-task learning and meta-learning", ICML 2021, equation 4 (RAdam 1e-3, ResNet-12; logistic
    regression with C = 3 in the end). Departs: labels are places in c by lookup (the authors relabel in place, which mislabels 15% of
    tasks).

    >>> shared_heads(ways=10).phases[0].sampler.shots
    0
    """
    table = Linear(rows="class", start="random", bias=False, name="source")
    phase = train_all(Sampled(ways=ways, shots=0, queries=queries), table, settings)
    return Method(phases=(phase,), learner=as_head(head) or Logistic(C=3.0))


@defaults(batch=32, steps=200, lr=1e-4, optimizer=Adam(), prompts=..., head=..., test_steps=0, test_lr=1e-5)
def mamf(
    ways: int = 5,
    rows: int = 10,
    epochs: int = 2,
    *,
    prompts: tuple[str, ...] = (),
    head: Answer = None,
    **settings: Unpack[InSequenceThenTest],
) -> Method:
    """MAMF: tasks in sequence, `epochs` of plain cross-entropy on each, a fresh optimizer for each task; no support, no outer step.

    A task has `ways` classes of `rows` rows, and an update sees `batch` rows. With `prompts` the answer is by class texts, in testing
    too, after `test_steps` of the same on the support. Without, it is by the shared class table and then `head` (nearest centroid), after
    `test_steps` of a linear head that starts at the class means.
    Reference: Wang et al., "Model-agnostic multitask fine-tuning", 2022 (CLIP: Adam 1e-6, 8 epochs a task, 60 rows a class, batch 32;
    meta-test Adam 1e-7). Departs: the text side is the model's own in every method (the authors train a new random projection here).

    >>> mamf(ways=5, rows=10, epochs=2, batch=25).phases[0].restart
    4
    """
    sampler = InSequence(ways=ways, rows=rows, epochs=epochs, batch=settings["batch"])
    learner: Head = Text(prompts=prompts) if prompts else Linear(rows="class", name="source")
    optimizer = settings["optimizer"]
    phase = Phase(
        sampler=sampler,
        learner=learner,
        plan=everything(settings["lr"]),
        steps=settings["steps"],
        optimizer=optimizer,
        restart=sampler.steps_per_task,
    )
    then = as_head(head) or (learner if prompts else Centroid())
    at_test: AtTest = {"test_steps": settings["test_steps"], "test_lr": settings["test_lr"]}
    return Method(phases=(phase,), learner=trained_on(learner if prompts else Linear(start="centroid"), then, at_test, optimizer))


@defaults(batch=64, probe_steps=..., ways=5, shots=1, queries=15, steps=100, lr=1e-3, optimizer=MOMENTUM)
def meta_baseline(*, probe_steps: int = 100, **settings: Unpack[Episodic]) -> Method:
    """Meta-Baseline: classification of all base classes first, then episodes with cosine centroids and a learned temperature.

    `probe_steps` updates of `batch` rows, then `steps` updates of one episode each.
    Reference: Chen et al., "Meta-Baseline", ICCV 2021.

    >>> [phase.steps for phase in meta_baseline(probe_steps=10, steps=20).phases]
    [10, 20]
    """
    table = Linear(rows="class", name="source")
    episodes: Episodic = {**settings, "batch": 1}
    probe: Episodic = {**episodes, "steps": probe_steps}
    first = train_all(Pooled(batch=settings["batch"]), table, probe)
    second = train_all(sampled(settings), Centroid(), episodes)
    return Method(phases=(first, second), learner=Centroid())


@defaults(ways=5, shots=5, queries=10, steps=..., lr=..., test_steps=20, test_lr=1e-4)
def p_m_f(
    *,
    steps: int = 200,
    lr: Rate | float = 1e-3,
    optimizer: Optimizer = MOMENTUM,
    view: View = Augment(),  # noqa: B008
    **settings: Unpack[DrawThenTest],
) -> Method:
    """P>M>F: ProtoNet by cosine on the source, then finetuning on each support, with augmented copies of it (`view`) as queries.

    Reference: Hu et al., "Pushing the limits of simple pipelines for few-shot learning", CVPR 2022. Departs: one `test_lr` for all tasks,
    chosen on validation tasks (the authors choose it for each test domain, on test tasks).

    >>> p_m_f(test_steps=5).learner.phases[0].steps
    5
    """
    source = train_all(sampled(settings), Centroid(), {"steps": steps, "batch": 1, "lr": lr, "optimizer": optimizer})
    plan, test_steps = everything(settings["test_lr"]), settings["test_steps"]
    inner = Phase(sampler=Replayed(), learner=Centroid(), plan=plan, steps=test_steps, optimizer=optimizer, query_view=view)
    return Method(phases=(source,), learner=Adapt(phases=(inner,), then=Centroid()))


@defaults(batch=32, steps=200, lr=1e-5, prompts=..., optimizer=MOMENTUM)
def flyp(*, prompts: tuple[str, ...] = PHOTO_TEMPLATES, on: On = "source", **settings: Unpack[Training]) -> Method:
    """FLYP: finetune as pretrained, by the contrastive loss between images and the texts of their classes; both towers move.

    `on`: the "source", or the "support" of each test episode. `batch`: rows of an update.
    Reference: Goyal et al., "Finetune like you pretrain", CVPR 2023. Departs: rows of one class share a text, and count together (UniCL).

    >>> flyp(prompts=("a photo of a {}",)).learner.prompts
    ('a photo of a {}',)
    """
    text, optimizer = Text(prompts=prompts), settings["optimizer"]
    sampler, plan = Pairs(batch=settings["batch"]), everything(settings["lr"])
    phase = Phase(sampler=sampler, learner=text, plan=plan, steps=settings["steps"], losses=(Contrast(),), optimizer=optimizer)
    if on == "support":
        return Method(learner=Adapt(phases=(phase,), then=text))
    return Method(phases=(phase,), learner=text)


SOURCES = (shared_heads, mamf, meta_baseline, p_m_f, flyp)
