"""What a forward returns beside tensors, and what it does to its inputs, may be the batch's."""

from __future__ import annotations

import torch
from test_layout import Function, Keeping, layout_of, numbers

from parallel_opt.engine.layout import layout_fault


def test_a_count_of_the_batch_is_noticed() -> None:
    """The loop divides by it: a rank's own count would double the gradient on two ranks."""
    module = Function(lambda w, x: {"out": x @ w, "rows": len(x)})
    reason = "it returns 6, which part of the batch does not"
    assert layout_of(module, numbers(6, 4)).whole_because == reason
    kept = Keeping(lambda module, x: setattr(module, "kept", len(x)))
    assert layout_of(kept, numbers(6, 4)).whole_because == (
        "it writes the attribute 'kept' from the batch"
    )
    constant = Function(lambda w, x: (x @ w, 6, "six", None, float("nan")))
    assert layout_of(constant, numbers(6, 4)).whole_because == ""


def test_a_count_that_only_a_later_batch_shows_is_noticed() -> None:
    module = Function(lambda w, x: (x @ w, 6 if len(x) < 6 else len(x)))
    layout = layout_of(module, numbers(6, 4))
    assert layout.whole_because == ""
    fault = layout_fault(layout, module, lambda tensors: module(*tensors), [numbers(9, 4)])
    assert fault == "it returns 9, which part of the batch does not"


def test_an_input_that_the_forward_changes_is_noticed() -> None:
    """The loop may use it afterwards: a rank would change its own rows only."""
    x = numbers(6, 4)
    module = Function(lambda w, x: x.mul_(2) @ w)
    assert layout_of(module, x).whole_because == "it writes its input 0 from the batch"
    assert torch.equal(x, numbers(6, 4))  # looking for the layout leaves no trace
