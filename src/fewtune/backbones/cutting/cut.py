"""The cut of a network: where a plan freezes its lower part, what that part returns is computed once a row, and only the rest runs again.

This works for any architecture. One run in which the moving weights require gradients shows which modules return something that does
not depend on them. The latest of these whose output decides all the rest is the cut: it returns what is stored, and modules that ended
before it return blanks. Whether that is so is tried, with blanks of NaN, before a cut is handed out.
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

_EXACT, _ROUNDED = 1e-5, 3e-2  # float32 on the CPU, where only sums have another order; half precision and TF32
_TRIED = ((nan, [0, 1]), (nan, [0]), (nan, [1, 0, 1]), (0.0, [0, 1]))  # a blank that is read shows as NaN, even times zero


class _ReachedError(Exception):
    """Carries the activation out of a network whose rest need not run."""

    def __init__(self, activation: Tensor) -> None:
        self.activation = activation


@final
@dataclass(frozen=True, eq=False)
class Cut:
    """A network in two parts, valid while only `moving` moves.

    `place`: the name of the module whose output is stored, "" for the whole network. `output`: what it returns. `replaced`: the modules
    that ended before it, with what each of their calls returns. `inputs`: the shape of a batch, None for texts, which the upper part
    is given again. `above`: the names of weights that the upper part may read.
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
        """The shape of what is stored: [B, ...], or [B, tokens, ...] for texts."""
        found: Shape = self.output.leaves[self.output.first]
        return found

    @property
    def by_token(self) -> bool:
        """Whether the activation has an entry for each token of a text."""
        return any(tokens for _, _, tokens in self.activation.factors)

    @property
    def entry_bytes(self) -> int:
        """What one row takes when it is stored, or one of its tokens."""
        return prod(factor for factor, _, _ in self.activation.factors) * self.activation.dtype.itemsize

    @staticmethod
    def tokens_of(inputs: Any) -> int:
        """How many tokens texts were padded to; 1 for images and vectors."""
        return next((int(t.shape[1]) for t in inputs.values() if t.ndim == 2), 1) if isinstance(inputs, Mapping) else 1

    @cached_property
    def _eager(self) -> Backbone:
        return _in_parts(self.backbone)

    def lower(self, weights: Weights, inputs: Any) -> Float[Tensor, "B ..."]:
        """The activation at the cut of a prepared batch, in the precision in which the network computes it; no gradients."""

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
        """The features that follow from the activation, float32; gradients flow to the weights that require them.

        `inputs` are the prepared texts, of as many tokens as the activation; other networks, and a cut at the end, need none.
        """
        return self._upper(weights, activation, inputs, 0.0)

    def _upper(self, weights: Weights, activation: Tensor, inputs: Any, blank: float) -> Tensor:
        device = self.backbone.machine.device
        size = Size(len(activation), self.tokens_of(inputs))
        # a copy: the network may write in place what follows
        outputs = {module: [f.filled(blank, size, device) for f in forms] for module, forms in self.replaced}
        outputs[self.module] = [self.output.filled(blank, size, device, activation.clone())]
        given = inputs if self.inputs is None else self.inputs.filled(blank, size, device)
        with returning(outputs), _eagerly(self.backbone):
            return self._eager.forward({n: t for n, t in weights.items() if n in self.above}, {} if given is None else given)


def find_cut(backbone: Backbone, weights: Weights, inputs: Any, moving: Collection[str]) -> Cut | None:
    """The latest cut below everything that moves; None where the network has none, so that all of it must run.

    `inputs` is a prepared batch of two rows or more (the first two are looked at), `moving` are names of the backbone's parameters. Where
    nothing that moves has a part in the features, the cut is the network's end.
    """
    assert set(moving) <= weights.keys(), "only the backbone's own weights move here"
    if backbone.machine.compile and not hasattr(torch.compiler, "set_stance"):
        return None  # a compiled network cannot be run in parts by this torch
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
    """What is known of a network that a cut is sought in."""

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
        """The cut at the end of a call, where its output can be stored and what ended before it can be left out."""
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
        """The largest modules that ran wholly before the end of the cut, which itself stands inside those `over` it."""
        for child in module.children():
            calls = self._calls.get(child, [])
            if child is cut.module:
                continue
            if child in over or not calls:  # a list of modules is never called itself
                yield from self._before(child, cut, over)
            elif all(call.end < cut.end for call in calls):
                yield child

    @cached_property
    def _features(self) -> list[tuple[Weights, Tensor]]:
        """Weights, as they are and elsewhere, and what the whole network makes of the inputs with them."""
        moved = {n: _elsewhere(n, self._weights[n]) for n in sorted(self._moving)}
        both: list[Weights] = [self._weights, {**self._weights, **moved}]
        with _eagerly(self._backbone):
            return [(weights, _in_parts(self._backbone).forward(weights, self._inputs)) for weights in both]

    def holds(self, cut: Cut) -> bool:
        """Whether the activation, and nothing else, decides the features: for other rows and batches, and wherever the weights move."""
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
                except Exception:  # the network cannot run on blanks: whatever it says, this is no cut
                    return False
                if not _near(found, features[rows], cut.backbone):
                    return False
        return True


def _in_parts(backbone: Backbone) -> Backbone:
    """The backbone as it is run in parts: a gradient never runs a part again, when the stand-ins are gone."""
    return replace(backbone, machine=replace(backbone.machine, compile=False, recompute=False))


def _eagerly(backbone: Backbone) -> AbstractContextManager[Any]:
    """Inside, a compiled network runs as it was written: compiled code knows nothing of stand-ins."""
    return torch.compiler.set_stance("force_eager") if backbone.machine.compile else nullcontext()


def _storable(output: Form) -> bool:
    """Whether the first tensor has rows first, then perhaps tokens, and neither anywhere else."""
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
    """The names of the modules that hold the one of this name: "" for the network, "a", "a.b" for "a.b.c"."""
    pieces = name.split(".")
    return [".".join(pieces[:i]) for i in range(len(pieces))]


def _part(inputs: Any, rows: list[int], tokens: int) -> Any:
    """These rows of a batch, cut to so many tokens."""
    if isinstance(inputs, Mapping):
        return {name: t[rows][:, :tokens] if t.ndim == 2 else t[rows] for name, t in inputs.items()}
    return inputs[rows]


def _elsewhere(name: str, tensor: Tensor) -> Tensor:
    """A weight after some training, also where it starts at zero."""
    noise = torch.randn(tensor.shape, generator=key(0, "cut", name).torch_generator()).to(tensor)
    return tensor + noise * (0.1 * tensor.abs().mean() + 1e-3)


def _near(found: Tensor, expected: Tensor, backbone: Backbone) -> bool:
    machine = backbone.machine
    most = _EXACT if machine.dtype == "float32" and machine.device == "cpu" else _ROUNDED
    same = found.shape == expected.shape and bool(torch.isfinite(found).all())
    return same and float((found - expected).abs().max()) <= most * float(expected.abs().max())
