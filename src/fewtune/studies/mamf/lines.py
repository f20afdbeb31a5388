"""The methods of the study for one task configuration, each with the budget it may spend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import final

from fewtune.errors import InputError
from fewtune.evaluation.study import Variants
from fewtune.evaluation.training_settings import Sweep
from fewtune.learning.budget import budgeted, fit_phases
from fewtune.learning.method import Method
from fewtune.recipes import variants, with_options
from fewtune.studies.mamf.settings import EPOCHS, MamfSettings
from fewtune.tasks.task import Tasks

ZERO_SHOT, CLASSICAL, FOMAML, MAMF = "zero-shot", "classical", "FOMAML", "MAMF"
NEW_HEADS = ", new heads"
_LONG = 1_000_000  # steps; a budget makes them fewer


@final
@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Tasks of `ways` of `classes` classes (N of M), `tasks` of them (T), from `rows` training rows of each class (S)."""

    ways: int
    tasks: int
    classes: int
    rows: int


@final
@dataclass(frozen=True, kw_only=True)
class Spent:
    """How MAMF spends its visits: `epochs` over `rows` of each class in each task."""

    epochs: int
    rows: int


def methods_of(configuration: Configuration, settings: MamfSettings, prompts: tuple[str, ...], tasks: Tasks) -> dict[str, Variants]:
    """Every method by name, what a sweep makes of it, within its budget. `tasks`: what training draws from."""
    made: dict[str, Variants] = {}
    for name, text in texts_of(configuration, settings, prompts).items():
        visits = visits_of(name, configuration, settings)
        limit: Callable[[Method], Method] = _as_it_is if name in (ZERO_SHOT, MAMF) else _limit(tasks, visits)
        made[name] = {label: limit(method) for label, method in variants(text, _sweep_of(name, settings)).items()}
    return made


def texts_of(configuration: Configuration, settings: MamfSettings, prompts: tuple[str, ...]) -> dict[str, str]:
    """The text that spells each method. All that train answer by class texts, and update them alike on the support of a test task."""
    adam = f"optimizer=Adam(), prompts={prompts!r}, test_steps={settings.test_steps}"
    rate = "" if _swept("lr", settings) else f", lr={settings.lr!r}"
    test_rate = "" if _swept("test_lr", settings) else f", test_lr={settings.test_lr!r}"
    spent = spending(configuration, visits_of(MAMF, configuration, settings))
    per_task = spent.epochs * ceil(configuration.ways * spent.rows / settings.batch)
    inner_rate = "" if _swept("test_lr", settings) else f", inner_lr={settings.test_lr!r}"
    inner = f"inner_steps={settings.inner_steps}{inner_rate}, inner_optimizer=Adam()"
    shots = min(settings.shots, configuration.rows // 2)  # where training has fewer rows of a class than a test task
    queries = min(settings.queries, configuration.rows - shots)
    episodes = f"ways={configuration.ways}, shots={shots}, queries={queries}, tasks={configuration.tasks}"
    sequence = f"ways={configuration.ways}, rows={spent.rows}, epochs={spent.epochs}, steps={configuration.tasks * per_task}"
    found = {
        ZERO_SHOT: f"zero_shot(prompts={prompts!r})",
        CLASSICAL: f"standard(batch={settings.batch}, steps={_LONG}, {adam}{rate}{test_rate})",
        FOMAML: f"fomaml({episodes}, {inner}, batch=1, steps={_LONG}, {adam}{rate})",
        MAMF: f"mamf({sequence}, batch={settings.batch}, {adam}{rate}{test_rate})",
    }
    open_options = {
        "ways": configuration.ways,
        "shots": settings.shots,
        "queries": settings.queries,
        "prompts": prompts,
        "tasks": configuration.tasks,
    }
    return found | {name: with_options(text, open_options) for name, text in settings.methods}


def visits_of(name: str, configuration: Configuration, settings: MamfSettings) -> int:
    """The rows that training of a method may look at.

    Matched: `visits`, or 8 epochs over all training rows. As in the paper: 8 epochs over the rows of each task, which is one task of all
    classes for classical finetuning and other methods, and T tasks of N classes for MAMF and FOMAML.
    """
    whole = EPOCHS * configuration.classes * configuration.rows
    if settings.budgets == "matched":
        return settings.visits or whole
    return EPOCHS * configuration.tasks * configuration.ways * configuration.rows if name in (MAMF, FOMAML) else whole


def spending(configuration: Configuration, visits: int) -> Spent:
    """The epochs and rows of T tasks that together take `visits`, or a little less (rows are whole).

    Raises InputError where not even one row of each class fits.
    """
    each = visits / (configuration.tasks * configuration.ways)
    if each < 1:
        least = configuration.tasks * configuration.ways
        raise InputError(
            f"a budget of {visits:,} visits does not allow one row of each class in {configuration.tasks} tasks of {configuration.ways} "
            f"classes: expected {least:,} or more."
        )
    epochs = ceil(each / configuration.rows - 1e-9)
    return Spent(epochs=epochs, rows=int(each / epochs + 1e-9))


def with_new_heads(methods: Mapping[str, Variants]) -> dict[str, Variants]:
    """The methods that the authors' code gives new random heads, by their names in the study."""
    return {f"{name}{NEW_HEADS}": methods[name] for name in (CLASSICAL, MAMF)}


def _limit(tasks: Tasks, visits: int) -> Callable[[Method], Method]:
    """A method whose source phases look at `visits` rows at most."""

    def limited(method: Method) -> Method:
        return replace(method, phases=budgeted(fit_phases(method.phases, tasks)[0], tasks, visits)) if method.phases else method

    return limited


def _as_it_is(method: Method) -> Method:
    return method


def _sweep_of(name: str, settings: MamfSettings) -> Sweep:
    """What is varied. The rate of the updates on a test task is that of FOMAML's inner loop: `inner_lr` in its recipe."""
    return tuple(("inner_lr" if name == FOMAML and option == "test_lr" else option, values) for option, values in settings.sweep)


def _swept(option: str, settings: MamfSettings) -> bool:
    return any(option == name for name, _ in settings.sweep)
