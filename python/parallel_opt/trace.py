"""The graph of one run, recorded operator by operator: works for any model, one path per run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules import module as module_hooks

from parallel_opt import compat
from parallel_opt._core import Graph, GraphBuilder
from parallel_opt.capture_state import preserved, tensors_in

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


def trace(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    name: str,
    ties: Mapping[str, str],
    backward: bool = False,
    notes: Sequence[str] = (),
) -> Graph:
    """The operators of one forward pass; with ``backward`` also those of the gradient of the
    outputs' sum.

    Fake tensors are tried first; a model that looks at data is run on the real batch, on copies of
    its buffers.
    """
    args, kwargs = tuple(args), dict(kwargs)

    def attempt(fake: bool, notes: Sequence[str]) -> Graph:
        recorder = _Recorder(name, backward)
        for note in notes:
            recorder.builder.note(note)
        with preserved(module), torch.enable_grad():
            recorder.run(module, args, kwargs, ties, fake)
        return recorder.builder.build()

    try:
        return attempt(True, notes)
    except (
        Exception
    ) as error:  # the model looks at data, or fake tensors do not know one of its operators
        return attempt(
            False,
            [*notes, f"run on the real batch, because it needs data ({type(error).__name__})"],
        )


class _Recorder:
    """Follows tensors through one run. A storage is known by its address, which a weak reference
    keeps taken."""

    def __init__(self, name: str, backward: bool) -> None:
        self.builder = GraphBuilder(name, "trace")
        self.backward = backward
        self.phase = "forward"
        self.names: dict[str, int] = {}
        self.views: dict[
            int, dict[Any, int]
        ] = {}  # storage -> (offset, shape, ...) -> tensor index
        self.held: list[Any] = []  # weak references to storages
        self.stack: list[tuple[str, str, int]] = [("", "", 0)]
        self.calls: dict[str, int] = {}
        # autograd sequence number -> module call
        self.made_by: dict[int, tuple[str, str, int]] = {}

    def run(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        ties: Mapping[str, str],
        fake: bool,
    ) -> None:
        mode = compat.fake_mode(module) if fake else None

        def place(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or mode is None or compat.is_fake(value):
                return value
            return mode.from_tensor(value)

        state = self._state(module, place, ties)
        args, kwargs = compat.tree_map(place, (args, kwargs))
        leaves = [
            leaf for leaf in compat.tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)
        ]
        self.builder.set_inputs(
            [self._register(leaf, f"input_{i}", "input") for i, leaf in enumerate(leaves)]
        )
        with (
            mode or contextlib.nullcontext(),
            self._modules(module),
            compat.DispatchRecorder(self.record),
        ):
            output = torch.func.functional_call(module, state, args, kwargs)
            results = tensors_in(output)
            if self.backward:
                self.phase = "backward"
                self._run_backward(results, state)
        self.builder.set_outputs([self._index(result) for result in results])

    def _state(
        self, module: nn.Module, place: Callable[[Any], Any], ties: Mapping[str, str]
    ) -> dict[str, torch.Tensor]:
        """Weights to run with: fake ones, or the real parameters with copies of the buffers."""
        state: dict[str, torch.Tensor] = {}
        for role, tensors in (
            ("parameter", module.named_parameters),
            ("buffer", module.named_buffers),
        ):
            first: dict[str, int] = {}
            for fqn, tensor in tensors(remove_duplicate=False):
                original = ties.get(fqn)
                if original in first:
                    state[fqn] = state[original]
                    self._register(tensor, fqn, role, fqn, tied_to=first[original])
                    continue
                mine = place(tensor)
                if role == "buffer" and mine is tensor:
                    mine = tensor.clone()
                state[fqn] = mine
                first[fqn] = self._register(mine, fqn, role, fqn)
        return state

    def _run_backward(self, results: list[torch.Tensor], state: dict[str, torch.Tensor]) -> None:
        terms = [r.sum() for r in results if r.requires_grad]
        leaves = list({id(t): t for t in state.values() if t.requires_grad}.values())
        if terms and leaves:
            torch.autograd.grad(sum(terms[1:], terms[0]), leaves, allow_unused=True)

    @contextlib.contextmanager
    def _modules(self, root: nn.Module) -> Iterator[None]:
        names = {id(m): fqn for fqn, m in reversed(list(root.named_modules()))}

        def enter(module: nn.Module, _: Any) -> None:
            fqn = names.get(id(module), self.stack[-1][0])
            call = self.calls.get(fqn, 0)
            self.calls[fqn] = call + 1
            kind = type(module)
            self.stack.append((fqn, f"{kind.__module__}.{kind.__qualname__}", call))

        def leave(*_: Any) -> None:
            if len(self.stack) > 1:
                self.stack.pop()

        handles = [
            module_hooks.register_module_forward_pre_hook(enter),
            module_hooks.register_module_forward_hook(leave, always_call=True),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def record(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """One operator has run: called with its arguments and results."""
        outputs = tensors_in(output)
        target = str(function)
        if not outputs and not any(
            isinstance(leaf, torch.Tensor) for leaf in compat.tree_leaves((args, kwargs))
        ):
            return
        if target.startswith(("prim.", "aten._local_scalar_dense")):
            return
        inputs: list[tuple[str, int | None]] = []
        attributes: dict[str, Any] = {}
        for argument, value in _named_arguments(function, args, kwargs):
            self._argument(argument, value, inputs, attributes)
        known = {index for _, index in inputs if index is not None}
        base = target.split(".")[1]
        results = [self._register(t, base, "activation", inputs=known) for t in outputs]
        module, kind, call = self._module_call()
        self.builder.add_op(
            target, self._unique(base), inputs, results, attributes, module, kind, call, self.phase
        )

    def _module_call(self) -> tuple[str, str, int]:
        if self.phase == "forward":
            self.made_by[compat.next_autograd_sequence() - 1] = self.stack[-1]
            return self.stack[-1]
        return self.made_by.get(compat.running_autograd_sequence(), ("", "", 0))

    def _argument(
        self,
        name: str,
        value: Any,
        inputs: list[tuple[str, int | None]],
        attributes: dict[str, Any],
    ) -> None:
        if isinstance(value, torch.Tensor):
            inputs.append((name, self._index(value)))
        elif isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value):
            inputs.extend(
                (name, self._index(v) if isinstance(v, torch.Tensor) else None) for v in value
            )
        else:
            attributes[name] = _attribute(value)

    def _key(self, tensor: torch.Tensor) -> tuple[int, Any]:
        storage = compat.storage_reference(tensor)
        self.held.append(storage)
        view = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        return compat.storage_address(storage), view

    def _index(self, tensor: torch.Tensor) -> int:
        """The tensor's index; one never seen (made before the run) becomes a constant."""
        address, view = self._key(tensor)
        known = self.views.get(address, {})
        if view in known:
            return known[view]
        return self._register(tensor, "constant", "constant")

    def _register(
        self,
        tensor: torch.Tensor,
        name: str,
        role: str,
        fqn: str = "",
        inputs: frozenset[int] | set[int] = frozenset(),
        tied_to: int | None = None,
    ) -> int:
        address, view = self._key(tensor)
        known = self.views.setdefault(address, {})
        # The operand that shares the storage; else the storage's first tensor.
        sharing = [index for index in known.values() if index in inputs]
        alias = sharing[-1] if sharing else next(iter(known.values()), None)
        index = self.builder.add_tensor(
            self._unique(name),
            role,
            DTYPES.get(tensor.dtype, "fp32"),
            [int(size) for size in tensor.shape],
            [int(step) for step in tensor.stride()],
            fqn,
            tensor.requires_grad,
            alias if role == "activation" else None,
            tied_to,
        )
        if tied_to is None:
            known[view] = index
        return index

    def _unique(self, name: str) -> str:
        count = self.names.get(name, 0)
        self.names[name] = count + 1
        return name if count == 0 else self._unique(f"{name}_{count}")


def _named_arguments(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    schema = [argument.name for argument in function._schema.arguments]
    for position, value in enumerate(args):
        yield schema[position] if position < len(schema) else f"arg{position}", value
    yield from kwargs.items()


def _attribute(value: Any) -> Any:
    if isinstance(value, torch.dtype):
        return DTYPES.get(value, str(value))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(v, (bool, int, float)) for v in value):
        return list(value)
    return str(value).removeprefix("torch.")
