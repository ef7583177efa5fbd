"""The graph of one run, recorded operator by operator: works for any model, one path per run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from parallel_opt import compat_capture as compat
from parallel_opt import compat_functions as functions
from parallel_opt._core import Graph, GraphBuilder, summarize
from parallel_opt.capture_flex import FLEX, flex_operands
from parallel_opt.capture_inputs import map_tensors, tensors_in
from parallel_opt.capture_loss import Loss, loss_of
from parallel_opt.capture_state import preserved
from parallel_opt.compat import gradients_of
from parallel_opt.trace_modules import Call, ModuleStack, Path
from parallel_opt.trace_saved import SavedTensors
from parallel_opt.trace_tensors import TensorTable, operands
from parallel_opt.trace_undo import UndoLog
from parallel_opt.trace_unroll import UNROLLED


@dataclass
class Recording:
    """One run: its graph, the module calls around each of its operators, outermost first, and what
    of its data Python looked at."""

    graph: Graph
    paths: list[Path]
    reads: list[tuple[int, int]]
    """Numbers that Python read: how many operators had run, and the tensor."""


def trace(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    name: str,
    ties: Mapping[str, str],
    backward: bool = False,
    loss_fn: Loss | None = None,
    notes: Sequence[str] = (),
) -> Graph:
    """The operators of one forward pass; with ``backward`` also those of the gradient of the loss,
    which is the sum of the outputs when the model gives none.

    Fake tensors are tried first; a model that looks at data is run on the real batch, and what that
    changes is put back.
    """
    args, kwargs = tuple(args), dict(kwargs)

    def attempt(fake: bool, notes: Sequence[str], watched: bool = True) -> Graph:
        try:
            with preserved(module):
                return record_run(
                    module, args, kwargs, name, ties, fake, backward, loss_fn, notes, watched
                ).graph
        except RuntimeError as error:  # torch.func takes gradients only where nobody watches
            if not watched or "saved tensor hooks" not in str(error):
                raise
        unseen = "torch.func takes gradients inside: what autograd keeps was not observed"
        return attempt(fake, [*notes, unseen], False)

    try:
        return attempt(True, notes)
    # The model looks at data, or fake tensors do not know one of its operators.
    except Exception as error:
        what = f"run on the real batch, because it needs data ({type(error).__name__})"
        return attempt(False, [*notes, what])


def record_run(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    ties: Mapping[str, str],
    fake: bool,
    backward: bool = False,
    loss_fn: Loss | None = None,
    notes: Sequence[str] = (),
    watched: bool = True,
) -> Recording:
    """One run, within ``preserved(module)``, on fake tensors or on the real ones; ``watched``: what
    autograd keeps is observed."""
    recorder = Recorder(module, name)
    recorder.watched = watched
    for note in notes:
        recorder.builder.note(note)
    with (
        torch.enable_grad(),
        functions.compile_eagerly(),
        functions.flex_attention_anywhere(),
    ):
        recorder.run(args, kwargs, ties, fake, backward, loss_fn)
    return Recording(recorder.builder.build(), recorder.paths, recorder.reads)


class Recorder:
    """Follows tensors through one run."""

    def __init__(self, module: nn.Module, name: str, source: str = "trace") -> None:
        self.module = module
        self.builder = GraphBuilder(name, source)
        self.table = TensorTable(self.builder)
        self.modules = ModuleStack(module)
        self.saved = SavedTensors()
        self.saved.on_save = self._drop_detach
        self.undo = UndoLog(self.saved.is_made)
        self.phase = "forward"
        self.paths: list[Path] = []
        self.reads: list[tuple[int, int]] = []
        # A detach that may be autograd's own, made to call a hook with the result.
        self._detach: tuple[torch.Tensor, Callable[[], None]] | None = None
        self._inside: list[tuple[GraphBuilder, TensorTable]] = []  # of custom functions
        self.has_regions = False
        self.fake = False
        self.watched = True
        self._again: set[int] | None = None  # made by what will be computed again
        self._hidden = False  # inside of what is one operator of the graph
        # A script that has run takes gradients by itself, with autograd's off.
        self._scripted = any(isinstance(m, torch.jit.ScriptModule) for m in module.modules())
        self._of_torch = 0  # inside of so many of torch's own autograd functions

    def run(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        ties: Mapping[str, str],
        fake: bool,
        backward: bool,
        loss_fn: Loss | None,
    ) -> None:
        self.fake = fake
        mode = compat.fake_mode(self.module) if fake else None

        def place(value: torch.Tensor) -> torch.Tensor:
            if mode is None or compat.is_fake(value):
                return value
            made: torch.Tensor = mode.from_tensor(value)
            return made

        state = self.register_state(place, ties)
        args, kwargs = map_tensors((args, kwargs), place)
        self.register_inputs(args, kwargs)
        try:
            with mode or contextlib.nullcontext(), self.recording(undo=not fake):
                if fake:
                    output = torch.func.functional_call(self.module, state, args, kwargs)
                else:
                    output = self.module(*args, **kwargs)
                results = tensors_in(output)
                loss = loss_of(output, loss_fn) if backward else None
        finally:
            if not backward:
                self.undo.undo()
        try:
            if loss is not None:
                self.phase = "backward"
                self._run_backward(mode, loss, state, args, kwargs)
        finally:
            self.undo.undo()
        self.finish(results)

    @contextlib.contextmanager
    def recording(self, undo: bool) -> Any:
        """Within it, operators and module calls are recorded."""
        before = self.undo.before if undo else None
        with (
            self.modules.followed(),
            self.saved.watched() if self.watched else contextlib.nullcontext(),
            functions.apply_seen(self._custom),
            functions.checkpoints_seen(self._checkpoint),
            functions.higher_order_seen(self._higher_order),
            compat.DispatchRecorder(self.record, before),
        ):
            yield
        self.flush()

    def finish(self, results: Sequence[torch.Tensor]) -> None:
        """The outputs, and what the forward kept."""
        self.builder.set_outputs([self.table.index(result) for result in results])
        # What control flow keeps inside of it was not seen.
        if self.watched and not self.has_regions:
            self.builder.set_saved_bytes(self.saved.total())

    def register_state(
        self, place: Callable[[torch.Tensor], torch.Tensor], ties: Mapping[str, str]
    ) -> dict[str, torch.Tensor]:
        """Parameters and buffers, tied ones as one tensor."""
        state: dict[str, torch.Tensor] = {}
        for role, tensors in (
            ("parameter", self.module.named_parameters),
            ("buffer", self.module.named_buffers),
        ):
            first: dict[str, int] = {}
            for fqn, tensor in tensors(remove_duplicate=False):
                original = ties.get(fqn)
                if original in first:
                    state[fqn] = state[original]
                    self.table.register(tensor, fqn, role, fqn, tied_to=first[original])
                    continue
                state[fqn] = place(tensor)
                first[fqn] = self.table.register(state[fqn], fqn, role, fqn)
        return state

    def register_inputs(self, args: Any, kwargs: Any) -> None:
        tensors = tensors_in((args, kwargs))
        self.builder.set_inputs(
            [self.table.register(t, f"input_{i}", "input") for i, t in enumerate(tensors)]
        )

    def _run_backward(
        self,
        mode: Any,
        loss: torch.Tensor,
        state: dict[str, torch.Tensor],
        args: Any,
        kwargs: Any,
    ) -> None:
        everything = [*state.values(), *tensors_in((args, kwargs))]
        leaves = list({id(t): t for t in everything if t.requires_grad and t.is_leaf}.values())
        if not leaves:
            return
        with (
            mode or contextlib.nullcontext(),
            self.modules.followed(),
            torch.autograd.set_multithreading_enabled(False),
            functions.higher_order_seen(self._higher_order),
            compat.DispatchRecorder(self.record, self.undo.before),
        ):
            gradients_of(loss, leaves, allow_unused=True)

    def record(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """One operator has run: called with its arguments and results."""
        if self._hidden:
            return
        self.flush()
        outputs = tensors_in(output)
        if not outputs and not tensors_in((args, kwargs)):
            return
        target = str(function)
        if target.startswith(("prim.", "aten._local_scalar_dense")):
            if not self._inside:
                self.reads.extend((len(self.paths), self.table.index(t)) for t in tensors_in(args))
            return
        self.saved.made((args, kwargs), output)
        here, path = self._module_call()

        more = {}
        # Below torch's own functions gradients are off because the function has its own.
        off = not torch.is_grad_enabled() and not self._of_torch and not self._scripted
        if self.phase == "forward" and off:
            more["no_grad"] = True
        if self.phase == "forward" and compat.running_autograd_sequence() >= 0:
            more["in_gradient"] = True  # what it detaches is what autograd had saved

        def emit() -> None:
            self.emit(target, function, args, kwargs, outputs, here, path, more)

        if target == "aten.detach.default" and self.phase == "forward":
            self._detach = (outputs[0], emit)
        else:
            emit()

    def emit(
        self,
        target: str,
        function: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        outputs: Sequence[torch.Tensor],
        here: Call,
        path: Path,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        builder, table = self._inside[-1] if self._inside else (self.builder, self.table)

        inputs, attributes = operands(function, args, kwargs, table.operand_of(function))
        known = {i for _, i in inputs if i is not None}
        base = target.split(".")[1]
        results = [table.register(t, base, "activation", inputs=known) for t in outputs]
        if self._again is not None and not self._inside:
            kept = [at for at, (_, i) in enumerate(inputs) if i not in self._again]
            more = {**(more or {}), "recomputed": True, "saved_inputs": kept}
            self._again.update(results)
        builder.add_op(
            target,
            table.unique(base),
            inputs,
            results,
            {**attributes, **(more or {})},
            here.fqn,
            here.kind,
            here.number,
            self.phase,
        )
        if not self._inside:
            self.paths.append(path)

    @contextlib.contextmanager
    def _checkpoint(self) -> Iterator[None]:
        """A part whose operators run again in the backward."""
        outer = self._again
        self.flush()
        self._again = set() if outer is None and self.phase == "forward" else outer
        try:
            yield
            self.flush()
        finally:
            self._again = outer

    def flush(self) -> None:
        """A detach that nothing saved was the model's own."""
        if self._detach is not None:
            _, emit = self._detach
            self._detach = None
            emit()

    def _drop_detach(self, saved: torch.Tensor) -> None:
        if self._detach is not None and self._detach[0] is saved:
            self._detach = None

    def _module_call(self) -> tuple[Call, Path]:
        if self.phase == "forward":
            return self.modules.forward_call()
        return self.modules.backward_call()

    def _custom(self, cls: type, run: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        """A custom autograd.Function is one operator: its backward is not the one that follows
        from its operators."""
        if cls.__module__.split(".")[0] == "torch":
            self._of_torch += 1
            try:
                return run()
            finally:
                self._of_torch -= 1
        if self._inside or self.phase != "forward":
            return run()
        self.flush()
        inner = GraphBuilder(cls.__name__, "trace")
        self._inside.append((inner, TensorTable(inner)))
        kept = self.saved.kept()
        try:
            output = run()
            self.flush()
        finally:
            self._inside.pop()
        here, path = self._module_call()
        outputs = tensors_in(output)
        operand_tensors = [a for a in args if isinstance(a, torch.Tensor)]
        for tensor in outputs:
            self.saved.made(args, tensor)
        work = summarize(inner.build())
        observed = {
            "bound_flops": work.flops.forward,
            "bound_other_flops": work.flops_all.forward - work.flops.forward,
            **self.saved.of_operator(kept, operand_tensors, outputs),
        }
        self.emit(f"autograd.{cls.__name__}", None, args, {}, outputs, here, path, observed)
        return output

    def _higher_order(self, function: Any, run: Callable[[], Any], args: tuple[Any, ...]) -> Any:
        """An operator that takes functions: attention is one operator, of all others the functions
        are recorded as they run."""
        name = function.name()
        if self._hidden or self._is_compiler(args):
            return run()
        if name in FLEX:
            self.flush()
            self._hidden = True
            try:
                output = run()
            finally:
                self._hidden = False
            self.saved.made(args, output)
            here, path = self._module_call()
            inputs, more = flex_operands(args)
            self.emit(
                f"higher_order.{name}", None, inputs, {}, tensors_in(output), here, path, more
            )
            return output
        unrolled = UNROLLED.get(name)
        return run() if unrolled is None else unrolled(*args)

    def _is_compiler(self, args: tuple[Any, ...]) -> bool:
        """Whether these are not the run's own tensors, but a compiler's, which looks at a part of
        the model on fake ones."""
        return not self.fake and any(compat.is_fake(tensor) for tensor in tensors_in(args))
