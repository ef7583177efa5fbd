"""Own measurements as the fit of the efficiency curves takes them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "validation"))

from efficiency_model import attention_us  # noqa: E402
from efficiency_own import H100, H200, attention_call, causal_share, own_groups  # noqa: E402

UNITS = {H200: 132.0, H100: 132.0}


def test_whole_tiles_below_the_diagonal_count_and_units_that_work_late() -> None:
    # 1024 keys are 8 tiles of 128: 36 of 64 squares; 96 heads x 8 tiles on 132 units
    assert causal_share(96, 1024, 132) == pytest.approx(36 / 64 + 0.75 * 132 / 768)
    assert causal_share(1, 128, 132) == 1.0  # one tile: nothing is left out


def test_attention_of_one_wave_is_its_products_and_their_exponentials() -> None:
    # 4 heads x 128 queries: 4 tiles on 4 units, one wave; heads as wide as k_half count twice
    calls = np.array([attention_call(4, 128, 64, "forward")])
    curve = np.array([0.5, 64.0, 1e-6])
    flops = 2 * 2 * 4 * 128 * 128 * 64
    assert attention_us(curve, 1e3, calls, 4.0) == pytest.approx(flops * 2 / 500)
    late = attention_us(np.array([0.5, 64.0, 1e9]), 1e3, calls, 4.0)
    assert late == pytest.approx(1e9)  # the launch hides it


def test_fitted_and_held_out_rows_are_the_stated_ones() -> None:
    fitted, unseen = own_groups(ROOT, UNITS)
    attention = {(g.dtype, g.direction): g for g in fitted if g.kernel == "attention"}
    assert set(attention) == {(t, d) for t in ("bf16", "fp16", "fp32") for d in DIRECTIONS}
    for (dtype, direction), group in attention.items():
        # Four shapes, causal and not, of which two are held out; the probe's sizes beside them.
        probed = 0 if dtype == "fp16" else 3 if direction == "forward" else 2
        assert sum(group.held_out) == 4
        assert len(group.calls) == 8 + probed
        assert group.device == H200
    products = {g.dtype: g for g in fitted if g.kernel == "matmul"}
    assert set(products) == {"bf16", "fp16", "fp32", "tf32"}
    for group in products.values():
        assert sum(group.held_out) == len(group.calls) // 3
        assert not [call for call in group.calls if call[1] <= 256 < call[2]]  # few rows
    steps = [g for g in fitted if g.kernel.startswith("optimizer")]
    assert [g.kernel for g in steps] == ["optimizer", "optimizer_fused"]
    for group in steps:
        assert [call[0] for call in group.calls] == [4e6, 4e7, 4e8, 1.4e9]  # bytes of parameters
        assert group.held_out == [False, False, True, False]
    assert {g.device for g in unseen} == {H100}
    assert all(all(g.held_out) for g in unseen)
    assert sum(len(g.calls) for g in unseen) == 10  # 3 forward, 2 backward, of two types


DIRECTIONS = ("forward", "backward")
