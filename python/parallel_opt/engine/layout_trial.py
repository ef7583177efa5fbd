"""Runs a module on a batch without leaving a trace, and records what relates it to the batch: its
outputs, its random draws, the values that Python read from what inputs became.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parallel_opt.engine.draws import Draw, SettledDraws
from parallel_opt.engine.structure import flatten
from parallel_opt.snapshot import RandomState, attributes_kept, user_hooks_silenced

Run = Callable[[Sequence[torch.Tensor]], Any]


@dataclasses.dataclass
class Trial:
    """What one run did."""

    outputs: list[torch.Tensor]
    signature: str
    opaque: str  # type of an output whose tensors stay inside
    draws: list[Draw]
    decisions: list[Decision]
    unsettled: list[str]
    batch_norm: bool
    random: bool
    written: dict[str, torch.Tensor]
    """Buffers and attributes that the forward wrote, as it left them, by their words: "the buffer
    'x'"."""
    constants: tuple[Any, ...] = ()
    """What it returned beside tensors."""
    overwritten: tuple[int, ...] = ()
    """Inputs that the forward wrote to."""
    moments: tuple[torch.Tensor, ...] = ()
    """Of what went into each batch norm."""
    coupled: str = ""
    """What looks at the whole batch, in words."""


class Watch(TorchFunctionMode):
    """Fixes batch statistics; records each value that Python reads from what inputs became, what
    goes into batch norms, and embeddings that look at the whole batch."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        self.batch_norm = False
        self.moments: list[torch.Tensor] = []
        self.coupled = ""
        self._origins: dict[int, tuple[weakref.ref[torch.Tensor], frozenset[int]]] = {}
        for index, tensor in enumerate(inputs):
            self._mark(tensor, frozenset([index]))

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is functional.batch_norm:
            result = self._batch_norm(*args, **kwargs)
        elif func in _EMBEDDINGS:
            result = self._embedding(func, *args, **kwargs)
        else:
            result = func(*args, **kwargs)
        origins = self._origins_of(itertools.chain(args, kwargs.values()))
        if not origins:
            return result
        if func in _READS:
            plain = result.tolist() if hasattr(result, "tolist") else result  # of numpy
            self.decisions.append(Decision(plain, origins))
        self._mark(result, origins)
        if func is torch.Tensor.__setitem__:
            self._mark(args[0], origins)
        return result

    def _mark(self, value: Any, origins: frozenset[int]) -> None:
        if isinstance(value, torch.Tensor):
            self._origins[id(value)] = weakref.ref(value), origins
        elif isinstance(value, (list, tuple)):
            for item in value:
                self._mark(item, origins)

    def _origins_of(self, values: Iterable[Any]) -> frozenset[int]:
        found: frozenset[int] = frozenset()
        for value in values:
            if isinstance(value, torch.Tensor):
                reference, origins = self._origins.get(id(value), (None, found))
                if reference is not None and reference() is value:
                    found |= origins
            elif isinstance(value, (list, tuple)):
                found |= self._origins_of(value)
        return found

    def _batch_norm(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training")
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        if not given.get("training", False):
            return functional.batch_norm(*args, **kwargs)
        self.batch_norm = True
        x, mean, variance = given["input"], given.get("running_mean"), given.get("running_var")
        self.moments.append(_moments(x))
        if mean is None or variance is None:
            mean, variance = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        return functional.batch_norm(x, mean, variance, given.get("weight"), given.get("bias"))

    def _embedding(self, func: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(_EMBEDDINGS[func], args, strict=False)), **kwargs}
        if given.get("max_norm") is not None:
            # In training it shrinks the entries that stand in the batch, for good.
            self.coupled = "an embedding with max_norm changes the entries that stand in the batch"
            given["max_norm"] = None
        if given.get("scale_grad_by_freq"):
            self.coupled = "an embedding with scale_grad_by_freq counts entries over the batch"
        return func(**given)


def _moments(x: torch.Tensor) -> torch.Tensor:
    """Count, sum and sum of squares per channel: those of parts add up to those of the whole."""
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32)).transpose(0, 1).flatten(1)
    count = torch.full_like(wide[:, 0], wide.shape[1])
    return torch.stack([count, wide.sum(1), wide.square().sum(1)])


_COMMON = ("max_norm", "norm_type", "scale_grad_by_freq")
_EMBEDDINGS = {
    functional.embedding: ("input", "weight", "padding_idx", *_COMMON, "sparse"),
    functional.embedding_bag: (
        *("input", "weight", "offsets", *_COMMON, "mode", "sparse"),
        *("per_sample_weights", "include_last_offset", "padding_idx"),
    ),
}


@dataclasses.dataclass(frozen=True)
class Decision:
    """A value that Python read, and the inputs it was computed from."""

    value: Any
    origins: frozenset[int]


_READS = {
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__index__,
    torch.Tensor.item,
    torch.Tensor.__complex__,
    torch.Tensor.__contains__,
    torch.Tensor.__array__,
    torch.Tensor.numpy,
    torch.Tensor.tolist,
    torch.equal,
    torch.allclose,
    torch.is_nonzero,
}


def run_trial(module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]) -> Trial:
    """``run(inputs)`` on copies, in `module` as it was before."""
    inputs = [tensor.detach().clone() for tensor in inputs]  # the forward may write to them
    versions = [tensor._version for tensor in inputs]
    draws, watch = SettledDraws(), Watch(inputs)
    with undisturbed(module):
        before = {name: (id(value), value._version) for name, value in _state(module)}
        with watch, draws:
            result = run(inputs)
        written = {
            name: value.detach().clone()
            for name, value in _state(module)
            if before.get(name) != (id(value), value._version)
        }
    outputs, structure = flatten(result)
    outputs = [output.detach() for output in outputs]
    return Trial(
        outputs,
        structure.signature,
        structure.opaque,
        draws.draws,
        watch.decisions,
        draws.unsettled,
        watch.batch_norm,
        bool(draws.draws) or draws.fused,
        written,
        structure.constants,
        tuple(i for i, (t, v) in enumerate(zip(inputs, versions, strict=True)) if t._version != v),
        tuple(watch.moments),
        watch.coupled,
    )


def _state(module: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """What a forward may leave behind for a later one or for the loop: buffers, tensors and numbers
    in attributes. A number counts as a tensor whose identity is its value."""
    for name, buffer in module.named_buffers():
        yield f"the buffer {name!r}", buffer
    for prefix, part in module.named_modules():
        for attribute, value in vars(part).items():
            if attribute in _OWN_ATTRIBUTES:
                continue
            name = f"{prefix}.{attribute}" if prefix else attribute
            for place, tensor in enumerate(_tensors_of(value)):
                yield f"the attribute {name!r}" + (f", item {place}" if place else ""), tensor


MOST_ITEMS = 1000
_OWN_ATTRIBUTES = frozenset(vars(torch.nn.Module()))


def _tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, (list, tuple, dict)) and len(value) > MOST_ITEMS:
        return []  # a table of the user's, not what one forward leaves
    if isinstance(value, (int, float)):
        return [_number(float(value if isinstance(value, float) else hash(value)))]
    found, _ = flatten(value)
    return [tensor for tensor in found if not isinstance(tensor, torch.nn.Parameter)]


@functools.lru_cache(maxsize=256)
def _number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


@contextlib.contextmanager
def undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """Puts back buffers, attributes and random states; no gradients, no compilation, no hooks of
    the user's. Frozen parameters too, which a forward may average others into."""
    global _depth
    tables = [(table, dict(table)) for part in module.modules() for table in (part._buffers,)]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    silent = [(p, p.detach().clone()) for p in module.parameters() if _is_silent(p)]
    parameters = [*silent, *_frozen(module)]
    random = RandomState()
    silenced = user_hooks_silenced(module)
    with torch.no_grad(), attributes_kept(module), _eager(), silenced:
        try:
            _raise_silent(silent)
            _depth += 1
            yield
        finally:
            _depth -= 1
            for parameter, value in parameters:
                parameter.data.copy_(value)  # .data: graphs of earlier forwards stay valid
            for table, entries in tables:
                table.clear()
                table.update(entries)
            for buffer, value in buffers:
                buffer.data.copy_(value)
            random.restore()


_depth = 0
_MOST_FROZEN_BYTES = 256 * 2**20
"""Beyond that a copy may not fit, and a forward that writes to them is rarer still."""


def in_trial() -> bool:
    """Whether the module runs for a look at it."""
    return _depth > 0


def _frozen(module: torch.nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    found = [p for p in module.parameters() if not p.requires_grad and not _is_silent(p)]
    size = sum(p.numel() * p.element_size() for p in found)
    return [] if size > _MOST_FROZEN_BYTES else [(p, p.detach().clone()) for p in found]


def _eager() -> contextlib.AbstractContextManager[Any]:
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and importing it takes seconds
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _is_silent(parameter: torch.Tensor) -> bool:
    """Whether a parameter is so small that what it scales would not show in a comparison."""
    return bool(parameter.numel() and parameter.detach().abs().max().item() < 1e-3)


def _raise_silent(parameters: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    for parameter, _ in parameters:
        noise = torch.linspace(0.05, 0.5, parameter.numel(), device=parameter.device)
        parameter.data.copy_(noise.view(parameter.shape))


def narrow(
    inputs: Sequence[torch.Tensor], dims: Sequence[int | None], start: int, rows: int
) -> list[torch.Tensor]:
    """`rows` samples of every input that carries them."""
    return [
        tensor if dim is None else tensor.narrow(dim, start, rows)
        for tensor, dim in zip(inputs, dims, strict=True)
    ]
