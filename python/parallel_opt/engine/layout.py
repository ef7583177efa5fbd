"""Finds out which dimension of each input and output runs over samples, by trying.

The module runs on the whole batch and on two parts of it (without gradients, with random draws
and batch statistics fixed). A dimension carries samples when the parts' outputs, put together,
equal the whole's. So whatever couples samples inside the model is noticed, and such a model is
not sliced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from parallel_opt.engine.draws import Draw, DrawRule, SettledDraws, match_draws
from parallel_opt.engine.structure import flatten

Run = Callable[[Sequence[torch.Tensor]], Any]

MAX_CANDIDATES = 12
NO_BATCH = "no input tensor has a dimension of two or more samples"
IGNORED_LABEL = -100  # torch's default ignore_index

# Largest difference between a part and the whole, relative to the largest entry.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_LOW_PRECISION_TOLERANCE = 5e-2


@dataclasses.dataclass(frozen=True)
class OutputRule:
    """What one output tensor is to the batch.

    kind:
        rows: `dim` runs over samples; mean: an average over the unit `weigh` counts; sum: a sum
        over samples; same: does not depend on the batch.
    """

    kind: str
    dim: int = 0
    labels: int | None = None  # mean over entries of this input that are not ignored; None: samples
    shifted: bool = False  # the first label of each row does not count

    def weigh(self, inputs: Sequence[torch.Tensor], rows: int) -> float:
        """How many units of the average `inputs` hold."""
        if self.labels is None:
            return float(rows)
        labels = inputs[self.labels]
        labels = labels[..., 1:] if self.shifted else labels
        return float((labels != IGNORED_LABEL).sum().item())


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a module's inputs, outputs and random draws relate to the batch.

    `whole_because` says why the module must see the whole batch; empty when it may be sliced.
    """

    input_dims: tuple[int | None, ...]
    outputs: tuple[OutputRule, ...] = ()
    draws: tuple[DrawRule, ...] = ()
    batch_norm: bool = False
    random: bool = False
    whole_because: str = ""

    def samples(self, inputs: Sequence[torch.Tensor]) -> int:
        """Batch size of `inputs`; 1 when no input carries the batch."""
        for tensor, dim in zip(inputs, self.input_dims, strict=True):
            if dim is not None:
                return tensor.shape[dim]
        return 1


@dataclasses.dataclass
class _Trial:
    outputs: list[torch.Tensor]
    signature: str
    draws: list[Draw]
    decisions: list[_Decision]
    unsettled: list[str]
    batch_norm: bool
    random: bool


class _Watch(TorchFunctionMode):
    """Fixes batch statistics; records each value that Python reads from what inputs became."""

    def __init__(self, inputs: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.decisions: list[_Decision] = []
        self.batch_norm = False
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
        else:
            result = func(*args, **kwargs)
        origins = self._origins_of(itertools.chain(args, kwargs.values()))
        if not origins:
            return result
        if func in _READS:
            self.decisions.append(_Decision(result, origins))
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
        if mean is None or variance is None:
            mean, variance = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
        return functional.batch_norm(x, mean, variance, given.get("weight"), given.get("bias"))


@dataclasses.dataclass(frozen=True)
class _Decision:
    """A value that Python read, and the inputs it was computed from."""

    value: Any
    origins: frozenset[int]


_READS = {
    torch.Tensor.__bool__,
    torch.Tensor.__float__,
    torch.Tensor.__int__,
    torch.Tensor.__index__,
    torch.Tensor.item,
    torch.Tensor.tolist,
    torch.equal,
    torch.allclose,
    torch.is_nonzero,
}


def find_layout(module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]) -> Layout:
    """The layout of ``run(inputs)``, which calls `module`. The module is left as it was.

    Costs one forward pass on the whole batch and, when the first guess holds, one on each part.
    """
    nothing: tuple[int | None, ...] = (None,) * len(inputs)
    reason = NO_BATCH
    with _undisturbed(module):
        whole: _Trial | None = None
        for dims in itertools.islice(_candidates(inputs), MAX_CANDIDATES):
            whole = whole or _try(module, run, inputs)
            layout = _judge(module, run, inputs, dims, whole)
            if isinstance(layout, Layout):
                return layout
            reason = layout if reason == NO_BATCH else reason  # the likeliest guess explains best
    return Layout(nothing, whole_because=reason)


def _judge(
    module: torch.nn.Module,
    run: Run,
    inputs: Sequence[torch.Tensor],
    dims: tuple[int | None, ...],
    whole: _Trial,
) -> Layout | str:
    """The layout when `dims` carry samples, else why they do not."""
    samples = Layout(dims).samples(inputs)
    cut = samples - max(1, samples // 3)  # unequal parts: a coincidence of sizes shows
    parts_inputs = [_narrow(inputs, dims, 0, cut), _narrow(inputs, dims, cut, samples - cut)]
    try:
        parts = [_try(module, run, part) for part in parts_inputs]
    except Exception as error:  # the user's code may refuse a part in any way
        return f"it does not run on part of the batch ({type(error).__name__}: {error})"
    if any(part.signature != whole.signature for part in parts):
        return "its outputs are nested differently for part of the batch"
    decided = [_decisions(trial, dims) for trial in (whole, *parts)]
    if decided[0] != decided[1] + decided[2]:
        return "it branches on values of the whole batch"
    if whole.unsettled:
        return f"it draws random numbers by {', '.join(sorted(set(whole.unsettled)))}"
    first = next(i for i, dim in enumerate(dims) if dim is not None)
    steps = inputs[first].shape[0] if dims[first] else None
    draws = match_draws(whole.draws, parts[0].draws, samples, cut, steps)
    if draws is None:
        return "it draws random numbers in another pattern for part of the batch"
    rules = []
    for index, output in enumerate(whole.outputs):
        pieces = [part.outputs[index] for part in parts]
        rule = _output_rule(output, pieces, samples, cut, inputs, parts_inputs)
        if rule is None:
            return f"output {index} is not made of per-sample rows, sums or means"
        rules.append(rule)
    return Layout(dims, tuple(rules), tuple(draws), whole.batch_norm, whole.random)


def _decisions(trial: _Trial, dims: Sequence[int | None]) -> list[Any]:
    """The values read that depend on inputs which carry samples."""
    return [d.value for d in trial.decisions if any(dims[i] is not None for i in d.origins)]


def _output_rule(
    whole: torch.Tensor,
    parts: Sequence[torch.Tensor],
    samples: int,
    cut: int,
    inputs: Sequence[torch.Tensor],
    parts_inputs: Sequence[Sequence[torch.Tensor]],
) -> OutputRule | None:
    for dim in range(whole.dim()):
        factor, rest = divmod(whole.shape[dim], samples)
        sizes = [part.shape[dim] if part.dim() == whole.dim() else -1 for part in parts]
        if rest or factor == 0 or sizes != [factor * cut, factor * (samples - cut)]:
            continue
        with contextlib.suppress(RuntimeError):  # another dimension differs as well
            if _close(torch.cat(list(parts), dim), whole):
                return OutputRule("rows", dim)
    if any(part.shape != whole.shape for part in parts):
        return None
    if all(_equal(part, whole) for part in parts):
        return OutputRule("same")
    if not whole.is_floating_point():
        return None
    for rule in _averages(inputs):
        sizes_f = [
            rule.weigh(part, rows)
            for part, rows in zip(parts_inputs, (cut, samples - cut), strict=True)
        ]
        if sum(sizes_f) <= 0:
            continue
        terms = [piece * size for piece, size in zip(parts, sizes_f, strict=True) if size]
        if _close(torch.stack(terms).sum(0) / sum(sizes_f), whole):
            return rule
    return OutputRule("sum") if _close(parts[0] + parts[1], whole) else None


def _averages(inputs: Sequence[torch.Tensor]) -> Iterator[OutputRule]:
    yield OutputRule("mean")
    for index, tensor in enumerate(inputs):
        if tensor.dtype in (torch.int64, torch.int32) and tensor.dim() >= 1:
            yield OutputRule("mean", labels=index)
            if tensor.dim() >= 2:
                yield OutputRule("mean", labels=index, shifted=True)


def _candidates(inputs: Sequence[torch.Tensor]) -> Iterator[tuple[int | None, ...]]:
    """Guesses which dimension of each input carries samples, the usual ones first."""
    first = next((i for i, t in enumerate(inputs) if t.dim() > 0), None)
    if first is None or inputs[first].shape[0] < 2:
        return
    for lead in range(min(2, inputs[first].dim())):
        samples = inputs[first].shape[lead]
        if samples < 2:
            continue
        choices: list[list[int | None]] = []
        for index, tensor in enumerate(inputs):
            if index == first:
                choices.append([lead])
                continue
            order = sorted(range(tensor.dim()), key=lambda d: (d != lead, d))
            fitting: list[int | None] = [d for d in order if tensor.shape[d] == samples]
            choices.append([*fitting[:2], None])
        yield from itertools.islice(itertools.product(*choices), MAX_CANDIDATES)


def _narrow(
    inputs: Sequence[torch.Tensor], dims: Sequence[int | None], start: int, rows: int
) -> list[torch.Tensor]:
    return [
        tensor if dim is None else tensor.narrow(dim, start, rows)
        for tensor, dim in zip(inputs, dims, strict=True)
    ]


def _try(module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]) -> _Trial:
    inputs = [tensor.detach().clone() for tensor in inputs]  # the forward may write to them
    draws, watch = SettledDraws(), _Watch(inputs)
    with _undisturbed(module), watch, draws:
        result = run(inputs)
    outputs, structure = flatten(result)
    outputs = [output.detach() for output in outputs]
    return _Trial(
        outputs,
        structure.signature,
        draws.draws,
        watch.decisions,
        draws.unsettled,
        watch.batch_norm,
        bool(draws.draws) or draws.fused,
    )


@contextlib.contextmanager
def _undisturbed(module: torch.nn.Module) -> Iterator[None]:
    """Puts back buffers, attributes and random states; no gradients, no compilation."""
    attributes = [(part, dict(part.__dict__)) for part in module.modules()]
    tables = [(table, dict(table)) for part in module.modules() for table in (part._buffers,)]
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    parameters = [(p, p.detach().clone()) for p in module.parameters() if _is_silent(p)]
    fork = torch.random.fork_rng(list(range(torch.cuda.device_count())))
    with torch.no_grad(), fork, _eager():
        try:
            _raise_silent(parameters)
            yield
        finally:
            for parameter, value in parameters:
                parameter.data.copy_(value)  # .data: graphs of earlier forwards stay valid
            for part, saved in attributes:
                part.__dict__.clear()
                part.__dict__.update(saved)
            for table, entries in tables:
                table.clear()
                table.update(entries)
            for buffer, value in buffers:
                buffer.data.copy_(value)


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


def _close(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.shape != b.shape:
        return False
    if not b.is_floating_point():
        return torch.equal(a, b)
    if b.numel() == 0:
        return True
    tolerance = _TOLERANCE.get(b.dtype, _LOW_PRECISION_TOLERANCE)
    wide = torch.promote_types(b.dtype, torch.float32)
    a, b = a.to(wide).nan_to_num(), b.to(wide).nan_to_num()
    return bool((a - b).abs().max() <= tolerance * b.abs().max())


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())
