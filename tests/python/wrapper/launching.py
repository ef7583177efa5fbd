"""``parallel-opt run`` as tests start it: launcher and ranks are processes of their own, but forked
from one that has imported torch, for that takes longer than all that these tests do."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver as forkserver
import os
import subprocess
import sys
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


def run(tmp_path: Path, script: str, *flags: str) -> Done:
    """Runs a script's text with two arguments."""
    path = tmp_path / "train.py"
    path.write_text(script)
    return forked([*flags, str(path), "--lr", "0.5"], Path.cwd(), tmp_path)


def forked(words: list[str], cwd: Path, tmp_path: Path) -> Done:
    """The launcher and its ranks without a start of Python."""
    out, err = tmp_path / "launcher.out", tmp_path / "launcher.err"
    for file in (out, err):
        file.write_text("")
    launcher = FORKS.Process(target=_launch, args=(words, cwd, dict(os.environ), out, err))
    launcher.start()
    launcher.join(PATIENCE_S)
    if launcher.exitcode is None:
        launcher.kill()
        raise AssertionError(
            f"no end after {PATIENCE_S:.0f} s:\n{out.read_text()}{err.read_text()}"
        )
    return Done(words, launcher.exitcode, out.read_text(), err.read_text())


def started(words: list[str]) -> Done:
    """The launcher as a program that starts programs, as a user has it."""
    command = [sys.executable, "-m", "parallel_opt.launch", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def losses(output: str) -> list[float]:
    """Of the lines ``step N loss X``."""
    return [float(line.split()[3]) for line in output.splitlines() if line.startswith("step")]


def _launch(words: list[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """The life of a forked launcher."""
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    from parallel_opt import launch

    _begin(cwd, environment, out, err)
    # The server that this process is from serves its ranks too: do not start another.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    SubprocessHandler._popen = _fork_rank  # type: ignore[method-assign]
    sys.exit(launch.main(words))


def _fork_rank(handler: Any, command: tuple[str, ...], environment: dict[str, str]) -> Rank:
    """In place of ``subprocess.Popen``."""
    python, dash_m, module, *words = command
    assert (python, dash_m, module) == (sys.executable, "-m", "parallel_opt.worker"), command
    files = (handler._stdout, handler._stderr)
    return Rank(words, environment, *(None if f is None else Path(f.name) for f in files))


class Rank:
    """What the launcher asks of a ``subprocess.Popen``."""

    def __init__(
        self, words: list[str], environment: dict[str, str], out: Path | None, err: Path | None
    ) -> None:
        args = (words, Path.cwd(), environment, out or _path_of(1), err or _path_of(2))
        self.process = FORKS.Process(target=_work, args=args)
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("rank", timeout or 0.0)
        return self.process.exitcode


def _path_of(descriptor: int) -> Path:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}"))


def _work(words: list[str], cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """The life of a forked rank."""
    import torch

    from parallel_opt import worker

    _begin(cwd, environment, out, err)
    os.setsid()
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv = [worker.__file__, *words]
    worker.main()


def _begin(cwd: Path, environment: dict[str, str], out: Path, err: Path) -> None:
    """What the system gives a new process."""
    os.chdir(cwd)
    for descriptor, path in ((1, out), (2, err)):
        with path.open("a") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(cwd))
