"""What a whole command costs from the shell, in CPU seconds, beside a plain script of timm and scikit-learn that does the same.

    FEWTUNE_KIT=... python benchmarks/shell.py --runs 1    # one JSON object a line

`adapt` runs with `--finetune never`: the plain script does not finetune. It embeds, cross-validates logistic regression (5 folds), fits it
and saves it; it writes no report. `predict` labels one photo. `warm`: one photo in a process that has loaded the model, beside the bare
network of timm on the same thread (decoding and resizing included in both). CPU seconds hardly depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

KIT = Path(os.environ.get("FEWTUNE_KIT", "../shared/kit"))
WEIGHTS = KIT / "weights" / "mobilenetv2_100.imagenet1k.safetensors"
BACKBONE = ("--backbone", "timm:mobilenetv2_100,pad_type=same,size=160,crop_pct=1", "--weights", str(WEIGHTS))
SIZES = ((6, 8), (20, 50))  # classes, photos of each

_NETWORK = f"""
import sys, time
from pathlib import Path
import numpy as np, timm, torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform
torch.set_num_threads(1)
network = timm.create_model("mobilenetv2_100", pad_type="same", num_classes=0).eval()
weights = load_file({str(WEIGHTS)!r})
network.load_state_dict({{k: v for k, v in weights.items() if not k.startswith("classifier.")}})
prepare = create_transform((3, 160, 160), interpolation="bicubic", crop_pct=1.0, mean=(0.5,) * 3, std=(0.5,) * 3)
def embed(paths):
    with torch.inference_mode():
        return network(torch.stack([prepare(Image.open(p).convert("RGB")) for p in paths]))
"""
_PLAIN = (
    _NETWORK
    + """
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
files = sorted(Path(sys.argv[1]).glob("*/*.jpg"))
x = torch.cat([embed(files[i:i + 64]) for i in range(0, len(files), 64)]).numpy()
y = np.array([f.parent.name for f in files])
print(cross_val_score(LogisticRegression(max_iter=1000), x, y, cv=5).mean())
made = LogisticRegression(max_iter=1000).fit(x, y)
np.savez(sys.argv[2], coef=made.coef_, intercept=made.intercept_, classes=made.classes_)
"""
)
_REPEAT = """
for _ in range(5):
    one()
times = []
for _ in range(60):
    began = time.process_time(); one(); times.append(time.process_time() - began)
print(sorted(times)[len(times) // 2])
"""
_BARE = _NETWORK + "def one(): embed([sys.argv[1]])\n" + _REPEAT
_WARM = (
    "import sys, time, torch, fewtune\ntorch.set_num_threads(1)\nmodel = fewtune.load(sys.argv[2])\n"
    "def one(): model.predict([sys.argv[1]], quiet=True)\n" + _REPEAT
)


def photos(folder: Path, classes: int, each: int) -> Path:
    """A folder of class folders from the benchmark kit's Caltech-101."""
    data = np.load(KIT / "images" / "caltech101.npz")
    content, offsets, labels = data["bytes"], data["offsets"], data["label"]
    there = [c for c in range(labels.max() + 1) if (labels == c).sum() >= each][:classes]
    for c in there:
        (folder / f"class {c:02d}").mkdir(parents=True)
        for row in np.flatnonzero(labels == c)[:each]:
            (folder / f"class {c:02d}" / f"{row}.jpg").write_bytes(content[offsets[row] : offsets[row + 1]].tobytes())
    return folder


def cpu(*command: str | Path) -> tuple[float, str]:
    """CPU seconds of a command and its children, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(ran.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ran.stdout


def say(what: str, **found: float) -> None:
    print(json.dumps({"what": what, **{name: round(value, 3) for name, value in found.items()}}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each command; medians are shown")
    parser.add_argument("--small", action="store_true", help="leave the larger data out")
    given = parser.parse_args()
    runs = given.runs
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        os.environ["FEWTUNE_CACHE"] = str(here / "cache")
        for classes, each in SIZES[:1] if given.small else SIZES:
            data = photos(here / f"{classes}x{each}", classes, each)
            plain, ours = [], []
            for _ in range(runs):
                plain.append(cpu("-c", _PLAIN, data, here / "plain.npz")[0])
                shutil.rmtree(here / "run", ignore_errors=True)
                shutil.rmtree(here / "cache", ignore_errors=True)
                ours.append(cpu("-m", "fewtune", "adapt", data, *BACKBONE, "--finetune", "never", "--out", here / "run", "--quiet")[0])
            both = {"plain": statistics.median(plain), "fewtune": statistics.median(ours)}
            say(f"adapt, {classes} classes x {each} photos, CPU s", **both, ratio=both["fewtune"] / both["plain"])
        photo = next(data.rglob("*.jpg"))
        cpu("-m", "fewtune", "predict", here / "run", photo, "--quiet")  # what is remembered of the weights
        predicted = [cpu("-m", "fewtune", "predict", here / "run", photo, "--quiet")[0] for _ in range(runs)]
        say("predict one photo from the shell, CPU s", fewtune=statistics.median(predicted))
        bare, warm = (statistics.median(float(cpu("-c", code, photo, here / "run")[1]) for _ in range(runs)) for code in (_BARE, _WARM))
        say("one photo in a warm process, CPU ms", bare=1000 * bare, fewtune=1000 * warm, ratio=warm / bare)


if __name__ == "__main__":
    main()
