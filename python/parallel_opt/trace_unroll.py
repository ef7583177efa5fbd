"""What operators that take functions do, in plain Python: each run of a function is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

Function = Callable[..., Any]


def _cond(predicate: Any, true: Function, false: Function, operands: Sequence[Any] = ()) -> Any:
    return (true if predicate else false)(*operands)


def _while_loop(
    condition: Function, body: Function, carried: Sequence[Any], rest: Sequence[Any] = (), *_: Any
) -> Any:
    values = tuple(carried)
    while condition(*values, *rest):
        values = tuple(body(*values, *rest))
    return values


def _map(body: Function, along: Sequence[torch.Tensor], rest: Sequence[Any] = ()) -> Any:
    made = [body(*step, *rest) for step in zip(*(x.unbind(0) for x in along), strict=True)]
    return [torch.stack(results) for results in zip(*made, strict=True)]


def _scan(
    combine: Function,
    first: Sequence[Any],
    along: Sequence[torch.Tensor],
    rest: Sequence[Any] = (),
) -> Any:
    carried = list(first)
    left = []
    for step in zip(*(x.unbind(0) for x in along), strict=True):
        made = list(combine(*carried, *step, *rest))
        carried = made[: len(first)]
        left.append(made[len(first) :])
    return [*carried, *(torch.stack(results) for results in zip(*left, strict=True))]


def _invoke(body: Function, _identifier: Any, *operands: Any) -> Any:
    return body(*operands)


UNROLLED: dict[str, Function] = {
    "cond": _cond,
    "while_loop": _while_loop,
    "map_impl": _map,
    "scan": _scan,
    "invoke_subgraph": _invoke,
}
"""By the operator's name. They give what the operators give, with gradients."""
