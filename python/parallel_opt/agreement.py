"""How far the outputs of two ways of running a model lie apart, and how far they may.

TensorFloat-32 (TF32) rounds fp32 products to 10 bits of mantissa on NVIDIA GPUs. torch has it
on for convolutions and recurrent cells and off for matrix products (``torch.backends``), so
"fp32" of a user's loop may mean either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _switches() -> tuple[Any, ...]:
    cudnn: Any = torch.backends.cudnn  # its kinds of operators are not among torch's type hints
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn


def rounds_to_tf32(device: torch.device) -> bool:
    """Whether fp32 products of some kind are rounded on this device."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    if torch.cuda.get_device_capability(device) < (8, 0):
        return False
    return any(switch.fp32_precision == "tf32" for switch in _switches())


@contextmanager
def exact_products() -> Iterator[None]:
    """No product is rounded inside; the user's settings stand again afterwards."""
    before = [switch.fp32_precision for switch in _switches()]
    try:
        for switch in _switches():
            switch.fp32_precision = "ieee"
        yield
    finally:
        for switch, precision in zip(_switches(), before, strict=True):
            switch.fp32_precision = precision


def relative_difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest |a - b| over the largest |a|; infinite when shapes differ or only one is finite."""
    if a.shape != b.shape:
        return float("inf")
    if a.numel() == 0:
        return 0.0
    a, b = a.detach().double(), b.detach().double()
    difference = float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))
    return difference if difference == difference else float("inf")
