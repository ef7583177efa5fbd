"""What stands for functions of torch while a model is captured; the third leaf of ``compat``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import Function

from parallel_opt.compat import MissingTorchName, _private

__all__ = [
    "apply_seen",
    "checkpoints_seen",
    "compile_eagerly",
    "dynamo_options",
    "flex_attention_anywhere",
    "higher_order_seen",
    "is_higher_order",
]


@contextlib.contextmanager
def compile_eagerly(lifting: bool = False) -> Iterator[None]:
    """Within it, compiled parts of a model run as the Python they were compiled from.

    With ``lifting``, torch's operators that take functions still compile these: it is how they find
    the tensors that the functions close over, and so their gradients.
    """
    if "torch._dynamo" not in sys.modules:  # nothing can be compiled; loading it takes seconds
        with _checkpoints_reenter_nothing():
            yield
        return
    original = torch.compile

    def compile_for_torch(model: Any = None, *args: Any, **kwargs: Any) -> Any:
        made: Any = original(model, *args, **kwargs)
        if not str(getattr(model, "__module__", "")).startswith(_TAKE_FUNCTIONS):
            return made

        def run(*inputs: Any, **named: Any) -> Any:
            with torch.compiler.set_stance("default"):
                return made(*inputs, **named)

        return run

    if lifting:
        torch.compile = compile_for_torch
    try:
        with (
            _checkpoints_reenter_nothing(),
            dynamo_options(error_on_nested_fx_trace=False),
            torch.compiler.set_stance("force_eager"),
        ):
            yield
    finally:
        torch.compile = original


@contextlib.contextmanager
def _checkpoints_reenter_nothing() -> Iterator[None]:
    """Within it, ``checkpoint(use_reentrant=True)`` is the other kind, of equal operators: a
    gradient that is asked for, rather than accumulated, does not go through the first."""
    import torch.utils.checkpoint as owner

    original = _private(owner, "CheckpointFunction")

    class Other:
        @staticmethod
        def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
            return owner.checkpoint(
                function, *args, use_reentrant=False, preserve_rng_state=preserve
            )

    owner.CheckpointFunction = Other  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        owner.CheckpointFunction = original  # type: ignore[misc]


_TAKE_FUNCTIONS = ("torch._higher_order_ops", "torch.nn.attention.flex_attention")


@contextlib.contextmanager
def flex_attention_anywhere() -> Iterator[None]:
    """Within it, flex_attention does not refuse devices: with gradients it only runs on GPUs, but
    its graph is the same anywhere."""
    owner = sys.modules.get("torch.nn.attention.flex_attention")
    refuse = getattr(owner, "_validate_device", None)
    if owner is None or refuse is None:
        yield
        return
    owner._validate_device = lambda *_: None  # type: ignore[attr-defined]
    try:
        yield
    finally:
        owner._validate_device = refuse  # type: ignore[attr-defined]


def is_higher_order(function: Any) -> bool:
    """Whether an operator takes functions, or graphs, beside tensors."""
    return isinstance(function, torch._ops.HigherOrderOperator)


@contextlib.contextmanager
def higher_order_seen(
    around: Callable[[Any, Callable[[], Any], tuple[Any, ...]], Any],
) -> Iterator[None]:
    """Within it, ``around(operator, run, args)`` stands for every call of an operator that takes
    functions, before autograd looks at it."""
    owner: Any = torch._ops.HigherOrderOperator
    call = owner.__call__

    def seen(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return around(self, lambda: call(self, *args, **kwargs), args)

    owner.__call__ = seen
    try:
        yield
    finally:
        owner.__call__ = call


@contextlib.contextmanager
def apply_seen(
    around: Callable[[type, Callable[..., Any], tuple[Any, ...]], Any],
) -> Iterator[None]:
    """Within it, ``around(cls, run, args)`` stands for the forward of every custom
    autograd.Function, also of one whose ``apply`` was looked up before."""
    owner = Function.__mro__[1]  # Function.apply goes on to it by super()
    if "apply" in vars(owner):
        raise MissingTorchName(f"torch {torch.__version__} resolves autograd.Function.apply anew")

    def apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        run = super(owner, cls).apply  # type: ignore[arg-type, misc]
        return around(cls, lambda: run(*args, **kwargs), args)

    owner.apply = classmethod(apply)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del owner.apply  # type: ignore[attr-defined]


def dynamo_options(**options: Any) -> Any:
    """Those options of Dynamo that this torch has."""
    config: Any = torch._dynamo.config
    return config.patch(**{key: value for key, value in options.items() if hasattr(config, key)})


@contextlib.contextmanager
def checkpoints_seen(around: Callable[[], Any]) -> Iterator[None]:
    """Within it, the context ``around()`` is open while a part under torch.utils.checkpoint runs,
    also when ``checkpoint`` was imported by name. Captures run reentrant ones as the other kind."""
    from torch.utils import checkpoint as module

    name = "_checkpoint_without_reentrant_generator"
    plain = _private(module, name)

    def seen(*args: Any, **kwargs: Any) -> Any:
        with around():
            yield from plain(*args, **kwargs)

    setattr(module, name, seen)
    try:
        yield
    finally:
        setattr(module, name, plain)
