"""Running a module for its graph without leaving a mark on it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import random
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn


def unwrapped(module: nn.Module) -> nn.Module:
    """The module that torch.compile wrapped; else itself."""
    inner = getattr(module, "_orig_mod", None)
    return inner if isinstance(inner, nn.Module) else module


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Every tensor in an output, in order: containers, data classes, any object's attributes."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        children: Any = value.values()
    elif isinstance(value, (tuple, list)):  # torch.return_types and named tuples are tuples
        children = value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        children = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif hasattr(value, "to_tuple"):
        children = value.to_tuple()
    elif hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)):
        children = vars(value).values()
    else:
        return []
    return [tensor for child in children for tensor in tensors_in(child)]


@contextlib.contextmanager
def flat_outputs(module: nn.Module) -> Iterator[None]:
    """Within it, the module returns a tuple of tensors, whatever its forward returns.

    torch.export knows few output types, and cannot save all of them (``torch.return_types``).
    """
    forward = module.forward

    @functools.wraps(forward)  # export asks for the signature
    def flat(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        return tuple(tensors_in(forward(*args, **kwargs)))

    own = module.__dict__.get("forward")
    module.__dict__["forward"] = flat
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own


class _ThreadMuted:
    """A stream that swallows what one thread writes; other threads' progress bars go on."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.thread = threading.get_ident()

    def write(self, text: str) -> int:
        if threading.get_ident() == self.thread:
            return len(text)
        return int(self.stream.write(text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.export prints the graph it got to when it fails; the reason is in the error anyway."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stderr(_ThreadMuted(sys.stderr)):
        warnings.simplefilter("ignore")  # about attributes set in forward: they are put back
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)


@contextlib.contextmanager
def preserved(module: nn.Module) -> Iterator[None]:
    """Puts back random states and every submodule's attributes; not the contents of tensors."""
    attributes = [(m, dict(m.__dict__)) for m in module.modules()]
    # Containers are restored in place: handles of hooks refer to the very dictionary.
    containers = [
        (value, value.copy())
        for m, names in attributes
        for value in names.values()
        if isinstance(value, (dict, list, set))
    ]
    numpy_random = getattr(sys.modules.get("numpy"), "random", None)
    python_state = random.getstate()
    numpy_state = numpy_random.get_state() if numpy_random is not None else None
    devices = sorted({p.device.index or 0 for p in module.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python_state)
            if numpy_random is not None:
                numpy_random.set_state(numpy_state)
            for value, content in containers:
                if isinstance(value, list):
                    value[:] = content
                else:
                    value.clear()
                    value.update(content)
            for m, names in attributes:
                m.__dict__.clear()
                m.__dict__.update(names)
