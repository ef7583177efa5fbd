"""Unfused attention against PyTorch's own kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from local_models import Settings
from torch import Tensor, nn
from torch.nn import functional

from parallel_opt.engine.attention import UnfusedAttention, obstacle, unfused_attention
from parallel_opt.engine.local import LocalEngine

Shape = tuple[int, ...]


def _randn(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype)


def _hidden_row() -> Tensor:
    mask = torch.rand(2, 1, 6, 5) > 0.3
    mask[:, :, 3] = False  # a query that may see no key
    return mask


CASES: dict[str, tuple[Shape, Shape, Shape, dict[str, Any]]] = {
    "causal": ((2, 4, 6, 8), (2, 4, 6, 8), (2, 4, 6, 8), {"is_causal": True}),
    "causal, more keys": ((2, 4, 6, 8), (2, 4, 9, 8), (2, 4, 9, 8), {"is_causal": True}),
    "cross, other value width": ((2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 3), {}),
    "grouped heads": ((2, 4, 6, 8), (2, 2, 6, 8), (2, 2, 6, 8), {"enable_gqa": True}),
    "three dimensions": ((4, 6, 8), (4, 6, 8), (4, 6, 8), {"is_causal": True}),
    "scale": ((2, 4, 6, 8), (2, 4, 6, 8), (2, 4, 6, 8), {"scale": 0.3}),
    "bool mask": ((2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 8), {"attn_mask": _hidden_row()}),
    "float mask": ((2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 8), {"attn_mask": _randn(6, 5)}),
    "mask per head": ((2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 8), {"attn_mask": _randn(4, 6, 5)}),
    "shared keys": ((2, 4, 6, 8), (1, 4, 5, 8), (1, 4, 5, 8), {}),
}


def _run(function: Any, tensors: list[Tensor], options: dict[str, Any]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in tensors]
    result = function(*leaves, **options)
    gradient = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).reshape(result.shape)
    return [result.detach(), *torch.autograd.grad(result, leaves, gradient)]


@pytest.mark.parametrize("name", CASES)
def test_results_and_gradients_equal_the_fused_kernels(name: str) -> None:
    torch.manual_seed(0)
    *shapes, options = CASES[name]
    tensors = [_randn(*shape) for shape in shapes]
    expected = _run(functional.scaled_dot_product_attention, tensors, options)
    for a, b in zip(expected, _run(unfused_attention, tensors, options), strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


def test_bf16_is_as_near_to_the_truth_as_the_fused_kernel() -> None:
    torch.manual_seed(0)
    exact = [_randn(2, 4, 64, 16, dtype=torch.bfloat16).double() for _ in range(3)]
    truth = _run(functional.scaled_dot_product_attention, exact, {"is_causal": True})
    low = [x.bfloat16() for x in exact]

    def error(function: Any) -> float:
        found = _run(function, low, {"is_causal": True})
        pairs = zip(truth, found, strict=True)
        return max(float((a - b).norm() / a.norm()) for a, b in pairs)

    assert error(unfused_attention) <= 2 * error(functional.scaled_dot_product_attention)


def test_autocast_casts_as_for_the_fused_kernel() -> None:
    tensors = [_randn(2, 4, 6, 8, dtype=torch.float32) for _ in range(3)]
    with torch.autocast("cpu", torch.bfloat16):
        result, *gradients = _run(unfused_attention, tensors, {})
    assert result.dtype == torch.bfloat16
    assert {g.dtype for g in gradients} == {torch.float32}


def test_what_it_cannot_do_stays_with_pytorchs_kernel() -> None:
    q, k, v = (_randn(2, 4, 6, 8).requires_grad_() for _ in range(3))
    learnt = _randn(6, 6).requires_grad_()
    assert obstacle(q, k, v) is None
    assert obstacle(q, k, v, dropout_p=0.1) == "probabilities are dropped at random"
    assert obstacle(q, k, v, learnt) == "the mask learns"
    assert obstacle(q[0, 0], k[0, 0], v[0, 0]) == "unusual shapes"
    with torch.no_grad():
        why = obstacle(q, k, v)
    assert why == "no gradient is wanted: the fused kernel keeps less"
    unfused_attention(q, k, v, learnt).sum().backward()
    assert learnt.grad is not None


class Encoder(nn.Module):
    """Two blocks of attention over [batch, length, 16]; one through MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.MultiheadAttention(16, 4, batch_first=True)
        self.second = Block()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.first(x, x, x, need_weights=False)[0]
        y: Tensor = x + self.second(x)
        return y


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(16, 48)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(x).unflatten(-1, (3, 4, 4)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads, is_causal=True)
        return mixed.transpose(1, 2).flatten(2)


def _gradients(model: nn.Module, x: Tensor) -> list[Tensor]:
    model(x).square().mean().backward()
    found = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    return found


@pytest.mark.parametrize(
    "settings",
    [
        Settings(attention="unfused"),
        Settings(attention="unfused", compile=True),
        Settings(attention="unfused", recompute=["second"]),
        Settings(attention="unfused", compile=True, recompute=["second"]),
        Settings(attention="unfused", micro_batches=2),
    ],
    ids=str,
)
def test_every_engine_runs_it_and_gradients_stay(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from parallel_opt.engine import attention

    calls = []
    inner = attention.obstacle
    monkeypatch.setattr(attention, "obstacle", lambda *a, **k: calls.append(inner(*a, **k)))
    torch.manual_seed(0)
    model, x = Encoder().double(), _randn(4, 6, 16)
    expected = _gradients(model, x)
    assert not calls
    engine = LocalEngine(model, settings, backend="aot_eager")
    engine.apply()
    found = _gradients(model, x)
    engine.unapply()
    assert calls
    assert None in calls
    assert engine.notes == []
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)
    calls.clear()
    _gradients(model, x)
    assert not calls  # nothing stays behind


def test_a_mode_reaches_functions_that_were_imported_by_name() -> None:
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = (_randn(1, 2, 3, 4).requires_grad_() for _ in range(3))
    with UnfusedAttention():
        result = scaled_dot_product_attention(q, k, v)
    names = set()
    todo = [result.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None:
            names.add(node.name())
            todo += [following for following, _ in node.next_functions]
    assert any("unfused_attention" in name for name in names), names
