"""The only place that imports private or renamed torch names; what only capture needs of them is in
``compat_capture`` and ``compat_functions``.

Each name is looked up when it is needed; when a torch version lacks one, the caller gets a clear
``MissingTorchName`` instead of an AttributeError in mid-run.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.utils._pytree as pytree
import torch.utils.checkpoint as checkpoint_module
from torch.nn.parallel import DistributedDataParallel
from torch.utils._python_dispatch import TorchDispatchMode as DispatchMode

__all__ = [
    "Allocation",
    "DispatchMode",
    "MissingTorchName",
    "after_gradient_hook_tables",
    "all_gather_single",
    "backward_will_execute",
    "check_reducer",
    "checkpoint_context",
    "compile_backend",
    "compiled_node",
    "cpu_allocations",
    "cuda_random_state",
    "current_backward_id",
    "default_store",
    "everywhere_hook_tables",
    "hook_tables",
    "is_compile_error",
    "is_compiled",
    "is_higher_order",
    "keep_gpu_busy",
    "keeps_graph",
    "no_buffer_broadcast",
    "parameter_hook_tables",
    "prepare_reducer",
    "reduce_scatter_single",
    "remove_reducer_hooks",
    "run_higher_order",
    "say_nothing_donated",
    "tree_flatten",
    "tree_leaves",
    "tree_map",
    "tree_unflatten",
    "untraced",
]


class MissingTorchName(RuntimeError):
    """This torch has renamed or removed a private name that an engine needs."""


gradients_of = torch.autograd.grad
"""As torch has it: a run on several ranks averages what the user's calls give."""


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """``tree`` with ``function`` applied to every leaf of its tuples, lists and dicts."""
    return pytree.tree_map(function, tree)


def tree_leaves(tree: Any) -> list[Any]:
    """The leaves in a fixed order."""
    return pytree.tree_leaves(tree)


def tree_flatten(tree: Any) -> tuple[list[Any], Any]:
    """The leaves and what ``tree_unflatten`` needs to put them back."""
    return pytree.tree_flatten(tree)


def tree_unflatten(leaves: list[Any], spec: Any) -> Any:
    """The tree that ``tree_flatten`` took apart, with other leaves."""
    return pytree.tree_unflatten(leaves, spec)


def compile_backend(backend: Any) -> Callable[..., Any]:
    """The function behind a backend name of torch.compile.

    "inductor" draws random numbers as eager PyTorch does, so a seed gives the same dropout masks
    compiled or not.
    """
    if backend == "inductor":
        from torch._inductor.compile_fx import compile_fx

        def inductor(graph: Any, inputs: Any) -> Any:
            # Donated buffers would make every second backward (retain_graph) an error.
            from torch._functorch import config

            with config.patch(donated_buffer=False):
                return compile_fx(graph, inputs, config_patches={"fallback_random": True})

        return inductor
    if isinstance(backend, str):
        return torch._dynamo.lookup_backend(backend)
    return backend  # type: ignore[no-any-return]


def is_compile_error(error: BaseException) -> bool:
    """Whether the compiler failed, rather than the user's code."""
    return type(error).__module__.startswith(("torch._dynamo.", "torch._inductor."))


def cuda_random_state() -> list[torch.Tensor]:
    """Random state of every CUDA device; empty while CUDA is not in use (asking would start it)."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return []
    return torch.cuda.get_rng_state_all()


def keep_gpu_busy(seconds: float) -> None:
    """Gives the current CUDA device something to do for about so long: cycles at 2 GHz, the fastest
    clock there is; a slower one takes longer."""
    _private(torch.cuda, "_sleep")(int(seconds * 2e9))


def _private(owner: Any, name: str) -> Any:
    found = getattr(owner, name, None)
    if found is None:
        raise MissingTorchName(f"torch {torch.__version__} has no {owner!r}.{name}")
    return found


def current_backward_id() -> int:
    """Number of the backward pass that runs now on this thread, -1 outside one."""
    return int(_private(torch._C, "_current_graph_task_id")())


def backward_will_execute(node: Any) -> bool:
    """Whether the running backward pass reaches `node`, the accumulator of a leaf.

    Raises RuntimeError when the pass is ``torch.autograd.grad`` with that leaf among its inputs.
    """
    return bool(_private(torch._C, "_will_engine_execute_node")(node))


def prepare_reducer(ddp: DistributedDataParallel, used: Sequence[torch.Tensor]) -> None:
    """Starts one gradient reduction; parameters that no graph of `used` reaches count as unused."""
    _private(ddp.reducer, "prepare_for_backward")(list(used))


def no_buffer_broadcast() -> dict[str, Any]:
    """The argument that keeps DDP from broadcasting buffers in forward; renamed in torch 2.13."""
    parameters = inspect.signature(DistributedDataParallel.__init__).parameters
    renamed = "forward_sync_buffers" in parameters
    return {"forward_sync_buffers" if renamed else "broadcast_buffers": False}


def check_reducer(ddp: DistributedDataParallel) -> None:
    """Raises RuntimeError when the last reduction did not finish."""
    _private(ddp.reducer, "_check_reducer_finalized")()


def remove_reducer_hooks(ddp: DistributedDataParallel) -> None:
    """Takes the reducer's hooks off the parameters."""
    _private(ddp.reducer, "_remove_autograd_hooks")()


@contextlib.contextmanager
def checkpoint_context(
    make: Callable[[], contextlib.AbstractContextManager[Any]],
) -> Iterator[None]:
    """Within it, every non-reentrant checkpoint also recomputes inside ``make()``.

    Recomputation happens during backward, when modes entered around the forward pass are long gone.
    """
    name = "_checkpoint_without_reentrant_generator"
    original = _private(checkpoint_module, name)

    def with_mode(
        function: Any,
        preserve: Any,
        context_fn: Any,
        check: Any,
        debug: Any,
        *rest: Any,
        **kwargs: Any,
    ) -> Any:
        def contexts() -> tuple[Any, Any]:
            forward, recompute = context_fn()
            return forward, _both(make(), recompute)

        return original(function, preserve, contexts, check, debug, *rest, **kwargs)

    setattr(checkpoint_module, name, with_mode)
    try:
        yield
    finally:
        setattr(checkpoint_module, name, original)


@contextlib.contextmanager
def _both(
    outer: contextlib.AbstractContextManager[Any], inner: contextlib.AbstractContextManager[Any]
) -> Iterator[None]:
    with outer, inner:
        yield


def run_higher_order(
    mode: DispatchMode, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Runs ``torch.cond`` and its like for a dispatch mode, which is set aside meanwhile.

    The chosen branch of a condition runs under the mode again, bodies of other operators do not.
    """
    if operator is not torch.ops.higher_order.cond:
        return operator(*args, **kwargs)
    chosen, other, operands = args[1:4]
    with mode:
        return (chosen if bool(args[0]) else other)(*operands)


def is_higher_order(operator: Any) -> bool:
    """Whether a dispatch mode was handed no ATen operator but one that calls functions."""
    return isinstance(operator, torch._ops.HigherOrderOperator)


class Allocation(NamedTuple):
    """One change of torch's CPU allocator.

    Attributes:
        time_s: Since the profiler began.
        bytes: Negative: released.
    """

    time_s: float
    bytes: int


def cpu_allocations(run: Callable[[], Any]) -> list[Allocation]:
    """What torch's CPU allocator did while ``run`` ran, in order.

    The older of torch's two profilers is asked first: it is quick and prints nothing.
    """
    enable = getattr(torch._C._autograd, "_enable_profiler_legacy", None)
    disable = getattr(torch._C._autograd, "_disable_profiler_legacy", None)
    if enable is None or disable is None:
        return _kineto_allocations(run)
    profiler = torch._C._profiler
    enable(
        profiler.ProfilerConfig(
            profiler.ProfilerState.CPU,
            False,
            True,  # profile_memory
            False,
            False,
            False,
            profiler._ExperimentalConfig(),
        )
    )
    try:
        run()
    finally:
        threads = disable()
    events = [event for thread in threads for event in thread]
    origin = next(event for event in events if event.name() == "__start_profile")
    changes = [
        Allocation(origin.cpu_elapsed_us(event) / 1e6, event.cpu_memory_usage())
        for event in events
        if event.kind() == "memory_alloc"
    ]
    return sorted(changes, key=lambda change: change.time_s)


def _kineto_allocations(run: Callable[[], Any]) -> list[Allocation]:
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    results: Any = profile.profiler
    events = [e for e in results.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    origin = results.kineto_results.trace_start_ns()
    return [Allocation((event.start_ns() - origin) / 1e9, event.nbytes()) for event in events]


_HOOK_TABLES = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


def hook_tables(module: torch.nn.Module) -> list[dict[Any, Any]]:
    """Every table of hooks that running ``module`` forward and backward calls, global ones too."""
    tables = [
        getattr(child, name)
        for child in module.modules()
        for name in _HOOK_TABLES
        if getattr(child, name, None)
    ]
    tables += parameter_hook_tables(module.parameters())
    return tables + everywhere_hook_tables()


def parameter_hook_tables(parameters: Iterable[torch.Tensor]) -> list[dict[Any, Any]]:
    """Those that autograd calls with the gradients of parameters."""
    return [p._backward_hooks for p in parameters if p._backward_hooks]


def after_gradient_hook_tables(parameters: Iterable[torch.Tensor]) -> list[dict[Any, Any]]:
    """Those that autograd calls when a parameter's ``.grad`` is complete."""
    tables = [getattr(p, "_post_accumulate_grad_hooks", None) for p in parameters]
    return [table for table in tables if table]


def everywhere_hook_tables() -> list[dict[Any, Any]]:
    """Those that are called for every module there is."""
    everywhere = vars(torch.nn.modules.module)
    return [everywhere[f"_global{n}"] for n in _HOOK_TABLES if everywhere.get(f"_global{n}")]


def keeps_graph() -> bool:
    """Whether the running backward pass leaves its graph for another one."""
    return bool(_private(torch._C._autograd, "_get_current_graph_task_keep_graph")())


def say_nothing_donated(function: Any) -> None:
    """Tells the backward of a graph that was compiled without donated buffers that there are none:
    torch takes "not looked for" for some."""
    metadata: Any = getattr(function, "metadata", None)
    if getattr(metadata, "bw_donated_idxs", ()) is None:
        metadata.bw_donated_idxs = []


def compiled_node(tensor: Any) -> Any:
    """The node of autograd that made ``tensor``, when it stands for a compiled graph; else None."""
    node = tensor.grad_fn
    function = getattr(type(node), "_forward_cls", None)
    return node if getattr(function, "__name__", "") == "CompiledFunction" else None


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether ``module.compile()`` or ``torch.compile(module)`` was used on it or a part of it."""
    return any(
        getattr(part, "_compiled_call_impl", None) is not None
        or type(part).__name__ == "OptimizedModule"
        for part in module.modules()
    )


def untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` as a graph break for torch.compile; itself while nothing is compiled.

    Asking torch for this loads the compiler, which takes seconds.
    """
    return _untraced(function) if "torch._dynamo" in sys.modules else function


@functools.cache
def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    disabled: Callable[..., Any] = torch.compiler.disable(function)
    return disabled


def default_store() -> Any:
    """What the ranks of the default process group met in; None where torch does not tell."""
    try:
        return _private(torch.distributed.distributed_c10d, "_get_default_store")()
    except MissingTorchName:
        return None


def all_gather_single(
    whole: torch.Tensor, part: torch.Tensor, group: torch.distributed.ProcessGroup | None = None
) -> None:
    """Every rank's ``part`` in ``whole``; renamed in torch 2.13."""
    _renamed("all_gather_single", "all_gather_into_tensor")(whole, part, group=group)


def reduce_scatter_single(part: torch.Tensor, whole: torch.Tensor) -> None:
    """This rank's ``part`` of the sum of all ``whole``; renamed in torch 2.13."""
    _renamed("reduce_scatter_single", "reduce_scatter_tensor")(part, whole)


@functools.cache
def _renamed(name: str, old_name: str) -> Callable[..., Any]:
    function: Callable[..., Any] | None = getattr(torch.distributed, name, None)
    if function is None:
        function = getattr(torch.distributed, old_name)
    return function
