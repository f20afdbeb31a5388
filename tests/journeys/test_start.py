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


def without_torch(arguments: list[str], home: Path) -> str:
    """What a command says that fails before torch is loaded, where the caches of models and of fewtune are empty."""
    code = (
        f"import sys; sys.argv = {arguments}\nfrom fewtune.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    there = {**os.environ, "HF_HOME": str(home / "empty"), "HF_HUB_OFFLINE": "1", "FEWTUNE_CACHE": str(home / "cache")}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=there)
    assert ran.returncode == 2 and ran.stdout.endswith("False\n") and ran.stderr.count("\n") == 1, ran
    return ran.stderr


TWO = ("--label", "kind", "--label", "size")
PHOTOS = "hf:facebook/dinov2-small, the usual model for photos, is not on this machine"
TEXTS = "hf:sentence-transformers/all-MiniLM-L6-v2, the usual model for texts, is not on this machine"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "nothing", "new.jpg"),
        ("evaluate", "nothing", "labelled"),
        ("suggest", "nothing", "new"),
        ("add-class", "nothing", "wren", "wrens"),
        ("serve", "nothing"),
        ("export", "nothing"),
        ("pack", "nothing"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_folder_that_is_no_saved_model_is_told_before_torch_is_loaded(arguments: tuple[str, ...], tmp_path: Path) -> None:
    assert "nothing is no saved model" in without_torch(["fewtune", *arguments], tmp_path)


def test_runs_to_merge_that_are_not_there_are_told_before_torch_is_loaded(tmp_path: Path) -> None:
    assert "nothing does not exist" in without_torch(["fewtune", "merge", "nothing", "other", "--out", str(tmp_path / "whole")], tmp_path)


@pytest.mark.parametrize(
    ("command", "kind", "flags", "said", "other"),
    [
        ("adapt", "photos", (), PHOTOS, "tokenizer"),
        ("adapt", "photos", ("--backbone", "base"), "hf:facebook/dinov2-base is not on this machine", "the usual model"),
        ("adapt", "texts", (), TEXTS, "timm:"),
        ("adapt", "columns", TWO, TEXTS, "timm:"),
        ("compare", "columns", TWO, TEXTS, "timm:"),
        ("compare", "photos", (), PHOTOS, "tokenizer"),
    ],
)
def test_without_a_network_a_model_that_is_not_here_is_told_before_torch_is_loaded(
    command: str, kind: str, flags: tuple[str, ...], said: str, other: str, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "texts.csv").write_text("text,label\n" + "".join(f"{a} {b},{a}\n" for a in ("cat", "dog") for b in ("red", "blue", "")))
    rows = "".join(f"a {kind} {n},{kind},{size}\n" for kind in "ab" for size in "xy" for n in range(9))
    (tmp_path / "columns.csv").write_text(f"text,kind,size\n{rows}")
    data = photos if kind == "photos" else tmp_path / f"{kind}.csv"
    out = ("--out", str(tmp_path / "new")) if command == "adapt" else ()
    found = without_torch(["fewtune", command, str(data), *flags, *out, "--quiet"], tmp_path)
    assert said in found and "fewtune fetch hf:" in found and other not in found


@pytest.mark.parametrize("labels", [(), TWO])
def test_weights_that_are_not_known_or_gone_are_told_before_torch_is_loaded(labels: tuple[str, ...], fewtune: Run, tmp_path: Path) -> None:
    words = "".join(f"{a} {b},{a},{b}\n" for a in ("cat", "dog") for b in ("red", "blue") for _ in range(1 + 3 * bool(labels)))
    (tmp_path / "texts.csv").write_text(f"text,{'kind' if labels else 'label'},size\n{words}")
    encoder = tiny(tmp_path / "encoder", seed=0)
    few = ("--finetune", "never") if labels else ("--method", "centroid")
    flags = ("--backbone", f"hf:{encoder}", *labels, *few, "--skip-bad")
    assert fewtune("adapt", tmp_path / "texts.csv", *flags, "--out", tmp_path / "run", "--quiet").code == 0
    asked = ["fewtune", "predict", str(tmp_path / "run"), "--text", "cat"]
    said = without_torch(asked, tmp_path)
    assert "was read from a local folder that is not known on this machine" in said and "--weights FOLDER" in said
    gone = without_torch([*asked, "--weights", str(tmp_path / "other")], tmp_path)
    assert "the backbone's weights are not at" in gone and "say where they are now with --weights" in gone
    assert fewtune("predict", tmp_path / "run", "--text", "cat", "--weights", encoder, "--quiet").code == 0


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
        (("adapt", "photos", "--backbone", "pixels", "--long", "mean"), "long texts are for texts, but photos holds images"),
        (("compare", "photos", "--backbone", "pixels", "--template", "sst2"), "are for texts, but photos holds images"),
        (("tasks", "table.csv", *TWO, "--backbone", "pixels", "--long", "mean"), "are for texts, but table holds images"),
        (
            ("adapt", "numbers.csv", *TWO, "--numbers", "n", "--backbone", "small"),
            "numbers are all that is read",
        ),
        (
            ("compare", "numbers.csv", *TWO, "--numbers", "n", "--long", "mean"),
            "numbers are all that is read",
        ),
        (
            ("tasks", "numbers.csv", *TWO, "--numbers", "n", "--weights", "photos"),
            "numbers are all that is read",
        ),
        (("export", "empty", "--input", "review"), "--input is the column of tables on which the export is checked, and none is given"),
        (("transfer", "empty", "--data", "photos", "--rows", "3"), "rows to judge by are at least 8, found 3"),
        (("transfer", "empty", "--data", "photos", "--shift", "blurr"), "unknown shift 'blurr': did you mean blur"),
        (("transfer", "empty", "--data", "photos", "--shift", "blur:x"), "--shift blur:x: expected a whole number"),
    ],
)
def test_mistakes_are_told_before_torch_is_imported(photos: Path, arguments: tuple[str, ...], said: str) -> None:
    (photos.parent / "empty").mkdir()
    rows = "".join(f"photos/circle/0{n}.{'png' if n % 2 else 'jpg'},{'ab'[n % 2]},{'xy'[n // 4]},{n}\n" for n in range(8))
    (photos.parent / "table.csv").write_text(f"file,kind,size,n\n{rows}")
    (photos.parent / "numbers.csv").write_text("kind,size,n\n" + "".join(f"{'ab'[n % 2]},{'xy'[n // 4]},{n}\n" for n in range(8)))
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
