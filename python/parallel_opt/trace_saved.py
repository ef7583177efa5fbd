"""What autograd really keeps of a run for its backward."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from parallel_opt import compat_capture as compat
from parallel_opt.capture_inputs import tensors_in


class SavedTensors:
    """Distinct storages that were saved and that operators of the run made: parameters, buffers,
    inputs and constants live anyway."""

    def __init__(self) -> None:
        self.on_save: Callable[[torch.Tensor], None] = lambda tensor: None
        self._bytes: dict[int, int] = {}
        self._made: set[int] = set()
        self._held: list[Any] = []  # keeps addresses from being used again

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within it, everything that autograd saves is seen."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor):
            yield

    def made(self, args: Any, output: Any) -> None:
        """An operator has run."""
        results = [key for tensor in tensors_in(output) if (key := self._key(tensor)) is not None]
        if any(key not in self._made for key in results):
            self._made.update(set(results) - {self._key(tensor) for tensor in tensors_in(args)})

    def is_made(self, tensor: torch.Tensor) -> bool:
        """Whether an operator made its storage."""
        return self._key(tensor) in self._made

    def is_saved(self, tensor: torch.Tensor) -> bool:
        """Whether its storage is kept for backward."""
        return self._key(tensor) in self._bytes

    def total(self) -> int:
        """Bytes kept."""
        return sum(size for key, size in self._bytes.items() if key in self._made)

    def kept(self) -> set[int]:
        """Storages kept so far, for ``of_operator``."""
        return set(self._bytes)

    def of_operator(
        self,
        before: set[int],
        operands: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
    ) -> dict[str, Any]:
        """What one operator keeps: the bytes kept since `before` that are neither of its operands
        nor of its outputs, and the positions of those operands and outputs that are kept."""
        fresh = set(self._bytes) - before - {self._key(t) for t in (*operands, *outputs)}
        return {
            "saved_bytes": sum(self._bytes[key] for key in fresh & self._made),
            "saved_inputs": [i for i, tensor in enumerate(operands) if self.is_saved(tensor)],
            "saved_outputs": [i for i, tensor in enumerate(outputs) if self.is_saved(tensor)],
        }

    def _pack(self, tensor: torch.Tensor) -> torch.Tensor:
        self.on_save(tensor)
        key = self._key(tensor)
        if key is not None:
            self._bytes[key] = tensor.untyped_storage().nbytes()
        return tensor

    def _key(self, tensor: torch.Tensor) -> int | None:
        storage = compat.storage_reference(tensor)
        if storage is None:
            return None
        self._held.append(storage)
        return compat.storage_address(storage)
