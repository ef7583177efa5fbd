"""Switches optimizers to torch's fused kernels in place, and back.

State tensors stay the same objects with the same values; only ``step`` counters change type and
device, as the fused kernels want them. Checkpoints keep the user's own flags:
``optimizer.state_dict()`` does not show the switch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from parallel_opt.engine.memory_format import with_stride

Note = Callable[[str], None]
Group = dict[str, Any]

FUSED_TYPES: tuple[type[torch.optim.Optimizer], ...] = (
    torch.optim.AdamW,
    torch.optim.Adam,
    torch.optim.SGD,
    torch.optim.Adagrad,
)
FUSED_DEVICES = ("cpu", "cuda")
_FLAGS = ("fused", "foreach")


def uses_sparse_gradients(module: nn.Module) -> bool:
    """Whether an embedding of the module makes sparse gradients."""
    embeddings = (nn.Embedding, nn.EmbeddingBag)
    return any(isinstance(m, embeddings) and m.sparse for m in module.modules())


def optimizer_obstacle(optimizer: torch.optim.Optimizer) -> str | None:
    """Why no group of this optimizer can be fused, or None."""
    if type(optimizer) not in FUSED_TYPES:
        return f"{type(optimizer).__name__} has no fused kernel"
    return None


def group_obstacle(group: Group) -> str | None:
    """Why this parameter group cannot be fused, or None."""
    if group.get("fused") is not None and group["fused"] is not False:
        return "is fused already"
    if group.get("foreach") is not None:
        return f"the user chose foreach={group['foreach']}"
    if group.get("differentiable"):
        return "differentiable=True"
    if isinstance(group.get("lr"), torch.Tensor) and group["lr"].device.type != "cpu":
        return "lr is a tensor on a device"
    for parameter in group["params"]:
        if type(parameter) not in (nn.Parameter, torch.Tensor):
            return f"a parameter is a {type(parameter).__name__}"
        if not parameter.is_floating_point():
            return f"a parameter is {str(parameter.dtype).removeprefix('torch.')}"
        if parameter.device.type not in FUSED_DEVICES:
            return f"a parameter is on {parameter.device.type}"
    return None


class FusedOptimizer:
    """One optimizer, switched to fused between ``apply()`` and ``remove()``."""

    def __init__(self, optimizer: torch.optim.Optimizer, note: Note) -> None:
        self.optimizer = optimizer
        self._note = note
        self._switched: list[tuple[Group, dict[str, Any]]] = []
        self._handles: list[Any] = []

    @property
    def groups(self) -> int:
        """Parameter groups that run fused now."""
        return len(self._switched)

    def apply(self) -> None:
        """Switches every group that can be; each that cannot is noted with its reason."""
        obstacle = optimizer_obstacle(self.optimizer)
        if obstacle is not None:
            self._note(f"fused optimizer: {obstacle}")
            return
        self._switch()
        if self._switched:
            self._handles = [
                self.optimizer.register_step_pre_hook(self._before_step),
                self.optimizer.register_state_dict_post_hook(self._plain_state_dict),
                self.optimizer.register_load_state_dict_post_hook(self._after_load),
            ]

    def remove(self) -> None:
        """Gives every group its flags back and every counter its type."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        for group, flags in self._switched:
            _restore_flags(group, flags)
            self._convert_steps(group, fused=False)
        self._switched = []

    def _switch(self) -> None:
        self._switched = []
        for index, group in enumerate(self.optimizer.param_groups):
            obstacle = group_obstacle(group)
            if obstacle is not None:
                self._note(f"fused optimizer: group {index} stays as it is: {obstacle}")
                continue
            self._switched.append((group, {name: group[name] for name in _FLAGS if name in group}))
            group["fused"], group["foreach"] = True, False
            self._convert_steps(group, fused=True)

    def _convert_steps(self, group: Group, *, fused: bool) -> None:
        """Fused kernels want fp32 counters on the parameter's device, others the scalar dtype on
        the CPU.
        """
        wide = torch.get_default_dtype() == torch.float64
        dtype = torch.float32 if fused or not wide else torch.float64
        for parameter in group["params"]:
            state = self.optimizer.state.get(parameter)
            step = state.get("step") if state else None
            if state is None or step is None:
                continue
            on_device = fused or bool(group.get("capturable"))
            device = parameter.device if on_device else torch.device("cpu")
            if not isinstance(step, torch.Tensor):
                state["step"] = torch.tensor(float(step), dtype=dtype, device=device)
            elif step.dtype != dtype or step.device != device:
                state["step"] = step.to(device=device, dtype=dtype)

    def _before_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Fused CPU kernels pair raw memory: gradients must lie as their parameters do."""
        for group, _ in self._switched:
            for parameter in group["params"]:
                grad = parameter.grad
                if grad is not None and grad.stride() != parameter.stride():
                    parameter.grad = with_stride(grad, parameter.stride())

    def _plain_state_dict(self, optimizer: Any, state_dict: dict[str, Any]) -> None:
        flags = {id(group): flags for group, flags in self._switched}
        for group, packed in zip(
            self.optimizer.param_groups, state_dict["param_groups"], strict=True
        ):
            if id(group) in flags:
                _restore_flags(packed, flags[id(group)])

    def _after_load(self, optimizer: Any) -> None:
        """A loaded checkpoint brings its own flags and counters."""
        self._switch()


def _restore_flags(group: Group, flags: dict[str, Any]) -> None:
    for name in _FLAGS:
        if name in flags:
            group[name] = flags[name]
        else:
            group.pop(name, None)
