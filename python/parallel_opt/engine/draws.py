"""Random numbers of the global view: each rank draws for the whole batch and keeps its own rows.

With equal generator states on all ranks, dropout masks and noise then equal the run on one process,
and so does the generator state after the step. Drawing is caught below autograd, which covers
whatever draws: nn.Dropout, dropout in attention and between LSTM layers, randn_like in a forward.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist

from parallel_opt.compat import DispatchMode, is_higher_order, run_higher_order
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.shares import Share
from parallel_opt.snapshot import HostRandomState

_SEEDED: dict[Any, bool] = {}


def draws_random(operator: Any) -> bool:
    """Whether an ATen operator reads a random generator."""
    known = _SEEDED.get(operator)
    if known is None:
        known = _SEEDED[operator] = torch.Tag.nondeterministic_seeded in operator.tags
    return known


@dataclasses.dataclass(frozen=True)
class Draw:
    """One random operator call as the probe saw it: the operator and the shape it drew.

    `order` is the memory order of the dimensions, outermost first, which the numbers follow.
    """

    operator: str
    shape: tuple[int, ...]
    order: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class DrawRule:
    """Which dimension of a drawn tensor runs over samples; None: drawn once for all ranks.

    The dimension has ``factor`` rows per sample. `inner`: samples vary fastest in it (a sequence-
    first tensor flattened), otherwise slowest.
    """

    draw: Draw
    dim: int | None
    factor: int = 1
    inner: bool = False


def match_draws(
    whole: Sequence[Draw], part: Sequence[Draw], samples: int, rows: int, steps: int | None
) -> list[DrawRule] | None:
    """Rules from the draws of a whole batch of `samples` and of `rows` of them; None: they differ.

    `steps` is the length of the leading sequence dimension when the inputs are sequence-first.
    """
    if [draw.operator for draw in whole] != [draw.operator for draw in part]:
        return None
    rules = []
    for big, small in zip(whole, part, strict=True):
        if len(big.shape) != len(small.shape):
            return None
        differing = [
            d for d, (a, b) in enumerate(zip(big.shape, small.shape, strict=True)) if a != b
        ]
        if not differing:
            rules.append(DrawRule(big, None))
            continue
        dim = differing[0]
        scaled = big.shape[dim] * rows == small.shape[dim] * samples
        if len(differing) > 1 or not scaled or big.shape[dim] % samples:
            return None
        factor = big.shape[dim] // samples
        rules.append(DrawRule(big, dim, factor, dim == 0 and factor > 1 and factor == steps))
    return rules


class SettledDraws(DispatchMode):  # type: ignore[no-untyped-call]
    """Replaces every random operator by a fixed row-wise one, and records the shapes drawn.

    Dropout becomes the identity (its mask is filled with the keep probability, which it is then
    divided by), so two runs can be compared row by row. `unsettled` names operators without a
    stand-in.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.draws: list[Draw] = []
        self.unsettled: list[str] = []
        self.fused = False  # a fused kernel with dropout was called

    supports_higher_order_operators = True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if is_higher_order(func):
            return run_higher_order(self, func, args, kwargs)
        if not draws_random(func):
            return func(*args, **kwargs)
        name = str(func._schema.name)
        if _is_fused(func):
            position = _dropout_position(func, args)
            self.fused = self.fused or (position is not None and args[position] > 0)
            return func(*_without_dropout(args, position), **kwargs)
        stand_in = _STAND_INS.get(name)
        if stand_in is not None:
            result = stand_in(func, args, kwargs)
        elif name.endswith("_"):
            result = args[0].fill_(0.5 if args[0].is_floating_point() else 0)
        else:
            self.unsettled.append(name)
            result = func(*args, **kwargs)
        shown = result[0] if isinstance(result, tuple) else result
        self.draws.append(Draw(name, tuple(shown.shape), _memory_order(shown)))
        return result


class FullBatchDraws(DispatchMode):  # type: ignore[no-untyped-call]
    """Draws for the whole batch and keeps this rank's rows, by the rules of the probe.

    Fused attention or RNN kernels draw inside; they get a stream of their own per rank, and the
    shared generator advances alike everywhere (`isolated` names them: masks then differ from one
    process, the distribution does not).
    """

    def __init__(self, share: Share, rules: Sequence[DrawRule], isolated: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._share = share
        self._rules = rules
        self._isolated = isolated

    supports_higher_order_operators = True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if is_higher_order(func):
            return run_higher_order(self, func, args, kwargs)
        if not draws_random(func):
            return func(*args, **kwargs)
        name = str(func._schema.name)
        if _is_fused(func):
            position = _dropout_position(func, args)
            if position is None or not args[position]:
                return func(*args, **kwargs)
            return self._isolate(name, func, args, kwargs)
        if name.endswith("_"):
            rule = self._rule(name, args[0].shape, args[0].stride())
            if rule is None:
                return func(*args, **kwargs)
            whole = _empty_like(args[0], self._whole_shape(args[0].shape, rule), rule.draw.order)
            func(whole, *self._whole_arguments(name, args[1:]), **kwargs)
            return args[0].copy_(self._own(whole, rule))
        return self._draw(name, func, args, kwargs)

    def _draw(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*self._whole_arguments(name, args), **kwargs)
        outputs = result if isinstance(result, tuple) else (result,)
        own = []
        for output in outputs:
            rule = self._rule_of_whole(name, output.shape)
            own.append(output if rule is None else self._own(output, rule).clone())
        return tuple(own) if isinstance(result, tuple) else own[0]

    def _whole_arguments(self, name: str, args: Sequence[Any]) -> list[Any]:
        return [self._whole_argument(name, argument) for argument in args]

    def _whole_argument(self, name: str, argument: Any) -> Any:
        if isinstance(argument, torch.Tensor):
            rule = self._rule(name, argument.shape)
            return argument if rule is None else self._spread(argument, rule)
        if isinstance(argument, (list, torch.Size)) and all(isinstance(i, int) for i in argument):
            rule = self._rule(name, argument)
            return argument if rule is None else self._whole_shape(argument, rule)
        return argument

    def _rule(
        self, name: str, shape: Sequence[int], strides: Sequence[int] = ()
    ) -> DrawRule | None:
        """The rule for a local shape; `strides` tell apart rules that differ in memory order."""
        return self._find(name, shape, self._share.rows, tuple(strides))

    def _rule_of_whole(self, name: str, shape: Sequence[int]) -> DrawRule | None:
        return self._find(name, shape, self._share.samples, ())

    def _find(
        self, name: str, shape: Sequence[int], rows: int, strides: tuple[int, ...]
    ) -> DrawRule | None:
        alike = [
            r for r in self._rules if (r.draw.operator, len(r.draw.shape)) == (name, len(shape))
        ]
        fitting = [r for r in alike if _fits(r, shape, rows)]
        if not fitting:  # the sequence length may differ from the probe's
            fitting = [
                dataclasses.replace(r, factor=shape[r.dim] // rows)
                for r in alike
                if r.dim is not None and shape[r.dim] % rows == 0
            ]
        if not fitting:
            return None
        exact = [r for r in fitting if strides == _dense_strides(shape, r.draw.order)]
        rule = (exact or fitting)[0]
        return None if rule.dim is None else rule

    def _whole_shape(self, shape: Sequence[int], rule: DrawRule) -> list[int]:
        whole = list(shape)
        whole[_dim(rule)] = rule.factor * self._share.samples
        return whole

    def _own(self, whole: torch.Tensor, rule: DrawRule) -> torch.Tensor:
        dim, share = _dim(rule), self._share
        if not rule.inner:
            return whole.narrow(dim, share.start * rule.factor, share.rows * rule.factor)
        split = _split(whole, dim, (rule.factor, share.samples))
        return split.narrow(dim + 1, share.start, share.rows).flatten(dim, dim + 1)

    def _spread(self, local: torch.Tensor, rule: DrawRule) -> torch.Tensor:
        """A whole-batch tensor with the own rows in place; the others repeat own rows."""
        dim, share = _dim(rule), self._share
        index = (torch.arange(share.samples, device=local.device) - share.start) % share.rows
        sizes = (rule.factor, share.rows) if rule.inner else (share.rows, rule.factor)
        split = _split(local, dim, sizes)
        return split.index_select(dim + int(rule.inner), index).flatten(dim, dim + 1)

    def _isolate(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._isolated.add(name)
        device = next(a.device for a in args if isinstance(a, torch.Tensor))
        with own_stream(self._share.rank, device):
            return func(*args, **kwargs)


def align_generators(group: Group) -> bool:
    """The global view needs equal random states: gives every rank rank 0's, and says whether they
    differed. Collective."""
    states = [torch.get_rng_state()]
    if group.device.type == "cuda":
        states.append(torch.cuda.get_rng_state())
    gathered: list[Any] = [None] * group.size
    dist.all_gather_object(gathered, (states, HostRandomState()), group=group.handle)
    (first, first_host), *others = gathered
    if all(
        host == first_host and all(torch.equal(a, b) for a, b in zip(first, states, strict=True))
        for states, host in others
    ):
        return False
    torch.set_rng_state(first[0])
    if group.device.type == "cuda":
        torch.cuda.set_rng_state(first[1])
    first_host.restore()
    return True


@contextlib.contextmanager
def own_stream(rank: int, device: torch.device) -> Iterator[None]:
    """Within it, this rank draws its own numbers; afterwards all ranks' states are equal again."""
    seed = int(torch.randint(2**62, ()).item())  # alike on every rank
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed + rank)
        yield


def _split(tensor: torch.Tensor, dim: int, sizes: tuple[int, int]) -> torch.Tensor:
    return tensor.reshape(*tensor.shape[:dim], *sizes, *tensor.shape[dim + 1 :])


def _fits(rule: DrawRule, shape: Sequence[int], rows: int) -> bool:
    """Whether `shape` is what the probe saw, with `rows` samples."""
    seen = list(rule.draw.shape)
    if rule.dim is not None:
        seen[rule.dim] = rule.factor * rows
    return seen == list(shape)


def _dense_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    strides, step = [0] * len(shape), 1
    for dim in reversed(order):
        strides[dim] = step
        step *= shape[dim]
    return tuple(strides)


def _dim(rule: DrawRule) -> int:
    assert rule.dim is not None
    return rule.dim


def _memory_order(tensor: torch.Tensor) -> tuple[int, ...]:
    strides = tensor.stride()
    return tuple(sorted(range(tensor.dim()), key=lambda d: (-strides[d], d)))


def _empty_like(local: torch.Tensor, shape: Sequence[int], order: Sequence[int]) -> torch.Tensor:
    """An empty tensor of `shape` whose dimensions lie in memory in `order`."""
    back = sorted(range(local.dim()), key=lambda d: order[d])
    return local.new_empty([shape[d] for d in order]).permute(back)


def _is_fused(func: Any) -> bool:
    """Whether it is a fused attention or RNN kernel, whose only random part is its dropout."""
    return "attention" in func._schema.name or "rnn" in func._schema.name


def _dropout_position(func: Any, args: Sequence[Any]) -> int | None:
    """Where among `args` a fused kernel's dropout probability is; None: left at its default, 0."""
    for position, argument in enumerate(func._schema.arguments):
        if argument.name in ("dropout_p", "dropout") and position < len(args):
            return position
    return None


def _without_dropout(args: Sequence[Any], position: int | None) -> Sequence[Any]:
    return args if position is None else (*args[:position], 0.0, *args[position + 1 :])


def _fill_bernoulli(func: Any, args: Any, kwargs: Any) -> Any:
    p = args[1] if len(args) > 1 else kwargs.get("p", 0.5)
    return args[0].copy_(p) if isinstance(p, torch.Tensor) else args[0].fill_(p)


def _bernoulli(func: Any, args: Any, kwargs: Any) -> Any:
    return torch.full_like(args[0], args[1]) if len(args) > 1 else args[0].clone()


def _fill_middle(func: Any, args: Any, kwargs: Any) -> Any:
    result = func(*args, **kwargs)
    return result.fill_(0.5) if result.is_floating_point() else result.fill_(_low(func, args))


def _low(func: Any, args: Any) -> int:
    names = [argument.name for argument in func._schema.arguments]
    return int(args[names.index("low")]) if "low" in names else 0


def _normal(func: Any, args: Any, kwargs: Any) -> Any:
    if not isinstance(args[0], torch.Tensor) and not isinstance(args[1], torch.Tensor):
        return func(*args, **kwargs).fill_(args[0])
    deviation = args[1] if len(args) > 1 else 1.0
    return args[0] + 0.5 * deviation


# Only operators that draw as many numbers whatever the values are: rrelu and poisson are not here.
_STAND_INS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "aten::bernoulli_": _fill_bernoulli,
    "aten::bernoulli": _bernoulli,
    "aten::native_dropout": lambda func, args, kwargs: (
        args[0].clone(),
        torch.ones_like(args[0], dtype=torch.bool),
    ),
    "aten::normal": _normal,
    "aten::rand": _fill_middle,
    "aten::rand_like": _fill_middle,
    "aten::randn": _fill_middle,
    "aten::randn_like": _fill_middle,
    "aten::randint": _fill_middle,
    "aten::randint_like": _fill_middle,
}
