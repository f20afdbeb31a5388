"""Does the guard keep what does not help, and does it see what helps? Simulated targets on which models are really trained.

    OMP_NUM_THREADS=1 python benchmarks/guard.py errors|power|saved [--draws 500] [--seed 0]

errors: how often a gain is shown where there is none. power: where the gain is 5 points. saved: what each rule saves over targets that
gain, do not gain and lose, as a share of the gain of the best side.

A target has K classes and N rows, shared out evenly. A row is its class's mean times the side's signal, plus noise in 16 dimensions whose
size differs between rows (log-normal, sd .4). A share `rho` of the noise is common to all sides; class signals differ too (sd .2).
Every side is a logistic regression on its own features, trained on each training fold of R stratified passes of 4 folds, so answers to
different rows depend on each other as they do in practice. Each training of a side has a signal of its own (sd `run`): two finetuning
runs are not alike.

No true gain: all sides have the same signal, so that none is better trained on all the rows, on average over draws. A true gain: rivals
have the signal that gives so many points more, found beforehand. Other data: 20 classes in episodes of K, two finetuning runs, and a gain
that differs between classes (sd .2 of the signal). `today` is the rule until now: a bootstrap 90% interval of the 0/1 differences of
one pass, above 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fewtune.statistics import (
    Evidence,
    bootstrap_interval,
    evidence_of_classes,
    evidence_of_rows,
    expected_best,
    joined_evidence,
    paired_gain,
    soft_correctness,
    wilson_interval,
)

Array = np.ndarray[Any, Any]
DIMENSIONS, FOLDS, PASSES, ASKED, BATCH = 16, 4, 3, 100, 50


@dataclass(frozen=True)
class Setting:
    """One kind of target. `signals`: of the frozen side and of each rival; `bold`: sd of a random factor on the frozen side's logits, which
    costs log-loss and no accuracy. `related`: signals on other data, where there is any, and `others` its number of classes.
    """

    rows: int
    ways: int
    signals: tuple[float, ...]
    rho: float = 0.8
    run: float = 0.1
    bold: float = 0.0
    related: tuple[float, ...] = ()
    others: int = 20


def softmax(z: Array) -> Array:
    e = np.exp(z)  # in training, no logit is large
    return e / e.sum(-1, keepdims=True)


def log_softmax(z: Array) -> Array:
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def trained(x: Array, y: Array) -> Array:
    """Logistic regressions [B, D, K] with penalty 1, by 8 steps under Boehning's bound of the curvature."""
    turned = x.transpose(0, 2, 1)
    inverse = np.linalg.inv(turned @ x / 2 + np.eye(x.shape[2], dtype=x.dtype))
    weights = np.zeros((len(x), x.shape[2], y.shape[1]), x.dtype)
    for _ in range(8):
        weights += inverse @ (turned @ (y - softmax(x @ weights)) - weights)
    return weights


@dataclass(frozen=True)
class World:
    """A batch of draws: class means [B, C, D], labels [A] and the noise that sides share [B, A, D], row by row of size [B, A, 1]."""

    means: Array
    labels: Array
    shared: Array
    size: Array
    rho: float

    def side(self, signal: float, random: np.random.Generator, own_classes: float = 0.0) -> tuple[Array, Array]:
        """A side's class part and its noise [B, A, D]."""
        b, c, _ = self.means.shape
        factor = signal * np.exp(own_classes * random.standard_normal((b, c, 1), dtype=np.float32))
        own = random.standard_normal(self.shared.shape, dtype=np.float32)
        return (self.means * factor)[:, self.labels], self.size * (np.sqrt(self.rho) * self.shared + np.sqrt(1 - self.rho) * own)


def world(classes: int, labels: Array, rho: float, random: np.random.Generator) -> World:
    def draw(*shape: int) -> Array:
        return random.standard_normal((BATCH, *shape), dtype=np.float32)

    means = draw(classes, DIMENSIONS) * np.exp(np.float32(0.2) * draw(classes, 1))
    return World(means, labels, draw(len(labels), DIMENSIONS), np.exp(np.float32(0.4) * draw(len(labels), 1)), rho)


def run_of(part: Array, noise: Array, run: float, random: np.random.Generator) -> Array:
    """Features [B, A, D + 1] of one training run of a side."""
    luck = np.exp(run * random.standard_normal((BATCH, 1, 1))).astype(np.float32)
    return np.concatenate([part * luck + noise, np.ones((*part.shape[:2], 1), np.float32)], axis=2)


def passes(rows: int, ways: int, random: np.random.Generator) -> Iterator[Array]:
    """Stratified folds [N] of each pass; row i has class i mod K."""
    for _ in range(PASSES):
        fold, start = np.empty(rows, dtype=np.int64), 0
        for c in range(ways):
            mine = random.permutation(np.arange(c, rows, ways))
            fold[mine] = (np.arange(len(mine)) + start) % FOLDS
            start += len(mine)
        yield fold


def target(setting: Setting, random: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """Held-out log-probabilities [S, R, B, N, K], labels [N], folds [R, N], and accuracy [S, B] on 100 fresh rows when trained on all."""
    n, k = setting.rows, setting.ways
    labels = np.concatenate([np.arange(n) % k, np.arange(ASKED) % k])
    here, folds = world(k, labels, setting.rho, random), list(passes(n, k, random))
    one_hot = np.eye(k, dtype=np.float32)[labels]
    logs = np.empty((len(setting.signals), PASSES, BATCH, n, k), np.float32)
    accuracy = np.empty((len(setting.signals), BATCH))
    for s, signal in enumerate(setting.signals):
        part, noise = here.side(signal, random)
        bold = np.exp((0.0 if s else setting.bold) * random.standard_normal((BATCH, n, 1))).astype(np.float32)
        for r, fold in enumerate(folds):
            for f in range(FOLDS):
                x, train, held = (
                    run_of(part[:, :n], noise[:, :n], setting.run, random),
                    np.flatnonzero(fold != f),
                    np.flatnonzero(fold == f),
                )
                logs[s, r][:, held] = x[:, held] @ trained(x[:, train], one_hot[train]) * bold[:, held]
        x = run_of(part, noise, setting.run, random)
        accuracy[s] = ((x[:, n:] @ trained(x[:, :n], one_hot[:n])).argmax(-1) == labels[n:]).mean(1)
    return log_softmax(logs), labels[:n], np.stack(folds), accuracy


def other_data(setting: Setting, random: np.random.Generator) -> Array:
    """Mean correctness [S, 2, B, C] of C classes of other data, each in two or more episodes of K, in two finetuning runs of a side."""
    c, ways = setting.others, min(setting.ways, setting.others)
    shots, rows = max(2, setting.rows // setting.ways), 30
    here = world(c, np.repeat(np.arange(c), rows + shots), setting.rho, random)
    episodes = [np.resize(order, -(-c // ways) * ways).reshape(-1, ways) for order in (random.permutation(c) for _ in range(3))]
    found = np.zeros((len(setting.related), 2, BATCH, c))
    times = np.zeros(c)
    for taken in np.concatenate(episodes):
        times[taken] += 1
    one_hot = np.repeat(np.eye(ways, dtype=np.float32), shots, axis=0)
    for s, signal in enumerate(setting.related):
        part, noise = here.side(signal, random, own_classes=0.2)
        for run in range(2):
            x = run_of(part, noise, setting.run, random).reshape(BATCH, c, rows + shots, -1)
            for taken in np.concatenate(episodes):
                support = random.permutation(rows + shots)
                learned = x[:, taken][:, :, support[:shots]].reshape(BATCH, ways * shots, -1)
                asked = x[:, taken][:, :, support[shots : shots + 10]].reshape(BATCH, ways * 10, -1)
                right = (asked @ trained(learned, one_hot)).argmax(-1) == np.repeat(np.arange(ways), 10)
                found[s, run][:, taken] += right.reshape(BATCH, ways, 10).mean(2)
    return found / times


@dataclass(frozen=True)
class Draw:
    """One target: `accuracy` [S] of the sides trained on all rows, what the rule until now says of the first rival, evidence by name."""

    accuracy: Array
    today: bool
    evidence: Mapping[str, Evidence]


def draws(setting: Setting, count: int, random: np.random.Generator) -> Iterator[Draw]:
    """So many targets; the evidence of one pass and of three, of the first rival and of all."""
    for _ in range(-(-count // BATCH)):
        logs, labels, folds, accuracy = target(setting, random)
        correct = (logs.argmax(-1) == labels).astype(np.float64)  # [S, R, B, N]
        others = other_data(setting, random) if setting.related else None
        for b in range(BATCH):
            once = correct[1, 0, b] - correct[0, 0, b]
            today = bool(bootstrap_interval(once, 0.90, resamples=2000).low > 0)
            soft = [soft_correctness(side[:, b], labels) for side in logs]
            related = None if others is None else others[:, :, b]
            yield Draw(accuracy[:, b], today, dict(named(setting, soft, list(correct[:, :, b]), folds, related)))


def named(setting: Setting, soft: list[Array], correct: list[Array], folds: Array, others: Array | None) -> Iterator[tuple[str, Evidence]]:
    """Evidence by name: of what, passes, rivals."""
    for m in sorted({1, len(soft) - 1}):
        names = range(1, m + 1)
        related = None
        if others is not None:
            related = evidence_of_classes({str(i): others[i] - others[0] for i in names}, setting.ways)
            yield f"others, {m}", related
        for r in (1, PASSES):
            own = evidence_of_rows(soft[0][:r], {str(i): soft[i][:r] for i in names}, folds[:r])
            yield f"rows R{r}, {m}", own
            if related is not None:
                yield f"joined R{r}, {m}", joined_evidence(own, related)
        yield f"0/1 R{r}, {m}", evidence_of_rows(correct[0], {str(i): correct[i] for i in names}, folds)


def signal_for(points: float, setting: Setting, random: np.random.Generator, batches: int = 6) -> float:
    """The signal of a rival that gains so many points over `setting.signals[0]` when trained on all rows, by bisection."""
    seeds, n, k = random.integers(1 << 30, size=batches), setting.rows, setting.ways
    labels = np.concatenate([np.arange(n) % k, np.arange(ASKED) % k])

    def accuracy(signal: float) -> float:
        found = []
        for seed in seeds:
            fresh = np.random.default_rng(seed)
            x = run_of(*world(k, labels, setting.rho, fresh).side(signal, fresh), setting.run, fresh)
            weights = trained(x[:, :n], np.eye(k, dtype=np.float32)[labels[:n]])
            found.append(((x[:, n:] @ weights).argmax(-1) == labels[n:]).mean())
        return float(np.mean(found))

    wanted = accuracy(setting.signals[0]) + points / 100
    low, high = 0.2 * setting.signals[0], 4 * setting.signals[0]
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy(middle) < wanted else (low, middle)
    return (low + high) / 2


def said(title: str, setting: Setting, count: int, seed: int) -> None:
    """One line: how often each rule shows a gain, in percent with a 95% interval."""
    random = np.random.default_rng([seed, setting.rows, setting.ways])
    found = list(draws(setting, count, random))
    rules: dict[str, Callable[[Draw], bool]] = {"today": lambda d: d.today}
    for name in found[0].evidence:
        rules[name] = lambda d, name=name: paired_gain(d.evidence[name]).kept  # type: ignore[misc]
    gain = 100 * np.mean([d.accuracy - d.accuracy[0] for d in found], axis=0)[1:]
    print(f"{title} N {setting.rows} K {setting.ways} rho {setting.rho} gain {gain.mean():.1f} draws {len(found)}")
    for name, rule in rules.items():
        times = sum(rule(d) for d in found)
        over = wilson_interval(times, len(found))
        print(f"    {name:14s} {100 * over.mean:5.1f} ({100 * over.low:.1f} to {100 * over.high:.1f})", flush=True)


def base(ways: int, low: bool) -> float:
    """The frozen side's signal: accuracy .5 to .75, or .8 to .95."""
    return (0.3 if low else 0.7) if ways == 2 else (0.5 if low else 1.0)


def errors(count: int, seed: int) -> None:
    for n, k in ((30, 2), (30, 5), (64, 2), (64, 8), (64, 16), (200, 2), (200, 10), (200, 20)):
        low = k in (2, 5, 10)
        signals = (base(k, low),) * 5
        said("no gain", Setting(n, k, signals, rho=0.6 if k in (2, 5, 16) else 0.9, related=signals), count, seed)
    for n, k in ((64, 8), (200, 10)):
        one = Setting(n, k, (1.0, 1.0), rho=0.9)
        said("log-loss alone gains", replace(one, bold=0.8), count, seed)
        better = signal_for(5, one, np.random.default_rng(seed))
        said("other data gain 5, the target nothing", replace(one, related=(1.0, better)), count, seed)


def power(count: int, seed: int) -> None:
    for k, low, rho in ((2, True, 0.9), (2, False, 0.9), (8, True, 0.9), (8, False, 0.9), (8, False, 0.6), (16, False, 0.9)):
        frozen = base(k, low)
        one = Setting(64, k, (frozen,), rho=rho)
        better = signal_for(5, one, np.random.default_rng(seed))
        said("gain 5", replace(one, signals=(frozen, better), related=(frozen, better)), count, seed)


def rules_of(found: Evidence) -> dict[str, int]:
    """The side that each rule saves; 0 is the frozen one."""
    gain = paired_gain(found)
    chosen = {"test": int(gain.side) if gain.kept else 0, "largest mean": int(found.names[int(np.argmax(found.mean))])}
    if found.mean.max() <= 0:
        chosen["largest mean"] = 0
    for prior, least in ((0.02, 0.005), (0.02, 0.0075), (0.02, 0.01), (0.03, 0.01), (0.03, 0.015), (0.05, 0.0), (0.05, 0.02)):
        chosen[f"expected, prior {prior}, least {least}"] = int(expected_best(found, prior, least).side or 0)
    chosen["expected where shown"] = int(expected_best(found).side or 0) if gain.kept else 0
    return chosen


def saved(count: int, seed: int) -> None:
    """Four rivals that gain g, g - 1, g - 2 and g - 4 points, on targets of g = -2, 0, 2, 5, 10; other data gain half of it."""
    for n, k in ((40, 5), (128, 8)):
        one = Setting(n, k, (0.8,), rho=0.9)
        random = np.random.default_rng([seed, n, k])
        signals = {p: signal_for(p, one, random) for p in (-6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10)}
        total: dict[str, list[tuple[float, float]]] = {}
        for g in (-2, 0, 2, 5, 10):
            rivals = [g, g - 1, g - 2, g - 4]
            other = tuple(signals[round(p / 2)] for p in rivals)
            setting = replace(one, signals=(0.8, *(signals[p] for p in rivals)), related=(0.8, *other))
            found = list(draws(setting, count, random))
            true = np.append(0.0, np.mean([d.accuracy[1:] - d.accuracy[:1] for d in found], axis=0)) * 100
            for what in ("rows R1, 4", f"rows R{PASSES}, 4", f"joined R{PASSES}, 4"):
                sides = [rules_of(d.evidence[what]) for d in found]
                for rule in sides[0]:
                    total.setdefault(f"{what}: {rule}", []).append((float(np.mean([true[s[rule]] for s in sides])), max(0.0, true.max())))
            total.setdefault("today, one rival", []).append((float(np.mean([true[1] * d.today for d in found])), max(0.0, true.max())))
        print(f"N {n} K {k}, {len(found)} draws a kind; mean gain of what is saved for g = -2, 0, 2, 5, 10; share of the oracle's")
        for rule, pairs in total.items():
            got, best = np.array(pairs).T
            print(f"    {rule:48s} {' '.join(f'{x:6.2f}' for x in got)}   {got.sum() / best.sum():.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("errors", "power", "saved"))
    parser.add_argument("--draws", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    {"errors": errors, "power": power, "saved": saved}[given.what](given.draws, given.seed)


if __name__ == "__main__":
    main()
