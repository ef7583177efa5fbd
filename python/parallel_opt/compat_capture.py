"""What capture needs of ``compat``: private or renamed torch names behind own ones.

``compat``, ``compat_capture`` and ``compat_functions`` are one door with three leaves, since a file
has at most 400 lines: engines load the first alone. No other file imports such names
(tests/python/test_private_names.py).
"""

from __future__ import annotations

import contextlib
import linecache
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch._logging.structured import INTERN_TABLE
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef

from parallel_opt._core import recurrent_workspace
from parallel_opt.compat import DispatchMode, _private
from parallel_opt.compat_functions import dynamo_options

__all__ = [
    "DispatchRecorder",
    "aot_joint",
    "compile_with",
    "draft_failures",
    "fake_mode",
    "fx_graph",
    "is_fake",
    "modes_kept",
    "modes_off",
    "next_autograd_sequence",
    "nodes_of_trace",
    "optimizer_for",
    "running_autograd_sequence",
    "set_value_quietly",
    "storage_address",
    "storage_reference",
]

Before = Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]
After = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], None]


def fake_mode(module: torch.nn.Module) -> FakeTensorMode:
    """The mode of a module's fake weights, else a new one; without symbolic sizes, so that code
    that looks at data raises."""
    for tensor in (*module.parameters(), *module.buffers()):
        if isinstance(tensor, FakeTensor):
            return tensor.fake_mode
    return FakeTensorMode(allow_non_fake_inputs=True)


def is_fake(tensor: torch.Tensor) -> bool:
    """Whether the tensor has a shape and no data."""
    return isinstance(tensor, FakeTensor)


class DispatchRecorder(DispatchMode):
    """Within it, ``record(function, args, kwargs, output)`` sees every operator that ran, and
    ``before(function, args, kwargs)`` every one that will; what that returns, unless None, is taken
    for the result."""

    def __init__(self, record: After, before: Before | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record = record
        self.before = before

    supports_higher_order_operators = True

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """torch.compile works within it."""
        return True

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        answer = self.before(func, args, kwargs) if self.before is not None else None
        if answer is not None:
            return answer
        output = with_workspace(func, args, func(*args, **kwargs))
        self.record(func, args, kwargs, output)
        return output


def with_workspace(function: Any, args: Sequence[Any], output: Any) -> Any:
    """oneDNN's recurrent layer keeps a workspace, which fake tensors have without its size."""
    if str(function) != "aten.mkldnn_rnn_layer.default" or not is_fake(output[3]):
        return output
    x, hidden, train = args[0], int(args[10]), bool(args[15])
    if not train or output[3].numel() > 0:
        return output
    steps, samples, columns = (int(size) for size in x.shape)
    size = recurrent_workspace(steps, samples, columns, hidden, x.element_size())
    return (*output[:3], output[3].new_empty(size, dtype=torch.uint8))


def values_of(tensor: torch.Tensor) -> torch.Tensor:
    """The values of a nested tensor, all rows one after the other; any other tensor itself."""
    if tensor.is_nested and tensor.layout == torch.jagged:
        values: torch.Tensor = _private(tensor, "_values")
        return values
    return tensor


def storage_reference(tensor: torch.Tensor) -> Any:
    """Keeps the address of the tensor's storage from being used again, without its bytes; None for
    a tensor that has no storage of its own (sparse)."""
    tensor = values_of(tensor)
    try:
        return StorageWeakRef(tensor.untyped_storage())
    except RuntimeError:  # NotImplementedError among them
        return None


def storage_address(reference: Any) -> int:
    """The address that ``storage_reference`` keeps."""
    return int(reference.cdata)


def next_autograd_sequence() -> int:
    """Number that the next autograd node of this thread gets."""
    return int(_private(torch._C._autograd, "_get_sequence_nr")())


def running_autograd_sequence() -> int:
    """Number of the autograd node whose backward runs now, -1 outside a backward pass."""
    node = _private(torch._C, "_current_autograd_node")()
    return -1 if node is None else int(_private(node, "_sequence_nr")())


def set_value_quietly(tensor: torch.Tensor, value: torch.Tensor, version: int) -> None:
    """Writes, and sets the version counter: who saved the tensor for backward saw that one."""
    with torch.no_grad():
        tensor.detach().copy_(value)
    _private(torch._C._autograd, "_unsafe_set_version_counter")((tensor,), (version,))


@contextlib.contextmanager
def modes_kept() -> Iterator[None]:
    """Puts back grad mode, autocast and the default dtype of this thread."""
    grad = torch.is_grad_enabled()
    dtype = torch.get_default_dtype()
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    autocast = [(d, torch.is_autocast_enabled(d), torch.get_autocast_dtype(d)) for d in devices]
    cache = torch.is_autocast_cache_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(grad)
        torch.set_default_dtype(dtype)
        for device, enabled, low in autocast:
            torch.set_autocast_enabled(device, enabled)
            torch.set_autocast_dtype(device, low)
        torch.set_autocast_cache_enabled(cache)


def fx_graph(function: Callable[..., Any], inputs: Sequence[Any]) -> torch.fx.GraphModule:
    """The ATen operators of ``function(*inputs)`` and of its backward if it asks for one."""
    from torch.fx.experimental.proxy_tensor import make_fx

    with torch.autograd.set_multithreading_enabled(False):
        graph: torch.fx.GraphModule = make_fx(function, tracing_mode="real")(*inputs)
    return graph


def fx_graph_of_piece(piece: torch.fx.GraphModule, inputs: Sequence[Any]) -> torch.fx.GraphModule:
    """The same of a graph that Dynamo made; its nodes keep the modules that Dynamo noted."""
    from torch.fx import traceback

    with traceback.preserve_node_meta():
        return fx_graph(torch.fx.Interpreter(piece).run, inputs)


@contextlib.contextmanager
def modes_off() -> Iterator[None]:
    """Within it, no dispatch mode and no hook of the caller's is active."""
    from torch.utils._python_dispatch import _disable_current_modes

    with (
        _disable_current_modes(),
        torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t),
    ):
        yield


def graph_breaks() -> list[str]:
    """Why Dynamo broke the graph since the last ``compile_with``, one line each."""
    from torch._dynamo.utils import counters

    return [str(reason).strip().splitlines()[0] for reason in counters["graph_break"]]


def nodes_of_trace() -> Any:
    """The nodes that the running ``fx_graph`` has made so far, newest last."""
    from torch.fx.experimental.proxy_tensor import get_proxy_mode

    mode: Any = get_proxy_mode()
    return () if mode is None else mode.tracer.graph.nodes


def aot_joint(
    stack: contextlib.ExitStack, module: torch.nn.Module, args: Any, kwargs: Any
) -> tuple[torch.fx.GraphModule, Callable[[torch.fx.Node], tuple[str, Any]]]:
    """Dynamo's graph of a module, and from it the joint forward and backward graph of AOTAutograd.

    The second result tells what an input of that graph is: ("parameter", tensor), ("buffer",
    tensor), ("input", position), ("tangent", position of the output) or ("other", None).
    """
    from torch._dynamo import functional_export
    from torch._functorch import aot_autograd
    from torch._functorch._aot_autograd import descriptors

    capture_with = _private(functional_export, "_dynamo_graph_capture_for_export")
    with dynamo_options(allow_rnn=True):
        captured = capture_with(module)(*args, **kwargs)
    joint_of = _private(aot_autograd, "aot_export_joint_with_descriptors")
    joint = joint_of(stack, captured, args, kwargs)

    def describe(node: torch.fx.Node) -> tuple[str, Any]:
        what = node.meta.get("desc")
        if isinstance(what, descriptors.ParamAOTInput):
            return "parameter", captured.get_parameter(what.target)
        if isinstance(what, descriptors.BufferAOTInput):
            return "buffer", captured.get_buffer(what.target)
        if isinstance(what, descriptors.PlainAOTInput):
            return "input", what.idx
        if isinstance(what, descriptors.TangentAOTInput):
            return "tangent", getattr(what.output, "idx", 0)
        return "other", None

    return joint.graph_module, describe


def reparametrized(module: torch.nn.Module, state: dict[str, torch.Tensor]) -> Any:
    """Within it, the module's parameters and buffers are those of `state`."""
    from torch.nn.utils import stateless

    return _private(stateless, "_reparametrize_module")(module, state)


def draft_failures(
    module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[str]:
    """What torch.export.draft_export reports: one text per obstacle, with its place in the code."""
    report = getattr(torch.export.draft_export(module, args, kwargs), "_report", None)
    texts = []
    for failure in getattr(report, "failures", []):
        kind = str(failure.failure_type).lower().replace("_", " ")
        data = failure.data
        stack = data.get("user_stack") or data.get("stack") or []
        frame: Any = stack[-1] if stack else None
        place = f": {data.get('expr') or data.get('op') or ''}"
        if isinstance(frame, dict):
            # A report names the files it saw first; torch numbers those of the whole process.
            table = {number: name for name, number in INTERN_TABLE.items()}
            names = {**table, **getattr(report, "str_to_filename", {})}
            number, line = frame.get("filename"), frame.get("line", 0)
            file = str(names.get(number, number))
            code = linecache.getline(file, line).strip()
            place = f" at {file.rpartition('/')[2]}:{line}: {code}"
        texts.append(kind + place)
    return texts


@contextlib.contextmanager
def compile_with(
    module: torch.nn.Module, backend: Callable[[Any, list[Any]], Any]
) -> Iterator[Callable[..., Any]]:
    """``module`` compiled by `backend`; compiled code of before is forgotten and not disturbed."""
    import torch._dynamo
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    try:
        with dynamo_options(
            suppress_errors=True,
            assume_static_by_default=True,
            automatic_dynamic_shapes=False,
            allow_rnn=True,
        ):
            yield torch.compile(module, backend=backend, dynamic=False)
    finally:
        torch._dynamo.reset()


def optimizer_for(
    optimizer: torch.optim.Optimizer, stands_for: Callable[[torch.Tensor], torch.Tensor]
) -> torch.optim.Optimizer:
    """The optimizer on other tensors: ``stands_for`` its parameters and their states."""
    import copy

    twin = copy.copy(optimizer)
    groups = []
    state = type(optimizer.state)(dict)  # type: ignore[call-arg]
    for group in optimizer.param_groups:
        parameters = [stands_for(p) for p in group["params"]]
        groups.append({**group, "params": parameters})
        for parameter, other in zip(group["params"], parameters, strict=True):
            if parameter in optimizer.state:
                state[other] = {
                    key: stands_for(value) if isinstance(value, torch.Tensor) else value
                    for key, value in optimizer.state[parameter].items()
                }
    twin.__dict__.update(param_groups=groups, state=state)
    return twin
