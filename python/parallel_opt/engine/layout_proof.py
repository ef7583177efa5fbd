"""Holds a layout against a small step as the ranks will take it: with the numbers that they draw,
and with gradients.

The search compares outputs, under settled draws. A loss over entries that are drawn at random, or a
backward that is not linear (a clamp in a hook of an activation, a straight-through estimator), does
not show there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from parallel_opt import compat
from parallel_opt.compat import gradients_of
from parallel_opt.engine.averages import Case, OutputRule, fits
from parallel_opt.engine.checkpoints import without_reentrant_checkpoints
from parallel_opt.engine.draws import FullBatchDraws
from parallel_opt.engine.layout_trial import Run, Watch, narrow, undisturbed
from parallel_opt.engine.shares import Share
from parallel_opt.engine.structure import flatten

if TYPE_CHECKING:
    from parallel_opt.engine.layout import Layout

_log = logging.getLogger("parallel_opt")

MOST_SAMPLES = 6
"""Of the batch at hand: the step keeps activations, which those of a whole batch may be too many
for."""
OTHERWISE_FOR_DRAWS = "with the numbers drawn at random, output {} is not made of per-sample {}"
OTHERWISE_FOR_GRADIENTS = "its gradients are not the sum of those of parts of the batch"

_STRENGTH = 3.0
"""Of the gradients at the outputs: a clamp to 1 shows."""
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2}
_LOW_PRECISION_TOLERANCE = 0.1
"""Parts of a model may compute in a lower precision than they return."""
_PLURAL = {"rows": "rows", "mean": "means", "sum": "sums", "same": "constants"}


@dataclasses.dataclass(frozen=True)
class _Step:
    """Detached outputs; per parameter two numbers that stand for its gradient: a product with a
    fixed vector, and its length."""

    outputs: list[torch.Tensor]
    gradients: list[tuple[float, float]]
    comparable: bool = True  # no kernel drew numbers of its own


@dataclasses.dataclass
class _Proof:
    layout: Layout
    module: torch.nn.Module
    run: Run
    inputs: list[torch.Tensor]

    def fault(self) -> str:
        samples = self.layout.samples(self.inputs)
        counts = (samples - max(1, samples // 3), max(1, samples // 3))
        shares = [Share(counts, rank) for rank in range(2)]
        cuts = [narrow(self.inputs, self.layout.input_dims, s.start, s.own) for s in shares]
        whole = self._step(self.inputs, None, [1.0] * len(self.layout.outputs))
        weights = [self._weights(rule, cuts, counts) for rule in self.layout.outputs]
        parts = [
            self._step(cut, share, [weight[share.rank] for weight in weights])
            for cut, share in zip(cuts, shares, strict=True)
        ]
        if not all(part.comparable for part in parts):
            return ""
        for index, rule in enumerate(self.layout.outputs):
            pieces = [part.outputs[index] for part in parts]
            case = Case(whole.outputs[index], pieces, cuts, counts)
            if not fits(rule, case, 10.0):
                return OTHERWISE_FOR_DRAWS.format(index, _PLURAL[rule.kind])
        return "" if _same_gradients(whole, parts) else OTHERWISE_FOR_GRADIENTS

    def _weights(
        self, rule: OutputRule, cuts: Sequence[Sequence[torch.Tensor]], counts: Sequence[int]
    ) -> list[float]:
        """By which each part's gradient at an output counts: the mean over two ranks is taken."""
        if rule.kind != "mean":
            return [1.0, 1.0] if rule.kind == "same" else [2.0, 2.0]
        units = [rule.weigh(cut, n) for cut, n in zip(cuts, counts, strict=True)]
        return [2.0 * unit / sum(units) if sum(units) else 0.0 for unit in units]

    def _step(
        self, inputs: Sequence[torch.Tensor], share: Share | None, weights: Sequence[float]
    ) -> _Step:
        inputs = [tensor.detach().clone() for tensor in inputs]
        isolated: set[str] = set()
        watch = Watch(inputs)

        @contextlib.contextmanager
        def modes():  # type: ignore[no-untyped-def]
            draws = share and FullBatchDraws(share, self.layout.draws, isolated)
            with watch, draws or contextlib.nullcontext():
                yield

        with undisturbed(self.module), torch.enable_grad():
            again = compat.checkpoint_context(modes)
            # Hooks that the loop sets for what autograd keeps are not meant for this step.
            kept = torch.autograd.graph.saved_tensors_hooks(lambda kept: kept, lambda kept: kept)
            with kept, again, without_reentrant_checkpoints(), modes():
                outputs, _ = flatten(self.run(inputs))
            gradients = self._gradients(outputs, share, weights)
        return _Step([output.detach() for output in outputs], gradients, not isolated)

    def _gradients(
        self, outputs: Sequence[torch.Tensor], share: Share | None, weights: Sequence[float]
    ) -> list[tuple[float, float]]:
        heads, seeds = [], []
        for output, rule, weight in zip(outputs, self.layout.outputs, weights, strict=True):
            if output.requires_grad and weight:
                heads.append(output)
                seeds.append(_seed(output, rule, share) * weight)
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        if not heads or not parameters:
            return [(0.0, 0.0)] * len(parameters)
        found = gradients_of(heads, parameters, seeds, allow_unused=True)
        return [(0.0, 0.0) if g is None else _shown(g) for g in found]


def proof_fault(
    layout: Layout, module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]
) -> str:
    """Why the layout does not hold for a step on a few samples of this batch; "" when it does, or
    when the model takes no such step."""
    few = min(layout.samples(inputs), MOST_SAMPLES)
    if few < 2:
        return ""
    try:
        return _Proof(layout, module, run, narrow(inputs, layout.input_dims, 0, few)).fault()
    except Exception as error:  # the user's code may refuse a few samples in any way
        _log.debug("the layout was not held against a step on %d samples: %s", few, error)
        return ""


def _seed(output: torch.Tensor, rule: OutputRule, share: Share | None) -> torch.Tensor:
    """A gradient of the output; of a part, the part of the whole's."""
    shape = list(output.shape)
    factor = shape[rule.dim] // share.rows if share is not None and rule.kind == "rows" else 0
    if share is not None and factor:
        shape[rule.dim] = factor * share.samples
    count = torch.Size(shape).numel()
    seed = _STRENGTH * torch.cos(torch.arange(count, device=output.device, dtype=torch.float64))
    seed = seed.view(shape).to(output.dtype)
    if share is not None and factor:
        seed = seed.narrow(rule.dim, share.start * factor, share.own * factor)
    return seed


def _shown(gradient: torch.Tensor) -> tuple[float, float]:
    if gradient.is_sparse:
        gradient = gradient.coalesce()
        place = gradient.indices()[0]
        values = gradient.values().flatten(1)
    else:
        values = gradient.reshape(len(gradient) if gradient.dim() else 1, -1)
        place = torch.arange(len(values), device=values.device)
    values = torch.view_as_real(values).flatten(1) if values.is_complex() else values
    values = values.double()
    across = torch.cos(torch.arange(values.shape[1], device=values.device, dtype=torch.float64))
    product = torch.cos(1.0 + place.double()) @ (values @ across)
    return float(product), float(values.norm())


def _same_gradients(whole: _Step, parts: Sequence[_Step]) -> bool:
    dtypes = {output.dtype for output in whole.outputs if output.is_floating_point()}
    tolerance = max((_TOLERANCE.get(d, _LOW_PRECISION_TOLERANCE) for d in dtypes), default=0.0)
    if torch.is_autocast_enabled() or torch.is_autocast_enabled("cpu"):
        tolerance = _LOW_PRECISION_TOLERANCE
    gradients = [step.gradients for step in (whole, *parts)]
    # That of an attention's key bias is nothing but rounding.
    least = 1e-2 * max((length for _, length in whole.gradients), default=0.0)
    for (product, length), *pieces in zip(*gradients, strict=True):
        mean = sum(piece for piece, _ in pieces) / len(pieces)
        scale = max(least, length, *(size for _, size in pieces))
        if abs(mean - product) > tolerance * scale:
            return False
    return True
