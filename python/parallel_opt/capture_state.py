"""Running a module for its graph without leaving a mark on it."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from parallel_opt.capture_inputs import are_hidden, map_tensors, tensors_in
from parallel_opt.compat_capture import is_fake, modes_kept, set_value_quietly
from parallel_opt.errors import InputError
from parallel_opt.snapshot import RandomState, user_hooks_silenced

_WRAPPERS = ("DataParallel", "DistributedDataParallel", "FullyShardedDataParallel")


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile's, DataParallel's and DistributedDataParallel's wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module) and type(module).__name__ in _WRAPPERS:
            inner = getattr(module, "module", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def checked_module(module: Any, name: str | None) -> tuple[nn.Module, str]:
    """The module itself and its name. Raises InputError for no module, or one that cannot run."""
    if not isinstance(module, nn.Module):
        kind = module.__name__ if isinstance(module, type) else type(module).__name__
        what = f"a class, {kind}," if isinstance(module, type) else kind
        hint = "make one of it" if isinstance(module, type) else "wrap it in a module"
        raise InputError(name or "module", f"{what} is no torch.nn.Module", hint)
    module = unwrapped(module)
    name = name or type(module).__name__
    for fqn, tensor in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise InputError(name, f"{fqn} has no shape yet", "run one forward pass first")
    return module, name


@contextlib.contextmanager
def flat_call(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Within it, the module returns a tuple of tensors, whatever its forward returns; and takes the
    arguments given here as those that it yields: tensors alone, if torch does not know where the
    arguments hold theirs.

    torch.export knows few output types, and cannot save all of them (``torch.return_types``).
    """
    forward = module.forward
    hidden = are_hidden(args, kwargs)

    @functools.wraps(forward)  # export asks for the signature
    def flat(*args: Any, **kwargs: Any) -> tuple[torch.Tensor, ...]:
        return tuple(tensors_in(forward(*args, **kwargs)))

    def flat_both(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rest = iter(tensors)
        own_args, own_kwargs = map_tensors((args, kwargs), lambda _: next(rest))
        return tuple(tensors_in(forward(*own_args, **own_kwargs)))

    own = module.__dict__.get("forward")
    module.__dict__["forward"] = flat_both if hidden else flat
    try:
        yield (tuple(tensors_in((args, kwargs))), {}) if hidden else (args, kwargs)
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


class _TorchDropped(logging.Filter):
    """Drops what torch logs in this thread. Its handlers hold the standard error of before."""

    def __init__(self) -> None:
        super().__init__()
        self.thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self.thread or not record.name.startswith("torch")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.export prints the graph it got to when it fails, and logs an error with its stack where
    a symbol for the batch did not work; the reason is in the error anyway."""
    disabled = logging.root.manager.disable
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = {h for logger in known for h in getattr(logger, "handlers", ())}
    dropped = _TorchDropped()
    with warnings.catch_warnings(), contextlib.redirect_stderr(_ThreadMuted(sys.stderr)):
        warnings.simplefilter("ignore")  # about attributes set in forward: they are put back
        logging.disable(logging.WARNING)
        for handler in handlers:
            handler.addFilter(dropped)
        try:
            yield
        finally:
            logging.disable(disabled)
            for handler in handlers:
                handler.removeFilter(dropped)


@contextlib.contextmanager
def preserved(module: nn.Module) -> Iterator[None]:
    """Puts back random states, thread-wide modes, every submodule's attributes with the containers
    in them, and gradients and flags of parameters; of tensors, the contents of plain attributes
    only. Hooks of the user's are not called."""
    attributes = [(m, dict(m.__dict__)) for m in module.modules()]
    containers: dict[int, tuple[Any, Any]] = {}
    found: dict[int, Any] = {}
    for _, names in attributes:
        for name, value in names.items():
            if name not in _OWN:
                _find(value, containers, found)
            elif isinstance(value, dict):
                containers[id(value)] = (value, value.copy())
    states = [(g, g.get_state()) for g in found.values() if isinstance(g, torch.Generator)]
    tensors = [
        (t, t.detach().clone(), t._version)
        for t in found.values()
        if isinstance(t, torch.Tensor) and not is_fake(t) and t.device.type != "meta"
    ]
    flags = [(p, p.requires_grad, p.grad) for p in module.parameters()]
    randoms = RandomState()
    try:
        with modes_kept(), user_hooks_silenced(module):
            yield
    finally:
        # Containers are restored in place: handles of hooks refer to the very dictionary.
        for value, content in containers.values():
            _refill(value, content)
        for m, names in attributes:
            m.__dict__.clear()
            m.__dict__.update(names)
        for parameter, requires_grad, grad in flags:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
            if parameter.grad is not grad:
                parameter.grad = grad
        for generator, state in states:
            generator.set_state(state)
        for tensor, content, version in tensors:
            if tensor._version != version:
                set_value_quietly(tensor, content, version)
        randoms.restore()


_OWN = ("_parameters", "_buffers", "_modules")


def _find(value: Any, containers: dict[int, tuple[Any, Any]], found: dict[int, Any]) -> None:
    """Containers at any depth, with a shallow copy of each; random generators and plain tensors."""
    if isinstance(value, torch.Generator) or type(value) is torch.Tensor:
        found[id(value)] = value
    if not isinstance(value, (dict, list, set, deque, tuple)) or id(value) in containers:
        return
    if not isinstance(value, tuple):
        containers[id(value)] = (value, value.copy())
    for child in value.values() if isinstance(value, dict) else value:
        _find(child, containers, found)


def _refill(container: Any, content: Any) -> None:
    if isinstance(container, (list, deque)):
        if len(container) != len(content) or any(
            a is not b for a, b in zip(container, content, strict=True)
        ):
            container.clear()
            container.extend(content)
    elif isinstance(container, dict):
        same = list(container) == list(content)
        if not same or any(container[key] is not content[key] for key in content):
            container.clear()
            container.update(content)
    elif container != content:
        container.clear()
        container.update(content)


@contextlib.contextmanager
def masks_as_in_a_run(positions_given: bool) -> Iterator[None]:
    """transformers leaves out a mask that says no more than "causal" or nothing, but not under an
    export, whose program may serve other lengths; a step of training does not. Positions that the
    model itself counts are those of one text per sample."""
    masking: Any = sys.modules.get("transformers.masking_utils")
    instead: dict[str, Callable[..., Any]] = {"is_torchdynamo_exporting": lambda: False}
    if not positions_given:
        instead["find_packed_sequence_indices"] = lambda position_ids: None
    before = {name: getattr(masking, name) for name in instead if hasattr(masking, name)}
    try:
        for name in before:
            setattr(masking, name, instead[name])
        yield
    finally:
        for name, function in before.items():
            setattr(masking, name, function)
