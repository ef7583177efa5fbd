"""Rows for operators that the core's table lacks: registered here, carried by every graph captured.

A row is plain data (docs/operators.md); the core checks it and counts by it.
"""

from __future__ import annotations

import json
from typing import Any

from parallel_opt._core import Graph, check_operators

__all__ = ["register_operator", "registered", "unregister_operator", "with_registered"]

_registered: dict[str, dict[str, Any]] = {}


def register_operator(
    target: str,
    *,
    space: str,
    op_class: str = "elementwise",
    mixed: str = "",
    selected: str = "",
    saves: str = "",
    passes: str = "",
    flops: str = "",
    other_flops: str = "",
    backward_flops: str = "",
    cost: float = 1.0,
    kernels: int = 1,
) -> None:
    """Say what a custom operator computes; graphs captured from now on know it.

    Args:
        target: ``"mylib::my_op"`` or ``"mylib.my_op"``; every overload shares the row.
        space: Dimensions of operands and results, ``"x=b* k, w=n k -> b* n"``.
        op_class: Family that runs at like efficiency: ``"contraction"``, ``"attention"``, ...
        mixed: Dimensions that every element of the result needs all of (a softmax's).
        selected: Dimensions that index values choose from (an embedding's rows).
        saves: What autograd keeps: arguments, ``out``, ``out1``, ``a<b`` (a only when b needs a
            gradient).
        passes: Arguments whose gradient is the result's own.
        flops: Floating-point operations of products, over the dimensions: ``"2*b*n*k"``.
        other_flops: Of everything else; by default ``cost`` per element.
        backward_flops: Of the backward's products; by default the forward's for each operand that
            needs a gradient.
        cost: Operations per element of the largest tensor, where no formula says.
        kernels: Launches of one run.

    Raises:
        InputError: Names every column that is wrong.

    >>> register_operator("mylib::project", space="x=b* k, w=n k -> b* n", op_class="contraction")
    """
    row: dict[str, Any] = {
        "target": target.replace("::", "."),
        "class": op_class,
        "space": space,
        "mixed": mixed,
        "selected": selected,
        "saves": saves,
        "passes": passes,
        "flops": flops,
        "other_flops": other_flops,
        "backward_flops": backward_flops,
        "cost": cost,
        "kernels": kernels,
    }
    check_operators(_document([row]), f"register_operator({target!r})")
    _registered[row["target"]] = row


def unregister_operator(target: str) -> None:
    """Forget a row; unknown ones are no error."""
    _registered.pop(target.replace("::", "."), None)


def registered() -> list[dict[str, Any]]:
    """Every registered row, as the ``operators`` of a parallel-opt/operators document."""
    return list(_registered.values())


def with_registered(graph: Graph) -> Graph:
    """The graph with every registered row in it."""
    if not _registered:
        return graph
    return graph.with_operators(_document(registered()), "registered operators")


def _document(rows: list[dict[str, Any]]) -> str:
    return json.dumps({"schema": "parallel-opt/operators/1", "operators": rows})
