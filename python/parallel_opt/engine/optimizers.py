"""Finds the user's optimizers, and calls engines before gradients are used.

Whether the optimizer was built before or after wrapping makes no difference: every Optimizer made
after this module is imported registers itself weakly, older ones are found by one scan of the
garbage collector's objects.
"""

from __future__ import annotations

import functools
import gc
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from parallel_opt import compat
from parallel_opt.engine.reducers import averaging_itself
from parallel_opt.errors import InputError


class GradientOwner(Protocol):
    """An engine that must act before the gradients of its parameters are used."""

    def owned_parameters(self) -> frozenset[int]:
        """Ids of the parameters whose gradients it averages."""

    def synchronize(self) -> None:
        """Makes those gradients final. Called on every rank in the same order."""

    def averaged(
        self, parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor | None]
    ) -> list[torch.Tensor | None]:
        """The means over ranks of what ``torch.autograd.grad`` gave for owned parameters."""


_seen: weakref.WeakSet[Optimizer] = weakref.WeakSet()
_owners: list[GradientOwner] = []  # in the order of apply(), alike on every rank
_stale: dict[int, weakref.ref[torch.Tensor]] = {}
_undo: list[Callable[[], None]] = []


def watch_optimizers() -> None:
    """Starts registering optimizers as they are built. Repeating it changes nothing."""
    if getattr(Optimizer.__init__, "_parallel_opt", False):
        return
    original = Optimizer.__init__

    @functools.wraps(original)
    def init(self: Optimizer, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _seen.add(self)

    init._parallel_opt = True  # type: ignore[attr-defined]
    Optimizer.__init__ = init  # type: ignore[method-assign]
    for found in gc.get_objects():
        if issubclass(type(found), Optimizer):  # isinstance would wake lazy proxies
            _seen.add(found)


def find_optimizers(parameters: Iterable[torch.Tensor]) -> list[Optimizer]:
    """Living optimizers that hold any of `parameters`."""
    wanted = {id(parameter) for parameter in parameters}
    return [opt for opt in list(_seen) if not wanted.isdisjoint(_ids(opt))]


def rebind(optimizers: Iterable[Optimizer], replaced: Mapping[torch.Tensor, torch.Tensor]) -> None:
    """Puts new parameters in place of old ones, with their state; schedulers keep working.

    State tensors of the old parameter's shape are copied into the new one's device and dtype kind.
    An optimizer that still holds an old parameter at its next step (found nowhere above) raises.
    """
    by_id = {id(old): new for old, new in replaced.items()}
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [by_id.get(id(p), p) for p in group["params"]]
        for old, new in replaced.items():
            if old in optimizer.state:
                state = optimizer.state.pop(old)
                optimizer.state[new] = {
                    key: _moved(value, old, new) for key, value in state.items()
                }
    for old in replaced:
        _stale[id(old)] = weakref.ref(old)
    _install()


def add_owner(owner: GradientOwner) -> None:
    """From now on `owner` is called before gradients of its parameters are used."""
    _owners.append(owner)
    _install()


def remove_owner(owner: GradientOwner) -> None:
    """Undoes `add_owner`; the last one takes all patches away."""
    _owners.remove(owner)
    if not _owners and not _stale:
        while _undo:
            _undo.pop()()


def _moved(value: Any, old: torch.Tensor, new: torch.Tensor) -> Any:
    if isinstance(value, torch.Tensor) and value.shape == old.shape:
        return value.to(new.device)
    return value


def _ids(optimizer: Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _synchronize(parameters: Callable[[], set[int]]) -> None:
    if not _owners:
        return
    ids = parameters()
    for owner in _owners:
        if not owner.owned_parameters().isdisjoint(ids):
            owner.synchronize()


def _before_step(
    optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    _refuse_stale(optimizer)
    _synchronize(lambda: _ids(optimizer))
    # args[0] is the optimizer itself in some torch versions' hooks, the closure in others
    position = next((i for i, a in enumerate(args) if callable(a)), None)
    closure = kwargs.get("closure") if position is None else args[position]
    if closure is None:
        return None

    @functools.wraps(closure)
    def synchronized() -> Any:
        result = closure()
        _synchronize(lambda: _ids(optimizer))
        return result

    if position is None:
        return args, {**kwargs, "closure": synchronized}
    return (*args[:position], synchronized, *args[position + 1 :]), kwargs


def _refuse_stale(optimizer: Optimizer) -> None:
    if not _stale:
        return
    for index, group in enumerate(optimizer.param_groups):
        for parameter in group["params"]:
            reference = _stale.get(id(parameter))
            if reference is not None and reference() is parameter:
                raise InputError(
                    f"{type(optimizer).__name__}.param_groups[{index}]",
                    "holds a parameter that the plan has replaced",
                    "build the optimizer from model.parameters() after the first forward",
                )


def _install() -> None:
    if _undo:
        return
    watch_optimizers()
    _undo.append(register_optimizer_step_pre_hook(_before_step).remove)
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        _patch_clip(name)
    _patch_grad()
    for name in ("unscale_", "step"):
        _patch_scaler(name)


def _patch_clip(name: str) -> None:
    original = getattr(torch.nn.utils, name)

    @functools.wraps(original)
    def clip(parameters: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(parameters, torch.Tensor):
            parameters = [parameters]
        parameters = list(parameters)
        _synchronize(lambda: {id(parameter) for parameter in parameters})
        return original(parameters, *args, **kwargs)

    _replace_everywhere(name, original, clip)


def _patch_grad() -> None:
    """``torch.autograd.grad`` for parameters gives their mean over the ranks. Gradients with a
    graph of their own are refused in the backward."""
    original = torch.autograd.grad

    @functools.wraps(original)
    def grad(outputs: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        ids = [id(parameter) for parameter in wanted]
        owners = [o for o in _owners if not o.owned_parameters().isdisjoint(ids)]
        if not owners or compat.current_backward_id() >= 0:
            return original(outputs, inputs, *args, **kwargs)
        with averaging_itself():
            found: list[Any] = list(original(outputs, wanted, *args, **kwargs))
        for owner in owners:
            places = [i for i, each in enumerate(ids) if each in owner.owned_parameters()]
            means = owner.averaged([wanted[i] for i in places], [found[i] for i in places])
            for place, mean in zip(places, means, strict=True):
                found[place] = mean
            for place in places:
                ids[place] = 0  # of two owners of one parameter, one averages
        return tuple(found)

    _replace_everywhere("grad", original, grad)


def _replace_everywhere(name: str, original: Any, replacement: Any) -> None:
    """In torch and wherever a module has imported it by name, but for the engine's own."""
    for module in list(sys.modules.values()):
        # __dict__, not getattr: lazy modules must not load because of this
        names = getattr(module, "__dict__", {})
        own = str(names.get("__name__")).startswith("parallel_opt.")
        if names.get(name) is original and not own:
            _replace(module, name, original, replacement)


def _patch_scaler(name: str) -> None:
    original = getattr(torch.amp.GradScaler, name)

    @functools.wraps(original)
    def method(self: Any, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:
        # The step pre-hook is too late: whether an inf skips the step is decided before it.
        if self.is_enabled():
            _synchronize(lambda: _ids(optimizer))
        return original(self, optimizer, *args, **kwargs)

    _replace(torch.amp.GradScaler, name, original, method)


def _replace(owner: Any, name: str, original: Any, replacement: Any) -> None:
    setattr(owner, name, replacement)
    _undo.append(lambda: setattr(owner, name, original))


def parameter_ids(parameters: Sequence[torch.Tensor]) -> frozenset[int]:
    """The identities by which owners are found."""
    return frozenset(id(parameter) for parameter in parameters)


_OPTIMIZERS = {
    "SGD": "sgd",
    "Adam": "adam",
    "AdamW": "adamw",
    "Adagrad": "adagrad",
    "RMSprop": "rmsprop",
    "Adafactor": "adafactor",
    "Lion": "lion",
}


def optimizer_name(optimizers: Sequence[torch.optim.Optimizer]) -> str:
    """The kind of the first optimizer; adamw, the dearest common one, while there is none yet."""
    if not optimizers:
        return "adamw"
    name = _OPTIMIZERS.get(type(optimizers[0]).__name__, "other")
    momentum = any(group.get("momentum") for group in optimizers[0].param_groups)
    return "momentum" if name == "sgd" and momentum else name
