"""torch.compile that never fails the user's run and compiles a bounded number of times.

Every distinct input signature (shapes, dtypes, train or eval, gradients on or off) is one
compilation. The first is compiled at once; a further one only after it has come back several
times, so the last, smaller batch of an epoch runs eagerly. After ``MAX_COMPILATIONS`` everything
new runs eagerly, with one note. So does what a compiler would get wrong: hooks inside the model,
batch statistics in checkpointed parts, gradients of gradients.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sysconfig
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from parallel_opt.compat import compile_backend, is_compile_error, tree_leaves
from parallel_opt.engine.second_order import TwiceDifferentiable, plain_copy
from parallel_opt.engine.user_hooks import hooked_part
from parallel_opt.snapshot import RandomState

Forward = Callable[..., Any]
Note = Callable[[str], None]

MAX_COMPILATIONS = 4
"""Signatures compiled per forward: train and eval, each with two shapes."""
PATIENCE = 4
"""Calls with a further signature that run eagerly before it is worth a compilation."""
MAX_GRAPHS_PER_CALL = 32
"""More graphs than this for one signature: the forward breaks too often to gain."""


def compile_obstacle(device_type: str) -> str | None:
    """Why torch.compile cannot work on this machine, or None. Looks, runs nothing."""
    if device_type != "cpu":
        return None
    compilers = [os.environ.get("CXX", ""), "g++", "clang++"]
    if not any(name and shutil.which(name) for name in compilers):
        return "no C++ compiler (install g++)"
    header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
    if not os.path.exists(header):
        return f"{header} is missing (install the interpreter's -dev package)"
    return None


class CompiledForward:
    """``forward`` compiled, with an eager way out.

    Attributes:
        failed: Why compilation was given up, or None.
        compile_s: Seconds spent in calls that compiled.
        graphs: Graphs handed to the compiler so far.
    """

    def __init__(
        self,
        module: nn.Module,
        forward: Forward,
        *,
        note: Note,
        backend: Any = "inductor",
        rewrite: Callable[[Any], Any] = lambda graph: graph,
        recomputes: bool = False,
    ) -> None:
        """``recomputes``: checkpoints are the plan's, not the user's."""
        self.failed: str | None = None
        self.compile_s = 0.0
        self.graphs = 0
        self._module = module
        self._forward = forward
        self._note = note
        self._backend = backend
        self._rewrite = rewrite
        self._recomputes = recomputes
        self._refusal: str | None = None
        self._warm: set[Any] = set()
        self._seen: dict[Any, int] = {}
        self._said: set[str] = set()
        self._compiled = self._compile()

    def _compile(self) -> Forward:
        resolved = compile_backend(self._backend)

        def counting(graph: Any, inputs: Any, **options: Any) -> Any:
            self.graphs += 1
            if not self._recomputes and _averages_in_checkpoint(graph):
                self._refusal = "it would update the averages of a checkpointed batch norm once"
                raise RuntimeError(self._refusal)
            again = plain_copy(graph)  # the compiler rewrites the graph that it is given
            compiled = resolved(self._rewrite(graph), inputs, **options)
            return TwiceDifferentiable(again, compiled, self._backward_again)

        return torch.compile(_own_code(self._forward), backend=counting, dynamic=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.failed is not None:
            return self._forward(*args, **kwargs)
        hooked = hooked_part(self._module)
        if hooked is not None:
            self._note_once(f"compile: eager while {hooked} has hooks, so that they are called")
            return self._forward(*args, **kwargs)
        signature = self._signature(args, kwargs)
        if signature in self._warm:
            return self._warm_call(args, kwargs)
        if not self._worth_compiling(signature):
            return self._forward(*args, **kwargs)
        return self._first_call(signature, args, kwargs)

    def _signature(self, args: Any, kwargs: Any) -> Any:
        leaves = tuple(_leaf_signature(leaf) for leaf in tree_leaves((args, kwargs)))
        return leaves, self._module.training, torch.is_grad_enabled()

    def _worth_compiling(self, signature: Any) -> bool:
        if len(self._warm) >= MAX_COMPILATIONS:
            self._note_once(f"compile: after {MAX_COMPILATIONS} input shapes, others run eagerly")
            return False
        if len(self._seen) > 64:  # an endless stream of shapes must not fill memory
            self._seen.clear()
        self._seen[signature] = self._seen.get(signature, 0) + 1
        # The first training shape is compiled at once: it is what the plan was made for.
        first = torch.is_grad_enabled() and not any(known[-1] for known in self._warm)
        return first or self._seen[signature] > PATIENCE

    def _first_call(self, signature: Any, args: Any, kwargs: Any) -> Any:
        start = time.perf_counter()
        with _restorable(self._module) as restore:
            try:
                output = self._compiled(*args, **kwargs)
            except Exception as error:  # every compiler fault, whatever its type
                if not is_compile_error(error):
                    raise
                restore()
                output = self._forward(*args, **kwargs)  # the user's own error comes from here
                self._give_up(self._refusal or _first_line(error))
                return output
        self._warm.add(signature)
        self.compile_s += time.perf_counter() - start
        if self.graphs > MAX_GRAPHS_PER_CALL * len(self._warm):
            self._give_up(f"the forward breaks into {self.graphs} graphs")
        return output

    def _warm_call(self, args: Any, kwargs: Any) -> Any:
        before = self.graphs
        try:
            output = self._compiled(*args, **kwargs)
        except Exception as error:
            if self.graphs == before or not is_compile_error(error):
                raise
            self._give_up(self._refusal or _first_line(error))
            return self._forward(*args, **kwargs)
        if self.graphs > before:
            self._check_recompiles()
        return output

    def _backward_again(self) -> None:
        """Runs in the backward pass that asked."""
        if self.failed is None:
            self._give_up("compiled code has no gradients of gradients (create_graph)")

    def _check_recompiles(self) -> None:
        """The code depends on something the signature does not show, a counter for instance."""
        if self.graphs > MAX_GRAPHS_PER_CALL * MAX_COMPILATIONS:
            self._give_up("it compiled anew again and again")

    def _note_once(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._note(text)

    def _give_up(self, reason: str) -> None:
        self.failed = reason
        self._note(f"compile: off, running eagerly: {reason}")


def _averages_in_checkpoint(graph: Any) -> bool:
    """Whether a checkpoint in a graph holds a batch norm with running averages: run eagerly, its
    second forward updates them again."""
    bodies = [
        getattr(graph, str(argument.target))
        for node in graph.graph.nodes
        if "checkpoint" in getattr(node.target, "__name__", "")
        for argument in node.args
        if getattr(argument, "op", "") == "get_attr"
    ]
    return any(_updates_averages(body) or _averages_in_checkpoint(body) for body in bodies)


def _updates_averages(body: Any) -> bool:
    for node in body.graph.nodes:
        if getattr(node.target, "__name__", "") == "batch_norm":
            names = ("input", "running_mean", "running_var", "weight", "bias", "training")
            given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
            if given.get("training") and given.get("running_mean") is not None:
                return True
    return False


def _leaf_signature(leaf: Any) -> Any:
    if isinstance(leaf, torch.Tensor):
        return tuple(leaf.shape), leaf.dtype, leaf.device
    if isinstance(leaf, (bool, int, str, type(None))):
        return leaf
    return type(leaf)


def _own_code(forward: Forward) -> Forward:
    """A function that calls ``forward`` and has its own code object.

    torch counts recompilations per code object: two compiled modules of one class would share one
    limit.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return types.FunctionType(
        call.__code__.replace(), call.__globals__, "call", call.__defaults__, call.__closure__
    )


@contextlib.contextmanager
def _restorable(module: nn.Module) -> Iterator[Callable[[], None]]:
    """Remembers what a half-run forward may have changed: buffers and random state."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in module.buffers()]
    random = RandomState()

    def restore() -> None:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        random.restore()

    yield restore


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0] if text else ''}"
