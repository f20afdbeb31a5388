"""What is transferred between runs, through the command line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fewtune as package
from fewtune.api.adapted import Adapted
from fewtune.backbones.places import steps_in
from fewtune.errors import InputError
from fewtune.evaluation.run_folder import Keeping
from fewtune.machine import Machine
from fewtune.models.evaluate import read_labelled
from fewtune.models.finetuned_weights import what_moved
from fewtune.models.predict import Running
from fewtune.pretraining.pretrain import Surroundings, pretrain_examples
from fewtune.pretraining.settings import PretrainSettings
from fewtune.studies.transferred.compare import TransferSettings, compare_runs
from fewtune.studies.transferred.solutions import read_solution
from tests.journeys.conftest import SHAPES, Ran, draw
from tests.unit.pretraining.test_pretrain import clouds

Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos to learn from and others to judge by, and four runs: near and far move from one start, ridge and frozen are others."""
    folder = tmp_path_factory.mktemp("transfer")
    for part, first, count in (("photos", 0, 4), ("more", 100, 6)):
        for i, shape in enumerate(SHAPES):
            (folder / part / shape).mkdir(parents=True)
            for j in range(count):
                draw(shape, first + 10 * i + j).save(folder / part / shape / f"{j}.png")
    start = package.load_backbone("conv4,size=16", machine=Machine(device="cpu"))
    for name, method, seed, spread in (("near", "ridge", 0, 0.01), ("far", "ridge", 1, 0.6), ("other", "logistic", 0, 0.01)):
        g = torch.Generator().manual_seed(seed)
        weights = {n: t + spread * torch.randn(t.shape, generator=g) for n, t in start.start().items() if t.is_floating_point()}
        moved = what_moved(start, weights)
        assert moved is not None
        outcome = package.adapt(folder / "photos", backbone=moved.onto(start), method=method, cache=folder / "cache").outcome
        bundle = replace(outcome.bundle, moved=moved)
        Adapted(replace(outcome, bundle=bundle, backbone=moved.onto(start))).save(folder / name)
    package.adapt(folder / "photos", backbone=start, method="ridge", cache=folder / "cache").save(folder / "frozen")
    return folder


def test_two_runs_are_compared_and_written(fewtune: Run, here: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    ran = fewtune("transfer", here / "near", here / "far", "--data", here / "more", "--out", out, "--quiet")
    assert ran.code == 0, ran.err
    for words in ("near and far", "Pairs of runs", "Groups of near", "barrier", "yes", "back to its start"):
        assert words in ran.out
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 2 and "what is transferred" in page and "18 rows of more judged" in page
    with (out / "lines.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15 and {row["first"] for row in rows} == {"near"}
    again = fewtune("transfer", here / "near", here / "far", "--data", here / "more", "--out", out)
    assert again.code == 2 and "exists" in again.err


def test_what_it_says_is_what_the_models_answer(here: Path) -> None:
    """The ends of a line are the accuracies of the saved models; a rewound run of one group is measured by hand."""
    data = read_labelled(here / "more")
    near, far = (read_solution(str(here / name), Running()) for name in ("near", "far"))
    found = compare_runs([near, far], data, TransferSettings(rows=100))
    for place, name in ((found.pairs[0].points.index(0.0), "near"), (found.pairs[0].points.index(1.0), "far")):
        assert found.pairs[0].accuracy[place] == pytest.approx(package.load(here / name).evaluate(here / "more").accuracy.mean)
    assert found.pairs[0].one_start is True and found.count == 18
    square = sum(float((t - far.end[n]).double().square().sum()) for n, t in near.end.items() if t.is_floating_point())
    assert found.pairs[0].apart == pytest.approx(square**0.5)
    run = found.runs[1]
    assert {*run.drops} == {title for title, _ in far.backbone.groups}
    assert all(before < after for before, after in run.norms.values())  # much noise was added
    assert run.depth.keys() == {*run.drops, "features"} == run.start_depth.keys()


def test_one_run_is_compared_with_its_start(fewtune: Run, here: Path) -> None:
    first = package.load_backbone("conv4,size=16").groups[0][0]
    words = ("--data", here / "more", "--group", first, "--criticality", "--rows", 12, "--quiet")
    ran = fewtune("transfer", here / "near", *words)
    assert ran.code == 0 and "start of near" in ran.out and "12 rows" not in ran.err, ran.err
    solution = read_solution(str(here / "near"), Running())
    found = compare_runs([solution], read_labelled(here / "more"), TransferSettings(groups=(first,), criticality=True, rows=12))
    (run,) = found.runs
    assert run.criticality is not None and [*run.criticality.modules] == [first] == [*run.drops]
    assert found.pairs[0].first == "start of near"


def test_a_probe_needs_no_common_head(fewtune: Run, here: Path) -> None:
    ran = fewtune("transfer", here / "near", here / "other", "--data", here / "more", "--probe", "--group", "*0*", "--quiet")
    assert ran.code == 0 and "new head" in ran.out, ran.err


def test_domains_shifts_and_valleys_stand_on_the_page(fewtune: Run, here: Path, tmp_path: Path) -> None:
    """Photos of two sites, those of the second upside down and dark; each number by hand from the model's answers."""
    photos, labels = [], []
    for shape in SHAPES:
        for path in sorted((here / "more" / shape).iterdir()):
            photos.append(np.asarray(Image.open(path).convert("RGB")))
            labels.append(shape)
    site = np.array(["ours", "theirs"])[np.arange(len(photos)) % 2]
    x = np.stack([255 - one[::-1] if where == "theirs" else one for one, where in zip(photos, site, strict=True)])
    np.savez(tmp_path / "sites.npz", x=x, y=np.array(labels), groups=site)
    first = package.load_backbone("conv4,size=16").groups[0][0]
    out = tmp_path / "study"
    shifts = ("--shift", "gaussian_noise:5", "--shift", "blur:3")
    words = ("--data", tmp_path / "sites.npz", "--group", first, "--valley", *shifts, "--out", out, "--quiet")
    ran = fewtune("transfer", here / "near", *words)
    assert ran.code == 0, ran.err
    for said in ("By group of the data", "mean of the groups", "worst: ", "Over the shifts"):
        assert said in ran.out
    page = (out / "report.html").read_text()
    assert page.count("<svg") == 3 and f"{first}: " in page and "noise 0.5" in page
    data = read_labelled(tmp_path / "sites.npz")
    solution = read_solution(str(here / "near"), Running())
    found = compare_runs([solution], data, TransferSettings(groups=(first,), valley=True))
    (run,) = found.runs
    measured = package.load(here / "near").evaluate(data)
    assert run.groups is not None and measured.groups is not None and {*run.groups.each} == {"ours", "theirs"}
    assert run.groups == measured.groups and run.groups.worst == min(run.groups.each, key=lambda name: run.groups.each[name].mean)
    assert [*run.valleys] == [first]
    errors = run.valleys[first].errors  # without noise: the end, and this group alone at its start
    assert errors[-1, 0] == pytest.approx(1 - run.accuracy.mean)
    assert errors[0, 0] - errors[-1, 0] == pytest.approx(run.drops[first].mean)


def test_batchnorm_is_estimated_again_where_it_is_asked_for(here: Path) -> None:
    """conv4 has none, so nothing changes: the statistics are those of groups, not of batches."""
    near, far = (read_solution(str(here / name), Running()) for name in ("near", "far"))
    plain, asked = (
        compare_runs([near, far], read_labelled(here / "more"), TransferSettings(batchnorm=b, groups=("*0*",))) for b in (False, True)
    )
    assert np.array_equal(plain.pairs[0].accuracy, asked.pairs[0].accuracy)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give the folder of one or more"),
        (("near", "other"), "different heads"),
        (("near", "nowhere"), "does not exist"),
        (("near", "photos"), "no saved model"),
        (("frozen",), "nothing moved"),
        (("near", "far", "--group", "blocks.9"), "unknown group"),
        (("near", "far", "--rows", "3"), "at least 8"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    fewtune: Run, here: Path, words: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    ran = fewtune("transfer", *words, "--data", "more", "--quiet")
    assert ran.code == 2 and said in ran.err and ran.err.count("\n") == 1, ran.err


def test_no_run_is_no_comparison(here: Path) -> None:
    with pytest.raises(InputError, match="at least one run"):
        compare_runs([], read_labelled(here / "more"), TransferSettings())


def test_rows_that_were_learned_from_are_left_out(fewtune: Run, here: Path) -> None:
    ran = fewtune("transfer", here / "near", here / "far", "--data", here / "photos", "--quiet")
    assert ran.code == 2 and "0 rows to judge by" in ran.err, ran.err


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pretraining runs of other widths, and vectors to judge them by."""
    folder = tmp_path_factory.mktemp("pretrained")
    how = PretrainSettings(objective="supervised", visits=200, batch=20, checkpoints=2)
    for name, width in (("a", 8), ("b", 5)):
        backbone = package.load_backbone(f"mlp,inputs=6,width={width}", machine=Machine(device="cpu"))
        pretrain_examples([clouds()], backbone, how, Keeping(out=folder / name), Surroundings(say=[].append))
    asked = clouds(seed=3)
    np.savez(folder / "asked.npz", x=np.stack([asked.items.fetch(i) for i in range(len(asked))]), y=asked.labels)
    return folder


def test_checkpoints_of_a_run_are_solutions_too(fewtune: Run, pretrained: Path) -> None:
    first = steps_in(pretrained / "a")[0]
    words = (f"run:{pretrained / 'a'},step={first}", pretrained / "a", "--data", pretrained / "asked.npz", "--quiet")
    ran = fewtune("transfer", *words)
    assert ran.code == 0 and f"a step {first}" in ran.out and f"the checkpoint of step {first}" in ran.out, ran.err


def test_other_architectures_and_a_checkpoint_alone_are_refused(fewtune: Run, pretrained: Path) -> None:
    data = ("--data", pretrained / "asked.npz", "--quiet")
    ran = fewtune("transfer", pretrained / "a", pretrained / "b", *data)
    assert ran.code == 2 and "one architecture" in ran.err and ran.err.count("\n") == 1, ran.err
    first = steps_in(pretrained / "a")[0]
    ran = fewtune("transfer", f"run:{pretrained / 'a'},step={first}", *data)
    assert ran.code == 2 and "one checkpoint only" in ran.err and ran.err.count("\n") == 1, ran.err


def test_runs_are_judged_under_shifts_without_rows_that_they_learned(fewtune: Run, here: Path) -> None:
    """Of photos and more together, those of `photos` were learned from: shifted or not, they do not judge."""
    how = ("--rows", 18, "--quiet", "--group", "*.0")
    ran = fewtune("transfer", here / "near", here / "far", "--data", here / "more", *how, "--shift", "contrast:5", "shares:circle=2")
    assert ran.code == 0 and "Under shifts" in ran.out and "contrast:5" in ran.out, ran.err
    examples = read_labelled(here / "more")
    both = [read_solution(str(here / name), Running(quiet=True)) for name in ("near", "far")]
    found = compare_runs(
        both, examples, TransferSettings(rows=18, groups=("*.0",), shifts=("brightness:1", "contrast:5", "shares:circle=2"))
    )
    weak, strong, shares = found.shifts
    assert (weak.count, strong.count, shares.count) == (18, 18, 12) and not shares.fall
    assert strong.fall["near"].mean == pytest.approx(found.runs[0].accuracy.mean - strong.accuracy["near"].mean)
    learned = read_labelled(here / "photos")
    with pytest.raises(InputError, match="leaves 0 rows to judge by"):
        compare_runs(both, learned, TransferSettings(rows=18, shifts=("contrast:5",)))
    ran = fewtune("transfer", here / "near", here / "far", "--data", here / "more", "--shift", "contrast:7")
    assert ran.code == 2 and "severity goes from 1" in ran.err and ran.err.strip().count("\n") == 0


def test_shifts_are_targets_of_compare(fewtune: Run, here: Path) -> None:
    how = ("--backbone", "conv4,size=16", "--ways", 3, "--shots", 1, "--queries", 2, "--episodes", 5, "--method", "centroid", "--quiet")
    ran = fewtune("compare", here / "more", *how, "--shift", "contrast:5", "blocks:56", "--format", "csv")
    assert ran.code == 0 and "more@contrast-5" in ran.out and "more@blocks-56" in ran.out, ran.err
    ran = fewtune("compare", here / "more", *how, "--shift", "smoke:5")
    assert ran.code == 2 and "unknown shift 'smoke'" in ran.err
