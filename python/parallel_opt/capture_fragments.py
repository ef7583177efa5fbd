"""What torch.compile makes of a model: the pieces between graph breaks as they are, and what runs
eagerly between them operator by operator."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt import compat_capture as compat
from parallel_opt import compat_functions as functions
from parallel_opt._core import Graph
from parallel_opt.capture_fx import FxLowering, Place
from parallel_opt.capture_inputs import tensors_in
from parallel_opt.capture_joint import call_of
from parallel_opt.capture_state import preserved, quiet
from parallel_opt.trace import Recorder
from parallel_opt.trace_modules import ROOT, Call


def fragments_graph(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    name: str,
    ties: Mapping[str, str],
) -> Graph:
    """The forward of one run on the real batch; pieces are joined by the storages that pass from
    one to the next. Raises whatever the model's own code raises."""
    recorder = _FragmentRecorder(module, name, "fragments")
    recorder.register_state(lambda tensor: tensor, ties)
    recorder.register_inputs(args, kwargs)
    with preserved(module), quiet(), functions.flex_attention_anywhere(), torch.enable_grad():
        try:
            with (
                compat.compile_with(module, recorder.backend) as compiled,
                recorder.recording(undo=True),
            ):
                results = tensors_in(compiled(*args, **kwargs))
                breaks = compat.graph_breaks()
        finally:
            recorder.undo.undo()
    recorder.finish(results)
    for note in recorder.notes(breaks):
        recorder.builder.note(note)
    return recorder.builder.build()


class _FragmentRecorder(Recorder):
    """Records operators, except while a compiled piece runs, whose graph is known."""

    def __init__(self, module: nn.Module, name: str, source: str) -> None:
        super().__init__(module, name, source)
        self.in_piece = False
        self.pieces = 0
        self.eager = 0
        self.module_names = {id(m): fqn for fqn, m in module.named_modules()}

    def backend(self, piece: Any, _: Sequence[Any]) -> Any:
        """A backend of torch.compile: runs the piece as it is, and notes that it ran."""
        lowered: list[torch.fx.GraphModule | None] = []

        def run(*inputs: Any) -> Any:
            self.flush()
            if not lowered:
                self.in_piece = True
                lowered.append(_operators_of(piece, inputs))
                self.in_piece = False
            if lowered[0] is None:
                return piece(*inputs)  # recorded operator by operator
            known = self._before(lowered[0], inputs)
            self.in_piece = True
            try:
                outputs = piece(*inputs)
            finally:
                self.in_piece = False
            self._after(lowered[0], known, outputs)
            return outputs

        return run

    def record(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        if self.in_piece:
            self.saved.made((args, kwargs), output)
        else:
            self.eager += 1
            super().record(function, args, kwargs, output)

    def _higher_order(self, function: Any, run: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        return run() if self.in_piece else super()._higher_order(function, run, args)

    def _module_call(self) -> tuple[Call, Any]:
        """Dynamo knows nothing of hooks: the innermost module whose code is running."""
        frame: Any = sys._getframe(1)
        while frame is not None:
            owner = frame.f_locals.get("self")
            if isinstance(owner, nn.Module) and id(owner) in self.module_names:
                kind = type(owner)
                fqn = self.module_names[id(owner)]
                return Call(fqn, f"{kind.__module__}.{kind.__qualname__}", 0), ()
            frame = frame.f_back
        return ROOT, ()

    def _before(self, piece: torch.fx.GraphModule, inputs: Sequence[Any]) -> FxLowering:
        """The piece's operators, on tensors that are known by their storage."""
        lowering = FxLowering(self.builder, self.table, _place)
        placeholders = [node for node in piece.graph.nodes if node.op == "placeholder"]
        for node, value in zip(placeholders, inputs, strict=True):
            if isinstance(value, torch.Tensor):
                index = self.table.index(value)
                lowering.known[node] = index
                self.table.adopt(node.meta["val"], index)
        lowering.lower(piece)
        self.has_regions = self.has_regions or lowering.has_regions
        self.pieces += 1
        return lowering

    def _after(self, piece: torch.fx.GraphModule, lowering: FxLowering, outputs: Any) -> None:
        """What the piece returned is what its last operators made."""
        output = next(node for node in piece.graph.nodes if node.op == "output")
        nodes = torch.fx.node.map_arg(output.args[0], lambda node: node)
        for node, value in zip(_leaves(nodes), _leaves(outputs), strict=False):
            index = lowering.index(node)
            if index is not None and isinstance(value, torch.Tensor):
                self.table.adopt(value, index)

    def notes(self, breaks: Sequence[str]) -> list[str]:
        pieces = f"{self.pieces} piece{'' if self.pieces == 1 else 's'}"
        first = f"torch.compile gets {pieces}; {self.eager} operators run between them"
        return [first, *(f"graph break: {reason}" for reason in breaks)]


def _operators_of(piece: Any, inputs: Sequence[Any]) -> torch.fx.GraphModule | None:
    """The ATen operators of a piece, on fake tensors; None when it cannot run on them."""
    mode = compat.fake_mode(nn.Module())
    fakes = [mode.from_tensor(v) if isinstance(v, torch.Tensor) else v for v in inputs]
    seen: set[torch.fx.Node] = set()

    def tag(*_: Any) -> None:
        for node in reversed(compat.nodes_of_trace()):
            if node in seen:
                break
            seen.add(node)
            if not torch.is_grad_enabled():
                node.meta["no_grad"] = True

    try:
        with compat.modes_off(), mode, compat.DispatchRecorder(tag):
            return compat.fx_graph_of_piece(piece, fakes)
    except Exception:
        return None


def _place(node: torch.fx.Node) -> Place:
    return call_of(node), "forward"


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)):
        return [leaf for child in value for leaf in _leaves(child)]
    return [value]
