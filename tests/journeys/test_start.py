"""The first minutes: which models there are, what a command needs, and mistakes that are told at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import Ran
from tests.tiny_text import tiny

Run = Callable[..., Ran]


def test_the_models_are_listed_for_people_and_programs(fewtune: Run) -> None:
    ran = fewtune("backbones")
    assert ran.code == 0 and "small: hf:facebook/dinov2-small" in ran.out and "Apache-2.0" in ran.out
    found = json.loads(fewtune("backbones", "minilm", "--format", "json").out)
    assert found[0]["name"] == "hf:sentence-transformers/all-MiniLM-L6-v2" and found[0]["size"] == "small"
    assert found[0]["parameters"] == 22_700_000 and found[0]["features"] == 384 and found[0]["per_second"] is None
    ran = fewtune("backbones", "mobilnetv2_100")
    assert ran.code == 2 and "did you mean timm:mobilenetv2_100" in ran.err


def test_adapt_alone_says_what_it_needs(fewtune: Run) -> None:
    ran = fewtune("adapt")
    assert ran.code == 2 and "adapt needs your labelled examples" in ran.err and "fewtune adapt photos/" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "flags", "said", "other"),
    [
        ("photos", (), "hf:facebook/dinov2-small, the usual model for photos, is not on this machine", "tokenizer"),
        ("photos", ("--backbone", "base"), "hf:facebook/dinov2-base is not on this machine", "the usual model"),
        ("texts", (), "hf:sentence-transformers/all-MiniLM-L6-v2, the usual model for texts, is not on this machine", "timm:"),
    ],
)
def test_without_a_network_a_model_that_is_not_here_is_told_before_torch_is_loaded(
    kind: str, flags: tuple[str, ...], said: str, other: str, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"{a} {b},{a}\n" for a in ("cat", "dog") for b in ("red", "blue", "")))
    data = photos if kind == "photos" else tmp_path / "texts.csv"
    arguments = ["fewtune", "adapt", str(data), *flags, "--out", str(tmp_path / "new"), "--quiet"]
    code = (
        f"import sys; sys.argv = {arguments}\nfrom fewtune.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    there = {**os.environ, "HF_HOME": str(tmp_path / "empty"), "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=there)
    assert ran.returncode == 2 and ran.stdout.endswith("False\n"), ran
    assert said in ran.stderr and "fewtune fetch hf:" in ran.stderr and other not in ran.stderr and ran.stderr.count("\n") == 1


def test_out_is_the_next_free_number(fewtune: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    quick = ("--backbone", "pixels,size=8", "--method", "centroid", "--quiet")
    for number in (1, 2):
        ran = fewtune("adapt", photos, *quick)
        assert ran.code == 0 and f"Saved to runs/photos-{number}" in ran.out and (photos.parent / f"runs/photos-{number}").is_dir()
    ran = fewtune("adapt", photos, *quick, "--overwrite")
    assert ran.code == 2 and "give --out RUN too" in ran.err
    ran = fewtune("adapt", photos, *quick, "--resume")
    assert ran.code == 2 and "no unfinished run of" in ran.err
    monkeypatch.chdir(photos)
    assert fewtune("adapt", ".", *quick).code == 0 and (photos / "runs" / "photos-1").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("adap", "photos"), 'Did you mean "adapt"?'),
        (("adapt", "photos", "--backbne", "small"), "Did you mean --backbone?"),
        (("adapt", "fotos"), "fotos does not exist: did you mean photos?"),
        (("adapt", "photos", "--source", "fotos"), "fotos does not exist: did you mean photos?"),
        (("adapt", "photos", "--method", "centrod"), "unknown method 'centrod': did you mean centroid"),
        (("adapt", "photos", "--method", "Method(learner=Ridg())"), "unknown name 'Ridg': did you mean"),
        (("adapt", "photos", "--backbone", "mobilenetv2_100"), "did you mean timm:mobilenetv2_100?"),
        (("adapt", "photos", "--backbone", "timm:mobilnetv2_100"), "timm has no model 'mobilnetv2_100': did you mean timm:mobilenetv2_100"),
        (("adapt", "photos", "--weights", "none.safetensors"), "--weights none.safetensors does not exist"),
        (("adapt", "photos", "--backbone", "run:photos"), "holds no saved model"),
        (("adapt", "photos", "--budget", "minutes=x"), "--budget minutes=x: expected minutes=NUMBER"),
        (("adapt", "photos", "--finetune", "sometimes"), "sometimes"),
        (("adapt", "photos", "--out", "photos"), "photos exists already"),
        (("adapt", "empty"), "holds no images or texts"),
        (("compare", "photos", "--method", "centrod"), "unknown method 'centrod'"),
        (("compare", "photos", "--backbone", "dinov2-small"), "did you mean hf:facebook/dinov2-small?"),
        (("compare", "fotos"), "fotos does not exist"),
        (("fetch", "conv4", "--to", "new"), "conv4 has nothing to fetch"),
        (("fetch", "hf:photos", "--to", "photos"), "photos exists already: give another folder with --to"),
        (("inspect", "fotos"), "fotos does not exist"),
    ],
)
def test_mistakes_are_told_before_torch_is_imported(photos: Path, arguments: tuple[str, ...], said: str) -> None:
    (photos.parent / "empty").mkdir()
    code = "import sys\nfrom fewtune.cli import main\nsys.argv[0] = 'fewtune'\ntry: main()\nfinally: print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code, *arguments], cwd=photos.parent, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 2 and said in ran.stderr and ran.stderr.count("\n") == 1, ran.stderr
    assert ran.stdout == "False\n"


def test_a_fetched_model_is_carried_to_a_machine_without_a_network(fewtune: Run, tmp_path: Path) -> None:
    encoder = tiny(tmp_path / "encoder", seed=0)
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"{a} {b},{a}\n" for a in ("cat", "dog") for b in ("red", "blue", "")))
    ran = fewtune("fetch", f"hf:{encoder}", "--to", tmp_path / "carried")
    assert ran.code == 0, ran.err
    assert "--backbone hf:encoder --weights carried" in ran.out and "licence of its weights is not known" in ran.out
    quick = ("--method", "centroid", "--finetune", "never", "--quiet", "--out")
    assert fewtune("adapt", tmp_path / "texts.csv", "--backbone", f"hf:{encoder}", *quick, tmp_path / "here").code == 0
    shutil.rmtree(encoder)  # the other machine
    (tmp_path / "carried").rename(tmp_path / "there")
    ran = fewtune("adapt", tmp_path / "texts.csv", "--backbone", "hf:encoder", "--weights", tmp_path / "there", *quick, tmp_path / "run")
    assert ran.code == 0, ran.err
    answers = [
        json.loads(fewtune("predict", tmp_path / run, "--text", "cat red", "--format", "json", "--quiet", *more).out)
        for run, more in (("run", ()), ("here", ("--weights", tmp_path / "there")))
    ]
    assert answers[0] == answers[1]
    ran = fewtune("adapt", tmp_path / "texts.csv", "--backbone", "hf:other", "--weights", tmp_path / "there", *quick, tmp_path / "x")
    assert ran.code == 2 and "holds hf:encoder, not hf:other: write --backbone hf:encoder" in ran.err


def test_what_cannot_be_fetched_leaves_nothing(fewtune: Run, tmp_path: Path) -> None:
    ran = fewtune("fetch", "hf:facebook/dinov2-small", "--to", tmp_path / "new")
    assert ran.code == 2 and "the hub cannot be reached" in ran.err
    encoder = tiny(tmp_path / "encoder", seed=0)
    (encoder / "config.json").write_text("{}")
    assert fewtune("fetch", f"hf:{encoder}", "--to", tmp_path / "new").code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["encoder"]
