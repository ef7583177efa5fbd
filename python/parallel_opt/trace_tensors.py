"""Tensors of a run as tensors of a graph: one per storage and view."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch

from parallel_opt import compat_capture as compat
from parallel_opt._core import GraphBuilder

DTYPES = {
    torch.bool: "bool",
    torch.uint8: "u8",
    torch.uint16: "u16",
    torch.uint32: "u32",
    torch.uint64: "u64",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.float8_e4m3fn: "fp8_e4m3fn",
    torch.float8_e4m3fnuz: "fp8_e4m3fnuz",
    torch.float8_e5m2: "fp8_e5m2",
    torch.float8_e5m2fnuz: "fp8_e5m2fnuz",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.complex32: "complex32",
    torch.complex64: "complex64",
    torch.complex128: "complex128",
}


class TensorTable:
    """Which tensor of the graph a tensor of the run is.

    A storage is known by its address, which a weak reference keeps taken; a tensor without one
    storage (sparse) by itself.
    """

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self._names: dict[str, int] = {}
        # storage -> (offset, shape, ...) -> tensor index
        self._views: dict[Any, dict[Any, int]] = {}
        self._held: list[Any] = []
        self._part = 0
        self._parts = 0

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Within it, tensors are none of those from outside, even if they share storages: a graph
        that is read twice makes its tensors twice. ``adopt`` brings in the ones it is given."""
        outer = self._part
        self._parts += 1
        self._part = self._parts
        try:
            yield
        finally:
            self._part = outer

    def register(
        self,
        tensor: torch.Tensor,
        name: str,
        role: str,
        fqn: str = "",
        inputs: Collection[int] = (),
        tied_to: int | None = None,
        requires_grad: bool | None = None,
    ) -> int:
        """A new tensor of the graph. ``inputs``: operands of the operator that made it."""
        tensor = compat.values_of(tensor)
        storage, view = self._key(tensor)
        known = self._views.setdefault(storage, {})
        # The operand that shares the storage; else the storage's first tensor.
        sharing = [index for index in known.values() if index in inputs]
        alias = sharing[-1] if sharing else next(iter(known.values()), None)
        index = self.builder.add_tensor(
            self.unique(name),
            role,
            DTYPES.get(tensor.dtype, "fp32"),
            [int(size) for size in tensor.shape],
            [int(step) for step in tensor.stride()] if tensor.layout == torch.strided else [],
            fqn,
            tensor.requires_grad if requires_grad is None else requires_grad,
            alias if role == "activation" else None,
            tied_to,
        )
        if tied_to is None:
            known[view] = index
        return index

    def index(self, tensor: torch.Tensor, reshaped: bool = False) -> int:
        """The tensor's index; one never seen (made before the run) becomes a constant. One that an
        operator has ``reshaped`` in place was its storage's last view."""
        tensor = compat.values_of(tensor)
        storage, view = self._key(tensor)
        known = self._views.get(storage, {})
        if view in known:
            return known[view]
        if reshaped and known:
            return next(reversed(known.values()))
        return self.register(tensor, "constant", "constant")

    def operand_of(self, function: Any) -> Callable[[Any], int | None]:
        """The index of an operand of this operator, which has run; None for what is no tensor."""
        reshaped = torch.Tag.inplace_view in getattr(function, "tags", ())
        return lambda v: self.index(v, reshaped) if isinstance(v, torch.Tensor) else None

    def adopt(self, tensor: torch.Tensor, index: int) -> None:
        """From now on `tensor` is the one with that index."""
        storage, view = self._key(tensor)
        self._views.setdefault(storage, {})[view] = index

    def unique(self, name: str) -> str:
        """`name`, or with a number when it is taken."""
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        return name if count == 0 else self.unique(f"{name}_{count}")

    def _key(self, tensor: torch.Tensor) -> tuple[Any, Any]:
        storage = compat.storage_reference(tensor)
        if storage is None:
            self._held.append(tensor)
            return ("object", id(tensor), self._part), None
        self._held.append(storage)
        view = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        return (compat.storage_address(storage), self._part), view


def attribute(value: Any) -> Any:
    """A constant argument as a graph holds it."""
    if isinstance(value, torch.dtype):
        return DTYPES.get(value, str(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(v, (bool, int, float)) for v in value):
        return list(value)
    return str(value).removeprefix("torch.")


def named_arguments(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[tuple[str, Any]]:
    """Arguments of an operator with the names of its schema."""
    schema = getattr(function, "_schema", None)
    names = [argument.name for argument in schema.arguments] if schema is not None else []
    named = [(names[i] if i < len(names) else f"arg{i}", value) for i, value in enumerate(args)]
    return [*named, *kwargs.items()]


Operands = list[tuple[str, int | None]]


def operands(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], index: Any
) -> tuple[Operands, dict[str, Any]]:
    """Tensor operands, each through ``index(value)``, which gives None for what is no tensor, and
    the constant arguments."""
    inputs: Operands = []
    attributes: dict[str, Any] = {}
    for argument, value in named_arguments(function, args, kwargs):
        if isinstance(value, dict):  # of a kernel that is not torch's own
            for key, one in value.items():
                found = index(one)
                if found is not None:
                    inputs.append((f"{argument}.{key}", found))
            continue
        if callable(value) and not isinstance(value, torch.Tensor):
            continue  # its text would be an address
        if isinstance(value, (list, tuple)):
            listed = [index(v) for v in value]
            if any(i is not None for i in listed):
                inputs.extend((argument, i) for i in listed)
                continue
        else:
            found = index(value)
            if found is not None:
                inputs.append((argument, found))
                continue
        attributes[argument] = attribute(value)
    return inputs, attributes
