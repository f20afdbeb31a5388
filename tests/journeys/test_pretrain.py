"""A newcomer pretrains a network on her photos and uses it, and what goes wrong is said in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.conftest import Ran, draw

Run = Callable[..., Ran]


def test_a_network_is_pretrained_and_used_by_name(fewtune: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "nets"
    how = ("--backbone", "conv4,size=28", "--objective", "supervised", "--batch", 8, "--quiet")
    ran = fewtune("pretrain", photos, *how, "--budget", "visits=80", "--checkpoints", 1, "--out", out, "--dry")
    assert ran.code == 0 and "10 updates of 8 rows each" in ran.out and not out.exists(), ran.err
    ran = fewtune("pretrain", photos, *how, "--budget", "visits=80", "--checkpoints", 1, "--out", out)
    assert ran.code == 0 and "10 updates looked at 80 rows" in ran.out and "The probe's accuracy went from" in ran.out, ran.err
    assert f"--backbone run:{out}" in ran.err
    for backbone in (f"run:{out}", f"run:{out},step=5"):
        ran = fewtune("adapt", photos, "--backbone", backbone, "--out", tmp_path / "model", "--method", "ridge", "--overwrite", "--quiet")
        assert ran.code == 0, ran.err
    ran = fewtune("predict", tmp_path / "model", photos, "--format", "json", "--quiet")
    assert ran.code == 0 and len(json.loads(ran.out)) == len(list(photos.glob("*/*"))), ran.err


def test_a_table_with_captions_needs_no_labels(fewtune: Run, tmp_path: Path) -> None:
    from tests.tiny import save_clip

    save_clip(tmp_path / "clip")
    for i in range(12):
        draw("circle" if i % 2 else "square", i).save(tmp_path / f"{i}.png")
    rows = [{"path": f"{i}.png", "caption": f"a {'big cat' if i % 2 else 'red dog'} on mat {i}"} for i in range(12)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    how = ("--backbone", f"hf:{tmp_path / 'clip'}", "--batch", 6, "--budget", "visits=24", "--quiet")
    ran = fewtune("pretrain", tmp_path / "pairs.jsonl", *how, "--out", tmp_path / "run")
    assert ran.code == 0 and "12 rows with a caption; 12 different texts" in ran.out, ran.err


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (("--budget", "visits=80"), "say what to pretrain: --backbone NAME"),
        (("--backbone", "conv4"), "say how long to train: --budget"),
        (("--backbone", "conv4", "--budget", "visits=1", "--objective", "supervised"), "does not allow one update"),
        (("--backbone", "conv4", "--budget", "visits=80"), "conv4 reads no texts"),
        (("--backbone", "conv4", "--budget", "rows=80"), "expected minutes=NUMBER or visits=ROWS"),
        (("--backbone", "run:nowhere", "--budget", "visits=80"), "holds no saved model"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(fewtune: Run, photos: Path, tmp_path: Path, given: tuple[str, ...], sentence: str) -> None:
    ran = fewtune("pretrain", photos, *given, "--out", tmp_path / "run", "--quiet")
    assert ran.code == 2 and sentence in ran.err and ran.err.strip().count("\n") == 0, ran
    assert not (tmp_path / "run").exists() and not (tmp_path / "run.partial").exists()


def test_masked_words_of_a_table_of_texts_are_learned(fewtune: Run, tmp_path: Path) -> None:
    from tests.tiny_text import tiny

    tiny(tmp_path / "encoder", 0)
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(["red cat", "blue dog"] * 10))
    how = ("--mlm", "--backbone", f"hf:{tmp_path / 'encoder'}", "--batch", 5, "--budget", "visits=20", "--checkpoints", 0, "--quiet")
    ran = fewtune("pretrain", tmp_path / "texts.csv", *how, "--out", tmp_path / "words")
    assert ran.code == 0 and "texts: 20 texts; labels are not looked at." in ran.out, ran
    assert "Masked-word pretraining of hf:encoder" in ran.out
    ran = fewtune("pretrain", tmp_path / "texts.csv", "--objective", "simclr", *how[1:], "--out", tmp_path / "other")
    assert ran.code == 2 and "simclr compares views of photos, but hf:encoder reads texts" in ran.err, ran
    ran = fewtune("pretrain", tmp_path / "texts.csv", "--objective", "supervised", *how, "--out", tmp_path / "other")
    assert ran.code == 2 and "--mlm and --objective supervised are two objectives" in ran.err, ran
