"""Support vector machines by operator splitting, beside the interior-point method and liblinear."""

from __future__ import annotations

import warnings

import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from fewtune.parts.heads import splitting
from fewtune.parts.heads.interior_point import maximised
from fewtune.parts.heads.splitting import split
from fewtune.parts.heads.svm import Form, _dual, support_vectors
from fewtune.testing.heads import problem

FORMS: tuple[Form, ...] = ("crammer_singer", "one_vs_rest")


def crowded(K: int = 4, each: int = 5, D: int = 40) -> tuple[Tensor, Tensor]:
    """Unit rows [3, S, D] of classes that overlap more and more, a padded row and a row at the origin among them; members."""
    support, _, episodes, _ = problem(1, K=K, shots=(each,) * K, D=D)
    noise = torch.randn(support.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = normalize(support + torch.tensor([0.0, 2.0, 8.0])[:, None, None] * noise, dim=-1)
    members = one_hot(episodes.support_label, K).double()
    x[0, 1], x[1, 2], members[1, 2] = 0.0, 0.0, 0.0
    return x, members


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("C", [0.1, 1.0, 10.0, 100.0])
def test_both_solvers_find_one_weight_and_the_same_active_bounds(form: Form, C: float) -> None:
    x, members = crowded()
    dual = _dual(x, members, C, form)
    T, stiffness, done = split(dual)
    exact, stiff = maximised(dual)
    assert bool(done.all())
    torch.testing.assert_close(T.mT @ x, exact.mT @ x, rtol=1e-7, atol=1e-9)
    seen = (x.norm(dim=-1) > 0)[..., None].expand_as(T)
    assert torch.equal((stiffness > 1)[seen], (stiff > 1)[seen])
    assert set(stiffness.unique().tolist()) <= {0.0, splitting.STIFF}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("C", [0.1, 10.0])
def test_the_objective_is_no_worse_than_liblinear_s(form: Form, C: float) -> None:
    x, members = crowded()
    weight = support_vectors(x, members, C, form).mT @ x
    for e in range(3):
        known = members[e].sum(-1) > 0
        rows, y = x[e][known], members[e][known]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            multi = "crammer_singer" if form == "crammer_singer" else "ovr"
            twin = LinearSVC(C=C, loss="hinge", multi_class=multi, fit_intercept=False, tol=1e-9, max_iter=200_000)
            twin.fit(rows.numpy(), y.argmax(-1).numpy())

        def objective(w: Tensor, rows: Tensor = rows, y: Tensor = y) -> float:
            z = rows @ w.mT
            hinge = (z + 1 - y).amax(-1) - (z * y).sum(-1) if form == "crammer_singer" else (1 - (2 * y - 1) * z).clamp_min(0).sum(-1)
            return float(w.square().sum() / 2 + C * hinge.sum())

        theirs = objective(torch.from_numpy(twin.coef_))
        assert objective(weight[e]) <= theirs * (1 + 1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_rows_at_the_origin_do_not_keep_an_episode_from_its_end(form: Form) -> None:
    x, members = crowded(K=3, each=2)
    T, _, done = split(_dual(x, members, 1e3, form))
    assert bool(done.all())
    mine, others = 1.0, (-0.5 if form == "crammer_singer" else -1.0)
    torch.testing.assert_close(T[0, 1], torch.where(members[0, 1] > 0, mine, others).double())


@pytest.mark.parametrize("form", FORMS)
def test_what_does_not_converge_is_left_to_the_other_solver(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    x, members = crowded()
    expected = support_vectors(x, members, 10.0, form).mT @ x
    monkeypatch.setattr(splitting, "STEPS", 10)
    _, _, done = split(_dual(x, members, 10.0, form))
    assert not bool(done.any())
    torch.testing.assert_close(support_vectors(x, members, 10.0, form).mT @ x, expected, rtol=1e-7, atol=1e-9)
