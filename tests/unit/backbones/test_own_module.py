"""`Backbone.of`: your own torch module as a backbone, against plain loops over the module itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch import Tensor, nn

import fewtune
from fewtune import FewShotClassifier
from fewtune.adaptation.adapt import adapt_examples
from fewtune.api.adapted import Adapted
from fewtune.backbones.backbone import Backbone
from fewtune.backbones.features import features_key
from fewtune.backbones.load import load_backbone
from fewtune.cli import main
from fewtune.data.examples import make_examples
from fewtune.data.items import Pixels, Texts, Vectors
from fewtune.data.row_space import RowSpace
from fewtune.errors import InputError
from fewtune.keys import key
from fewtune.learning.ground import Ground
from fewtune.learning.method import Method
from fewtune.learning.train import train
from fewtune.machine import Machine
from fewtune.models.finetuned_weights import what_moved
from fewtune.models.its_backbone import load_its_backbone
from fewtune.parts.heads import Centroid
from fewtune.recipes import multitask
from fewtune.sides.job import Workplace
from fewtune.tasks.task import class_rows
from tests.tiny import drawn, images, vector_space

CPU = Machine(device="cpu", workers=1)
CENTROID = {"centroid": Method(learner=Centroid())}


class Net(nn.Module):
    """A convolution with BatchNorm and dropout, and the mean over places."""

    def __init__(self, seed: int = 0, channels: int = 3) -> None:
        super().__init__()
        with drawn(seed):
            self.conv = nn.Conv2d(channels, 6, 3, stride=2)
            self.norm = nn.BatchNorm2d(6)
            self.drop = nn.Dropout(0.5)
            self.norm.running_mean = torch.randn(6)
            self.norm.running_var = torch.rand(6) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(torch.tanh(self.norm(self.conv(x)))).mean(dim=(2, 3))


def mlp(seed: int = 0, inputs: int = 5) -> nn.Sequential:
    with drawn(seed):
        return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 4))


@pytest.fixture(autouse=True)
def tables(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWTUNE_CACHE", str(tmp_path_factory.mktemp("tables")))


def test_images_are_prepared_and_embedded_as_a_plain_loop_does() -> None:
    module, pictures = Net().train(), images(5, height=40, width=56)
    before = copy.deepcopy(module.state_dict())
    backbone = Backbone.of(module, size=24, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), interpolation="bilinear", crop=0.75, machine=CPU)
    found = backbone.embed(backbone.start(), RowSpace([make_examples(Pixels(pictures), name="p")]), np.arange(5))

    plain, loop = copy.deepcopy(module).eval(), []
    for picture in pictures:
        image = Image.fromarray(picture).resize((44, 32), Image.Resampling.BILINEAR)  # the short side 24 / 0.75, the long in proportion
        x = torch.from_numpy(np.asarray(image.crop((10, 4, 34, 28)), dtype=np.float32)).permute(2, 0, 1) / 255
        x = (x - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.3, 0.4])[:, None, None]
        with torch.no_grad():
            loop.append(plain(x[None])[0])
    torch.testing.assert_close(found, torch.stack(loop), rtol=1e-5, atol=1e-6)

    assert module.training and module.norm.training  # the module stays as it was
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert all(torch.equal(before[n], tensor) for n, tensor in module.state_dict().items())
    assert backbone.name == "module:Net" and backbone.width == 6 and not backbone.network.training


def test_by_default_values_stay_between_0_and_1_and_one_channel_is_grey() -> None:
    backbone = Backbone.of(nn.Flatten(), size=(4, 6), machine=CPU)
    picture = np.full((1, 4, 6, 3), 51, dtype=np.uint8)
    found = backbone.embed({}, RowSpace([make_examples(Pixels(picture), name="p")]), np.arange(1))
    torch.testing.assert_close(found, torch.full((1, 72), 0.2))
    grey = Backbone.of(Net(channels=1), size=8, mean=(0.5,), std=(0.5,), machine=CPU)
    assert grey.width == 6 and grey.preparation.grey  # type: ignore[attr-defined]


def test_vectors_are_embedded_as_they_are_in_float32() -> None:
    module, space = mlp().double(), vector_space(5, 5)
    backbone = Backbone.of(module, inputs=5, machine=CPU)
    rows = np.stack([space.fetch(row) for row in range(5)])  # type: ignore[arg-type]
    found = backbone.embed(backbone.start(), space, np.arange(5))
    torch.testing.assert_close(found.double(), module(torch.from_numpy(rows).double()).detach(), rtol=1e-5, atol=1e-6)
    assert found.dtype == torch.float32 and next(module.parameters()).dtype == torch.float64
    assert [group for group, _ in backbone.groups] == ["0", "2"]


def test_later_changes_to_the_module_do_not_count() -> None:
    module = mlp()
    backbone = Backbone.of(module, inputs=5, machine=CPU)
    digest, start = backbone.digest(), {n: t.clone() for n, t in backbone.start().items()}
    nn.init.zeros_(module[0].weight)
    assert all(torch.equal(start[n], t) for n, t in backbone.start().items()) and replace(backbone).digest() == digest
    assert Backbone.of(module, inputs=5, machine=CPU).digest() != digest


def test_the_digest_is_of_weights_structure_and_preparation() -> None:
    one = Backbone.of(mlp(), inputs=5, machine=CPU)
    relu = nn.Sequential(mlp()[0], nn.ReLU(), mlp()[2])
    assert Backbone.of(mlp(), inputs=5, machine=CPU).digest() == one.digest()
    assert Backbone.of(mlp(1), inputs=5, machine=CPU).digest() != one.digest()
    assert Backbone.of(relu, inputs=5, machine=CPU).digest() != one.digest()
    net = Backbone.of(Net(), size=24, machine=CPU)
    assert Backbone.of(Net(), size=24, crop=0.9, machine=CPU).digest() != net.digest()


def test_another_forward_over_the_same_weights_has_its_own_feature_tables() -> None:
    class Doubled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    Doubled.__name__ = "Net"
    one, other = (Backbone.of(module, size=24, machine=CPU) for module in (Net(), Doubled()))
    assert one.digest() == other.digest() and features_key(one) != features_key(other)
    assert features_key(Backbone.of(Net(), size=24, machine=CPU)) == features_key(one)


class _Lambda(nn.Module):
    def __init__(self, run: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.run = run

    def forward(self, x: Tensor) -> Any:
        return self.run(x)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (lambda x: x, r"float32 \[2, 3, 8, 8\] for a batch of 2: expected features, floats \[2, D\]"),
        (lambda x: x.flatten(1)[:, :0], r"\[2, 0\]"),
        (lambda x: x.mean(), r"float32 \[\]"),
        (lambda x: x.flatten(1).argmax(1, keepdim=True), "int64"),
        (lambda x: {"features": x}, "returns a dict for a batch of 2: expected features"),
        (lambda x: x.flatten(1) / 0, "NaN or infinite features"),
        (lambda x: x.flatten(1) - x.flatten(1).mean(0), "in another batch"),
        (lambda x: torch.rand_like(x).flatten(1), "in another batch, or at the next call"),
        (lambda x: x @ torch.zeros(3, 3), "cannot read a batch"),
    ],
)
def test_what_gives_no_features_is_refused(run: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Backbone.of(_Lambda(run), size=8, machine=CPU)


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (Net, {}, "with one of: size="),
        (Net, {"size": 8, "inputs": 3}, "with one of"),
        (Net, {"mean": 0.5, "inputs": 3}, "mean is about images: say their size= too"),
        (Net, {"size": 8, "preparation": 3}, "expected a preparation"),
        (Net, {"size": (8, 8, 3)}, "a size of one whole number"),
        (Net, {"size": 8, "crop": 0.0}, "expected crop above 0"),
        (Net, {"size": 8, "mean": (0.1, 0.2)}, "mean and std of 3 channels"),
        (Net, {"size": 8, "std": 0.0}, "expected std above 0"),
        (Net, {"size": 8, "interpolation": "cubic"}, "unknown interpolation 'cubic'"),
        (mlp, {"inputs": 4}, r"cannot read a batch \[2, 4\]"),
        (mlp, {"inputs": 0}, "a whole number of at least 1"),
        (lambda: nn.LazyLinear(3), {"inputs": 4}, "weights without values"),
        (lambda: len, {"inputs": 4}, "expected a torch.nn.Module"),
    ],
)
def test_what_cannot_be_prepared_is_refused(given: Callable[[], Any], options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Backbone.of(given(), **options, machine=CPU)


def test_an_unknown_option_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match=r"Backbone.of\(\) got an unexpected keyword argument 'sise'"):
        Backbone.of(Net(), sise=8)  # type: ignore[call-arg]


def adapted_on(*given: Any, **options: Any) -> Adapted:
    at = Workplace(cache=options.pop("cache", None), quiet=options.pop("quiet", True))
    return Adapted(adapt_examples(*given, at=at, **options))


def examples(name: str = "points", seed: int = 0, classes: int = 3, each: int = 8) -> Any:
    random = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), each)
    x = (np.eye(5)[y] + 0.3 * random.normal(size=(len(y), 5))).astype(np.float32)
    return make_examples(Vectors(x), [f"class {k}" for k in y], name=name)


def test_a_model_of_it_is_saved_and_opened_with_the_module_again(tmp_path: Path) -> None:
    target, module = examples(), mlp()
    adapted = adapted_on(target, Backbone.of(module, inputs=5, machine=CPU), methods=CENTROID, quiet=True)
    run = adapted.save(tmp_path / "run")
    with pytest.raises(InputError, match="your own network, which cannot be loaded by its name: give it in Python"):
        fewtune.load(run).predict(target)
    opened = fewtune.load(run, backbone=Backbone.of(module, inputs=5, machine=CPU))
    assert opened.predict(target) == adapted.predict(target)
    with pytest.raises(InputError, match="is not the one this model was made with"):
        fewtune.load(run, backbone=Backbone.of(mlp(1), inputs=5, machine=CPU))
    with pytest.raises(InputError, match="your own network"):
        load_backbone("module:Net")


@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "add-class"])
def test_the_command_line_cannot_open_a_model_of_it(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and one sentence that says what to write in Python."""
    module, data = mlp(), tmp_path / "new.npz"
    run = adapted_on(examples(), Backbone.of(module, inputs=5, machine=CPU), methods=CENTROID, quiet=True).save(tmp_path / "run")
    np.savez(data, x=np.eye(5, dtype=np.float32), y=np.array(["class 0", "class 1", "class 0", "class 1", "class 2"]))
    more = {"predict": [data], "evaluate": [data], "export": [], "add-class": ["wren", data, "--out", tmp_path / "larger"]}[command]
    monkeypatch.setattr("sys.argv", ["fewtune", command, str(run), *map(str, more)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and not said.out
    sentences = [line for line in said.err.splitlines() if line.startswith("fewtune: ")]
    assert len(sentences) == 1 and sentences[0] == said.err.splitlines()[-1] and "module:Sequential is your own network" in sentences[0]
    assert "fewtune.load(RUN, backbone=fewtune.Backbone.of(network, ...))" in sentences[0]
    assert not (tmp_path / "larger").exists() and not list(run.glob("*.onnx"))


def test_scikit_learn_clones_an_estimator_without_copying_the_network() -> None:
    backbone = Backbone.of(mlp(), inputs=5, machine=CPU)
    estimator = FewShotClassifier(backbone=backbone, method="centroid")
    copied = clone(estimator)
    assert copied is not estimator and copied.backbone is backbone and copied.get_params() == estimator.get_params()
    rows = examples()
    x, y = np.asarray(rows.items.vectors), rows.labels  # type: ignore[attr-defined]
    assert copied.fit(x, y).predict(x).tolist() == estimator.fit(x, y).predict(x).tolist()


def test_the_same_weights_in_another_function_are_refused() -> None:
    class Negated(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return -super().forward(x)  # type: ignore[no-any-return]

    Negated.__name__ = "Sequential"
    adapted = adapted_on(examples(), Backbone.of(mlp(), inputs=5, machine=CPU), methods=CENTROID, quiet=True)
    with pytest.raises(InputError, match="but its features are others"):
        load_its_backbone(adapted.bundle, backbone=Backbone.of(Negated(*mlp()), inputs=5, machine=CPU))


def by_hand(module: nn.Module, x: Tensor, y: Tensor, lr: float) -> dict[str, Tensor]:
    """One step of gradient descent on the cross-entropy of a zero head, whose weights move before: a plain loop over the module."""
    module = copy.deepcopy(module).eval()
    loss = nn.functional.cross_entropy(module(x) @ torch.eye(module(x).shape[1])[:, :3], y)
    moving = dict(module.named_parameters())
    gradients = torch.autograd.grad(loss, list(moving.values()))
    return {n: (t - lr * g).detach() for (n, t), g in zip(moving.items(), gradients, strict=True)}


def test_gradients_flow_to_its_weights_as_in_a_plain_loop_with_batchnorm_in_eval() -> None:
    module, pictures, y = Net().train(), images(6), torch.tensor([0, 1, 2, 0, 1, 2])
    backbone = Backbone.of(module, size=24, machine=CPU)
    space = RowSpace([make_examples(Pixels(pictures), name="p")])
    x = backbone.preparation.batch([backbone.preparation.prepare(space.fetch(row)) for row in range(6)])
    members = [name for _, names in backbone.groups for name in names]
    assert members == [n for n, _ in module.named_parameters()] and "norm.running_mean" in backbone.start()
    weights = {n: t.clone().requires_grad_(n in members) for n, t in backbone.start().items()}
    features = backbone.embed(weights, space, np.arange(6))
    loss = nn.functional.cross_entropy(features @ torch.eye(6)[:, :3], y)
    gradients = torch.autograd.grad(loss, [weights[n] for n in members])
    moved = {n: weights[n].detach() - 0.1 * g for n, g in zip(members, gradients, strict=True)}
    for name, wanted in by_hand(module, x, y, 0.1).items():
        torch.testing.assert_close(moved[name], wanted, rtol=1e-4, atol=1e-6)
    assert torch.equal(weights["norm.running_mean"], module.norm.running_mean)  # batch statistics do not move


def test_finetuning_moves_it_and_what_moved_is_put_into_the_module_again(tmp_path: Path) -> None:
    module = mlp()
    backbone = Backbone.of(module, inputs=5, machine=CPU)
    before = {n: t.clone() for n, t in module.state_dict().items()}
    space = RowSpace([examples()])
    method = multitask(ways=3, shots=1, queries=3, steps=4, lr=0.05)
    ended = train(Ground(backbone, space), method.phases, class_rows(space), key(0))
    assert set(before) <= set(ended.moved)
    moved = what_moved(backbone, ended.weights)
    assert moved is not None
    finetuned = moved.onto(backbone)
    adapted = adapted_on(examples(), finetuned, methods=CENTROID, quiet=True)
    record = replace(adapted.bundle.backbone, digest=backbone.digest())
    run = replace(adapted.bundle, backbone=record, moved=moved).save(tmp_path / "run")
    opened = fewtune.load(run, backbone=Backbone.of(module, inputs=5, machine=CPU))
    assert opened.predict(examples()) == adapted.predict(examples())
    assert all(torch.equal(before[n], tensor) for n, tensor in module.state_dict().items())


def test_a_module_without_weights_embeds_and_has_nothing_to_finetune() -> None:
    backbone = Backbone.of(nn.Flatten(), inputs=5, machine=CPU)
    assert backbone.start() == {} and backbone.groups == () and backbone.width == 5
    with pytest.raises(InputError, match="module:Flatten has no weights to move"):
        adapted_on(examples(), backbone, sources=[examples("other", seed=1, classes=5)], quiet=True)
    assert len(adapted_on(examples(), backbone, methods=CENTROID, quiet=True).predict(examples())) == 24


@final
@dataclass(frozen=True)
class Lengths:
    """Texts as their length and their number of blanks."""

    modality: Any = "text"
    text: str = "lengths"

    def prepare(self, item: Any) -> Any:
        return item

    def batch(self, prepared: Sequence[Any]) -> Tensor:
        return torch.tensor([[len(t), t.count(" ")] for t in prepared], dtype=torch.float32)


def test_texts_go_through_a_given_preparation() -> None:
    module = mlp(inputs=2)
    backbone = Backbone.of(module, preparation=Lengths(), machine=CPU)
    texts = ["one", "and another", "a third one"]
    found = backbone.embed(backbone.start(), RowSpace([make_examples(Texts(texts), name="t")]), np.arange(3))
    torch.testing.assert_close(found, module(torch.tensor([[3.0, 0], [11, 1], [11, 2]])).detach())


def test_it_is_exported_with_what_it_was_given(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    adapted = adapted_on(examples(), Backbone.of(mlp(), inputs=5, machine=CPU), methods=CENTROID, quiet=True)
    opened = fewtune.load(adapted.save(tmp_path / "run"), backbone=Backbone.of(mlp(), inputs=5, machine=CPU))
    assert opened.export(tmp_path / "one.onnx", inputs=examples()).difference <= 1e-4
