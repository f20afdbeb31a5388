"""The cut of a network: if a plan freezes the lower part, its output is computed once for each row, and only the upper part runs again.

This works for any architecture. A run in which the moving weights require gradients shows which modules return an output that does not
depend on them. The cut is the latest of these modules whose output determines all that follows. In the upper part, it returns its stored
output, and modules that ended before it return blanks. Before a cut is returned, it is tested with blanks of NaN.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import nan, prod
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewtune.backbones.backbone import Backbone, Weights
from fewtune.backbones.cutting.tracing import Call, Form, Leaf, Shape, Size, first_tensor, form, returning, shape, traced
from fewtune.keys import key

_EXACT, _ROUNDED = 1e-5, 3e-2  # float32 on the CPU, where only the order of sums differs; half precision and TF32
_TRIED = (
    (nan, [0, 1]),
    (nan, [0]),
    (nan, [1, 0, 1]),
    (0.0, [0, 1]),
)  # if a blank is used, the result is NaN, even after a multiplication by zero


class _ReachedError(Exception):
    """Carries the activation out of a network, so that the upper part does not run."""

    def __init__(self, activation: Tensor) -> None:
        self.activation = activation


@final
@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two parts; valid as long as only the weights `moving` change.

    `place`: the name of the module whose output is stored, "" for the whole network. `output`: its output. `replaced`: the modules that
    ended before it, with the output of each of their calls. `inputs`: the shape of a batch, or None for texts, which the upper part gets
    again. `above`: the names of the weights that the upper part may use.
    """

    backbone: Backbone
    moving: frozenset[str]
    place: str
    module: nn.Module
    output: Form
    replaced: tuple[tuple[nn.Module, tuple[Form, ...]], ...]
    inputs: Shape | None
    above: frozenset[str]

    @cached_property
    def activation(self) -> Shape:
        """The shape of the stored output: [B, ...], or [B, tokens, ...] for texts."""
        found: Shape = self.output.leaves[self.output.first]
        return found

    @property
    def by_token(self) -> bool:
        """Whether the activation has an entry for each token of a text."""
        return any(tokens for _, _, tokens in self.activation.factors)

    @property
    def entry_bytes(self) -> int:
        """The bytes of one stored row, or of one of its tokens."""
        return prod(factor for factor, _, _ in self.activation.factors) * self.activation.dtype.itemsize

    @staticmethod
    def tokens_of(inputs: Any) -> int:
        """How many tokens texts were padded to; 1 for images and vectors."""
        return next((int(t.shape[1]) for t in inputs.values() if t.ndim == 2), 1) if isinstance(inputs, Mapping) else 1

    @cached_property
    def _eager(self) -> Backbone:
        return _in_parts(self.backbone)

    def lower(self, weights: Weights, inputs: Any) -> Float[Tensor, "B ..."]:
        """The activation at the cut for a prepared batch, in the precision of the network and without gradients."""

        def reached(_: nn.Module, __: Any, output: Any) -> None:
            raise _ReachedError(first_tensor(output))

        hook = self.module.register_forward_hook(reached)
        try:
            with torch.no_grad(), _eagerly(self.backbone):
                self._eager.forward(weights, inputs)
        except _ReachedError as found:
            return found.activation.detach()
        finally:
            hook.remove()
        raise AssertionError(f"{self.place} did not run")

    def upper(self, weights: Weights, activation: Float[Tensor, "B ..."], inputs: Any = None) -> Float[Tensor, "B D"]:
        """The features computed from the activation, float32. Gradients flow to the weights that require them.

        `inputs`: the prepared texts, with as many tokens as the activation. Other networks, and a cut at the end, need none.
        """
        return self._upper(weights, activation, inputs, 0.0)

    def _upper(self, weights: Weights, activation: Tensor, inputs: Any, blank: float) -> Tensor:
        device = self.backbone.machine.device
        size = Size(len(activation), self.tokens_of(inputs))
        # a copy: the upper part may change it in place
        outputs = {module: [f.filled(blank, size, device) for f in forms] for module, forms in self.replaced}
        outputs[self.module] = [self.output.filled(blank, size, device, activation.clone())]
        given = inputs if self.inputs is None else self.inputs.filled(blank, size, device)
        with returning(outputs), _eagerly(self.backbone):
            return self._eager.forward({n: t for n, t in weights.items() if n in self.above}, {} if given is None else given)


def find_cut(backbone: Backbone, weights: Weights, inputs: Any, moving: Collection[str]) -> Cut | None:
    """The latest cut below all moving weights; None if there is none, so that the whole network must run.

    `inputs`: a prepared batch of at least two rows (the first two are used). `moving`: names of the backbone's parameters. If the features
    do not depend on any of them, the cut is the end of the network.
    """
    assert set(moving) <= weights.keys(), "only the backbone's own weights move here"
    if isinstance(inputs, Mapping) and any(tensor.ndim > 2 for tensor in inputs.values()):
        return None  # a text is several rows of tokens, so rows of activations are not rows of texts
    if backbone.machine.compile and not hasattr(torch.compiler, "set_stance"):
        return None  # this version of torch cannot run a compiled network in parts
    sizes = Size(2, Cut.tokens_of(inputs)), Size(5, max(1, Cut.tokens_of(inputs) - 1))
    batches = [_part(inputs, [0, 1], sizes[0].tokens), _part(inputs, [0, 1, 0, 1, 0], sizes[1].tokens)]
    plain = {n: t.detach() for n, t in weights.items()}
    learning = plain | {n: plain[n].detach().requires_grad_() for n in moving}
    with torch.enable_grad(), _eagerly(backbone):
        runs = [traced(backbone.network, partial(_in_parts(backbone).forward, learning, batch)) for batch in batches]
    if [call.module for call in runs[0]] != [call.module for call in runs[1]]:
        return None
    calls = {call: form((call, other), sizes) for call, other in zip(*runs, strict=True)}
    blank = None
    if isinstance(inputs, Tensor):
        seen = [Leaf(tuple(batch.shape), batch.dtype, False) for batch in batches]
        blank = shape(seen[0], seen[1], sizes)
    trial = _Trial(backbone, frozenset(moving), plain, batches[0], calls, blank)
    return next((cut for call in reversed(runs[0]) if (cut := trial.cut_at(call)) is not None and trial.holds(cut)), None)


@final
class _Trial:
    """What is known of a network while a cut is searched."""

    def __init__(
        self,
        backbone: Backbone,
        moving: frozenset[str],
        weights: Weights,
        inputs: Any,
        calls: Mapping[Call, Form | None],
        blank: Shape | None,
    ) -> None:
        self._backbone, self._moving, self._weights, self._inputs = backbone, moving, weights, inputs
        self._forms, self._blank = calls, blank
        self._calls: dict[nn.Module, list[Call]] = {}
        for call in calls:
            self._calls.setdefault(call.module, []).append(call)
        network = backbone.network
        self._names: dict[nn.Module, list[str]] = {}
        for name, module in network.named_modules(remove_duplicate=False):
            self._names.setdefault(module, []).append(name)

    def cut_at(self, call: Call) -> Cut | None:
        """The cut at the end of a call, or None if its output cannot be stored or the modules before it cannot be left out."""
        output = self._forms[call]
        if output is None or len(self._calls[call.module]) > 1 or _learns(call) or not _storable(output):
            return None
        network = self._backbone.network
        over = {network.get_submodule(outer) for name in self._names[call.module] for outer in _prefixes(name)}
        replaced: dict[nn.Module, tuple[Form, ...]] = {}
        for module in self._before(network, call, over) if call.module is not network else ():
            forms = [self._forms[c] for c in self._calls[module]]
            if any(f is None for f in forms) or any(_learns(c) for c in self._calls[module]):
                return None
            replaced[module] = tuple(f for f in forms if f is not None)
        gone = tuple(f"{name}." if name else "" for module in (call.module, *replaced) for name in self._names[module])
        above = frozenset(name for name in self._weights if not name.startswith(gone))
        place = self._names[call.module][0]
        return Cut(self._backbone, self._moving, place, call.module, output, tuple(replaced.items()), self._blank, above)

    def _before(self, module: nn.Module, cut: Call, over: Collection[nn.Module]) -> Iterator[nn.Module]:
        """The largest modules that ran completely before the end of the cut. The cut is inside the modules `over`."""
        for child in module.children():
            calls = self._calls.get(child, [])
            if child is cut.module:
                continue
            if child in over or not calls:  # a list of modules is never called
                yield from self._before(child, cut, over)
            elif all(call.end < cut.end for call in calls):
                yield child

    @cached_property
    def _features(self) -> list[tuple[Weights, Tensor]]:
        """Pairs of weights (the current ones, and others) and the features of the whole network with them."""
        moved = {n: _elsewhere(n, self._weights[n]) for n in sorted(self._moving)}
        both: list[Weights] = [self._weights, {**self._weights, **moved}]
        with _eagerly(self._backbone):
            return [(weights, _in_parts(self._backbone).forward(weights, self._inputs)) for weights in both]

    def holds(self, cut: Cut) -> bool:
        """Whether the features depend only on the activation: also for other rows, other batches and other moving weights."""
        (start, _), (elsewhere, _) = self._features
        activation = cut.lower(start, self._inputs)
        if not torch.equal(activation, cut.lower(elsewhere, self._inputs)):
            return False
        tokens = Cut.tokens_of(self._inputs)
        for weights, features in self._features:
            for blank, rows in _TRIED:
                try:
                    with torch.no_grad():
                        found = cut._upper(weights, activation[rows], _part(self._inputs, rows, tokens), blank)
                except Exception:  # the network cannot run on blanks, so this is not a cut
                    return False
                if not _near(found, features[rows], cut.backbone):
                    return False
        return True


def _in_parts(backbone: Backbone) -> Backbone:
    """The backbone for runs in parts, without recomputation: it would run a part again after the stand-ins are gone."""
    return replace(backbone, machine=replace(backbone.machine, compile=False, recompute=False))


def _eagerly(backbone: Backbone) -> AbstractContextManager[Any]:
    """Inside, a compiled network runs uncompiled, because compiled code ignores stand-ins."""
    return torch.compiler.set_stance("force_eager") if backbone.machine.compile else nullcontext()


def _storable(output: Form) -> bool:
    """Whether the first axis of the first tensor is rows, the second may be tokens, and no other axis is either."""
    if output.first < 0:
        return False
    stored: Shape = output.leaves[output.first]
    if not stored.dtype.is_floating_point or not stored.factors or stored.factors[0] != (1, True, False):
        return False
    rest = stored.factors[1:]
    inner = rest[1:] if rest and rest[0] == (1, False, True) else rest
    return not any(rows or tokens for _, rows, tokens in inner)


def _learns(call: Call) -> bool:
    return any(isinstance(leaf, Leaf) and leaf.learns for leaf in call.leaves)


def _prefixes(name: str) -> list[str]:
    """The names of the modules that contain this module: for "a.b.c", "" (the network), "a" and "a.b"."""
    pieces = name.split(".")
    return [".".join(pieces[:i]) for i in range(len(pieces))]


def _part(inputs: Any, rows: list[int], tokens: int) -> Any:
    """These rows of a batch, cut to this number of tokens."""
    if isinstance(inputs, Mapping):
        return {name: t[rows][:, :tokens] if t.ndim == 2 else t[rows] for name, t in inputs.items()}
    return inputs[rows]


def _elsewhere(name: str, tensor: Tensor) -> Tensor:
    """A changed weight, as after some training, also for a weight that starts at zero."""
    noise = torch.randn(tensor.shape, generator=key(0, "cut", name).torch_generator()).to(tensor)
    return tensor + noise * (0.1 * tensor.abs().mean() + 1e-3)


def _near(found: Tensor, expected: Tensor, backbone: Backbone) -> bool:
    machine = backbone.machine
    most = _EXACT if machine.dtype == "float32" and machine.device == "cpu" else _ROUNDED
    same = found.shape == expected.shape and bool(torch.isfinite(found).all())
    return same and float((found - expected).abs().max()) <= most * float(expected.abs().max())
