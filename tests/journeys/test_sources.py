"""adapt with the sources: other labelled photos to finetune on, as a newcomer gives them."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from fewtune.adaptation import finetuning
from fewtune.models.bundle import load_bundle
from fewtune.sides import held_out
from fewtune.sides.guard import FOLDS
from fewtune.tasks.selection import Trace
from tests.journeys.conftest import Ran

Run = Callable[..., Ran]
CONV = ("--backbone", "conv4,size=16", "--quiet")


def patterns(folder: Path, classes: int, rows: int, seed: int) -> Path:
    """Folders of photos: each class a coarse pattern of its own under loud noise."""
    random = np.random.default_rng(seed)
    for k in range(classes):
        (folder / f"{folder.name}{k}").mkdir(parents=True)
        coarse = random.integers(0, 256, (4, 4, 3))
        for i in range(rows):
            noisy = np.clip(np.kron(coarse, np.ones((4, 4, 1))) + random.normal(0, 120, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / f"{folder.name}{k}" / f"{i}.png")
    return folder


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return patterns(tmp_path / "mine", 4, 10, seed=1)


def test_a_source_from_beginning_to_end(fewtune: Run, target: Path, tmp_path: Path) -> None:
    more, other = patterns(tmp_path / "more", 14, 12, seed=2), patterns(tmp_path / "other", 6, 8, seed=3)
    out = tmp_path / "run"
    ran = fewtune(
        "adapt", target, "--source", more, "--source", other, *CONV, "--budget", "visits=1600", "--rates", 0.01, 0.1,
        "--method", "multitask(ways=4, shots=4, queries=4)", "--select", "all", "--out", out,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "Source: more, 168 photos, 14 classes." in ran.out and "Source: other, 48 photos, 6 classes." in ran.out
    assert "Finetuning " in ran.out and "The saved model is th" in ran.out and "report.html" in ran.out
    trace = Trace(pq.read_table(out / "selection.parquet"))
    assert len(trace.taken) == len(trace) and set(trace.column("source")) == {"more", "other"}
    bundle, page = load_bundle(out), (out / "report.html").read_text()
    assert set(bundle.facts["sources"]["data"]) == {"more", "other"} and set(bundle.facts["finetuning"]["sides"]) >= {
        "frozen",
        "finetuned on other data",
    }
    assert "more" in page and "<script" not in page
    assert "Other labelled data" in (out / "README.md").read_text()
    again = fewtune("predict", out, target / "mine0", "--quiet", "--format", "csv")
    assert again.code == 0 and again.out.count("\n") == 11


def test_own_labels_are_finetuned_on_and_judged(fewtune: Run, target: Path, tmp_path: Path) -> None:
    """Without any other data; with --finetune never nothing of the kind is done, or said."""
    ran = fewtune("adapt", target, *CONV, "--method", "contrastive(on='support', steps=4)", "--out", tmp_path / "run")
    assert ran.code == 0, ran.err
    assert re.search(r"Finetuning on your 40 labelled examples: (5|9) runs of 4 steps, about \d+ s\.", ran.out)
    assert "finetuned on your own labels has " in ran.out or "the one finetuned on your own labels has " in ran.out
    facts = load_bundle(tmp_path / "run").facts
    assert (
        set(facts["finetuning"]["sides"]) == {"frozen", "finetuned on your labels", "frozen + finetuned on your labels"}
        and "sources" not in facts
    )
    assert "your own labels" in (tmp_path / "run" / "report.html").read_text()
    plain = fewtune("adapt", target, *CONV, "--finetune", "never", "--out", tmp_path / "plain")
    assert plain.code == 0 and "inetuning" not in plain.out and "finetuning" not in load_bundle(tmp_path / "plain").facts


@pytest.mark.slow
def test_ctrl_c_saves_the_best_of_what_is_finished_and_resume_goes_on(
    fewtune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0, since a model is saved; nothing that was finished is done again."""
    mine, more = patterns(tmp_path / "mine", 3, 10, seed=1), patterns(tmp_path / "more", 6, 8, seed=2)
    out, answered = tmp_path / "run", []
    flags = ("--backbone", "conv4,size=16,width=4", "--budget", "visits=900", "--rates", 0.01, "--quiet")
    asked = ("adapt", mine, "--source", more, *flags, "--out", out)
    answer = held_out._answer
    monkeypatch.setattr(held_out, "_answer", lambda route, *rest: answered.append(route.name) or answer(route, *rest))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(finetuning, "use_sources", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
        stopped = fewtune(*asked)
    assert stopped.code == 0, stopped.err
    assert "You stopped the work: only what was finished by then is compared. The same command with --resume (and" in stopped.out
    assert set(load_bundle(out).facts["finetuning"]["sides"]) == {"frozen", "finetuned on your labels", "frozen + finetuned on your labels"}
    assert (tmp_path / "run.unfinished").is_dir() and answered.count("finetuned on your labels") in (FOLDS, 2 * FOLDS)
    first = answered.copy()
    refused = fewtune(*asked, "--resume")
    assert refused.code == 2 and "--overwrite" in refused.err and answered == first
    ran = fewtune(*asked, "--resume", "--overwrite")
    assert ran.code == 0 and "You stopped" not in ran.out, ran.err
    assert answered.count("finetuned on your labels") == first.count("finetuned on your labels")
    assert "sources" in load_bundle(out).facts and not (tmp_path / "run.unfinished").exists()


def test_copies_of_the_target_are_left_out_of_the_source(fewtune: Run, target: Path, tmp_path: Path) -> None:
    more = patterns(tmp_path / "more", 6, 8, seed=2)
    (more / "more0" / "copy.png").write_bytes((target / "mine0" / "0.png").read_bytes())
    ran = fewtune(
        "adapt",
        target,
        "--source",
        more,
        *CONV,
        "--budget",
        "visits=900",
        "--rates",
        0.01,
        "--finetune",
        "sources",
        "--method",
        "centroid",
        "--out",
        tmp_path / "run",
    )
    assert ran.code == 0, ran.err
    assert "1 row is in the target too" in ran.out
    assert "copy.png" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--budget", "10"), "expected minutes=NUMBER or visits=ROWS"),
        (("--budget", "minutes=0"), "expected minutes=NUMBER or visits=ROWS"),
        (("--select", "all", "--gain", "0.1"), "leave --gain out"),
        (("--gain", "much"), "expected a number such as 0.01, or auto"),
        (("--finetune", "always"), "always"),
        (("--method", "nonsense"), "unknown method 'nonsense'"),
        (("--method", "multitask", "--finetune", "own"), "finetunes on other data, but finetune is 'own': give one or the other"),
        (("--method", "bitfit(on='support')", "--finetune", "sources"), "finetunes on your own labels, but finetune is 'sources'"),
        (("--rows", "1"), "at least 2 rows a class"),
        (("--budget", "visits=1e400"), "expected minutes=NUMBER or visits=ROWS"),
        (("--rates", "0"), "expected learning rates above 0, found 0"),
        (("--rates", "0.1", "nan"), "expected learning rates above 0, found 0.1, nan"),
    ],
)
def test_wrong_flags(fewtune: Run, target: Path, tmp_path: Path, flags: tuple[str, ...], said: str) -> None:
    more = patterns(tmp_path / "more", 6, 4, seed=2)
    ran = fewtune("adapt", target, "--source", more, *CONV, *flags, "--out", tmp_path / "run")
    assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1, ran.err
    assert not (tmp_path / "run").exists()


def test_sources_that_cannot_be_used(fewtune: Run, target: Path, embeddings: Path, tmp_path: Path) -> None:
    def refused(*args: object) -> str:
        ran = fewtune("adapt", *args, "--finetune", "sources", "--out", tmp_path / "run", "--quiet")
        assert ran.code == 2 and ran.err.count("\n") == 1 and not (tmp_path / "run").exists()
        return ran.err

    lone = patterns(tmp_path / "lone", 1, 4, seed=2)
    assert "expected at least two classes" in refused(target, "--source", lone, "--backbone", "conv4,size=16")
    assert "holds vectors" in refused(target, "--source", embeddings, "--backbone", "conv4,size=16")
    assert "no weights to move" in refused(embeddings, "--source", embeddings)
    assert "does not exist" in refused(target, "--source", tmp_path / "absent", "--backbone", "conv4,size=16")
    assert "no two classes of the sources are left" in refused(target, "--source", target, "--backbone", "conv4,size=16")


def test_a_wrong_recipe_is_refused_before_any_work(fewtune: Run, target: Path, tmp_path: Path) -> None:
    """Nothing is embedded."""
    for recipe, said in (("multitask(steps=-3)", "expected steps >= 0"), ("multitask(last=-1)", "last counts groups")):
        ran = fewtune("adapt", target, "--source", target, *CONV, "--method", recipe, "--out", tmp_path / "run")
        assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1, ran.err
