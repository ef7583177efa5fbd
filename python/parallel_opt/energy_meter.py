"""Energy of a piece of Python: ``with parallel_opt.energy() as e: train()``."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from parallel_opt._core import EnergyMeter, EnergyReading
from parallel_opt.errors import InputError


class energy:  # noqa: N801  (used as a function is: `with energy() as e`)
    """Meters the whole machine while its block runs.

    Counters and power sensors where the machine has them and lets this user read them, else a
    model, and ``quality`` says which: counter, integrated_power, modelled or unavailable. Work that
    a GPU still has queued when the block ends is not waited for: synchronize first.

    >>> with parallel_opt.energy() as e:
    ...     train()
    >>> e.energy_j.value, e.quality, e.window_s
    """

    def __init__(self) -> None:
        self._meter = EnergyMeter()
        self._reading: EnergyReading | None = None

    def __enter__(self) -> energy:
        self._reading = None
        self._meter.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reading = self._meter.end()

    @property
    def reading(self) -> EnergyReading:
        """Everything about the window, part by part. Raises InputError while the block runs."""
        if self._reading is None:
            raise InputError("energy()", "the window is not over", "read it after the with block")
        return self._reading

    def __repr__(self) -> str:
        if self._reading is None:
            return "<energy: the window is not over>"
        joules = self._reading.energy_j
        amount = "" if joules is None else f"{joules.value:.4g} J, "
        return f"<energy: {amount}{self._reading.quality}, over {self._reading.window_s:.4g} s>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(EnergyReading, name):
            raise AttributeError(f"energy() has no {name!r}")
        return getattr(self.reading, name)

    def __dir__(self) -> list[str]:
        fields = [name for name in dir(EnergyReading) if not name.startswith("_")]
        return [*super().__dir__(), *fields]
