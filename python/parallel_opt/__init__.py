"""Automatic parallelism for deep learning: the Python face of the C++ core.

Importing this package does not import torch: what needs it is loaded at first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from parallel_opt._core import (
    Cluster,
    Estimate,
    Graph,
    Job,
    Plan,
    Timeline,
    __version__,
    analyze,
    load_model,
    summarize,
)
from parallel_opt.errors import InfeasibleError, InputError, InternalError, MachineError

if TYPE_CHECKING:
    from parallel_opt.energy_meter import energy
    from parallel_opt.operators import register_operator
    from parallel_opt.wrapper import OptimizedParallel

_LAZY = {
    "OptimizedParallel": "parallel_opt.wrapper",
    "energy": "parallel_opt.energy_meter",
    "register_operator": "parallel_opt.operators",
}

__all__ = [
    "Cluster",
    "Estimate",
    "Graph",
    "InfeasibleError",
    "InputError",
    "InternalError",
    "Job",
    "MachineError",
    "OptimizedParallel",
    "Plan",
    "Timeline",
    "__version__",
    "analyze",
    "energy",
    "load_model",
    "register_operator",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'parallel_opt' has no attribute {name!r}")
