"""README as a newcomer follows it: every `fewtune` command of it runs, in its order, on photos and tables that are made here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.journeys.conftest import SHAPES, Ran, draw
from tests.journeys.test_serve import serving
from tests.tiny_text import tiny, tiny_masked
from tests.unit.joint.grounds import write_houses

Run = Callable[..., Ran]

ROOT = Path(__file__).resolve().parents[2]
FOLLOWED = ("README.md", "docs/guides/comparing.md", "docs/guides/many-machines.md", "docs/guides/backbones.md")
SMALL = "conv4,size=16,width=4"
HERE = {  # what takes a network or hours elsewhere is small here
    "timm:mobilenetv2_100": SMALL,
    "--episodes 600": "--episodes 10",
    "visits=20000": "visits=100",
    "--training-seeds 0 1 2": "--training-seeds 0 1",
    "hf:FOLDER": "hf:masked",
    "--input premise hypothesis": "--input premise hypothesis --backbone hf:bert",
}
ELSEWHERE = ("demo", "serve", "fetch", "backbones")  # each has a test of its own


def commands() -> list[str]:
    """The commands of the blocks of README and of the guides that go on from it, one line each, as they run here."""
    texts = [(ROOT / document).read_text(encoding="utf-8") for document in FOLLOWED]
    blocks = [block for text in texts for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)]
    lines = list(dict.fromkeys("\n".join(blocks).replace("\\\n", " ").splitlines()))
    found = [line.strip() for line in lines if line.startswith("fewtune ") and line.split()[1] not in ELSEWHERE and "--watch" not in line]
    for there, here in HERE.items():
        found = [line.replace(there, here) for line in found]
    return [
        line.replace(" --out", f" --backbone {SMALL} --out") if " adapt " in line and not re.search("--backbone|--numbers", line) else line
        for line in found
    ]


def shapes(folder: Path, start: int, count: int = 8) -> None:
    for k, shape in enumerate(SHAPES):
        (folder / shape).mkdir(parents=True)
        for i in range(count):
            draw(shape, start + 100 * k + i).save(folder / shape / f"{i}.png")


@pytest.fixture
def things(fewtune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that README names, in the current folder."""
    monkeypatch.chdir(tmp_path)
    shapes(tmp_path / "photos", 0)
    shapes(tmp_path / "labelled", 5000, 3)
    for number, shape in enumerate(SHAPES):
        for place in ("card", "wrens"):
            (tmp_path / place).mkdir(exist_ok=True)
            draw(shape, 9000 + number).save(tmp_path / place / f"{number}.png")
    shutil.copy(tmp_path / "card" / "0.png", tmp_path / "new.jpg")
    random = np.random.default_rng(0)
    for name, classes in (("more", 12), ("photos", 8), ("birds", 8)):
        x, y = random.integers(0, 255, (classes * 24, 16, 16, 3), dtype=np.uint8), np.repeat(np.arange(classes), 24)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    (tmp_path / "more").mkdir()
    for row in range(48):
        where = tmp_path / "more" / f"kind {row // 8}"
        where.mkdir(exist_ok=True)
        draw(SHAPES[row // 8 % 3], 20000 + row, size=40 + row // 8).save(where / f"{row}.png")
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted((tmp_path / "more").rglob("*.png"))]
    for table in ("others.csv", "more.csv"):
        (tmp_path / table).write_text("path,label\n" + "\n".join(rows) + "\n")
    texts = "".join(f"{['red cat', 'blue dog'][i % 2]} {i},{['pet', 'beast'][i % 2]}\n" for i in range(12))
    (tmp_path / "tickets.csv").write_text("text,label\n" + texts)
    write_houses(tmp_path / "houses.csv", rows=60)
    (tmp_path / "new_houses.csv").write_text("size,age\n12,1\n7,4\n")
    tiny_masked(tmp_path / "masked", max_position_embeddings=24)
    reviews = "".join(f"{['good red cat', 'bad blue dog'][i % 2]},{['positive', 'negative'][i % 2]}\n" for i in range(24))
    (tmp_path / "reviews.csv").write_text("text,label\n" + reviews)
    pairs = "".join(f"red cat,{['red cat', 'blue dog'][i % 2]},{['same', 'other'][i % 2]}\n" for i in range(24))
    (tmp_path / "pairs.csv").write_text("premise,hypothesis,label\n" + pairs)
    (tmp_path / "new.csv").write_text("id,text\n1,red cat\n2,blue dog\n")
    ran = fewtune("adapt", "tickets.csv", "--backbone", f"hf:{tiny(tmp_path / 'bert', 0)}", "--out", "runs/tickets", "--finetune", "never")
    assert ran.code == 0, ran.err
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_readme_runs(fewtune: Run, things: Path) -> None:
    assert {line.split()[1] for line in commands()} >= {"inspect", "adapt", "predict", "evaluate", "add-class", "pack", "export", "compare"}
    for line in commands():
        ran = fewtune(*shlex.split(line, comments=True)[1:])
        assert ran.code == 0, f"{line}\n{ran.err}"
    assert (things / "answers.csv").read_text().splitlines()[0].startswith("id,text,label,probability")
    assert sorted(path.name for path in (things / "sorted").iterdir())


def test_from_nothing_to_a_served_model_without_its_wrong_label(fewtune: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer's ten minutes: learn, correct the label that is doubted, learn again, pack, carry the folder away, serve it."""
    pytest.importorskip("starlette")
    monkeypatch.chdir(tmp_path)
    shapes(tmp_path / "photos", 0, 10)
    (tmp_path / "photos/circle/0.png").rename(tmp_path / "photos/square/wrong.png")
    flags = ("--backbone", "pixels,size=24", "--out", "runs/birds")
    said = fewtune("adapt", "photos/", *flags).out
    doubted = re.search(r"label[s]? may be wrong: (.*)", said)
    assert doubted is not None and "square/wrong.png" in doubted[1], said
    (tmp_path / "photos/square/wrong.png").rename(tmp_path / "photos/circle/0.png")
    said = fewtune("adapt", "photos/", *flags, "--overwrite", "--pack").out
    assert "wrong.png" not in said and "guessing would get 1 of 3" in said
    shutil.move(tmp_path / "runs/birds", tmp_path / "colleague")
    shutil.rmtree(tmp_path / "photos")
    draw("circle", 777).save("new.png")
    (answer,) = json.loads(fewtune("predict", "colleague", "new.png", "--format", "json").out)
    with serving(tmp_path / "colleague") as (_, port):
        body = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="new.png"\r\n\r\n' + Path("new.png").read_bytes()
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/predict", body + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}
        )
        with urllib.request.urlopen(asked, timeout=60) as found:
            (served,) = json.load(found)["predictions"]
    assert served["label"] == answer["label"] and served["probability"] == pytest.approx(answer["probability"], abs=1e-5)
