"""What a user may ask of ``OptimizedParallel``: defaults, ``PARALLEL_OPT_*`` variables, checks."""

from __future__ import annotations

import difflib
import logging
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from parallel_opt.errors import InputError

log = logging.getLogger("parallel_opt")

_CHOICES = {
    "precision": ("auto", "fp32", "bf16", "fp16"),
    "objective": ("time", "energy", "memory", "edp"),
    "memory_format": ("contiguous", "channels_last"),
    "attention": ("fused", "unfused"),
    "recompute": ("none", "full"),
    "view": ("auto", "global", "local"),
    "engine": ("auto", "ddp", "late"),
}


@dataclass(frozen=True)
class Options:
    """Values after defaults, environment and call. None: the planner chooses."""

    energy_aware: bool = False
    objective: str = "time"
    max_slowdown: float = 0.05
    precision: str = "auto"
    cluster: str | None = None
    plan: str | None = None
    memory_limit: str | None = None
    expected_steps: int | None = None
    probe_budget_s: float = 120.0
    micro_batch: int | None = None
    recompute: str | None = None
    compile: bool | None = None
    memory_format: str | None = None
    attention: str | None = None
    fused_optimizer: bool | None = None
    threads: int | None = None
    view: str = "auto"
    engine: str = "auto"
    sync_batch_norm: bool = True
    timeout_s: float = 600.0
    verify: bool = True
    """Compare the plan with plain on a few of the run's own steps, and go back where it is
    slower."""


def _parse(name: str, kind: str, text: str) -> Any:
    where = f"PARALLEL_OPT_{name.upper()}"
    if kind.startswith("bool"):
        values = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}
        if text.lower() not in values:
            raise InputError(where, f"{text!r} is neither true nor false", "use 1 or 0")
        return values[text.lower()]
    if name == "max_slowdown":
        return text
    try:
        return int(text) if kind.startswith("int") else float(text) if kind == "float" else text
    except ValueError:
        raise InputError(where, f"{text!r} is no number", "") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _share(name: str, value: Any, faults: list[tuple[str, str, str]]) -> float:
    """0.05, "0.05" or "5%"."""
    number = value
    if isinstance(value, str):
        text = value.strip()
        try:
            number = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
        except ValueError:
            number = None
    if _is_number(number) and number >= 0:
        return float(number)
    faults.append((f"OptimizedParallel({name}=)", f"{value!r} is no share", "write 0.05 or 5%"))
    return 0.0


def _switch(name: str, value: Any, faults: list[tuple[str, str, str]]) -> Any:
    """True, False, or the words of the command line for them."""
    value = {"on": True, "off": False}.get(value, value) if isinstance(value, str) else value
    if type(value) is not bool:
        faults.append(
            (f"OptimizedParallel({name}=)", f"{value!r} is neither on nor off", "use True or False")
        )
    return value


_OTHER_VARIABLES = (
    *("CACHE", "PYTHON", "RANKS", "RUN_DIR", "RELAUNCH_PLAN", "LOG_LEVEL", "LOG_DIR"),
    *("WERROR", "BENCH", "CCACHE", "COVERAGE", "FUZZ", "HWLOC", "SANITIZE", "YAML"),
)
"""What else begins with PARALLEL_OPT_: of the program, the launcher and the build."""

_told: set[str] = set()


def _tell_misspelt(known: Iterable[str]) -> None:
    """A variable that is one letter off sets nothing: said once."""
    names = [f"PARALLEL_OPT_{name.upper()}" for name in (*known, *_OTHER_VARIABLES)]
    for variable in sorted(set(os.environ) - set(names) - _told):
        near = difflib.get_close_matches(variable, names, n=1, cutoff=0.9)
        if near and variable.startswith("PARALLEL_OPT_"):
            _told.add(variable)
            log.warning("the variable %s is unknown (did you mean %s?)", variable, near[0])


def resolve(given: dict[str, Any]) -> tuple[Options, dict[str, str]]:
    """Options and, per option that is not a default, where its value came from ("call",
    "environment").

    Order: call, then environment, then default. Raises InputError with every fault.
    """
    known = {field.name: str(field.type) for field in fields(Options)}
    _tell_misspelt(known)
    faults: list[tuple[str, str, str]] = []
    origin: dict[str, str] = {}
    values: dict[str, Any] = {}
    for name, kind in known.items():
        text = os.environ.get(f"PARALLEL_OPT_{name.upper()}")
        if text is not None:
            values[name], origin[name] = _parse(name, kind, text), "environment"
    for name, value in given.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "known: " + ", ".join(sorted(known))
            faults.append(("OptimizedParallel", f"unknown option {name!r}", hint))
            continue
        values[name], origin[name] = str(value) if isinstance(value, Path) else value, "call"
    for name, allowed in _CHOICES.items():
        if values.get(name) is not None and values[name] not in allowed:
            hint = "one of " + ", ".join(allowed)
            faults.append((f"OptimizedParallel({name}=)", f"{values[name]!r} is not known", hint))
    for name in ("micro_batch", "threads", "expected_steps"):
        if values.get(name) is not None and not (type(values[name]) is int and values[name] > 0):
            what = f"{values[name]!r} is no whole number above 0"
            faults.append((f"OptimizedParallel({name}=)", what, ""))
    for name, kind in known.items():
        if kind.startswith("bool") and values.get(name) is not None:
            values[name] = _switch(name, values[name], faults)
    if "max_slowdown" in values:
        values["max_slowdown"] = _share("max_slowdown", values["max_slowdown"], faults)
    for name, wanted in (("probe_budget_s", "0 or more"), ("timeout_s", "above 0")):
        value = values.get(name, 1.0)
        enough = _is_number(value) and (value > 0 or (value == 0 and name == "probe_budget_s"))
        if not enough:
            what = f"{value!r} is no number of seconds"
            faults.append((f"OptimizedParallel({name}=)", what, wanted))
    if faults:
        raise InputError.from_faults(faults)
    options = Options(**values)
    if options.energy_aware and "objective" not in origin:
        # Energy within max_slowdown of the fastest plan: what "energy aware" means to someone who
        # wants to train.
        options = replace(options, objective="energy")
    return options, origin
