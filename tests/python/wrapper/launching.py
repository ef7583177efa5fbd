"""``parallel-opt run`` as tests start it: launcher and ranks are processes of their own, but forked
from one that has imported torch."""

from __future__ import annotations

import multiprocessing.forkserver as forkserver
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from forks import FORKS, PATIENCE_S, Done, begin, forked


def run(tmp_path: Path, script: str, *flags: str) -> Done:
    """Runs a script's text with two arguments."""
    path = tmp_path / "train.py"
    path.write_text(script)
    return launched([*flags, str(path), "--lr", "0.5"], tmp_path)


def launched(words: list[str], cwd: Path) -> Done:
    """The launcher and its ranks without a start of Python."""
    return forked(_launch, words, cwd=cwd)


def started(words: list[str]) -> Done:
    """The launcher as a program that starts programs, as a user has it."""
    command = [sys.executable, "-m", "parallel_opt.launch", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def losses(output: str) -> list[float]:
    """Of the lines ``step N loss X``."""
    return [float(line.split()[3]) for line in output.splitlines() if line.startswith("step")]


def _launch(words: list[str]) -> None:
    from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler

    from parallel_opt import launch

    # The server that this process is from serves its ranks too: do not start another.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    SubprocessHandler._popen = _fork_rank  # type: ignore[method-assign]
    sys.exit(launch.main(words))


def _fork_rank(handler: Any, command: tuple[str, ...], environment: dict[str, str]) -> Rank:
    """In place of ``subprocess.Popen``."""
    python, dash_m, module, *words = command
    assert (python, dash_m, module) == (sys.executable, "-m", "parallel_opt.worker"), command
    out, err = (
        Path(os.readlink(f"/proc/self/fd/{number}") if file is None else file.name)
        for number, file in ((1, handler._stdout), (2, handler._stderr))
    )
    return Rank(words, (Path.cwd(), environment, out, err))


class Rank:
    """What the launcher asks of a ``subprocess.Popen``."""

    def __init__(self, words: list[str], given: Any) -> None:
        self.process = FORKS.Process(target=_work, args=(words, given))
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


def _work(words: list[str], given: Any) -> None:
    import torch

    from parallel_opt import worker

    begin(*given)
    os.setsid()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    sys.argv = [worker.__file__, *words]
    worker.main()
