"""The faults that `benchmarks/mutants.py` puts into the code, one at a time, and the tests that should notice each."""
# ruff: noqa: E501  (a table, a fault a line)

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """In `file` (below src/fewtune) the text `old`, which stands there once, becomes `new`."""

    area: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


RECORDED, FINETUNE, HONEST = "tests/laws/test_recorded.py", "tests/unit/sources/test_finetune.py", "tests/laws/test_honesty.py"
SWEEP = "tests/unit/evaluation/test_trainer.py::test_the_sweep_keeps_the_best_value"
FOLDS = f"{RECORDED}::test_a_fold_of_the_guard_is_decided_by_its_training_rows_alone"
JUDGED = f"{RECORDED}::test_related_tasks_judge_what_neither_trained_nor_chose"
COMPARED = f"{RECORDED}::test_compare_sweeps_on_validation_classes_and_asks_test_rows_last"
GUARD, UNSEEN, CHOOSE, FORECAST = (
    f"tests/unit/{name}.py" for name in ("sources/test_guard", "learners/test_unseen", "learners/test_choice", "learners/test_forecast")
)
SIDES, HELD, OWN, KEEP, PLAN = (f"tests/unit/sides/test_{name}.py" for name in ("guard", "held_out", "own", "compared", "planning"))
TAR, REMOTE, SUMS = "tests/unit/data/test_tar.py", "tests/unit/data/test_remote.py", "tests/unit/parts/test_class_sums.py"
EXPECTED, GAIN = "tests/unit/statistics/test_expected.py", "tests/unit/statistics/test_paired_gain.py"
GREEDY, INNER = (f"tests/unit/sides/test_{name}.py" for name in ("greedy", "inner_folds"))
CONTROLS = "tests/unit/evaluation/test_controls.py"
FEW = f"{GUARD}::test_equal_gains_of_few_classes_prove_nothing"
FROZEN = f"{HONEST}::test_labels_of_test_rows_decide_nothing_of_frozen_learners"
OUTCOME = f"{HONEST}::test_labels_of_test_rows_decide_nothing_of_what_finetuning_gives"
ONCE = f"{RECORDED}::test_without_sources_a_row_is_answered_by_what_never_saw_it_and_test_rows_come_last"
LEFT_OUT = f"{RECORDED}::test_evaluate_learns_nothing_and_leaves_out_what_was_learned_from"

RESUME, VERDICT = (f"tests/unit/adaptation/test_{name}.py" for name in ("resume", "verdict"))
SERVE, PACK = "tests/unit/serving/test_application.py", "tests/unit/models/test_pack.py"
MOVED, JOINT_FOLDS, JOINT_JUDGED = (f"tests/unit/joint/test_{name}.py" for name in ("finetuned", "folds", "judged"))
EXCEL, HEIC = (f"tests/unit/data/test_{name}.py" for name in ("excel", "heic"))

TRANSFER = "tests/journeys/test_transfer.py"
LANDSCAPE, MODULES, LAW = (f"tests/unit/transfer/test_{name}.py" for name in ("landscape", "modules", "law"))
MERGING, READERS = (f"tests/unit/parts/test_{name}.py" for name in ("merging", "readers"))

_TABLE: tuple[tuple[str, str, str, str, str, tuple[str, ...]], ...] = (
    ("honesty", "transfer judges by rows that were learned from", "studies/transferred/asked.py", "digest not in learned for", "True for", (TRANSFER,)),
    ("transfer", "a loss barrier is one of accuracy", "transfer/landscape.py", 'sign = -1.0 if metric == "loss" else 1.0', "sign = 1.0", (LANDSCAPE,)),
    ("transfer", "the bounds of a barrier are percentiles of the largest gap", "transfer/landscape.py", "np.abs(again - gaps).max(1)", "(again - again).max(1)", (LANDSCAPE,)),
    ("transfer", "criticality forgets alpha", "transfer/modules.py", "value = alpha * alpha * square / (sigma * sigma)", "value = square / (sigma * sigma)", (MODULES,)),
    ("transfer", "the hull keeps points above its edge", "transfer/law.py", "int(i)) <= 0:", "int(i)) < -1:", (LAW,)),
    ("transfer", "TIES elects the sign of the fewest", "parts/merging.py", "whole.sign() == sign, whole, 0.0", "whole.sign() != sign, whole, 0.0", (MERGING,)),
    ("transfer", "Laplace leaves the prior out", "parts/heads/laplace.py", "eye / self.C + scaled", "eye + scaled", (READERS,)),
    # what judges is never what was learned or chosen by
    ("honesty", "guard folds choose tasks by all rows", "sources/stages.py", "self.choosing.chosen(tuner, rows)", "self.choosing.chosen(tuner, self.target.support)", (FOLDS,)),
    ("honesty", "a learner is picked on the judging episodes", "sources/guard.py", "methods, validation, vectors)", "methods, judging, vectors)", (JUDGED,)),
    ("honesty", "rate, steps and share by training classes", "sources/held_out_classes.py", 'self.episodes("validation", sources, EPISODES)', 'self.episodes("train", sources, EPISODES)', (JUDGED,)),
    ("honesty", "the sweep keeps the worst value", "evaluation/trainer.py", "best = max(found, key=lambda label: found[label])", "best = min(found, key=lambda label: found[label])", (SWEEP,)),
    ("honesty", "the finetuner keeps the worst rate", "sources/finetune.py", "best = max(tried,", "best = min(tried,", (FINETUNE,)),
    ("honesty", "expected accuracy is not the guard's", "adaptation/kept.py", "expected=_expected(choice, held, compared, labels, splits)", "expected=choice.expected", (FOLDS,)),
    ("honesty", "the share of the way is swapped", "sources/advice.py", "(1 - share, share)", "(share, 1 - share)", (FINETUNE,)),
    ("honesty", "the best part of the steps is ignored", "sources/finetune.py", "int(self.visits * advice.part)", "self.visits", (FINETUNE,)),
    ("honesty", "the best part is counted from 0", "sources/finetune.py", "part = (1 - max(judged)[1])", "part = (0 - max(judged)[1])", (FINETUNE,)),
    ("honesty", "of equal shares the largest", "sources/finetune.py", "(shares[a], -a)", "(shares[a], a)", (FINETUNE,)),
    ("honesty", "the identity forgets within", "evaluation/identity.py", 'facts += [*study.learned_from(), f"within {study.training.within}"]', "facts += [*study.learned_from()]", ("tests/laws/test_identity.py",)),
    ("honesty", "the identity forgets the seed", "evaluation/identity.py", 'f"seed {seed}", ', "", ("tests/laws/test_identity.py",)),
    ("honesty", "hard episodes of the farthest classes", "tasks/hard.py", "np.argsort(-similarity, axis=1", "np.argsort(similarity, axis=1", ("tests/laws/test_hard.py",)),
    ("honesty", "expected accuracy without strata", "learners/choice.py", "labels=labels, seed=seed).mean", "seed=seed).mean", (CHOOSE,)),
    ("honesty", "expected accuracy of the winner alone", "learners/choice.py", "excess = 0.0 if best == prior or", "excess = 0.0 if True or", (CHOOSE,)),
    ("honesty", "expected accuracy of a part of the labels", "statistics/expected.py", "* share**slope.value)", "* 1.0**slope.value)", (EXPECTED,)),
    ("honesty", "which rows were drawn is forgotten", "statistics/expected.py", "((DRAWS + SPLITS / repeats) / n +", "(SPLITS / repeats / n +", (EXPECTED,)),
    ("honesty", "training runs are taken for alike", "statistics/expected.py", "RUNS * (1 + 1 / runs) if runs", "0.0 if runs", (EXPECTED,)),
    ("honesty", "the run that is saved is forgotten", "statistics/expected.py", "(1 + 1 / runs) if runs", "(1 / runs) if runs", (EXPECTED,)),
    ("honesty", "a finetuned side is judged as a frozen one", "adaptation/kept.py", "runs = 0 if compared.kept == FROZEN else", "runs = 0 if True else", ("tests/unit/adaptation/test_kept.py",)),
    ("honesty", "the slope is taken for known", "statistics/expected.py", "+ unsure**2 /", "+ 0 * unsure**2 /", (EXPECTED,)),
    ("honesty", "answers to single rows calibrate a blend", "learners/choice.py", "isinstance(method.learner, Blend) and single_rows(splits)", "False", (CHOOSE,)),
    ("honesty", "repeats count as rows for the temperature", "learners/choice.py", "items=len(np.unique(self.item))", "items=len(self.item)", (CHOOSE,)),
    ("honesty", "the forecast is not widened", "learners/forecast.py", "WIDER = 1.5", "WIDER = 1.0", (FORECAST,)),
    ("honesty", "a zero width is a proof", "sides/guard.py", " and (self.where == OWN or sign_flip_test(self.differences) <= 1 - LEVEL)", "", (FEW,)),
    ("honesty", "the mean decides, not the bound", "sides/guard.py", "bool(self.gain.low > 0)", "bool(self.gain.mean > 0)", (SIDES,)),
    ("honesty", "the guard answers on the training fold", "sides/held_out.py", "route.make(train).side", "route.make(np.concatenate([train, held])).side", (HELD,)),
    ("honesty", "labels choose a learner on features that they moved", "sides/held_out.py", "method, temperature = route.learner, 1.0", "method, temperature = None, 1.0", (HELD,)),
    ("honesty", "own labels of the held-out fold are learned from", "sides/own.py", "self._episode(rows), key", "self._episode(self.target.support), key", (OWN,)),
    ("honesty", "any gain is shown", "sides/compared.py", "if self.gain.kept and self.gain_of(name).low > 0", "if self.gain_of(name).mean > 0", (KEEP,)),
    ("honesty", "an ensemble costs nothing", "sides/compared.py", "(SLOWER if self._slower(n) else 0.0)", "0.0", (KEEP,)),
    ("honesty", "members are not calibrated", "sides/held_out.py", "np.mean([one.log_probabilities for one in held]", "np.mean([one.logits for one in held]", (HELD,)),
    ("honesty", "the temperatures behind greedy weights see the fold", "sides/greedy.py", "one.temperatures[asked][0]", "one.temperature", (GREEDY,)),
    ("honesty", "all labels choose what answers on finetuned features", "adaptation/own_labels.py", "return _first(methods, Ridge) if usual is None else", "return self.frozen.choice.method if usual is None else", ("tests/unit/adaptation/test_finetuning.py::test_no_label_chooses_what_answers_on_finetuned_features",)),
    ("honesty", "an answer is weighed by its own label", "sides/greedy.py", "others = known & ~asked.any(0)", "others = known", (GREEDY,)),
    ("honesty", "settings are chosen on all labels", "sides/inner_folds.py", "replace(tuner.target, support=rows)", "tuner.target", (INNER,)),
    ("honesty", "the worst settings are chosen", "sides/inner_folds.py", "int(np.argmin(losses))", "int(np.argmax(losses))", (INNER,)),
    ("honesty", "more random tasks than were chosen", "tasks/chosen.py", "most=len(self.selection.select(tasks, evidence))", "most=0", ("tests/laws/test_selection.py",)),
    ("honesty", "a control has a sweep of its own", "evaluation/run_study.py", "self.study.beside.get(cell.method, cell.method)", "cell.method", (CONTROLS,)),
    ("sides", "a whole batch is measured where a few rows take too long", "sides/planning.py", "if hopeless(few, time.monotonic() - began, seconds):", "if False:", (PLAN,)),
    ("sides", "the time that is said is that of a few rows", "sides/planning.py", "Plan(0, few * batch / FEW_ROWS)", "Plan(0, few)", (PLAN,)),
    ("adaptation", "the minutes that are said forget own labels", "sides/clock.py", "self.began + seconds / (1 - self.before)", "self.began + seconds", (PLAN,)),
    ("sides", "time that is short is spent on measuring", "sources/planning.py", "if first.seconds <= _SLOW * left else 1", "if True else 1", ("tests/unit/sources/test_sources.py::test_little_time_is_not_spent_on_measuring",)),
    ("honesty", "no time for the run on all labels", "sides/planning.py", "max(run, 1e-9) - 1) / FOLDS)", "max(run, 1e-9)) / FOLDS)", (PLAN,)),
    ("honesty", "judging classes validate too", "sources/roles.py", "chosen[first::2]", "chosen[0::2]", (JUDGED,)),
    ("honesty", "test rows are learned from", "learners/target.py", "(examples.labels >= 0) & (examples.row_split != TEST)", "examples.labels >= 0", (ONCE,)),
    ("honesty", "test rows measure what was learned", "learners/unseen.py", "learned = _learned(examples, tested, support)", "learned: dict[int, int] = {}", (UNSEEN,)),
    ("honesty", "labels of test rows decide copies", "learners/target.py", "_duplicates(examples, [row for row in trained.tolist() if row not in bad])", "_duplicates(examples, [row for row in np.flatnonzero(examples.labels >= 0).tolist() if row not in bad])", (FROZEN,)),
    ("honesty", "the sweep looks at test episodes too", "evaluation/trainer.py", "        return float(np.mean([s.judged.mean() for s in scores]))", "        tested, seen = Ground(self.study.backbone, self.study.target, method.edits), list(self.study.draw().values())\n        scores = [*scores, *score_each(tested, method.learner, weights, seen, at=key(0), metric=self.study.judged)]\n        return float(np.mean([s.judged.mean() for s in scores]))", (COMPARED,)),
    ("honesty", "labels of test rows decide what is tried", "adaptation/adapt.py", "    side = Side(backbone, target.features)\n", "    methods = dict(list(methods.items())[int(target.labels[target.test] @ range(len(target.test))) % 2 :])\n    side = Side(backbone, target.features)\n", (FROZEN,)),
    ("honesty", "labels of test rows decide which side is kept", "adaptation/kept.py", "compared.kept != FROZEN:", "compared.kept != FROZEN and int(target.labels[target.test] @ np.arange(len(target.test))) % 2 == 0:", (OUTCOME,)),
    ("honesty", "leaks of measured test rows alone", "sources/stages.py", "np.concatenate([target.support, target.tested])", "np.concatenate([target.support, target.test])", (OUTCOME,)),
    ("honesty", "unknown classes are not counted", "learners/unseen.py", "        *told.strange([row for row in strange if row not in learned]),\n", "", (UNSEEN,)),
    ("honesty", "a fold answers itself", "learners/folds.py", "fold != f, fold == f", "fold != -2, fold == f", (ONCE,)),
    ("honesty", "evaluate counts what was learned from", "models/evaluate.py", "if not include_learned and", "if include_learned and", (LEFT_OUT,)),
    ("honesty", "compare validates on training classes", "evaluation/trainer.py", 'tasks = self._part("validation")', 'tasks = self._part("train")', (COMPARED,)),
    ("honesty", "compare trains on validation classes", "evaluation/trainer.py", 'found = self._part("train")', 'found = self._part("validation")', (COMPARED,)),
    ("honesty", "reserved rows are asked too", "evaluation/task_choice.py", "    labels[rows] = -1\n", "", (COMPARED,)),
    # adaptation
    ("adaptation", "the temperature multiplies", "models/predict.py", "/ bundle.temperature", "* bundle.temperature", ("tests/unit/models/test_predict.py", "tests/unit/models/test_evaluate.py")),
    ("adaptation", "classes begin with different folds", "learners/folds.py", "np.arange(len(mine)) % folds", "(int(label) + np.arange(len(mine))) % folds", ("tests/unit/learners/test_folds.py",)),
    ("adaptation", "lone rows are held out", "learners/folds.py", "np.where(counts >= 2, counts, 0)", "np.where(counts >= 1, counts, 0)", ("tests/unit/learners/test_folds.py",)),
    ("adaptation", "ties go to the last learner", "learners/choice.py", "return max(means, key=lambda name: means[name])", "return max(reversed(means), key=lambda name: means[name])", (CHOOSE,)),
    ("adaptation", "the rule counts the folds that were asked for", "learners/choice.py", "losses, splits.folds)", "losses, folds)", (CHOOSE,)),
    ("adaptation", "the usual learner is never left", "learners/choice.py", "return best if best != prior and ahead[best].low > 0 else prior", "return prior", (CHOOSE,)),
    ("adaptation", "the usual learner is left for any lead", "learners/choice.py", "ahead[best].low > 0 else prior", "ahead[best].mean > 0 else prior", (CHOOSE,)),
    ("adaptation", "a blend multiplies by its temperatures", "learners/choice.py", "part.logits.double() / t for", "part.logits.double() * t for", (CHOOSE,)),
    ("adaptation", "confusion is turned over", "learners/choice.py", "labels[answers.item] * ways + answers.logits.argmax(-1).numpy()", "labels[answers.item] + ways * answers.logits.argmax(-1).numpy()", (CHOOSE,)),
    ("adaptation", "confusion counts all repeats", "learners/choice.py", "reshape(ways, ways) / repeats", "reshape(ways, ways)", (CHOOSE,)),
    ("adaptation", "a size of the curve too many", "learners/folds.py", "order < most", "order <= most", (FORECAST,)),
    ("adaptation", "a one-sided curve bound", "learners/forecast.py", "[0.025, 0.975], axis=0", "[0.025, 0.5], axis=0", (FORECAST,)),
    ("adaptation", "precision for recall", "models/evaluate.py", "    counts = np.bincount(labels, minlength=ways)\n", "    counts = np.bincount(best, minlength=ways)\n", ("tests/unit/models/test_evaluate.py",)),
    ("adaptation", "doubt by the label's own margin", "learners/doubts.py", "(own < threshold[given]) & (best > own)", "(own > threshold[given]) & (best > own)", ("tests/unit/learners/test_doubts.py",)),
    ("adaptation", "embeddings leak at any distance", "sources/roles.py", "if part == highest[digest]]", "if part <= highest[digest]]", ("tests/unit/sources/test_source_rows.py",)),
    ("adaptation", "rows beyond the most are used", "sources/roles.py", "if seen[label] <= most:", "if seen[label] <= most + 1:", ("tests/unit/sources/test_sources.py::test_what_serves_what",)),
    # engine
    ("engine", "an unrolled step is cut", "learning/engine.py", "gradients, _ = direction(step, answer, leaf, episodes, its, origin=origin, create_graph=unrolled)", "gradients, _ = direction(step, answer, leaf, episodes, its, origin=origin, create_graph=False)", ("tests/laws/test_engine.py",)),
    ("engine", "first order is cut off", "learning/engine.py", "begun[n] + (t - held[n]) if n in weights else t", "t", ("tests/laws/test_engine.py",)),
    ("engine", "an average with its weights turned round", "learning/engine.py", "zip(weights, ends, strict=True)), torch", "zip(list(weights)[::-1], ends, strict=True)), torch", ("tests/laws/test_degenerate.py",)),
    ("engine", "a task is the sum of its episodes", "learning/direction.py", "self.share = (1.0 / counts.double())[self.place]", "self.share = (1.0 / counts.double().clamp_max(1))[self.place]", ("tests/laws/test_engine.py",)),
    ("engine", "accumulation keeps the last part", "learning/direction.py", "    return total + more\n", "    return more\n", ("tests/laws/test_engine.py",)),
    ("engine", "losses are not added", "learning/direction.py", "return sum((loss(outcome) for loss in phase.losses), ", "return sum((loss(outcome) for loss in phase.losses[:1]), ", ("tests/laws/test_engine.py",)),
    ("engine", "steps draw the first batch again", "learning/engine.py", "number * step.batch, step.batch)", "0, step.batch)", ("tests/laws/test_engine.py",)),
    ("engine", "implicit without its strength", "learning/implicit.py", "(self.strength + self.through.damping) * t", "self.through.damping * t", ("tests/laws/test_implicit.py",)),
    ("engine", "implicit mixed terms change sign", "learning/implicit.py", "mixed = [-g for g in", "mixed = [g for g in", ("tests/laws/test_implicit.py",)),
    ("engine", "momentum forgets", "parts/inner.py", "spec.momentum * slots[0] + gradient", "slots[0] + gradient", ("tests/laws/test_optimizers.py",)),
    ("engine", "Adam without its bias correction", "parts/inner.py", "direction = mean / (1 - first**moves)", "direction = mean", ("tests/laws/test_optimizers.py",)),
    ("engine", "weight decay grows weights", "parts/inner.py", "weight * (1 - rate * spec.weight_decay)", "weight * (1 + rate * spec.weight_decay)", ("tests/laws/test_optimizers.py",)),
    ("engine", "surgery where gradients agree", "parts/aggregators/pc_grad.py", "(inner < 0) & (squares[j] > 0)", "(inner > 0) & (squares[j] > 0)", ("tests/laws/test_aggregators.py",)),
    ("engine", "the easiest task alone", "parts/aggregators/worst_case.py", "losses == losses.max()", "losses == losses.min()", ("tests/laws/test_aggregators.py",)),
    ("engine", "a warm-up one step late", "parts/rates.py", "        case LinearDecay(lr=lr, warmup=warmup):\n            return lr * (step + 1) / (warmup + 1) if", "        case LinearDecay(lr=lr, warmup=warmup):\n            return lr * step / (warmup + 1) if", ("tests/laws/test_plan.py",)),
    ("engine", "a thaw one group early", "parts/rates.py", "start = (depth - 1) * every", "start = depth * every", ("tests/laws/test_plan.py",)),
    ("engine", "an anchor pulls with its own end", "parts/losses/distances.py", '"Anchor", stop_shared=self.stop', '"Anchor", stop_own=self.stop', ("tests/laws/test_losses.py",)),
    ("engine", "distillation the other way", "parts/losses/distil.py", "(share * (wanted - logs))", "(share * (logs - wanted))", ("tests/laws/test_losses.py",)),
    ("engine", "the mean counts padding", "parts/losses/queries.py", "real.flatten(1).sum(dim=1).clamp_min(1)", "real.flatten(1).shape[1]", ("tests/laws/test_losses.py",)),
    # heads
    ("heads", "the centroid's temperature divides", "parts/heads/features.py", "self.scale.to(query) * logits", "self.scale.to(query) ** -1 * logits", ("tests/references/test_heads_sklearn.py", "tests/laws/test_heads.py")),
    ("heads", "a compiled tie goes to the last class", "parts/heads/kernels/judging.py", "if z[k] > best and", "if z[k] >= best and", ("tests/unit/learning/test_judged.py",)),
    ("heads", "compiled logits of absent classes count", "parts/heads/kernels/judging.py", "                if classes[e, k] >= 0:", "                if True:", ("tests/unit/learning/test_judged.py",)),
    ("heads", "a compiled C of two classes is whole", "parts/heads/kernels/logistic_fit.py", "C / 2 if present == 2 else C", "C", ("tests/unit/learning/test_judged.py",)),
    ("heads", "a compiled ridge forgets the mean", "parts/heads/kernels/ridge_fit.py", "bias[e, k] -= shift", "bias[e, k] -= 0.0 * shift", ("tests/unit/learning/test_judged.py",)),
    ("heads", "squared distance without its bias", "parts/heads/centroid.py", '"bias": -(centred * (centred + 2 * middle)).sum(dim=-1)', '"bias": -(centred * centred).sum(dim=-1)', ("tests/references/test_heads_sklearn.py", "tests/laws/test_heads.py")),
    ("heads", "the ridge penalty is divided by", "parts/heads/ridge.py", "return self.penalty * parameters", "return 1 / self.penalty * parameters", ("tests/references/test_heads_sklearn.py",)),
    ("heads", "ridge keeps the mean", "parts/heads/least_squares.py", "(problem.features - feature_mean[:, None, :]) * known", "problem.features * known", ("tests/references/test_heads_sklearn.py",)),
    ("heads", "the bias of ridge changes sign", "parts/heads/ridge.py", "bias = inner.target_mean - torch.bmm", "bias = inner.target_mean + torch.bmm", ("tests/references/test_heads_sklearn.py",)),
    ("heads", "logistic C is divided by", "parts/heads/softmax_regression.py", "ridge = (1 / C)", "ridge = C", ("tests/references/test_heads_sklearn.py",)),
    ("heads", "the gradient of logistic changes sign", "parts/heads/softmax_regression.py", "return -(torch.bmm(T,", "return (torch.bmm(T,", ("tests/laws/test_heads.py",)),
    ("heads", "a neighbour too many", "parts/heads/matching.py", "kth = candidates.topk(min(k,", "kth = candidates.topk(min(k + 1,", ("tests/references/test_heads_sklearn.py", "tests/laws/test_heads.py")),
    ("heads", "the farthest rows vote", "parts/heads/matching.py", "candidates.topk(min(k, cosines.shape[-1]), dim=-1)", "candidates.topk(min(k, cosines.shape[-1]), dim=-1, largest=False)", ("tests/references/test_heads_sklearn.py",)),
    # statistics
    ("statistics", "an interval on one side", "statistics/intervals.py", "quantile = float(stdtrit(max(len(x) - 1, 1), (1 + level) / 2))", "quantile = float(stdtrit(max(len(x) - 1, 1), level))", ("tests/unit/statistics/test_intervals.py",)),
    ("statistics", "a divisor of n", "statistics/intervals.py", "values.std(ddof=1)", "values.std(ddof=0)", ("tests/unit/statistics/test_intervals.py",)),
    ("statistics", "a bootstrap of one side", "statistics/intervals.py", "low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])", "low, high = np.quantile(means, [1 - level, level])", ("tests/unit/statistics/test_intervals.py",)),
    ("statistics", "no running maximum", "statistics/best.py", "np.maximum.accumulate(p[order] * left * (left + 1) / 2)", "p[order] * left * (left + 1) / 2", ("tests/unit/statistics/test_best.py",)),
    ("statistics", "Holm's factor for having picked the best", "statistics/best.py", "p[order] * left * (left + 1) / 2", "p[order] * left", ("tests/unit/statistics/test_best.py",)),
    ("statistics", "training runs do not count", "statistics/best.py", "parts = [differences, *several]", "parts = [differences]", ("tests/unit/statistics/test_best.py",)),
    ("statistics", "zeros take part in sign flips", "statistics/paired.py", "min(1.0, max(p, float(np.finfo(np.float64).tiny)))", "min(1.0, max(p / 2, float(np.finfo(np.float64).tiny)))", ("tests/unit/statistics/test_paired.py",)),
    ("statistics", "Monte Carlo p may be 0", "statistics/paired.py", "return (b + 1) / (resamples + 1)", "return b / resamples", ("tests/unit/statistics/test_paired.py",)),
    ("statistics", "folds count as apart", "statistics/resampled.py", "math.sqrt(1 + folds / (folds - 1))", "math.sqrt(1)", ("tests/unit/statistics/test_best.py", "tests/unit/statistics/test_paired.py", CHOOSE)),
    ("statistics", "the temperature of the logits is turned round", "statistics/calibration.py", "log_softmax(z / math.exp(log_temperature), axis=1)", "log_softmax(z * math.exp(log_temperature), axis=1)", ("tests/unit/statistics/test_calibration.py",)),
    ("statistics", "no smoothing of a perfect answer", "statistics/calibration.py", "share = 1 / (len(z) + 2) if", "share = 0.0 if", ("tests/unit/statistics/test_calibration.py",)),
    ("statistics", "the winner is scored on its own bag", "statistics/selection.py", "left_out = left_out[~np.isnan(left_out)]", "left_out = np.maximum(left_out[~np.isnan(left_out)], np.nanmax(_means(np.ones((1, score.shape[1])), score)))", ("tests/unit/statistics/test_selection.py",)),
    ("statistics", "a power law that grows", "statistics/power_law.py", "math.exp(-self.exponent * math.log(", "math.exp(self.exponent * math.log(", ("tests/unit/statistics/test_power_law.py",)),
    ("statistics", "the forecast resamples without strata", "statistics/power_law.py", "np.zeros(len(e), dtype=np.int64) if strata is None else", "np.zeros(len(e), dtype=np.int64) if strata is not None else", ("tests/unit/statistics/test_power_law.py",)),
    ("statistics", "no row is added on which the rival loses", "statistics/evidence.py", "(apart @ apart.T + 1)", "(apart @ apart.T)", (GAIN,)),
    ("statistics", "every answer counts whole", "statistics/evidence.py", "np.minimum(1.0, q / UNSURE)", "1.0", (GAIN,)),
    ("statistics", "the luck of the folds is forgotten", "statistics/evidence.py", "covariance + np.diag(luck)", "covariance", (GAIN,)),
    ("statistics", "the p does not count the rivals", "statistics/paired_gain.py", "p = max(alone, together)", "p = alone", (GAIN,)),
    ("statistics", "the bound is one standard error", "statistics/paired_gain.py", "mean - quantile * float(error[place])", "mean - float(error[place])", (GAIN,)),
    ("statistics", "the p is that of the best rival", "statistics/paired_gain.py", "freedom, float(t[place]), level)", "freedom, float(t[chance.argmin()]), level)", (KEEP,)),
    ("statistics", "the degrees of freedom are those of another rival", "statistics/paired_gain.py", "float(each[place])", "float(each[chance.argmin()])", (GAIN,)),
    ("statistics", "the most certain gain is the largest t", "statistics/paired_gain.py", "int(np.argmin(chance))", "int(np.argmax(t))", (GAIN,)),
    ("statistics", "accuracy falls with labels", "statistics/expected.py", "Slope(max(0.0, value),", "Slope(value,", (EXPECTED,)),
    ("statistics", "a perfect accuracy is taken for sure", "statistics/expected.py", "/ 2 + 1) / (n + 2), chance)", "/ 2) / n, chance)", (EXPECTED,)),
    # sides
    ("sides", "a fold's own labels calibrate its answers", "sides/held_out.py", "outside = ~inside.any(0)[item]", "outside = np.ones(len(item), dtype=bool)", (HELD,)),
    ("sides", "a side that was lost is kept", "sides/compared.py", "if not self.lost.keys() & members]", "if members]", (KEEP,)),
    ("sides", "an ensemble with a lost side is kept", "sides/compared.py", "if not self.lost.keys() & members]", "if name not in self.lost]", (KEEP,)),
    ("sides", "a rival has the gain of the most certain one", "sides/compared.py", "else paired_gain(self.evidence, side=name)", "else self.gain", (KEEP,)),
    ("sides", "a loss on the own rows is overlooked", "sides/compared.py", "for n in names if own[n] > 0}", "for n in names}", (KEEP,)),
    ("sides", "a repeat that does not fit is planned", "sides/planning.py", "/ FOLDS)))", "/ FOLDS) + 1))", (PLAN,)),
    ("sides", "one class is enough to judge by", "sides/guard.py", "len(ample) >= 2 and", "len(ample) >= 1 and", (SIDES,)),
    # a job that goes on
    ("sides", "what the clock decided is decided again", "sides/progress.py", "if worth(float(found[0])):", "if False:", ("tests/unit/sides/test_progress.py",)),
    ("sides", "training runs on other data are not kept", "sources/finetune.py", "checkpoints=self.finished.run(", "checkpoints=NOTHING.run(", (RESUME,)),
    ("sides", "the rows of a run are planned anew", "sources/stages.py", "self.how.visits or self.planned()", "self.how.visits or self.affordable(self.job.clock.left)", (RESUME,)),
    # the verdict
    ("verdict", "no better than guessing is usable", "adaptation/verdict.py", "if _way(accuracy.low, guessing) <= 0:", "if _way(accuracy.low, guessing) <= -1:", (VERDICT,)),
    ("verdict", "the low end decides what is not ready", "adaptation/verdict.py", "if _way(accuracy.mean, guessing) < USABLE:", "if _way(accuracy.low, guessing) < USABLE:", (VERDICT,)),
    ("verdict", "a class at the limit is weak", "adaptation/verdict.py", "choice.recall[weakest] < WEAKEST", "choice.recall[weakest] <= WEAKEST", (VERDICT,)),
    ("verdict", "the strongest class is called the weakest", "adaptation/verdict.py", "int(np.nanargmin(choice.recall))", "int(np.nanargmax(choice.recall))", (VERDICT,)),
    ("verdict", "the low end is rounded up", "adaptation/verdict.py", "low, high = math.floor(of * accuracy.low + 1e-9), round", "low, high = round(of * accuracy.low), round", (VERDICT,)),
    ("verdict", "few test examples count as a measurement", "adaptation/verdict.py", "measured.n >= MEASURED", "measured.n >= 1", (VERDICT,)),
    ("verdict", "a model that is often wrong doubts every label", "adaptation/verdict.py", "doubt.probability >= SURE", "doubt.probability >= 0", (VERDICT,)),
    ("verdict", "no gain is called a gain", "adaptation/verdict.py", "if more > 0:", "if more >= 0:", (VERDICT,)),
    ("verdict", "other data is asked for though it was given", "adaptation/verdict.py", "finetuned.sources is None and ", "", (VERDICT,)),
    # serving
    ("serving", "an answer at the threshold is withheld", "serving/answering.py", "answer.probability >= least", "answer.probability > least", (SERVE,)),
    ("serving", "the threshold of a request is not read", "serving/answering.py", " if threshold is None else threshold", "", (SERVE,)),
    ("serving", "places in the queue are not given back", "serving/application.py", "self.batches.release(count)", "pass", (SERVE,)),
    ("serving", "a request too many", "serving/application.py", "if self._open >= self.settings.open:", "if self._open > self.settings.open:", (SERVE,)),
    ("serving", "any host with a port is local", "serving/application.py", "(name in _LOCAL and port.isdecimal())", "port.isdecimal()", (SERVE,)),
    ("serving", "answers go to other items", "serving/batches.py", "zip(batch, found, strict=True)", "zip(batch, list(found)[::-1], strict=True)", (SERVE,)),
    ("serving", "one bad item fails its batch", "serving/batches.py", "if len(batch) > 1:", "if False:", (SERVE,)),
    ("serving", "a body that does not say its size may have any", "serving/requests.py", "if size > limits.body:", "if False:", (SERVE,)),
    # packed models
    ("pack", "changed weights are not noticed", "backbones/packed.py", "if made.structure != here or known_digest(whole, read_from(whole.place)) != digest:", "if made.structure != here:", (PACK,)),
    ("pack", "another version of the library is not noticed", "backbones/packed.py", "if made.structure != here or known_digest(", "if known_digest(", (PACK,)),
    ("pack", "the licence of the library goes to weights of one's own", "backbones/packed.py", "made.licence if given is None else None", "made.licence", (PACK,)),
    ("pack", "the copy is not read back and compared", "backbones/packed.py", "if whole.digest() != original.digest() or not _alike(original, again):", "if False:", (PACK,)),
    ("pack", "a packed model is packed again", "models/pack.py", "if bundle.packed is not None:", "if False:", (PACK,)),
    ("pack", "a model of label columns is not packed", "models/pack.py", "load_joint(run) if is_joint(run) else load_bundle(run)", "load_bundle(run)", (MOVED,)),
    # label columns
    ("joint", "ways learn from the rows that they are judged on", "joint/held_out.py", "np.flatnonzero((fold >= 0) & (fold != number))", "np.flatnonzero(fold >= 0)", (JOINT_FOLDS,)),
    ("joint", "held-out rows set the scale", "joint/rows.py", "scaling = measured_scaling(self.embedding, self.table.numbers, train)", "scaling = self.scaling", (JOINT_FOLDS,)),
    ("joint", "copies of learned rows are measured on", "joint/rows.py", "rows.test[~np.isin(rows.copies[rows.test], rows.copies[rows.train])]", "rows.test", (JOINT_FOLDS,)),
    ("joint", "outputs stay on the scale of their fold", "joint/held_out.py", "return outputs if learned.scale == task.scale else", "return outputs if True else", (JOINT_FOLDS,)),
    ("joint", "training on the rows that say when to stop", "joint/networks.py", "return (inside, watched) if both else", "return (train_rows, watched) if both else", (JOINT_JUDGED,)),
    ("joint", "compare learns from the rows that it is measured on", "joint/study.py", "rows.learned_on(np.setdiff1d(rows.train, test))", "rows.learned_on(rows.train)", (JOINT_JUDGED,)),
    ("joint", "an error that may be as large as that of guessing is better", "joint/words.py", "value.high < found.guessing", "value.mean < found.guessing", (JOINT_JUDGED,)),
    ("joint", "a verdict on sharing needs no p", "joint/judged.py", "if p > 0.05 or gain.low", "if gain.low", (JOINT_JUDGED,)),
    ("joint", "what finetuning moved is not put on", "models/joint/predict.py", "backbone if change is None else change.onto(backbone)", "backbone", (MOVED,)),
    ("joint", "missing rows have features", "joint/finetuned.py", "torch.where((rows >= 0)[..., None],", "torch.where((rows >= -1)[..., None],", (MOVED,)),
    ("joint", "a finetuned network is the pair's one for all", "joint/adapt.py", "if name != INDEPENDENT and not method.moves_backbone]", "if name != INDEPENDENT]", (MOVED,)),
    ("joint", "a column that the model does not read is taken", "serving/columns.py", "for key in row if key not in known):", "for key in row if False):", ("tests/unit/serving/test_columns.py",)),
    ("joint", "sure labels are called unsure", "models/joint/suggest.py", "(1 - np.abs(2 * p - 1))", "np.abs(2 * p - 1)", ("tests/unit/models/test_joint_uses.py",)),
    ("joint", "tasks meet where they differ already", "parts/sharing/sharing.py", "return meeting(shared) if head.depth == 1 else shared", "return meeting(shared)", ("tests/laws/test_meetings.py",)),
    # Excel and HEIC
    ("extras", "a text becomes a formula", "data/excel.py", 'made.data_type = "s"', "pass", (EXCEL,)),
    ("extras", "what a sheet declares cuts off columns", "data/excel.py", "sheet.reset_dimensions()  # what", "pass  # what", (EXCEL,)),
    ("extras", "a hidden sheet is read", "data/excel.py", 'if sheet.sheet_state == "visible"] or', "if sheet] or", (EXCEL,)),
    ("extras", "a formula without a value is an empty cell", "data/excel.py", 'if formula.data_type == "f" and', 'if formula.data_type == "" and', (EXCEL,)),
    ("extras", "an archive may unpack to any size", "data/excel.py", 'part.filename.endswith((".xml", ".rels"))', 'part.filename.endswith(".nothing")', (EXCEL,)),
    ("extras", "times of the day are lost", "data/excel.py", "if value.time() != datetime.time() else", "if value.time() == datetime.time() else", (EXCEL,)),
    ("extras", "a format of HEIC is not known", "data/heic.py", 'b"heic", b"heix"', 'b"heix"', (HEIC,)),
    ("large", "a near code of two bands counts twice", "data/near/close_codes.py", "> most]", ">= most]", ("tests/unit/data/test_close_codes.py",)),
    ("large", "a damaged header ends an archive", "data/reading/tar.py", "if any(file.read(tarfile.BLOCKSIZE)):", "if False:", (TAR,)),
    ("large", "a header may promise any size", "data/reading/tar.py", "if not 0 <= size <= LARGEST:", "if size < 0:", (TAR,)),
    ("large", "a mapped array is not checked", "data/reading/npz.py", " or checked != info.CRC", "", ("tests/unit/data/test_mapped_npz.py",)),
    ("large", "a file that changed is not fetched again", "data/reading/remote.py", "known.get(name) != one.mark or", "name not in known or", (REMOTE,)),
    ("large", "names of files lead out of the folder", "data/reading/remote.py", 'part in ("", ".", "..")', 'part in ("", ".")', (REMOTE,)),
    ("large", "a block stays in memory", "data/reading/parquet_rows.py", "if len(self._recent) > KEPT:", "if False:", ("tests/unit/data/test_parquet_rows.py",)),
    ("large", "what is fitted counts with the other sign", "parts/heads/leave_one_out.py", "(own - 2 * fitted + squared)", "(own + 2 * fitted + squared)", (SUMS,)),
    ("large", "sums of blocks forget the last rows", "parts/heads/class_sums.py", "range(0, S, BLOCK)", "range(0, S - BLOCK + 1, BLOCK)", (SUMS,)),
    ("large", "all rows are held out of many", "learners/folds.py", "[: asked[label]]", "", ("tests/unit/learners/test_folds.py",)),
)  # fmt: skip
MUTANTS = tuple(Mutant(*row) for row in _TABLE)
