"""From a PyTorch module to a Graph: five ways of looking at it, and one rule that chooses.

Also a program: ``python -m parallel_opt.capture file.py:factory -o model.pt2``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt._core import Graph, join_batches, read_pt2, summarize
from parallel_opt.capture_export import (
    draft_reason,
    export,
    first_line,
    looks_at_data,
    products_in_vmap,
    ties,
)
from parallel_opt.capture_flex import unknown_masks
from parallel_opt.capture_inputs import batch_of, check_samples, checked_call, map_tensors
from parallel_opt.capture_loss import Loss
from parallel_opt.capture_state import checked_module, masks_as_in_a_run
from parallel_opt.compat_functions import apply_seen, checkpoints_seen
from parallel_opt.errors import InputError
from parallel_opt.operators import with_registered
from parallel_opt.trace import trace

__all__ = ["LEVELS", "capture", "export", "main", "ties"]

LEVELS = ("auto", "step", "joint", "export", "fragments", "trace")

_WAYS_OUT = {
    "step": 'try level="trace"',
    "joint": 'try level="fragments"',
    "export": 'try level="trace"',
    "fragments": "does the model run?",
    "trace": "does the model run?",
}

Call = tuple[tuple[Any, ...], dict[str, Any]]


def capture(
    module: nn.Module,
    args: Sequence[Any] | torch.Tensor = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    level: str = "auto",
    name: str | None = None,
    dynamic_batch: bool = True,
    batches: Sequence[Any] = (),
    loss_fn: Loss | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> Graph:
    """The graph of a module, as it would run now (training mode and all).

    Nothing of the module changes: no weight is copied or allocated twice; random states, buffers,
    gradients, flags, hooks and attributes are as before.

    Args:
        module: Any module; its weights may be real, fake or on the meta device.
        args: One batch, as in ``module(*args, **kwargs)``; a tensor is one argument. With
            ``dynamic_batch`` the size of dimension 0 of the first tensor becomes the symbol
            ``batch`` where the model allows it: ``graph.bind({"batch": n})`` counts another one.
        kwargs: Keyword arguments of the same call.
        level: How to look. ``"step"``: forward, loss, backward and optimizer as ATen operators, by
            make_fx on fake tensors. ``"joint"``: forward and backward, by Dynamo and AOTAutograd.
            ``"export"``: forward, by torch.export. ``"fragments"``: forward, the pieces that
            torch.compile gets between graph breaks and what runs eagerly between them.
            ``"trace"``: forward, one run operator by operator, on fake tensors or, if the model
            looks at data, on the real batch. ``"auto"``: exports, and traces when that fails;
            ``graph.notes`` says why.
        name: Name of the graph; by default the class of the module.
        dynamic_batch: Make the batch a symbol where that is possible.
        batches: Two to five real batches, each a tensor, a tuple or a dict of arguments. The model
            is run on them: where their runs differ, the graph has a branch with the frequencies
            seen, or a loop with the mean trip count; and ``graph.observed_saved_bytes`` is what
            autograd kept in the run that kept most.
        loss_fn: Loss of the model's output, for ``"step"``; by default the output's own ``loss``,
            else the sum of the outputs.
        optimizer: Traced too by ``"step"``; it must hold parameters of the module.

    Raises:
        InputError: No way works, or this is no module or no batch of it; the reasons are named.
    """
    if level not in LEVELS:
        raise InputError("level", f'unknown level "{level}"', "one of " + ", ".join(LEVELS))
    module, name = checked_module(module, name)
    calls = [as_call(batch) for batch in batches]
    args, kwargs = checked_call(name, args, kwargs)
    if calls and not args and not kwargs:
        args, kwargs = calls[0]
    for number, (own_args, own_kwargs) in enumerate(calls):
        check_samples(f"{name}: batches[{number}]", own_args, own_kwargs)
    check_samples(name, args, kwargs)
    one = _Capture(module, name, dynamic_batch, loss_fn, optimizer)
    graph = with_registered(one.by(level, args, kwargs))
    unknown = unknown_masks(graph.ops)
    if unknown:
        graph = graph.annotated(unknown)
    if not calls:
        return graph
    from parallel_opt.capture_observe import observed

    return with_registered(observed(module, graph, calls, ties(module), level))


def as_call(batch: Any) -> Call:
    """A batch as positional and keyword arguments: a tensor, a tuple or list of arguments, a dict
    of keyword arguments, or a tuple of both kinds."""
    if isinstance(batch, dict):
        return (), batch
    if isinstance(batch, (tuple, list)) and not hasattr(batch, "_fields"):
        if len(batch) == 2 and isinstance(batch[0], tuple) and isinstance(batch[1], dict):
            return tuple(batch[0]), dict(batch[1])
        return tuple(batch), {}
    return (batch,), {}


RECOMPUTED = (
    "recorded from one run: parts run under activation checkpointing, "
    "and an export does not say which"
)
OWN_GRADIENT = (
    "recorded from one run: {} has a gradient where its operators have none, "
    "and an export has only these"
)
CAST = "recorded from one run: autocast is used inside, and an export does not have its casts"


class _Capture:
    """One module and how its graph is wanted."""

    def __init__(
        self,
        module: nn.Module,
        name: str,
        dynamic: bool,
        loss_fn: Loss | None,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self.module, self.name, self.dynamic = module, name, dynamic
        self.loss_fn, self.optimizer = loss_fn, optimizer
        self.inlined: set[str] = set()  # custom autograd.Functions that an export looked into
        self.checkpoints = 0  # parts under activation checkpointing that an export ran through
        self.autocasts = 0  # regions under autocast in what was exported

    def by(self, level: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        """The graph at one level."""
        with masks_as_in_a_run("position_ids" in kwargs):
            return self._auto(args, kwargs) if level == "auto" else self._only(level, args, kwargs)

    def _only(self, level: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        way: Callable[[tuple[Any, ...], dict[str, Any]], Graph] = getattr(self, f"_{level}")
        try:
            return way(args, kwargs)
        except Exception as error:  # whatever the model's own code raises
            reason = _plain(first_line(error))
            if level == "export":
                reason = draft_reason(self.module, args, kwargs) or reason
            hint = _WAYS_OUT[level]
            raise InputError(self.name, f"{_TITLES[level]} failed: {reason}", hint) from error

    def _auto(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        try:
            return self._as_kept(self._export(args, kwargs), args, kwargs)
        except Exception as error:
            reason = first_line(error)
        try:
            return self._trace(args, kwargs, reason)
        except Exception as error:
            both = f"torch.export failed: {reason}; the run failed too: {first_line(error)}"
            raise InputError(self.name, both, "does the model run?") from error

    def _as_kept(self, graph: Graph, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        """An export looks into custom autograd.Functions, and what they save is not what their
        operators would: a recorded run on fake tensors knows. It does not tell what is computed
        again, nor which weights autocast has cast: then the recorded run is the graph."""
        if not self.inlined and not self.checkpoints and not self.autocasts:
            return graph
        recorded = self._trace(args, kwargs)
        if self.checkpoints:
            return recorded.annotated([RECOMPUTED])
        if self.autocasts:
            return recorded.annotated([CAST])
        names = ", ".join(sorted(self.inlined))
        if summarize(graph).flops.backward < summarize(recorded).flops.backward:
            return recorded.annotated([OWN_GRADIENT.format(names)])
        note = f"exported with the operators inside of {names}; what autograd keeps was observed"
        return graph.annotated([note], recorded.observed_saved_bytes)

    @contextlib.contextmanager
    def _see_checkpoint(self) -> Iterator[None]:
        self.checkpoints += 1
        yield

    def _see_autocast(self) -> None:
        self.autocasts += 1

    def _see(self, cls: type, run: Callable[[], Any], _args: tuple[Any, ...]) -> Any:
        if cls.__module__.split(".")[0] != "torch":
            self.inlined.add(cls.__name__)
        return run()

    def _export(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        def at_batch(args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: bool = False) -> Graph:
            watched = contextlib.nullcontext() if strict else apply_seen(self._see)
            with watched, checkpoints_seen(self._see_checkpoint):
                archive = export(
                    self.module,
                    args,
                    kwargs,
                    name=self.name,
                    dynamic_batch=dynamic,
                    strict=strict,
                    on_autocast=self._see_autocast,
                )
            return read_pt2(archive, self.name)

        strict = False
        try:
            graph = at_batch(args, kwargs, self.dynamic)
        except Exception as error:
            if looks_at_data(error):  # a graph without Python cannot either
                raise
            strict = True
            try:
                graph = at_batch(args, kwargs, self.dynamic)
            except Exception:
                raise error from None  # the first reason is the clearer one
        if products_in_vmap(graph):
            raise RuntimeError("torch.vmap around products: an exported graph has them once")
        return graph if graph.symbols else self._with_batch(graph, at_batch, args, kwargs)

    def _trace(self, args: tuple[Any, ...], kwargs: dict[str, Any], reason: str = "") -> Graph:
        notes = [f"recorded from one run, because torch.export failed: {reason}"] if reason else []
        tied = ties(self.module)

        def at_batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
            return trace(self.module, args, kwargs, name=self.name, ties=tied, notes=notes)

        graph = at_batch(args, kwargs)
        if len(graph.notes) > len(notes):  # it looked at data: another run may differ
            return graph
        return self._with_batch(graph, at_batch, args, kwargs)

    def _step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        from parallel_opt.capture_step import step_graph

        tied = ties(self.module)

        def at_batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
            return step_graph(
                self.module,
                args,
                kwargs,
                name=self.name,
                ties=tied,
                loss_fn=self.loss_fn,
                optimizer=self.optimizer,
            )

        return self._with_batch(at_batch(args, kwargs), at_batch, args, kwargs)

    def _joint(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        from parallel_opt.capture_joint import joint_graph

        tied = ties(self.module)

        def at_batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
            return joint_graph(self.module, args, kwargs, name=self.name, ties=tied)

        graph = self._with_batch(at_batch(args, kwargs), at_batch, args, kwargs)
        try:  # AOTAutograd decomposes: what autograd keeps of the model itself is another thing
            return graph.annotated([], self._trace(args, kwargs).observed_saved_bytes)
        except Exception:  # it does not run on tensors without data
            return graph

    def _fragments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        from parallel_opt.capture_fragments import fragments_graph

        return fragments_graph(self.module, args, kwargs, name=self.name, ties=ties(self.module))

    def _with_batch(
        self,
        graph: Graph,
        at_batch: Callable[[tuple[Any, ...], dict[str, Any]], Graph],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Graph:
        """A graph that fixes its batch, made general by a second capture with one sample more."""
        batch = batch_of(args, kwargs)
        if batch is None or not self.dynamic:
            return graph

        def one_more(value: torch.Tensor) -> torch.Tensor:
            if value.dim() == 0 or value.shape[0] != batch:
                return value
            return torch.cat([value, value[:1]])

        try:
            larger = at_batch(*map_tensors((args, kwargs), one_more))
        except Exception:  # the model really takes this batch only
            return graph
        return join_batches(graph, batch, larger, batch + 1) or graph


def _plain(reason: str) -> str:
    """The reason in words, where torch gives one of its insides."""
    if "ignore_fresh_unbacked_symbols" in reason:
        return "how often a while_loop runs depends on data"
    return reason


_TITLES = {
    "step": "the trace of a step",
    "joint": "the joint export",
    "export": "torch.export",
    "fragments": "torch.compile",
    "trace": "the run",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the graph of what a Python file makes: see ``parallel_opt.capture_program``."""
    from parallel_opt import capture_program

    return capture_program.main(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
