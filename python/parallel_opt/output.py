"""Directories that results are written to."""

from __future__ import annotations

from pathlib import Path

from parallel_opt.errors import MachineError


def check_writable(directory: Path) -> None:
    """Makes the directory; what is in it stays. Raises MachineError: better now than after hours of
    training.
    """
    probe = directory / ".writable"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise MachineError(str(directory), reason, "choose a directory you may write") from None
