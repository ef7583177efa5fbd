"""Widths of an estimate's 80 % intervals, told apart by what its time or memory is made of.

A row whose source had no part in the fit errs by e (natural logarithm) and consists of shares x_k
of the kinds of items k. Kinds err apart from each other, so a row's width is
s = sqrt(sum_k (x_k w_k)^2), and the w are the most probable ones when e is Laplace-distributed with
scale s; they are then scaled so that four of five rows lie within s, more of the memories. Kinds
that few rows speak for stay near what all have in common.
"""

from __future__ import annotations

import json

import numpy as np
from layout_rows import Rows
from scipy.optimize import minimize

# As in parallel_opt/cost/layout_estimate.cpp, by the names of items.
KINDS = {
    "compute": [
        "matrix products",
        "attention",
        "other operators",
        "recomputed blocks",
        "head and loss",
        "optimizer",
    ],
    "host": ["waiting for the host", "once per step", "data loading"],
    "bubble": ["pipeline bubble"],
    "links": [
        "tensor collectives",
        "context collectives",
        "transfers between stages",
        "gradients and gathered weights",
        "copies to the host and back",
    ],
    "experts": ["expert collectives"],
}
BYTES = {
    "states": ["parameters and buffers", "gradients", "optimizer state"],
    "activations": ["activations", "logits"],
    "buffers": ["buffers and rounding"],
}
LEVEL = 0.8
# Of the calibration's memories, whose sources shaped what the model knows of buffers and rounding:
# at four of five of them, intervals held 67 % of 126 peaks of sources that were met afterwards.
LEVEL_OF_BYTES = 0.92
PRIOR = 0.01  # weight of one squared logarithm against all rows' likelihood, which is one


def shares(
    rows: Rows, mask: np.ndarray, parameters: str, kinds: dict[str, list[str]], unit: str
) -> np.ndarray:
    """Per row of ``mask`` and kind, its share of what is predicted."""
    kind_of = {name: k for k, names in enumerate(kinds.values()) for name in names}
    found = np.zeros((int(mask.sum()), len(kinds)))
    for row, index in zip(found, np.flatnonzero(mask), strict=True):
        for item in json.loads(rows.cases.items(int(index), parameters))["items"]:
            if unit in item:
                row[kind_of[item["name"]]] += item[unit]
    return found / found.sum(axis=1, keepdims=True)


def covering(ratio: np.ndarray, weight: np.ndarray, level: float) -> float:
    """What ``level`` of the weight lies below."""
    order = np.argsort(ratio)
    reached = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(reached, level * reached[-1])])


def fit_widths(
    share: np.ndarray, error: np.ndarray, weight: np.ndarray, level: float = LEVEL
) -> np.ndarray:
    """Half widths per kind; ``error`` are natural logarithms."""
    size = np.abs(error)
    weight = weight / weight.sum()
    common = np.log(covering(size, weight, level))

    def unlikely(logs: np.ndarray) -> float:
        scale = np.sqrt(share**2 @ np.exp(2 * logs) + 1e-6)
        likelihood = (weight * (np.log(scale) + size / scale)).sum()
        return float(likelihood + PRIOR * ((logs - common) ** 2).sum())

    found = minimize(
        unlikely,
        np.full(share.shape[1], common),
        method="Nelder-Mead",
        options={"maxiter": 20000, "xatol": 1e-6, "fatol": 1e-9},
    )
    widths = np.exp(found.x)
    widths *= covering(size / np.sqrt(share**2 @ widths**2), weight, level)
    return np.array([float(f"{width:.3g}") for width in widths])


def width_besides(
    share: np.ndarray, widths: np.ndarray, first: int, error: np.ndarray, weight: np.ndarray
) -> float:
    """What the width of kind ``first`` needs besides, in squares, so that LEVEL of the rows lie
    within; 0 where they do already."""
    size = np.abs(error)

    def covered(more: float) -> float:
        wider = np.array(widths)
        wider[first] = np.hypot(wider[first], more)
        return float((weight * (size <= np.sqrt(share**2 @ wider**2))).sum() / weight.sum())

    for more in np.arange(0, 2, 0.005):
        if covered(float(more)) >= LEVEL:
            return float(f"{more:.3g}")
    raise ValueError("rows of unseen architectures are nowhere near")
