"""Time of one call on one device, in microseconds, from a few physical parameters.

The same formulas are in parallel_opt/hardware/efficiency.cpp, which a test compares with this
file. Sizes are elements or bytes, rates are per microsecond.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Output tiles of one matmul kernel, rows x columns, and the share of the peak that a full wave of
# each reaches.
TILES = (
    (256, 128, 1.0),
    (128, 256, 1.0),
    (128, 128, 0.97),
    (128, 64, 0.85),
    (64, 128, 0.85),
    (64, 64, 0.7),
    (64, 32, 0.5),
    (64, 16, 0.3),
)
# How fast the clock settles under a heavy kernel that is repeated.
SETTLE_US = 1000.0


def wave_share(m: float, n: float, batch: float, units: float) -> float:
    """Share of the peak left by tiles and waves: the best of TILES on `units` compute units."""
    best = 0.0
    for rows, columns, share in TILES:
        tiles = batch * np.ceil(m / rows) * np.ceil(n / columns)
        waves = np.ceil(tiles / units)
        best = max(best, share * batch * m * n / (rows * columns * waves * units))
    return best


def overlap(launch: Array, work: Array) -> Array:
    """The host launches while the device works: the longer one counts, with a soft corner."""
    return (launch**4 + work**4) ** 0.25


def matmul_us(
    curve: Array, flops_per_us: float, bytes_per_us: float, shapes: Array, size: float
) -> Array:
    """`curve` = efficiency, k_half, launch_us, throttle, passes.

    `shapes` = rows of (batch, m, n, k, wave share); `size` bytes per element."""
    efficiency, k_half, launch, throttle, passes = curve
    batch, m, n, k, share = shapes.T
    arithmetic = 2 * batch * m * n * k / (flops_per_us * efficiency * share * k / (k + k_half))
    memory = size * batch * (m * n + m * k + n * k) / bytes_per_us
    busy = np.maximum(arithmetic, memory)
    busy = busy * (1 + throttle * busy / (busy + SETTLE_US))
    return overlap(np.full_like(busy, launch), busy + passes * size * batch * m * n / bytes_per_us)


def operator_us(curve: Array, bytes_per_us: float, flops_per_us: float, calls: Array) -> Array:
    """`curve` = passes, launch_us, width_exponent, efficiency.

    `calls` = rows of (bytes, row width, FLOPs of matmuls inside)."""
    passes, launch, exponent, efficiency = curve
    size, width, flops = calls.T
    busy = passes * size / bytes_per_us * (width / 1024) ** exponent + flops / (
        flops_per_us * efficiency
    )
    return overlap(np.full_like(busy, launch), busy)


def attention_us(curve: Array, flops_per_us: float, calls: Array, units: float) -> Array:
    """`curve` = efficiency, k_half, launch_us of a fused kernel.

    `calls` = rows of (products, batch x heads, queries, keys that are seen, head width): 128
    queries of a head are dealt to a unit at a time, and beside every score's products, which grow
    with the width, is its exponential, which does not."""
    efficiency, half, launch = curve[:3]
    products, batch_heads, queries, keys, width = calls.T
    tiles = batch_heads * np.ceil(queries / 128)
    share = tiles / (np.ceil(tiles / units) * units)
    flops = 2 * products * batch_heads * queries * keys * width
    busy = flops * (1 + half / width) / (flops_per_us * efficiency * share)
    return overlap(np.full_like(busy, launch), busy)


def collective_us(curve: Array, size: Array) -> Array:
    """`curve` = latency_us, us per byte, us^2 per byte of the pipeline that fills and drains."""
    latency, per_byte, fill = curve
    return latency + per_byte * size + np.sqrt(fill * size)
