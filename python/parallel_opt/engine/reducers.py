"""Two ways to average gradients over ranks: DDP's overlapped buckets, and a slow, safe twin.

Both take the mean over ranks; weights sit at the model's output boundary (views.py).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from parallel_opt import compat
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.sync_batch_norm import normalised_by_engine
from parallel_opt.errors import InputError

BUCKET_BYTES = 25 * 2**20  # DDP's own default


class Reducer(Protocol):
    """Averages the gradients of some parameters over a group."""

    def on_backward(self, reduce: bool, begin: Callable[[], None] = lambda: None) -> None:
        """Called inside backward, when it enters the model; `reduce` is False under no_sync.

        Calls `begin` once per backward that gives parameters a gradient."""

    def synchronize(self) -> None:
        """Makes every gradient the mean over ranks. Collective unless there is nothing to do."""

    def close(self) -> None:
        """Takes all hooks off the parameters."""


class _Leaves:
    """The autograd nodes that complete the parameters' gradients."""

    def __init__(self, parameters: Sequence[torch.Tensor]) -> None:
        # A view of a leaf leads to its node, and keeps that node alive, as DDP does.
        with torch.enable_grad():
            self.views = [parameter.expand_as(parameter) for parameter in parameters]
        self._nodes = [_next_node(view) for view in self.views]

    def reached(self) -> list[bool]:
        """Which parameters the running backward gives a gradient.

        Raises:
            InputError: It is ``torch.autograd.grad`` for a parameter: its result would be a part.
        """
        try:
            return [compat.backward_will_execute(node) for node in self._nodes]
        except compat.MissingTorchName:
            raise
        except RuntimeError as error:
            raise InputError(
                "torch.autograd.grad",
                "returns this rank's part of a parameter's gradient",
                "use loss.backward(), then parameter.grad",
            ) from error


class LateReducer:
    """Reduces once, before the gradients are first used: no overlap, any control flow.

    A parameter keeps ``grad is None`` only when it is None on every rank.
    """

    def __init__(self, parameters: Sequence[torch.Tensor], group: Group) -> None:
        self._parameters = list(parameters)
        self._group = group
        self._dirty = False
        self._leaves = _Leaves(self._parameters)
        self._backward = -1

    def on_backward(self, reduce: bool, begin: Callable[[], None] = lambda: None) -> None:
        if averages_itself():
            return
        self._dirty = True
        with contextlib.suppress(compat.MissingTorchName):  # only the refusal is lost then
            this = compat.current_backward_id()
            if this != self._backward:
                self._backward = this
                if any(self._leaves.reached()):
                    begin()

    def synchronize(self) -> None:
        # Ranks may differ in whether a backward ran at all, so the first collective is always made.
        reduce_now(self._parameters, self._group, self._dirty)
        self._dirty = False

    def close(self) -> None:
        self._parameters = []


def reduce_now(parameters: Sequence[torch.Tensor], group: Group, needed: bool = True) -> None:
    """Averages gradients when any rank says it is `needed`. Collective."""
    flags = [int(needed)]
    flags += [0 if p.grad is None else 2 if p.grad.is_sparse else 1 for p in parameters]
    bits = torch.tensor(flags, dtype=torch.int32, device=group.device)
    dist.all_reduce(bits, op=dist.ReduceOp.MAX, group=group.handle)
    found = bits.tolist()
    if found[0]:
        average_gradients(parameters, found[1:], group)


_itself = False


@contextlib.contextmanager
def averaging_itself() -> Iterator[None]:
    """Within it, who asks for gradients averages what autograd returns: no backward reduces."""
    global _itself
    before, _itself = _itself, True
    try:
        yield
    finally:
        _itself = before


def averages_itself() -> bool:
    """Whether this is within ``averaging_itself()``."""
    return _itself


def averaged(
    parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor | None], group: Group
) -> list[torch.Tensor | None]:
    """The means over ranks of `gradients`, None where no rank has one. Collective."""
    holders = [parameter.detach() for parameter in parameters]
    for holder, gradient in zip(holders, gradients, strict=True):
        holder.grad = None if gradient is None else gradient.detach().clone()
    reduce_now(holders, group)
    return [holder.grad for holder in holders]


def average_gradients(
    parameters: Sequence[torch.Tensor], found: Sequence[int], group: Group
) -> None:
    """All-reduces gradients: SUM / ranks in flat buckets. Collective.

    Args:
        found: Per parameter 0 when no rank has a gradient, 2 when a rank has a sparse one, else 1.
    """
    bucket: list[torch.Tensor] = []
    size = 0
    for parameter, kind in zip(parameters, found, strict=True):
        if kind == 2:
            _average_sparse(parameter, group)
        if kind != 1:
            continue
        bytes_here = parameter.numel() * parameter.element_size()
        other = bucket and (bucket[0].dtype, bucket[0].device) != (
            parameter.dtype,
            parameter.device,
        )
        if bucket and (other or size + bytes_here > BUCKET_BYTES):
            _average_bucket(bucket, group)
            bucket, size = [], 0
        bucket.append(parameter)
        size += bytes_here
    if bucket:
        _average_bucket(bucket, group)


def _average_bucket(bucket: Sequence[torch.Tensor], group: Group) -> None:
    with torch.no_grad():
        for parameter in bucket:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat, group=group.handle)
        flat /= group.size
        for gradient, part in zip(
            gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(part.view(gradient.shape))


def _average_sparse(parameter: torch.Tensor, group: Group) -> None:
    """Gathers every rank's (index, value) pairs; gloo and NCCL both know dense tensors best."""
    gradient = parameter.grad
    if gradient is None:
        gradient = torch.zeros_like(parameter).to_sparse(1)
    gradient = gradient.to_sparse(1).coalesce() if not gradient.is_sparse else gradient.coalesce()
    pairs: list[Any] = [None] * group.size
    dist.all_gather_object(
        pairs, (gradient.indices().cpu(), gradient.values().cpu()), group=group.handle
    )
    indices = torch.cat([pair[0] for pair in pairs], dim=1)
    values = torch.cat([pair[1] for pair in pairs]) / group.size
    total = torch.sparse_coo_tensor(indices, values, parameter.shape).coalesce()
    parameter.grad = total.to(parameter.device)


class DdpReducer:
    """Lends the bucketed, overlapped reduction of DistributedDataParallel, without its forward.

    DDP decides in forward which parameters the coming backward uses, which is wrong for several
    forwards per backward. Here each backward starts its own reduction at the moment it enters the
    model, when the engine can tell exactly which parameters it will reach.
    """

    def __init__(self, module: torch.nn.Module, group: Group) -> None:
        self._group = group
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self._ddp = DistributedDataParallel(
            normalised_by_engine(module),
            process_group=group.handle,
            **compat.no_buffer_broadcast(),
            find_unused_parameters=True,  # no other mode survives a branch that appears later
        )
        self._leaves = _Leaves(self._parameters)
        self._done: set[int] = set()  # parameters with a complete gradient in backward `_done_in`
        self._done_in = -1
        self._backward = -1  # the last one that entered the model
        self._prepared = -1  # the last one that reduces
        self._loose = False  # some gradient was added outside a reduction, after the last one
        self._hooks = [
            p.register_post_accumulate_grad_hook(_Mark(self, i))  # type: ignore[no-untyped-call]
            for i, p in enumerate(self._parameters)
        ]

    def on_backward(self, reduce: bool, begin: Callable[[], None] = lambda: None) -> None:
        this = compat.current_backward_id()
        if this == self._backward or averages_itself():
            return
        self._backward = this
        if not reduce:
            return
        done = self._done if self._done_in == this else set()
        leaves = self._leaves
        used = [
            view
            for i, (view, hit) in enumerate(zip(leaves.views, leaves.reached(), strict=True))
            if hit and i not in done
        ]
        if used:
            begin()
            compat.prepare_reducer(self._ddp, used)
            self._prepared = this
            self._loose = False  # a reduction takes in what was added before it

    def mark_done(self, index: int) -> None:
        """Notes that the running backward has finished one gradient.

        Outside a reduction (no_sync, a backward nested in another) it stays this rank's own until
        ``synchronize``.
        """
        this = compat.current_backward_id()
        if this != self._done_in:
            self._done_in = this
            self._done = set()
        self._done.add(index)
        self._loose = self._loose or this != self._prepared

    def synchronize(self) -> None:
        if self._prepared >= 0:
            compat.check_reducer(self._ddp)
        if not self._loose:
            return
        self._loose = False
        reduce_now(self._parameters, self._group)

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()
        compat.remove_reducer_hooks(self._ddp)
        self._leaves, self._parameters = _Leaves([]), []


class _Mark:
    """A hook as an object: it holds no gradient and no parameter."""

    def __init__(self, reducer: DdpReducer, index: int) -> None:
        self._reducer = reducer
        self._index = index

    def __call__(self, parameter: torch.Tensor) -> None:
        self._reducer.mark_done(self._index)


def _next_node(view: torch.Tensor) -> Any:
    assert view.grad_fn is not None
    return view.grad_fn.next_functions[0][0]


def ddp_fault(group: Group) -> str:
    """Tries DDP on a toy model; what went wrong on any rank, or nothing. Collective."""
    fault = ""
    try:
        fault = _try_ddp(group)
    except Exception as error:  # any failure means the slow twin, never a wrong gradient
        fault = f"{type(error).__name__}: {error}"
    bad = torch.tensor([int(bool(fault))], device=group.device)
    dist.all_reduce(bad, op=dist.ReduceOp.MAX, group=group.handle)
    return fault or ("it failed on another rank" if bad.item() else "")


def _try_ddp(group: Group) -> str:
    """Two passes in one backward: first all ranks use both layers, then only rank 0 does."""
    with torch.random.fork_rng(devices=[group.device] if group.device.type == "cuda" else []):
        layers = [torch.nn.Linear(1, 1, bias=False) for _ in range(2)]
    module = torch.nn.ModuleList(layers).to(group.device)
    reducer = DdpReducer(module, group)
    enter: Any = _Enter.apply
    x = torch.full((1, 1), float(group.rank + 1), device=group.device)
    try:
        with warnings.catch_warnings():
            # DDP advises once per process to turn the search for unused parameters off
            warnings.filterwarnings("ignore", message=".*find_unused_parameters=True.*")
            for both in (True, group.rank == 0):
                module.zero_grad()
                out = layers[0](x) + layers[0](enter(reducer, x.requires_grad_()))
                out = out + layers[1](x) if both else out
                enter(reducer, out).sum().backward()
        reducer.synchronize()
        mean = 2 * (group.size + 1) / 2  # of 2 (rank + 1) over the ranks
        found = [float(_gradient(layer.weight).item()) for layer in layers]
        expected = [mean, 1 / group.size]
        good = all(abs(a - b) < 1e-5 for a, b in zip(found, expected, strict=True))
        return "" if good else f"gradients {found}, expected {expected}"
    finally:
        reducer.close()


def _gradient(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


class _Enter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, reducer: Reducer, x: torch.Tensor) -> torch.Tensor:
        ctx.reducer = reducer
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, torch.Tensor]:
        ctx.reducer.on_backward(True)
        return None, grad
