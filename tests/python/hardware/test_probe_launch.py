"""probe_launch.py: what an operator costs beside its kernel. No timings are judged."""

from __future__ import annotations

import torch
from torch import nn

from parallel_opt import probe_launch
from parallel_opt.probe_launch import Launches


def test_both_numbers_have_an_interval_over_the_bursts() -> None:
    launches = Launches(torch.device("cpu"))
    for _ in range(3):
        launches.measure(0.0)
    found = launches.found()
    assert list(found) == ["launch_s", "launch_autograd_s"]
    for number in found.values():
        assert 0 < number["low"] <= number["value"] <= number["high"]
        assert number["quality"] == "measured"


def test_each_operator_and_each_backward_follows_other_work() -> None:
    flushed: list[str] = []

    class Layer(nn.ReLU):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flushed.append("operator")
            return super().forward(x)

    layers: list[nn.ReLU] = [Layer(), Layer(), Layer()]
    flush = lambda: flushed.append("flush")  # noqa: E731
    x = torch.ones(4)
    probe_launch._round(layers, x, None, flush)
    assert flushed == ["flush", "operator"] * 3
    flushed.clear()
    assert probe_launch._round(layers, x, torch.ones(4), flush) > 0
    assert flushed == ["flush", "operator"] * 3 + ["flush"] * 3
