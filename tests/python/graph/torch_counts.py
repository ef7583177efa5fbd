"""What torch itself counts of a module: FLOPs, and the bytes its autograd keeps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


def torch_flops(
    model: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> tuple[int, int]:
    """Forward and backward. Fused attention and oneDNN's LSTM count as nothing: both are off."""
    with sdpa_kernel(SDPBackend.MATH), torch.backends.mkldnn.flags(enabled=False):
        with FlopCounterMode(display=False) as counter:
            loss = model(*args, **(kwargs or {}))
        forward = counter.get_total_flops()
        with FlopCounterMode(display=False) as counter:
            loss.backward()
    model.zero_grad()
    return forward, counter.get_total_flops()


def torch_saved_bytes(
    model: nn.Module, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
) -> int:
    """Distinct storages that autograd keeps of one forward, less those that live anyway."""
    given = [t for t in (*args, *(kwargs or {}).values()) if isinstance(t, Tensor)]
    kept = [*model.parameters(), *model.buffers(), *given]
    skipped = {t.untyped_storage().data_ptr() for t in kept}
    seen: dict[int, int] = {}
    alive = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in skipped:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(*args, **(kwargs or {}))
    return sum(seen.values())


@dataclass
class Faults:
    """What must be added to torch's counts of one step to make them right."""

    forward: int = 0
    backward: int = 0

    def any(self) -> bool:
        return self.forward != 0 or self.backward != 0


class _GroupedConvolutions(TorchDispatchMode):
    def __init__(self, faults: Faults) -> None:
        super().__init__()
        self.faults = faults

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.ops.aten.convolution_backward.default:
            gradient, x, weight, *_, transposed, _, groups, mask = args
            visited = x if transposed else gradient
            samples, spatial = visited.shape[0], visited.shape[2:]
            if mask[1]:  # the weight's gradient is wanted
                forward = 2 * samples * math.prod(spatial) * weight.numel()
                self.faults.backward -= (groups - 1) * forward
        return function(*args, **(kwargs or {}))


@contextlib.contextmanager
def watch_faults(model: nn.Module) -> Iterator[Faults]:
    """Collects, from the shapes that are seen within, what torch's counter misses or adds.

    A grouped convolution: the weight's gradient contracts the channels of one group, so it takes
    2 * positions * weight elements, as the forward does; torch multiplies all input channels with
    all output channels, `groups` times that (conv_backward_flop of torch/utils/flop_counter.py does
    not look at its `_groups`). Experts of transformers: every token is multiplied with both weights
    of each of its experts, 2 * tokens * experts per token * elements of one expert, and twice that
    in the backward; torch does not look into the one operator that does it.
    """
    faults = Faults()

    def experts(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        chosen = inputs[1]  # (tokens, experts per token)
        one = sum(w[0].numel() for w in (module.gate_up_proj, module.down_proj))  # type: ignore[union-attr]
        faults.forward += 2 * chosen.numel() * one
        faults.backward += 4 * chosen.numel() * one

    handles = [
        module.register_forward_hook(experts)
        for module in model.modules()
        if isinstance(getattr(module, "gate_up_proj", None), Tensor)  # of all experts in one
    ]
    try:
        with _GroupedConvolutions(faults):
            yield faults
    finally:
        for handle in handles:
            handle.remove()
