"""Takes nested inputs and outputs apart into tensors, and puts them together again."""

from __future__ import annotations

import copy
import dataclasses
import enum
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

_Build = Callable[[Iterator[torch.Tensor]], Any]
_OPAQUE = "!"  # around the type's name: no name holds one
_SIMPLE = (
    *(bool, int, float, complex, str, bytes, type(None), slice, range, enum.Enum),
    *(torch.dtype, torch.device, torch.Size, torch.layout, torch.memory_format),
)
"""Values that hold no tensors."""


@dataclasses.dataclass(frozen=True)
class Structure:
    """How the tensors of a nested value sit in it. Values other than tensors stay inside."""

    build: _Build
    signature: str
    constants: tuple[Any, ...] = ()
    """Numbers, words and the like beside the tensors, in order."""

    @property
    def opaque(self) -> str:
        """The type of a value whose tensors, if it has any, stay inside; "" for none."""
        _, mark, rest = self.signature.partition(_OPAQUE)
        return rest.partition(_OPAQUE)[0] if mark else ""

    def rebuild(self, tensors: Sequence[torch.Tensor]) -> Any:
        """The nested value with `tensors` in place of the ones taken out, in the same order."""
        return self.build(iter(tensors))


def flatten(value: Any) -> tuple[list[torch.Tensor], Structure]:
    """The tensors of a nested list, tuple, dict or dataclass, in a fixed order, and the rest."""
    found = _Found([], [])
    build, signature = _take_apart(value, found)
    return found.tensors, Structure(build, signature, tuple(found.constants))


@dataclasses.dataclass(frozen=True)
class _Found:
    tensors: list[torch.Tensor]
    constants: list[Any]


def _take_apart(value: Any, found: _Found) -> tuple[_Build, str]:
    if isinstance(value, torch.Tensor):
        found.tensors.append(value)
        return next, f"{value.dtype}[{value.dim()}]"
    if isinstance(value, dict):
        return _take_apart_dict(value, found)
    if isinstance(value, (list, tuple)):
        return _take_apart_sequence(value, found)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _take_apart_dataclass(value, found)
    name = type(value).__name__
    if isinstance(value, _SIMPLE):
        found.constants.append(value)
        return (lambda _: value), name
    simple = isinstance(value, type) or callable(value)
    return (lambda _: value), name if simple else f"{_OPAQUE}{name}{_OPAQUE}"


def _take_apart_dict(value: dict[Any, Any], found: _Found) -> tuple[_Build, str]:
    parts = {key: _take_apart(item, found) for key, item in value.items()}
    kind = type(value)

    def build(source: Iterator[torch.Tensor]) -> Any:
        items = {key: part(source) for key, (part, _) in parts.items()}
        if kind is dict:
            return items
        if dataclasses.is_dataclass(
            kind
        ):  # Hugging Face ModelOutput: a dict and a dataclass in one
            return kind(**items)
        result = copy.copy(value)  # keeps a default factory or other state of the subclass
        result.update(items)
        return result

    inside = ",".join(f"{key}:{signature}" for key, (_, signature) in parts.items())
    return build, f"{kind.__name__}{{{inside}}}"


def _take_apart_sequence(value: Any, found: _Found) -> tuple[_Build, str]:
    parts = [_take_apart(item, found) for item in value]
    kind = type(value)

    def build(source: Iterator[torch.Tensor]) -> Any:
        items = [part(source) for part, _ in parts]
        return kind(*items) if hasattr(kind, "_fields") else kind(items)

    return build, f"{kind.__name__}({','.join(signature for _, signature in parts)})"


def _take_apart_dataclass(value: Any, found: _Found) -> tuple[_Build, str]:
    parts = {
        field.name: _take_apart(getattr(value, field.name), found)
        for field in dataclasses.fields(value)
    }

    def build(source: Iterator[torch.Tensor]) -> Any:
        result = copy.copy(value)
        for name, (part, _) in parts.items():
            object.__setattr__(result, name, part(source))  # works for frozen ones too
        return result

    inside = ",".join(f"{name}:{signature}" for name, (_, signature) in parts.items())
    return build, f"{type(value).__name__}<{inside}>"


def has_borrowed_parameters(parameters: Sequence[torch.Tensor]) -> bool:
    """Whether ``torch.func.functional_call`` has put other tensors in place of parameters, until
    the call ends."""
    return any(not isinstance(parameter, torch.nn.Parameter) for parameter in parameters)


def fingerprint(module: torch.nn.Module) -> list[Any]:
    """What the module's parameters are: identity, trained or not, type, shape. Equal as long as a
    reducer that was made for them is right. Made at every step: three times as fast as
    ``parameters()``."""
    found: list[Any] = []
    parts: dict[int, torch.nn.Module] = {id(module): module}
    waiting = [module]
    for part in waiting:  # grows as it goes
        state = part.__dict__
        for p in state["_parameters"].values():
            if p is not None:
                found.append((id(p), p.requires_grad, p.dtype, p.shape))
        for child in state["_modules"].values():
            if child is not None and id(child) not in parts:
                parts[id(child)] = child
                waiting.append(child)
    return found
