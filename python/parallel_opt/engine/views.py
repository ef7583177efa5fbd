"""What the training loop sees: the global batch on every rank, or each rank's own batch.

Every engine takes the mean of gradients over the W ranks. A gradient that enters the model
through its outputs is weighted there, so that this mean is exact, while terms on the parameters
themselves (equal on all ranks) stay right:

- global view: the loss is computed on gathered outputs, alike on all ranks; each rank takes its
  rows' gradient times W;
- local view: rank i computes the mean loss of its n_i of N samples; its gradient counts W n_i / N.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist

from parallel_opt.engine.averages import OutputRule
from parallel_opt.engine.layout import Layout
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.shares import Share, gather_rows
from parallel_opt.errors import InputError


class Call:
    """One forward pass through the engine: what happens to each output, and to its gradient."""

    def __init__(self, group: Group, enter_backward: Callable[[], None]) -> None:
        self.group = group
        self.enter_backward = enter_backward

    def emit(self, index: int, local: torch.Tensor) -> torch.Tensor:
        """The output that the loop sees. A new tensor or a view."""
        return local

    def pull(self, index: int, grad: torch.Tensor) -> torch.Tensor:
        """The gradient of the local output."""
        return grad


class _Boundary(torch.autograd.Function):
    """The model's output boundary: all outputs of one forward, plus anchors without gradient.

    An anchor makes backward visit a node that this rank's graph might not reach.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, trained: Sequence[bool], *tensors: torch.Tensor) -> Any:
        ctx.call, ctx.anchors = call, len(tensors) - len(trained)
        ctx.set_materialize_grads(False)
        # no views: the loop may change an output in place as it may a model's own
        emitted = [
            call.emit(i, tensor).detach() for i, tensor in enumerate(tensors[: len(trained)])
        ]
        ctx.mark_non_differentiable(
            *(t for t, gets in zip(emitted, trained, strict=True) if not gets)
        )
        return tuple(emitted)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor | None) -> Any:
        refuse_double_backward()
        ctx.call.enter_backward()
        pulled = [None if g is None else ctx.call.pull(i, g) for i, g in enumerate(grads)]
        return None, None, *pulled, *[None] * ctx.anchors


class _Entry(torch.autograd.Function):
    """A rank's rows of an input that needs a gradient, whose gradient is whole on every rank."""

    @staticmethod
    def forward(ctx: Any, call: GlobalCall, dim: int, whole: torch.Tensor) -> torch.Tensor:
        ctx.call, ctx.dim = call, dim
        return whole.narrow(dim, call.share.start, call.share.rows).clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        refuse_double_backward()
        call = ctx.call
        whole = gather_rows(grad, ctx.dim, call.share, call.group, statistics=True)
        return None, None, whole / call.group.size  # undoes the weight given at the outputs


_boundary: Any = _Boundary.apply
_entry: Any = _Entry.apply


def refuse_double_backward() -> None:
    """Raises when backward itself is being recorded (``create_graph=True``)."""
    if torch.is_grad_enabled():
        raise InputError(
            "backward(create_graph=True)",
            "gradients of gradients do not pass between ranks",
            "compute this term with the plain module, or run on one rank",
        )


def pass_boundary(
    call: Call,
    outputs: Sequence[torch.Tensor],
    trained: Sequence[bool],
    anchors: Sequence[torch.Tensor] = (),
) -> list[torch.Tensor]:
    """Sends local outputs over the boundary; the result is what the loop sees.

    Args:
        trained: Which outputs require a gradient, on any rank.
    """
    if not outputs:
        return []
    return list(_boundary(call, list(trained), *outputs, *anchors))


class GlobalCall(Call):
    """The loop holds the global batch; this rank computes its share of the rows."""

    def __init__(
        self, group: Group, enter_backward: Callable[[], None], share: Share, layout: Layout
    ) -> None:
        super().__init__(group, enter_backward)
        self.share = share
        self.layout = layout
        self._weights: dict[int, float] = {}

    def slice_inputs(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """This rank's rows of every input that carries the batch dimension."""
        return [
            tensor if dim is None else self._rows(tensor, dim)
            for tensor, dim in zip(tensors, self.layout.input_dims, strict=True)
        ]

    def _rows(self, tensor: torch.Tensor, dim: int) -> torch.Tensor:
        if tensor.requires_grad:
            rows: torch.Tensor = _entry(self, dim, tensor)
            return rows
        return tensor.narrow(dim, self.share.start, self.share.rows)

    def sample_weight(self, rule: OutputRule, inputs: Sequence[torch.Tensor]) -> float:
        """How much of the global batch this rank has, in the unit that `rule` averages over."""
        return rule.weigh(inputs, self.share.rows) if self.share.own else 0.0

    def weigh(self, inputs: Sequence[torch.Tensor]) -> None:
        """Measures the weights of averaged outputs on this rank's inputs. Not collective."""
        for index, rule in enumerate(self.layout.outputs):
            if rule.kind == "mean":
                self._weights[index] = self.sample_weight(rule, inputs)

    def emit(self, index: int, local: torch.Tensor) -> torch.Tensor:
        rule = self.layout.outputs[index]
        if rule.kind == "rows":
            return gather_rows(local, rule.dim, self.share, self.group)
        if rule.kind == "same":
            return local
        weight = self._weights[index] if rule.kind == "mean" else float(self.share.own > 0)
        value, total = weighted_sum(local, weight, self.group)
        if rule.kind == "sum":
            return value
        self._weights[index] = weight / total if total else 0.0
        return value / total

    def pull(self, index: int, grad: torch.Tensor) -> torch.Tensor:
        rule, share = self.layout.outputs[index], self.share
        if rule.kind == "same":
            return grad
        if rule.kind == "rows":
            factor = grad.shape[rule.dim] // share.samples
            own = grad.narrow(rule.dim, share.start * factor, share.rows * factor)
            return own * self.group.size if share.own else torch.zeros_like(own)
        weight = self._weights[index] if rule.kind == "mean" else float(share.own > 0)
        return grad * (self.group.size * weight) if weight else torch.zeros_like(grad)


class LocalCall(Call):
    """The loop holds this rank's own batch of n_i samples and computes their mean loss."""

    def __init__(
        self,
        group: Group,
        enter_backward: Callable[[], None],
        samples: float,
        rules: Sequence[OutputRule],
    ) -> None:
        super().__init__(group, enter_backward)
        self._samples = samples
        self._rules = rules
        self._weights: dict[int, float] = {}
        self._total: torch.Tensor | None = None

    def weigh(self, inputs: Sequence[torch.Tensor], rows: int) -> None:
        """Measures the weights of averaged outputs on this rank's inputs. Not collective."""
        for index, rule in enumerate(self._rules):
            if rule.kind == "mean":
                self._weights[index] = rule.weigh(inputs, rows) if rows else 0.0

    def emit(self, index: int, local: torch.Tensor) -> torch.Tensor:
        kind = self._kind(index)
        if kind not in ("mean", "sum"):
            return local
        weight = self._weights[index] if kind == "mean" else 1.0
        value, total = weighted_sum(local, weight, self.group)
        if kind == "sum":
            return value
        self._weights[index] = weight / total if total else 0.0
        return value / total

    def pull(self, index: int, grad: torch.Tensor) -> torch.Tensor:
        kind = self._kind(index)
        if kind == "same":
            return grad
        if kind == "sum":
            return grad * self.group.size
        weight = self._weights[index] if kind == "mean" else self._samples / self._all_samples()
        # a rank without samples may hold NaN (the mean of nothing): 0 * NaN would spread it
        return grad * (self.group.size * weight) if weight else torch.zeros_like(grad)

    def _kind(self, index: int) -> str:
        return self._rules[index].kind if index < len(self._rules) else "rows"

    def _all_samples(self) -> float:
        """Samples on all ranks; asked for in backward, so that a lone forward never waits."""
        if self._total is None:
            self._total = torch.tensor(
                [self._samples], dtype=torch.float64, device=self.group.device
            )
            dist.all_reduce(self._total, group=self.group.statistics)
        return float(self._total.item())


def weighted_sum(local: torch.Tensor, weight: float, group: Group) -> tuple[torch.Tensor, float]:
    """Sum of ``weight * local`` over ranks, and the sum of weights. Collective."""
    term = local.detach() * weight if weight else torch.zeros_like(local)
    packed = torch.cat([term.double().reshape(-1), term.new_tensor([weight]).double()])
    dist.all_reduce(packed, group=group.handle)
    return packed[:-1].view(local.shape).to(local.dtype), float(packed[-1].item())


@dataclasses.dataclass
class ViewCheck:
    """Finds out which view the loop uses by comparing batches, and watches that it stays so."""

    group: Group
    view: str = "auto"
    seen: int = 0
    pinned: bool = False

    EVERY = 16  # steps between checks once the view is known
    FIRST = 3

    def check(self, tensors: Sequence[torch.Tensor]) -> str:
        """The view, compared over ranks on the first forwards and every 16th. Collective then.

        Raises:
            InputError: Some ranks have the same batch and others do not, or the view has changed.
        """
        step = self.seen
        self.seen += 1
        if self.pinned or (step >= self.FIRST and step % self.EVERY):
            return self.view
        found = _compare(tensors, self.group)
        if found == "mixed" or self.view not in ("auto", found):
            before = "" if self.view == "auto" else f", after the {self.view} view before"
            raise InputError(
                f"training batch {step}",
                f"{_FOUND[found]}{before}",
                "give every rank the same batch (same seed), or each its own (DistributedSampler)",
            )
        self.view = found
        return found


_FOUND = {
    "mixed": "some ranks have the same batch and others do not",
    "global": "all ranks have the same batch",
    "local": "every rank has another batch",
}


def _compare(tensors: Sequence[torch.Tensor], group: Group) -> str:
    digest = hashlib.blake2b(digest_size=7)  # fits a positive int64
    for tensor in tensors:
        for part in _dense_parts(tensor.detach()):
            digest.update(str((tuple(part.shape), part.dtype)).encode())
            digest.update(part.contiguous().cpu().view(-1).view(torch.uint8).numpy().tobytes())
    own = torch.tensor([int.from_bytes(digest.digest(), "big")], device=group.device)
    parts = [torch.empty_like(own) for _ in range(group.size)]
    dist.all_gather(parts, own, group=group.handle)
    distinct = len({int(part.item()) for part in parts})
    return "global" if distinct == 1 else "local" if distinct == group.size else "mixed"


def _dense_parts(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    """A tensor of any layout as dense ones that hold its values."""
    if tensor.is_nested:
        return tensor.unbind()
    return [tensor if tensor.layout == torch.strided else tensor.to_dense()]
