"""bf16 inside, the user's dtypes outside."""

from __future__ import annotations

import pytest
import torch
from local_models import Mlp, Settings
from torch import nn

from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.precision import asked_precision
from parallel_opt.errors import InputError

BF16 = Settings(precision="bf16")


def test_outputs_gradients_and_parameters_stay_fp32(mlp: Mlp) -> None:
    LocalEngine(mlp, BF16).apply()
    output = mlp(torch.randn(4, 8))
    output.square().sum().backward()
    assert output.dtype == torch.float32
    assert {p.grad.dtype for p in mlp.parameters() if p.grad is not None} == {torch.float32}


def test_the_forward_runs_in_bf16_and_agrees_to_its_rounding(mlp: Mlp) -> None:
    x = torch.randn(4, 8)
    expected = mlp(x)
    seen: list[torch.dtype] = []
    mlp.first.register_forward_hook(lambda *a: seen.append(a[-1].dtype))
    LocalEngine(mlp, BF16).apply()
    torch.testing.assert_close(mlp(x), expected, rtol=2e-2, atol=2e-2)
    assert seen == [torch.bfloat16]


def test_the_users_own_autocast_wins(mlp: Mlp) -> None:
    x = torch.randn(4, 8)
    with torch.autocast("cpu", torch.float16):
        expected = mlp(x)
        LocalEngine(mlp, BF16).apply()
        output = mlp(x)
    assert expected.dtype == output.dtype == torch.float16
    assert torch.equal(output, expected)


def test_nested_outputs_come_back_in_fp32_and_other_leaves_untouched() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> dict[str, object]:
            y = self.layer(x)
            return {"logits": y, "more": (y, [x.argmax()]), "name": "n"}

    module = Nested()
    LocalEngine(module, BF16).apply()
    out = module(torch.randn(1, 2))
    assert out["logits"].dtype == out["more"][0].dtype == torch.float32
    assert out["more"][1][0].dtype == torch.int64
    assert out["name"] == "n"


def test_a_model_that_is_not_fp32_is_left_alone_and_it_says_so(mlp: Mlp) -> None:
    mlp.double()
    engine = LocalEngine(mlp, BF16)
    engine.apply()
    assert mlp(torch.randn(2, 8, dtype=torch.float64)).dtype == torch.float64
    assert engine.notes == ["bf16: off: parameters are float64: autocast is for fp32 parameters"]


def test_a_module_that_is_not_fp32_is_planned_without_autocast(mlp: Mlp) -> None:
    assert asked_precision(mlp, "auto") == "auto"
    assert asked_precision(mlp, "bf16") == "bf16"
    mlp.double()
    assert asked_precision(mlp, "auto") == "fp32"
    assert asked_precision(mlp, "fp32") == "fp32"
    with pytest.raises(InputError) as error:
        asked_precision(mlp, "bf16")
    assert str(error.value) == (
        "OptimizedParallel(precision=): bf16: parameters are float64: autocast is for fp32 "
        "parameters (leave it out)"
    )
