"""How long torch.compile will take, before it is tried."""

from __future__ import annotations

from typing import Any

from torch import nn


class CompileGuess:
    """How long compiling takes: by the number of layers, corrected by what was seen in this run."""

    FIRST_S = 8.0
    """Loading the compiler, once per process; measured 6 to 10 s on 2 cores."""
    PER_LAYER_S = 0.4
    """Per module with parameters of its own; measured 0.3 to 0.5 s on 2 cores, kernels not cached.
    """

    def __init__(self, module: nn.Module) -> None:
        self._layers = sum(1 for m in module.modules() if any(True for _ in m.parameters(False)))
        self._first_s = self.FIRST_S
        self._scale = 1.0

    def seconds(self, settings: Any) -> float:
        if not settings.compile:
            return 0.0
        given = getattr(settings, "predicted_compile_s", None)
        own = self._first_s + self.PER_LAYER_S * self._layers
        return self._scale * float(own if given is None else given)

    def learn(self, settings: Any, seconds: float) -> None:
        self._scale *= max(0.2, min(5.0, seconds / max(self.seconds(settings), 1e-3)))
        self._first_s = 0.0
