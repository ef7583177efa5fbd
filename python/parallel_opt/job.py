"""The user's wishes as the core's ``Job``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt import _core
from parallel_opt._core import Job
from parallel_opt.engine.optimizers import optimizer_name
from parallel_opt.engine.precision import asked_precision
from parallel_opt.errors import InputError
from parallel_opt.options import Options


def job_of(
    module: nn.Module,
    options: Options,
    optimizers: Sequence[torch.optim.Optimizer],
    ranks: int | None,
    kind: str | None,
) -> Job:
    """The job that `options` ask for, on that many ranks (None: as the search likes), on devices of
    that kind (None: of any).

    Raises InputError when the memory limit is no size.
    """
    pins: dict[str, Any] = {
        "device": kind,
        "threads": options.threads,
        "micro_batch": options.micro_batch,
        "compile": options.compile,
        "memory_format": options.memory_format,
        "attention": options.attention,
        "fused_optimizer": options.fused_optimizer,
        "recompute": options.recompute,
        "data": ranks,
    }
    job: dict[str, Any] = {
        "schema": Job.SCHEMA,
        "global_batch": 0,
        "precision": asked_precision(module, options.precision),
        "optimizer": optimizer_name(optimizers),
        "objective": options.objective,
        "max_slowdown": options.max_slowdown,
        "memory_limit_bytes": _memory_limit(options.memory_limit),
        "steps": options.expected_steps,
        "pins": {name: value for name, value in pins.items() if value is not None},
    }
    given = {name: value for name, value in job.items() if value is not None}
    return Job.from_json(json.dumps(given), "job")


def _memory_limit(text: str | None) -> int | None:
    if text is None:
        return None
    size = _core.parse_bytes(str(text))
    if size is None:
        where = "OptimizedParallel(memory_limit=)"
        raise InputError(where, f"{text!r} is no size", "write 38GiB, 1.5GB or a number of bytes")
    return size
