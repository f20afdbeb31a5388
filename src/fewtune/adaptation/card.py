"""What is said of a model in words: the verdict on the terminal and the model card beside the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fewtune.adaptation.choose import Choice
from fewtune.adaptation.usable import Target
from fewtune.statistics import Interval
from fewtune.words import counted

if TYPE_CHECKING:
    from fewtune.adaptation.bundle import Bundle


def _percent(interval: Interval) -> str:
    return f"{100 * interval.mean:.1f}% ({100 * interval.level:.0f}% interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"


def verdict(choice: Choice, target: Target, measured: Interval | None, pool: Sequence[str] = ()) -> tuple[str, ...]:
    """Plain sentences: what came of the `pool` (and what was left out of it), what was chosen, what to expect, what could not
    be known."""
    said = list(pool[:1])
    if choice.expected is None:
        said.append(
            f"Every class has a single example, so nothing could be held out: the accuracy is unknown, and no example had a say in the "
            f"choice of the learner, {choice.name}. Two or more examples a class would allow an estimate."
        )
    else:
        said.append(f"Chosen learner: {choice.name}. Accuracy to expect on new examples like these: {_percent(choice.expected)}.")
        rivals = [c for c in choice.candidates if c.name != choice.name]
        near = [c.name for c in rivals if not c.p < 0.05]
        if rivals and near:
            said.append(f"Its lead is within chance of {', '.join(near)} (paired over held-out rows, adjusted p >= 0.05).")
        elif rivals:
            said.append("It beats every other learner on the same splits (paired over held-out rows, adjusted p < 0.05).")
    if choice.expected is not None and choice.unestimated:
        names = [target.class_names[c] for c in choice.unestimated]
        said.append(f"Not estimated, for they have a single example: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}.")
    if measured is not None:
        said.append(f"Measured once on the {len(target.test)} rows of the data's own test split: {_percent(measured)}.")
    elif len(target.tested):
        said.append("Nothing was measured on the data's own test split: none of its rows counts.")
    said += target.about_test
    said += pool[1:]
    if target.left_out:
        name, reason = target.left_out[0]
        why = reason.removeprefix(f"{name} ").rstrip(".")
        said.append(f"{counted(len(target.left_out), 'row', ('was', 'were'))} left out, for example {name} ({why}).")
    return tuple(said)


def model_card(bundle: Bundle, facts: Mapping[str, Any], sentences: Sequence[str]) -> str:
    """The model card (Markdown), after Mitchell et al., "Model Cards for Model Reporting", 2019. What `facts` do not hold is left out.

    `facts["pool"]`, where there is one, is a mapping of anything that is to be said of what was finetuned on (its data, the tasks chosen,
    the budget): one line a key.
    """
    recall = {name: value for name, value in facts.get("recall", {}).items() if value is not None}
    shots = facts.get("shots", {})
    rows = "\n".join(
        f"| {_cell(name)} | {shots.get(name, '')} | {'' if recall.get(name) is None else f'{100 * recall[name]:.0f}%'} |"
        for name in bundle.class_names
    )
    source = "\n".join(f"- {_cell(key)}: {_cell(value)}" for key, value in bundle.backbone.source.items())
    calibrated = "on held-out folds" if facts.get("expected_accuracy") or facts.get("expected_before") else "not calibrated"
    return f"""# A fewtune model for {_cell(facts.get("data", "unnamed data"))}

{" ".join(_cell(s) for s in sentences)}

| class | examples | recall on held-out folds |
|---|---|---|
{rows}

## How it was made
- backbone: `{bundle.backbone.name}`, {_what_moved(bundle)} (digest {bundle.backbone.digest})
{source}
- preprocessing: `{bundle.backbone.preparation}`
- learner: `{bundle.method}`
- probabilities: temperature {bundle.temperature:.3g}, {calibrated}; answers below {bundle.threshold:g} abstain
- data: {facts.get("rows", "?")} labelled rows (digest {facts.get("data_digest", "?")}), seed {facts.get("seed", "?")}
- fewtune {facts.get("fewtune", "?")}, torch {facts.get("torch", "?")}
{_pool(facts)}
## Use
`fewtune predict THIS_FOLDER new.jpg more/`; `fewtune evaluate THIS_FOLDER LABELLED_DATA` measures it. An expected accuracy holds for new
examples drawn like the labelled ones; other cameras, authors or classes are not covered. The backbone's own licence and biases apply.
"""


def _what_moved(bundle: Bundle) -> str:
    """What finetuning changed in the backbone."""
    moved = bundle.moved
    if moved is None:
        return "unchanged"
    numbers = sum(tensor.numel() for tensor in moved.weights.values())
    if moved.edits == "()":
        return f"finetuned: {counted(len(moved.weights), 'tensor')} of {numbers:,} numbers moved, kept in weights.safetensors"
    return (
        f"finetuned by `{_cell(moved.edits)}`: {counted(len(moved.weights), 'tensor')} of {numbers:,} numbers, kept in weights.safetensors"
    )


def _pool(facts: Mapping[str, Any]) -> str:
    """What was finetuned on, a line a key."""
    pool = facts.get("pool")
    if not isinstance(pool, Mapping) or not pool:
        return ""
    lines = [f"- {_cell(key)}: {_cell(_listed(value))}" for key, value in pool.items() if value]
    return "\n".join(["\n## Other labelled data", *lines, ""])


def _listed(value: object, most: int = 20) -> str:
    """Entries one after another, the first of many; mappings as name and value."""
    if isinstance(value, Mapping):
        value = [f"{name} ({said})" for name, said in value.items()]
    if not isinstance(value, list | tuple):
        return str(value)
    return ", ".join(map(str, value[:most])) + (f" and {len(value) - most} more" if len(value) > most else "")


def _cell(value: object) -> str:
    """User text in Markdown: no pipes, no line breaks, no HTML."""
    return str(value).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
