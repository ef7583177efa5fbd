"""Starts the ways of training as processes of their own and talks to them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from parallel_opt.errors import MachineError


class _Stream:
    """Lines over a socket; ``select`` takes it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = connection.makefile("r")

    def fileno(self) -> int:
        return self._connection.fileno()

    def readline(self) -> str:
        """The next line; empty when the other end is gone."""
        try:
            return self._lines.readline()
        except ConnectionResetError:
            return ""

    def send(self, text: str) -> None:
        # A rank that is going away is found where answers are read: by its end of file.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._connection.sendall(text.encode())

    def close(self) -> None:
        self._lines.close()
        self._connection.close()


class Variant:
    """One way of training one task: one process, or several ranks under ``parallel_opt.launch``.

    Requests go to every rank; the answer is rank 0's. When the planner asks for another number of
    ranks, the launcher starts the ranks again before any step, and the pending request is put to
    the new ones.
    """

    def __init__(
        self,
        task: str,
        way: str,
        options: dict[str, Any],
        directory: Path,
        told: TextIO | None = None,
    ) -> None:
        self.way = way
        self._told, self._told_bytes = told, 0
        self._address = str(directory / f"{task}-{way}.socket")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self._address)
        self._listener.listen()
        self._log_path = directory / f"{task}-{way}.log"
        self._log = self._log_path.open("wb")
        module = "parallel_opt.demo.variant"
        arguments = [task, way, self._address, json.dumps(options)]
        command = [sys.executable, "-m", module, *arguments]
        if way != "plain":
            script = Path(__file__).with_name("variant.py")
            command = [sys.executable, "-m", "parallel_opt.launch", str(script), *arguments]
        self._process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env=_environment(),
        )
        self._ranks: dict[int, _Stream] = {}

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Put a request to all ranks and return rank 0's answer. Raises MachineError when the
        process ends."""
        request = json.dumps({"do": do, **arguments}) + "\n"
        self._put(request)
        answers: dict[int, dict[str, Any]] = {}
        while len(answers) < len(self._ranks):
            waiting = {r: s for r, s in self._ranks.items() if r not in answers}
            ready, _, _ = select.select(list(waiting.values()), [], [], 1.0)
            for rank, stream in waiting.items():
                if stream not in ready:
                    continue
                line = stream.readline()
                if line:
                    answers[rank] = json.loads(line)
                else:
                    del self._ranks[rank]
            if not self._ranks:  # all ranks are gone: the launcher starts others, or it is over
                answers.clear()
                self._put(request)
        self._tell()
        return _joined(answers)

    def _tell(self) -> None:
        """Pass on what the way has printed since the last time."""
        if self._told is None:
            return
        with self._log_path.open("rb") as log:
            log.seek(self._told_bytes)
            new = log.read()
        self._told_bytes += len(new)
        for line in new.decode(errors="replace").splitlines():
            print(f"{self.way}: {line}", file=self._told)

    def _put(self, request: str) -> None:
        """Send to every rank, waiting for them when there is none."""
        if not self._ranks:
            self._accept()
        for stream in self._ranks.values():
            stream.send(request)

    def _accept(self) -> None:
        """Wait until all ranks of a world have reported."""
        world = 1
        while len(self._ranks) < world or not self._ranks:
            ready, _, _ = select.select([self._listener], [], [], 0.5)
            if ready:
                stream = _Stream(self._listener.accept()[0])
                hello = json.loads(stream.readline())
                self._ranks[int(hello["rank"])] = stream
                world = int(hello["world"])
            elif self._process.poll() is not None:
                raise self._failure()

    def _failure(self) -> MachineError:
        self._log.flush()
        tail = self._log_path.read_text(errors="replace").splitlines()[-12:]
        return MachineError(
            f"demo, {self.way}", "the training process ended:\n" + "\n".join(tail), ""
        )

    def close(self) -> None:
        """End the ranks in good order; kill what does not end within 30 s."""
        for stream in self._ranks.values():
            stream.send(json.dumps({"do": "stop"}) + "\n")
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            self._process.wait()
        for stream in self._ranks.values():
            stream.close()
        self._listener.close()
        self._log.close()


def _joined(answers: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """Rank 0's answer with the CPU time and memory of all ranks: they share this host."""
    answer = dict(answers[0])
    for rank, other in answers.items():
        for key in ("cpu_s", "peak_bytes", "rss_bytes"):
            if rank != 0 and key in answer:
                answer[key] += other[key]
    return answer


def _environment() -> dict[str, str]:
    """Sleeping processes must not spin: while one way trains, the others wait for their turn on the
    same cores."""
    return {**os.environ, "OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}


class Ways:
    """The three ways of one task, open together so that their rounds can be interleaved."""

    NAMES = ("plain", "fp32", "auto")

    def __init__(self, task: str, options: dict[str, Any], told: TextIO | None = None) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="parallel_opt_demo_")
        path = Path(self._directory.name)
        self.variants = {way: Variant(task, way, options, path, told) for way in self.NAMES}
        self._order = deque(self.NAMES)

    def order(self) -> list[str]:
        """The ways in the order of the next round: rotated, so that none is always first."""
        now = list(self._order)
        self._order.rotate(1)
        return now

    def __enter__(self) -> Ways:
        return self

    def __exit__(self, *_: object) -> None:
        for variant in self.variants.values():
            variant.close()
        self._directory.cleanup()
