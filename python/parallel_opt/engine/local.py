"""Everything that makes one process faster on its own device, put on the user's module and taken
off again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import torch
from torch import nn

from parallel_opt.engine import allocator
from parallel_opt.engine.attention import UnfusedAttention, unfuse_graph, unfused_forward
from parallel_opt.engine.compile import CompiledForward, compile_obstacle
from parallel_opt.engine.fused_optimizer import FusedOptimizer, uses_sparse_gradients
from parallel_opt.engine.memory_format import ChannelsLast, channels_last_forward
from parallel_opt.engine.micro_batch import MicroBatchForward
from parallel_opt.engine.patch import ForwardPatch, plain_forward
from parallel_opt.engine.precision import autocast_forward, precision_obstacle
from parallel_opt.engine.recompute import Recompute, recompute_names

logger = logging.getLogger("parallel_opt.engine.local")

Forward = Callable[..., Any]


class Settings(Protocol):
    """What a local engine can be told; any object with these attributes will do.

    Two are optional: ``keep_memory`` (bool), see allocator.py, and ``attention`` (fused, unfused),
    see attention.py.
    """

    @property
    def precision(self) -> str: ...  # fp32 | bf16 | fp16
    @property
    def compile(self) -> bool: ...
    @property
    def memory_format(self) -> str: ...  # contiguous | channels_last
    @property
    def fused_optimizer(self) -> bool: ...
    @property
    def threads(self) -> int: ...  # 0: as it is
    @property
    def recompute(self) -> Iterable[Any]: ...  # see recompute.recompute_names
    @property
    def micro_batches(self) -> int: ...


class LocalEngine:
    """Runs a module the way ``settings`` say, between ``apply()`` and ``unapply()``.

    Parameter names, identities and ``state_dict`` keys never change. What cannot be done is left
    out and said once, in ``notes`` and in the log. Compiled code survives ``unapply()``: a later
    ``apply()`` has it at once.

    Args:
        module: The user's module.
        settings: See ``Settings``.
        optimizers: Known now; later ones come through ``adopt_optimizer``.
        backend: What torch.compile compiles with.
    """

    def __init__(
        self,
        module: nn.Module,
        settings: Settings,
        *,
        optimizers: Iterable[torch.optim.Optimizer] = (),
        backend: Any = "inductor",
    ) -> None:
        self.module = module
        self.settings = settings
        self.notes: list[str] = []
        self.applied = False
        self.compiled: CompiledForward | None = None
        self._optimizers = list(optimizers)
        self._fused: list[FusedOptimizer] = []
        self._backend = backend
        self._unfused = getattr(settings, "attention", "fused") == "unfused"
        again = UnfusedAttention if self._unfused and not settings.compile else None
        self._recompute = Recompute(module, recompute_names(settings.recompute), again)
        self._channels_last: ChannelsLast | None = None
        self._patch: ForwardPatch | None = None
        self._forward: Forward | None = None
        self._threads_before: int | None = None
        self._keeps_memory = False
        for name in self._recompute.missing:
            self._note(f"recompute: the model has no module {name!r}")

    @property
    def device_type(self) -> str:
        """Where the module's first parameter lives."""
        first = next(self.module.parameters(), None)
        return "cpu" if first is None else first.device.type

    def apply(self) -> None:
        """Puts the settings into effect. Does nothing when they are."""
        if self.applied:
            return
        self._set_threads()
        self._keep_memory()
        self._recompute.apply()
        self._apply_memory_format()
        if self._forward is None:
            self._forward = self._build_forward(plain_forward(self.module))
        self._patch = ForwardPatch(self.module, self._forward)
        self._patch.apply()
        self.applied = True
        for optimizer in self._optimizers:
            self._fuse(optimizer)

    def unapply(self) -> None:
        """Leaves module, optimizers and thread count as they were before ``apply()``."""
        if not self.applied:
            return
        for fused in reversed(self._fused):
            fused.remove()
        self._fused = []
        if self._patch is not None:
            self._patch.remove()
            self._patch = None
        if self._channels_last is not None:
            self._channels_last.remove(self._optimizers)
            self._channels_last = None
        self._recompute.remove()
        if self._threads_before is not None:
            torch.set_num_threads(self._threads_before)
            self._threads_before = None
        if self._keeps_memory:
            allocator.release()
            self._keeps_memory = False
        self.applied = False

    def adopt_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        """Takes in an optimizer that was built after ``apply()``."""
        if any(known is optimizer for known in self._optimizers):
            return
        self._optimizers.append(optimizer)
        if self.applied:
            self._fuse(optimizer)

    def _set_threads(self) -> None:
        if self.device_type != "cpu":
            return  # a plan's threads are those that compute
        threads = int(self.settings.threads)
        if threads > 0 and threads != torch.get_num_threads():
            self._threads_before = torch.get_num_threads()
            torch.set_num_threads(threads)

    def _keep_memory(self) -> None:
        if not getattr(self.settings, "keep_memory", False):
            return
        if self.device_type != "cpu":
            self._note("keep_memory has no effect: the model is not on the CPU")
            return
        obstacle = allocator.keep_memory()
        self._keeps_memory = obstacle is None
        if obstacle is not None:
            self._note(f"keep_memory: off: {obstacle}")

    def _apply_memory_format(self) -> None:
        if self.settings.memory_format != "channels_last":
            return
        change = ChannelsLast(self.module)
        obstacle = change.obstacle()
        if obstacle is not None:
            self._note(obstacle)
            return
        change.apply(self._optimizers)
        self._channels_last = change

    def _build_forward(self, forward: Forward) -> Forward:
        settings, plain = self.settings, forward
        if self._channels_last is not None:
            forward = channels_last_forward(forward)
        if settings.precision != "fp32":
            obstacle = precision_obstacle(self.module, settings.precision)
            if obstacle is None:
                forward = autocast_forward(forward, self.device_type, settings.precision)
            else:
                self._note(f"{settings.precision}: off: {obstacle}")
        if self._unfused and not settings.compile:
            forward = unfused_forward(forward)
        if settings.compile:
            obstacle = compile_obstacle(self.device_type) if self._backend == "inductor" else None
            if obstacle is None:
                forward = self.compiled = CompiledForward(
                    self.module,
                    forward,
                    note=self._note,
                    backend=self._backend,
                    rewrite=unfuse_graph if self._unfused else lambda graph: graph,
                    recomputes=bool(self._recompute.blocks),
                )
            else:
                self._note(f"compile: off: {obstacle}")
        if settings.micro_batches > 1:
            forward = MicroBatchForward(
                self.module, forward, settings.micro_batches, self._note, plain=plain
            )
        return forward

    def _fuse(self, optimizer: torch.optim.Optimizer) -> None:
        if not self.settings.fused_optimizer:
            return
        if uses_sparse_gradients(self.module):
            self._note("fused optimizer: off: the model makes sparse gradients")
            return
        fused = FusedOptimizer(optimizer, self._note)
        fused.apply()
        self._fused.append(fused)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            logger.warning(text)
