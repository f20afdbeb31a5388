"""What a newcomer has: a folder of photos, a table of sentences, embeddings; and the command line in this very process."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fewtune.cli.endings import BUG, Ending, ending

SHAPES = ("circle", "square", "triangle")


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str


def no_bug(problem: BaseException) -> Ending:
    """`ending`, but what is a bug of ours comes through to the test."""
    end = ending(problem)
    if end.code == BUG:
        raise problem
    return end


@pytest.fixture
def fewtune(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Ran]]:
    """Runs `fewtune ARGS` and returns its exit code and output; feature tables go to a folder of the test."""
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
    handlers = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

    def run(*args: object) -> Ran:
        from fewtune.cli import main

        monkeypatch.setattr("sys.argv", ["fewtune", *map(str, args)])
        monkeypatch.setattr("fewtune.cli.endings.ending", no_bug)
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


def draw(shape: str, seed: int, size: int = 48) -> Image.Image:
    """A filled shape of random colour and place on noise."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 60, size=(size, size, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(image)
    x, y = (int(v) for v in random.integers(4, 12, size=2))
    box = (x, y, x + 30, y + 30)
    colour = tuple(int(v) for v in random.integers(150, 255, size=3))
    if shape == "circle":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x, y + 30), (x + 30, y + 30), (x + 15, y)], fill=colour)
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """photos/{circle,square,triangle}/NN.png|jpg, 8 of each."""
    for k, shape in enumerate(SHAPES):
        folder = tmp_path / "photos" / shape
        folder.mkdir(parents=True)
        for i in range(8):
            draw(shape, 100 * k + i).save(folder / (f"{i:02d}.png" if i % 2 else f"{i:02d}.jpg"))
    return tmp_path / "photos"


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    """embeddings.npz: 12 classes, 30 rows each, 16 dimensions, well apart."""
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(12), 30)
    x = (random.normal(size=(12, 16))[y] + 0.8 * random.normal(size=(len(y), 16))).astype(np.float32)
    path = tmp_path / "embeddings.npz"
    np.savez(path, x=x, y=y, names=np.array([f"class {i}" for i in range(12)]))
    return path
