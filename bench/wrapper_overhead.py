"""Question: what does the wrapper cost on a 50 ms step? Budget: at most 1 %.

The wrapper runs plain PyTorch's own settings here (nothing compiled), so the ratio is its overhead.
Plain and wrapped steps take turns; the ratio is taken pair by pair.
"""

from __future__ import annotations

from statistics import median

import torch
from torch import nn

from parallel_opt import OptimizedParallel
from parallel_opt.measure import quantile

PAIRS = 60
TARGET_S = 0.05


def stepper(model: nn.Module, x: torch.Tensor) -> float:
    """Seconds of one training step."""
    from time import perf_counter

    start = perf_counter()
    model(x).square().mean().backward()
    for parameter in model.parameters():
        parameter.grad = None
    return perf_counter() - start


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(2)
    plain = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    wrapped_module = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))
    x = torch.randn(256, 512)
    while stepper(plain, x) < TARGET_S:
        x = torch.cat([x, x[: len(x) // 4]])
    pins = {"compile": False, "precision": "fp32", "fused_optimizer": False, "verify": False}
    wrapped = OptimizedParallel(
        wrapped_module, memory_format="contiguous", probe_budget_s=1.0, sample=x, **pins
    )
    for model in (plain, wrapped):
        for _ in range(3):
            stepper(model, x)
    pairs = [(stepper(plain, x), stepper(wrapped, x)) for _ in range(PAIRS)]
    ratios = sorted(b / a for a, b in pairs)
    step_ms = 1e3 * median(a for a, _ in pairs)
    low, high = quantile(ratios, 0.1), quantile(ratios, 0.9)
    overhead = 100 * (median(ratios) - 1)
    print(
        f"wrapper overhead on a {step_ms:.0f} ms step: {overhead:+.2f} % "
        f"(ratio {median(ratios):.4f}, 10th to 90th percentile {low:.3f} to {high:.3f}, "
        f"{PAIRS} pairs; budget 1 %)"
    )


if __name__ == "__main__":
    main()
