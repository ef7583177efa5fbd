"""Errors of parallel_opt: each names the place, the fault and the way out."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import TypeVar

_E = TypeVar("_E", bound="_FaultError")

Fault = tuple[str, str, str]
"""Where, what, hint."""


def _text(fault: Fault) -> str:
    where, what, hint = fault
    return (f"{where}: " if where else "") + what + (f" ({hint})" if hint else "")


class _FaultError(Exception):
    """Carries every fault found, the first one also as ``where``, ``what`` and ``hint``."""

    def __init__(self, where: str, what: str, hint: str = "") -> None:
        self.faults: list[Fault] = [(where, what, hint)]
        self.where, self.what, self.hint = where, what, hint
        super().__init__(where, what, hint)

    @classmethod
    def from_faults(cls: type[_E], faults: Sequence[Fault]) -> _E:
        """All faults in one error. Pre: at least one."""
        error = cls(*faults[0])
        error.faults = list(faults)
        return error

    def __str__(self) -> str:
        return "\n".join(_text(fault) for fault in self.faults)


class InputError(_FaultError, ValueError):
    """The input is wrong. Exit code 4."""


class CaptureError(InputError):
    """The model's graph cannot be had, so it cannot be planned."""


class MachineError(_FaultError, OSError):
    """The machine refuses: a missing file, a driver, a permission. Exit code 4."""

    def __str__(self) -> str:
        return _FaultError.__str__(self)


class MissingPart(MachineError):
    """A part that is not always installed is missing. Exit code 5."""


class InfeasibleError(_FaultError, RuntimeError):
    """No plan fits. Names the binding constraint. Exit code 3."""


class InternalError(_FaultError, RuntimeError):
    """A promise inside parallel_opt is broken. Exit code 1."""


def fault_lines(error: _FaultError) -> list[str]:
    """What stands on stderr: one line per fault."""
    return [f"error: {_text(fault)}" for fault in error.faults]


def exit_code(error: _FaultError) -> int:
    """Of a command that ends with this error."""
    if isinstance(error, InternalError):
        return 1
    if isinstance(error, InfeasibleError):
        return 3
    return 5 if isinstance(error, MissingPart) else 4


def traceback_without(error: BaseException, hidden: Sequence[str]) -> str:
    """The traceback of a user's code: it starts after the frames of the files in ``hidden``."""
    frames = frames_after(error, hidden)
    if frames is None:  # a script that cannot even be compiled has no frame of its own
        return "".join(traceback.format_exception_only(error))
    return "".join(traceback.format_exception(type(error), error, frames))


def frames_after(error: BaseException, hidden: Sequence[str]) -> TracebackType | None:
    """The frames of an error without the leading ones of the files in ``hidden``."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename in hidden:
        frames = frames.tb_next
    return frames
