"""Findings as the main job would hand them over, made up: finetuned kept, frozen kept, many classes, almost nothing, hostile names."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from fewtune.adaptation.verdict import Light, Verdict
from fewtune.learners.forecast import Forecast
from fewtune.report.findings import (
    Added,
    Confused,
    Confusion,
    Curve,
    Doubt,
    Example,
    Findings,
    Floats,
    Leak,
    Looked,
    Maps,
    MethodRow,
    Selection,
    Shown,
    Similarity,
    Suited,
)
from fewtune.sides.clock import Stage
from fewtune.sides.guard import ON_SOURCES, OWN, Guard, Place
from fewtune.statistics import FittedPowerLaw, Interval, PowerLaw

HOSTILE = '<script>alert("1")</script> & </text></svg></title><img src=x onerror=alert(1)> $x^2$ {{ 7*7 }} \u202e\x1b[31m'


def around(mean: float, half: float, n: int = 140, kind: str = "bootstrap") -> Interval:
    return Interval(mean, mean - half, mean + half, 0.95, n, kind)


def told(light: Light, accuracy: Interval | None, finetuning: str = "") -> Verdict:
    """A verdict in the words of `verdict_of`."""
    if accuracy is None:
        return Verdict(
            light, "Nobody can tell yet how often the answer to a new photo will be right; guessing would get 1 of 2.", guessing=0.5
        )
    return Verdict(
        light,
        f"About {100 * accuracy.mean:.0f} of 100 new photos will be right; guessing would get 1 of 7.",
        "it is right far more often than guessing, and no class is often wrong.",
        "Estimated from your own labelled photos: each was answered by models that had not seen it.",
        finetuning,
        ("Look at one photo, its label may be wrong: photos/dog/0001.jpg.", "Type: fewtune predict RUN NEW_FILES_OR_FOLDERS"),
        accuracy,
        1 / 7,
    )


def judged(where: Place, gain: Interval, differences: Floats) -> Guard:
    return Guard(where, gain, 0.5, 0.5 + gain.mean, differences, ())


def painted(count: int, size: int = 64) -> list[Shown]:
    """Small noisy pictures as PNG bytes."""
    random = np.random.default_rng(0)
    made: list[Shown] = []
    for _ in range(count):
        out = io.BytesIO()
        small = random.integers(0, 255, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((size, size)).save(out, "PNG")
        made.append(out.getvalue())
    return made


def rich(pictures: Sequence[Shown], names: Sequence[str], sources: Sequence[str], *, source: str = "domainnet") -> Findings:
    """A job on images whose finetuned model was kept; every section has something to show."""
    random = np.random.default_rng(1)
    picture = iter(list(pictures) * 20)
    return Findings(
        title=f"photos: {len(names)} classes, 56 labelled images",
        verdict=told("ready", around(0.842, 0.041), finetuning="Finetuning helped: about 5 more of 100 photos are right."),
        details=(
            "Finetuning on 38 chosen source classes helped: expect 84.2% on new images like these, 4.6 points more than without.",
            "It beats the best frozen learner on the same paired splits of your own images (+4.6 points, 95% interval +1.9 to +7.3).",
            "3 rows were left out, for example photos/dog/0031.jpg (truncated).",
        ),
        kept="finetuned",
        methods=_methods(),
        guard=judged(OWN, around(0.046, 0.027, 50, "corrected resampled t"), random.normal(0.046, 0.04, 50).round(3)),
        decision="The finetuned model is used because its gain over ridge, the best frozen learner, is above zero beyond chance.",
        selection=_selection(names, sources, source, random),
        curves=_curves(random),
        confusion=_confusion(names, picture, random),
        uncertain=tuple(
            Doubt(name=f"photos/{names[i % len(names)]}/{i:04d}.jpg", given=names[i % len(names)], answered=names[(i + i % 2) % len(names)],
                  probability=0.34 + 0.01 * i, shown=next(picture)) for i in range(16)
        ),
        mislabelled=tuple(
            Doubt(name=f"photos/{names[i]}/{i:04d}.jpg", given=names[i], answered=names[(i + 2) % len(names)], probability=0.97 - 0.03 * i,
                  shown=next(picture)) for i in range(min(4, len(names)))
        ),
        maps=_maps(names, random),
        forecast=_forecast(),
        leaks=tuple(
            Leak(source_row=f"{source}/dog/{i}.jpg", target_row=f"photos/dog/{i:04d}.jpg", how="perceptual hash", distance=float(i % 4),
                 source_shown=(shown := next(picture)), target_shown=shown) for i in range(3)
        ),
        stages=_stages(),
        budget="10 minutes were asked for; 8 min 41 s were used, on two CPU cores.",
        environment={"fewtune": "0.1.0", "torch": "2.8.0", "backbone": "timm:mobilenetv2_100 (digest 3f9a02c17be4)", "device": "cpu",
                     "data digest": "9d3c01ab77e25f10c4a95b6d2e8f4471", "seed": "0"},
        skipped=(("photos/dog/0031.jpg", "truncated"), ("photos/dog/0044.jpg", "a copy of photos/dog/0012.jpg"), ("notes.doc", "no image")),
        commands=("fewtune predict run/ new-photos/", "fewtune evaluate run/ more-labelled/", "fewtune export run/ --format onnx"),
    )  # fmt: skip


def _methods() -> tuple[MethodRow, ...]:
    def row(name: str, accuracy: float, gap: float | None, p: float | None, tuned: bool = False) -> MethodRow:
        return MethodRow(
            name=name,
            kind="finetuned" if tuned else "frozen",
            accuracy=accuracy,
            interval=around(accuracy, 0.042),
            difference=None if gap is None else around(gap, 0.024),
            p=p,
            chosen=gap is None,
        )

    return (
        row("ridge", 0.801, 0.046, 0.004),
        row("logistic", 0.794, 0.053, 0.0021),
        row("nearest centroid", 0.772, 0.075, 0.00004),
        row("multitask(selected) then ridge", 0.847, None, None, True),
        row("pooled standard finetuning then ridge", 0.826, 0.021, 0.048, True),
        row("matching", 0.741, 0.106, 0.00001),
        row("svm", 0.799, 0.048, 0.004),
    )


def _selection(names: Sequence[str], chosen: Sequence[str], source: str, random: np.random.Generator) -> Selection:
    sources = (source, "clipart-web", "holiday-photos")
    origin = tuple(sources[0 if i < 0.6 * len(chosen) else 1] for i in range(len(chosen)))
    coverage, trace = 0.0, []
    for i in range(60):
        gain = max(0.0, 0.14 * 0.9**i + float(random.normal(0, 0.008)))
        taken = gain > 0.012
        trace.append(
            Looked(
                name=f"task {i}: {chosen[i % len(chosen)]}, ...",
                source=sources[int(random.integers(0, 2 if taken else 3))],
                similarity=0.83 - 0.006 * i,
                coverage=min(1.0, coverage + gain * (1 - coverage)),
                gain=gain,
                taken=taken,
                reason="" if taken else "adds less than p = 0.02 of what is covered",
            )
        )
        coverage = trace[-1].coverage if taken else coverage
    cosine = random.uniform(0.15, 0.45, (len(names), len(chosen)))
    for p in range(len(chosen)):
        cosine[p % len(names), p] += random.uniform(0.1, 0.45)
    return Selection(
        sentence=f"{len(chosen)} of 345 source classes were chosen: those like yours, as long as each adds something new.",
        trace=tuple(trace),
        classes={s: tuple(n for n, o in zip(chosen, origin, strict=True) if o == s) for s in sources},
        added=(
            Added(name=source, classes=23, rows=1150, coverage=0.58, accuracy=around(0.031, 0.012)),
            Added(name="clipart-web", classes=15, rows=744, coverage=0.69, accuracy=around(0.013, 0.011)),
            Added(name="holiday-photos", classes=0, rows=0, coverage=0.69, accuracy=None),
        ),
        beside=(
            Suited(name="the chosen tasks", tasks=19, similarity=0.731, coverage=0.69),
            Suited(name="as many random ones (mean of ten draws)", tasks=19, similarity=0.614, coverage=0.58),
            Suited(name="all candidates", tasks=60, similarity=0.608, coverage=0.64),
        ),
        similarity=Similarity(cosine=cosine, target=tuple(names), chosen=tuple(chosen), source=origin),
    )


def _curves(random: np.random.Generator) -> tuple[Curve, ...]:
    steps = np.arange(1, 401)
    every = np.arange(50, 401, 50)
    made = []
    for label, rate in (("rate 1e-5", 0.004), ("rate 5e-5 (chosen)", 0.012)):
        loss = 0.55 + 1.1 * np.exp(-rate * steps) + random.normal(0, 0.12, len(steps))
        made.append(Curve(label=label, steps=steps, loss=loss, validation_steps=every, validation=0.83 - 0.13 * np.exp(-rate * every)))
    return tuple(made)


def _confusion(names: Sequence[str], picture: object, random: np.random.Generator) -> Confusion:
    K = len(names)
    counts = 40.0 * np.eye(K) + random.poisson(0.7, (K, K))
    counts[0, 1 % K] += 9
    counts[K - 1, 0] += 5
    nextp = picture.__next__  # type: ignore[attr-defined]
    worst = ((0, 1 % K), (K - 1, 0))
    examples = tuple(
        Confused(true=t, predicted=p, examples=tuple(Example(name=f"photos/{names[t]}/{i:04d}.jpg", shown=nextp()) for i in range(4)))
        for t, p in worst
    )
    return Confusion(counts=counts, class_names=tuple(names), examples=examples)


def _maps(names: Sequence[str], random: np.random.Generator, rows: int = 480) -> Maps:
    K = len(names)
    labels = random.integers(0, K, rows)
    angle = 2 * np.pi * np.arange(K) / K
    centre = np.stack([np.cos(angle), np.sin(angle)], 1)
    before: Floats = 20 * centre[labels] + random.normal(0, 9, (rows, 2))
    after: Floats = 22 * centre[labels] + random.normal(0, 4, (rows, 2))
    sources = np.arange(rows) >= rows // 2
    shift = random.normal(0, 14, (rows, 2)) * sources[:, None]
    return Maps(before=before + shift, after=after + shift, labels=np.where(sources, -1, labels), names=tuple(names), from_sources=sources)


def _forecast() -> Forecast:
    shots = np.array([1.0, 2.0, 4.0, 8.0])
    grid = np.geomspace(1, 64, 40)
    curve = 0.94 - 0.31 * grid**-0.52
    spread = 0.015 + 0.012 * np.log2(grid)
    return Forecast(
        shots=shots,
        accuracy=np.array([0.63, 0.727, 0.789, 0.842]),
        low=np.array([0.59, 0.69, 0.75, 0.8]),
        high=np.array([0.67, 0.76, 0.83, 0.88]),
        law=FittedPowerLaw(PowerLaw(0.06, 0.31, 0.52), np.array([[0.06, 0.31, 0.52]]), 40),
        ahead=(),
        grid=grid,
        curve=curve,
        curve_low=curve - spread,
        curve_high=np.minimum(curve + spread, 1),
        sentence="About 3 more labels a class (2 to 6) should give one more point; 32 labels a class about 89% (82 to 96).",
    )


def _stages() -> tuple[Stage, ...]:
    return (
        Stage(name="embed your rows", seconds=3.4, visits=520),
        Stage(name="embed the sources", seconds=96.2, visits=6_900, note="at most 20 rows a class"),
        Stage(name="frozen learners", seconds=4.8),
        Stage(name="select", seconds=1.2),
        Stage(name="finetune", seconds=322, visits=48_000, note="400 steps at rate 5e-5"),
        Stage(name="guard", seconds=93, visits=11_200, note="50 paired splits"),
    )


def frozen(pictures: Sequence[Shown], names: Sequence[str]) -> Findings:
    """Planted unrelated sources: the frozen model is kept."""
    random = np.random.default_rng(3)
    whole = rich(pictures, names, ["aspirin", "benzene", "caffeine"], source="molecules")
    return replace(
        whole,
        verdict=told("review", around(0.801, 0.045)),
        details=(
            "The other data did not help: the model stays as it was before finetuning. Expect 80.1% on new images like these.",
            "Its gain over ridge was -0.4 points (95% interval -2.6 to +1.8), so nothing speaks for the finetuned model.",
        ),
        kept="frozen",
        methods=tuple(replace(m, difference=None if m.name == "ridge" else around(0.012, 0.02), p=None if m.name == "ridge" else 0.4,
                              chosen=m.name == "ridge", accuracy=min(m.accuracy, 0.801)) for m in whole.methods),
        guard=judged(ON_SOURCES, around(-0.004, 0.022, 30, "paired t"), random.normal(-0.004, 0.05, 30).round(2)),
        decision="With 2 labels a class your own rows cannot be split, so both were compared on held-out classes of the sources.",
        selection=replace(whole.selection, added=whole.selection.added[:1], trace=whole.selection.trace[:6]) if whole.selection else None,
        mislabelled=(),
        leaks=(),
    )  # fmt: skip


def many(classes: int = 150) -> Findings:
    """A text job with many classes, a name in another script among them, and long names."""
    names = [f"intent_{i:03d}_{'very_long_' * (i % 4)}name" for i in range(classes)]
    names[:4] = ["播放音乐", "تشغيل الموسيقى", "включить музыку", "음악을 재생해 주세요"]
    texts: list[Shown] = [
        "wake me up at five tomorrow morning, and then again a quarter past, because I never hear the first one",
        "请播放一些轻松的音乐",
        "what is the weather like in " + "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch",
        "turn the lights off",
    ]
    sources = [f"banking_{i}" if i % 3 else f"очень длинное имя класса {i}" for i in range(90)]
    made = rich(texts, names, sources, source="clinc-oos")
    return replace(made, title=f"hwu64.csv: {classes} classes, 750 labelled texts")


def least() -> Findings:
    """One example a class: nothing could be held out, no source was given."""
    return Findings(
        title="photos: 2 classes, 2 labelled images",
        verdict=told("unknown", None),
        details=(
            "Every class has a single example, so nothing could be held out: the accuracy is unknown; the learner is the default, ridge.",
        ),
        kept="frozen",
        methods=(MethodRow(name="ridge", kind="frozen", accuracy=float("nan"), chosen=True),),
        confusion=Confusion(counts=np.zeros((2, 2)), class_names=("cat", "dog")),
        commands=("fewtune predict run/ new-photos/",),
    )


def hostile() -> Findings:
    """Every text is an attempt to break out of its place."""
    made = rich(painted(6), [HOSTILE, HOSTILE + "2", "plain"], [HOSTILE, "other"], source=HOSTILE)
    assert made.guard and made.forecast
    text = (HOSTILE,)
    return replace(
        made,
        title=HOSTILE,
        verdict=Verdict("ready", HOSTILE, HOSTILE, HOSTILE, HOSTILE, (HOSTILE,) * 3, around(0.8, 0.1), 0.5),
        details=text,
        methods=tuple(replace(m, name=HOSTILE) for m in made.methods),
        decision=HOSTILE,
        curves=tuple(replace(c, label=HOSTILE) for c in made.curves),
        uncertain=tuple(replace(d, name=HOSTILE, shown=HOSTILE) for d in made.uncertain),
        forecast=replace(made.forecast, sentence=HOSTILE),
        budget=HOSTILE,
        environment={HOSTILE: HOSTILE},
        skipped=((HOSTILE, HOSTILE),),
        commands=text,
    )
