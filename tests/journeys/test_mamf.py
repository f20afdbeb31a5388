"""fewtune mamf: the study from the command line, its folder and its page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.journeys.conftest import Ran
from tests.tiny import save_bert
from tests.unit.studies.mamf_grounds import sentences

Run = Callable[..., Ran]
SMALL = (
    "--rows",
    8,
    "--shots",
    3,
    "--queries",
    3,
    "--episodes",
    3,
    "--lr",
    1e-2,
    "--test-lr",
    1e-2,
    "--test-steps",
    2,
    "--budget",
    "visits=120",
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A table of sentences and a small text encoder."""
    data = sentences()
    lines = [f"{data.items.fetch(i)},{data.class_names[data.labels[i]]}" for i in range(len(data))]
    (tmp_path / "pets.csv").write_text("\n".join(["text,label", *lines]))
    save_bert(tmp_path / "encoder")
    return tmp_path


def test_the_study_leaves_a_page_rows_and_a_summary(fewtune: Run, place: Path) -> None:
    asked = ("mamf", place / "pets.csv", "--backbone", f"hf:{place / 'encoder'}", "--ways", 2, 3, "--seeds", 0, 1, *SMALL)
    ran = fewtune(*asked, "--ablation", 1, 2, "--ablation-ways", 3, "--out", place / "run", "--format", "json")
    assert ran.code == 0, ran.err
    lines = json.loads(ran.out)
    assert [(x["part"], x["ways"], x["tasks"], round(x["covered"], 3)) for x in lines] == [
        *(("dev", 2, 10, 0.996), ("test", 2, 10, 0.996), ("dev", 3, 5, 0.996), ("test", 3, 5, 0.996)),
        *(("test", 3, 1, 0.0), ("test", 3, 2, 0.75)),
    ]
    table = pq.read_table(place / "run" / "result.parquet").to_pydict()
    for x in lines[:4]:
        for method in ("zero-shot", "classical", "FOMAML", "MAMF"):
            columns = (table[name] for name in ("method", "part", "ways", "kind", "value"))
            mine = [v for m, p, n, k, v in zip(*columns, strict=True) if (m, p, n, k) == (method, x["part"], x["ways"], "grid")]
            assert len(mine) == 2 * 3 and abs(sum(mine) / 6 - x[method]) < 1e-12
    summary = json.loads((place / "run" / "summary.json").read_text())
    assert len(summary["configurations"]) == 6 and {one["method"] for one in summary["variance_ratio"]} == {
        "zero-shot",
        "classical",
        "FOMAML",
        "MAMF",
    }
    page = (place / "run" / "report.html").read_text()
    for said in (
        "Accuracy by task configuration",
        "Fewer and more training tasks",
        "Winner map",
        "Gain over zero-shot",
        "variance",
        "0.996",
    ):
        assert said in page, said
    assert page.count("<svg") == 1 + 1 + 1 + 3 + 4 and "<script" not in page and "http://" not in page.replace("http://www.w3.org", "")
    assert "Does uniform task sampling help?" in ran.err and "report.html" in ran.err
    again = fewtune(*asked, "--ablation", 1, 2, "--ablation-ways", 3, "--out", place / "run", "--format", "json")
    assert again.code == 0 and again.out == ran.out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--ways", 5), "has 4 classes, but tasks of N = 5"),
        (("--prompt", "a photo"), "a prompt has one {} for the class name"),
        (("--split", "classes"), "has no train, dev and test classes"),
        (("--shots", 30), "different rows of a class are needed"),
        (("--budget", "many"), "--budget is visits=NUMBER"),
        (("--method", "mafm"), "did you mean"),
        (("--backbone", "mlp,inputs=3,width=4"), "has no label side"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(fewtune: Run, place: Path, more: tuple[object, ...], said: str) -> None:
    backbone = () if "--backbone" in more else ("--backbone", f"hf:{place / 'encoder'}")
    settings = () if more[0] in SMALL else SMALL
    ran = fewtune("mamf", place / "pets.csv", *backbone, *settings, *more, "--out", place / "run")
    assert ran.code == 2 and said in " ".join(ran.err.split()), ran.err
    assert len(ran.err.strip().splitlines()) <= 4 and not (place / "run").exists() and not (place / "run.partial").exists()


def test_no_data_is_said(fewtune: Run) -> None:
    ran = fewtune("mamf", "--backbone", "small")
    assert ran.code == 2 and "one or more data sets" in ran.err


def test_all_way_zero_shot_before_and_after_multitask_finetuning(fewtune: Run, tmp_path: Path) -> None:
    """The command of docs/guides/mamf.md: all classes at once, by their names, before and after finetuning on tasks of three."""
    names = ("cat", "dog", "bird", "mat", "red", "blue", "big", "small")
    for name, seed in (("target", 1), ("source", 2)):
        data = sentences(seed=seed, name=name, classes=names)
        lines = [f"{data.items.fetch(i)},{data.class_names[data.labels[i]]}" for i in range(len(data))]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    save_bert(tmp_path / "encoder")
    tuned = "mamf(prompts='{}', ways=3, rows=12, epochs=4, batch=12, steps=120, lr=1e-2)"
    ran = fewtune(
        *("compare", tmp_path / "target.csv", "--source", tmp_path / "source.csv", "--backbone", f"hf:{tmp_path / 'encoder'}"),
        *(
            "--ways",
            8,
            "--shots",
            1,
            "--queries",
            20,
            "--episodes",
            5,
            "--method",
            "zero_shot(prompts='{}')",
            "--method",
            tuned,
            "--format",
            "json",
        ),
    )
    assert ran.code == 0, ran.err
    before, after = (line["mean"] for line in json.loads(ran.out))
    assert before < 0.25 and after > before + 0.05
