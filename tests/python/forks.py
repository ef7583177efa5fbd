"""Processes for tests, forked from one that has imported torch: the import takes longer than most
of what they do."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        *("parallel_opt.worker", "parallel_opt.wrapper", "parallel_opt.planner"),
        *("parallel_opt.engine.apply", "torch.distributed.launcher.api"),
        *("torch._dynamo", "torch._export.non_strict_utils"),  # planning exports the model
    ]
)
PATIENCE_S = 240.0

Done = subprocess.CompletedProcess[str]


def forked(function: Callable[..., Any], *args: Any, cwd: Path) -> Done:
    """Calls ``function(*args)`` in a process of its own, as the main function of a program."""
    out, err = cwd / "forked.out", cwd / "forked.err"
    for file in (out, err):
        file.write_text("")
    begin = (cwd, dict(os.environ), out, err)
    process = FORKS.Process(target=_main, args=(begin, function, args))
    process.start()
    process.join(PATIENCE_S)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(
            f"no end after {PATIENCE_S:.0f} s:\n{out.read_text()}{err.read_text()}"
        )
    return Done([function.__qualname__], process.exitcode, out.read_text(), err.read_text())


def begin(cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """What the system gives a new process."""
    os.chdir(cwd)
    for descriptor, path in ((1, out), (2, err)):
        with path.open("a") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(cwd))


def _main(given: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    begin(*given)
    function(*args)
