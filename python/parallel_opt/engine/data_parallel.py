"""Data parallel training of the user's own module over the ranks of a group.

The module is not wrapped and its parameters keep their names; the caller sends each forward
through this object.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.checkpoint import set_checkpoint_early_stop

from parallel_opt import compat
from parallel_opt.engine import endings, optimizers, parted
from parallel_opt.engine.batch_norm import CrossRankBatchNorm
from parallel_opt.engine.checkpoints import without_reentrant_checkpoints
from parallel_opt.engine.draws import FullBatchDraws, align_generators, own_stream
from parallel_opt.engine.layout import Layout
from parallel_opt.engine.layout_book import LayoutBook
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.reducers import DdpReducer, LateReducer, Reducer, averaged, ddp_fault
from parallel_opt.engine.shares import Share, split_batch
from parallel_opt.engine.structure import (
    Structure,
    fingerprint,
    flatten,
    has_borrowed_parameters,
)
from parallel_opt.engine.user_hooks import refuse_early_hooks
from parallel_opt.engine.views import Call, GlobalCall, LocalCall, ViewCheck, pass_boundary
from parallel_opt.errors import InputError

log = logging.getLogger("parallel_opt")

ENGINES = ("auto", "ddp", "late")
VIEWS = ("auto", "global", "local")
DRAWS = ("exact", "independent")
_numbers = itertools.count()
LARGE_OUTPUT_BYTES = 256 * 2**20  # gathering more than this each step is worth a word


class DataParallel:
    """Trains `module` on several ranks as if on one.

    Only forwards that record gradients are shared; under ``no_grad`` (evaluation) each rank runs
    the whole input by itself, so a rank may evaluate alone. In ``eval()`` mode with gradients the
    forward is not shared either, but the gradients of a backward are averaged.

    Args:
        module: The user's module, on its device.
        group: The ranks, from ``process_group.join()``.
        shares: Samples per rank, as a ratio; empty: even.
        engine: "ddp" overlaps communication with backward, "late" reduces before the optimizer
            step, "auto" is ddp where its start-up test passes.
        view: "global": every rank's loop holds the same batch; "local": each its own; "auto": find
            out by comparing the first batches.
        sync_batch_norm: Batch statistics over all ranks, as on one.
        draws: Random numbers in a forward of the global view. "exact": dropout masks equal one
            process's; compiled code runs eagerly meanwhile. "independent": each rank its own.

    `notes` lists, once each, what is slower than asked for, and why.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        group: Group,
        *,
        shares: Sequence[int] = (),
        engine: str = "auto",
        view: str = "auto",
        sync_batch_norm: bool = True,
        draws: str = "exact",
    ) -> None:
        _one_of("engine", engine, ENGINES)
        _one_of("view", view, VIEWS)
        _one_of("draws", draws, DRAWS)
        split_batch(group.size, group.size, shares)  # refuses wrong shares before anything starts
        self.module = module
        self.group = group
        self.shares = tuple(shares)
        self.engine = engine
        self.notes: list[str] = []
        self._view = ViewCheck(group, view, pinned=view != "auto")
        self._sync_batch_norm = sync_batch_norm
        self._draws = draws
        self._layouts = LayoutBook(
            module,
            module,
            self._note,
            agree=self._first,
            leads=group.rank == 0,
            meet=lambda name: self._changes.meet(parted.SWITCHED, f"{self._name}/{name}"),
        )
        self._reducer: Reducer | None = None
        self._parameters: list[torch.Tensor] = []
        self._known: list[Any] = []  # what the parameters were when the reducer was started
        self._trained: dict[str, list[bool]] = {}  # outputs that require a gradient, by input
        self._owned: frozenset[int] = frozenset()
        self._reduce = True
        self._forwards = 0
        self._changes = parted.Changes(group)
        self._name = 0  # alike on all ranks
        self._applied = False

    @property
    def view(self) -> str:
        """ "global", "local", or "auto" as long as it is not known."""
        return self._view.view

    def apply(self) -> None:
        """Gives every rank rank 0's parameters and buffers; starts averaging. Collective."""
        if self._applied:
            return
        self._applied = True
        if self.group.size == 1:
            return
        self._name = self._first(next(_numbers))
        self._copy_from_first()
        if self.engine == "auto" or self.engine == "ddp":
            fault = ddp_fault(self.group)
            self.engine = "late" if fault else "ddp"
            if fault:
                self._note(
                    f"DDP fails its start-up test ({fault}): gradients are reduced late, "
                    "and parameter.grad holds this rank's part until an optimizer steps or clips"
                )
        self._start_reducer()
        optimizers.add_owner(self)

    def unapply(self) -> None:
        """Leaves the module as it was before ``apply``, with its present parameters."""
        if not self._applied:
            return
        self._applied = False
        if self.group.size == 1:
            return
        optimizers.remove_owner(self)
        if self._reducer is not None:
            self._reducer.close()
        self._reducer = None

    def owned_parameters(self) -> frozenset[int]:
        """Ids of the parameters whose gradients it averages."""
        return self._owned

    def synchronize(self) -> None:
        """Makes all gradients final; optimizers and gradient clipping call it. Collective."""
        if self._reducer is not None:
            self._reducer.synchronize()

    def averaged(
        self, parameters: Sequence[torch.Tensor], gradients: Sequence[torch.Tensor | None]
    ) -> list[torch.Tensor | None]:
        """The mean over ranks of what ``torch.autograd.grad`` gave. Collective."""
        return averaged(parameters, gradients, self.group)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, backward adds to this rank's gradients only; a later one averages the sum."""
        before, self._reduce = self._reduce, False
        try:
            yield
        finally:
            self._reduce = before

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward, shared over the ranks; the result is what one process would see."""
        if not self._applied or self.group.size == 1:
            return self.module(*args, **kwargs)
        shared = torch.is_grad_enabled() and self.module.training
        with self._layouts.modes.forward(notice=shared):
            return self._forward(shared, args, kwargs)

    def _forward(self, shared: bool, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not torch.is_grad_enabled():
            return self.module(*args, **kwargs)
        self._follow_parameters()
        inputs, structure = flatten((args, kwargs))
        if not shared:
            return self._forward_unshared(inputs, structure)
        self._changes.train_in(parted.TRAIN, self._step)
        view = self._view.check(inputs)
        if self._forwards == 0 and view == "global" and align_generators(self.group):
            self._note("random states differed between ranks: all continue from rank 0's")
        self._forwards += 1
        endings.count(self._name, self._forwards)
        layout = self._layouts.whole_or(inputs, structure, sliced=view == "global")
        if view == "local":
            return self._forward_local(inputs, structure, layout)
        if layout.whole_because:
            self._note(f"every rank computes the whole batch: {layout.whole_because}")
            call = Call(self.group, self._enter_backward)
            return self._finish(call, self._run(inputs, structure))
        return self._forward_global(inputs, structure, layout)

    def _forward_global(
        self, inputs: list[torch.Tensor], structure: Structure, layout: Layout
    ) -> Any:
        counts = split_batch(layout.samples(inputs), self.group.size, self.shares)
        share = Share(tuple(counts), self.group.rank)
        call = GlobalCall(self.group, self._enter_backward, share, layout)
        own = call.slice_inputs(inputs)
        call.weigh(own)
        statistics = layout.batch_norm and self._sync_batch_norm
        isolated: set[str] = set()
        draws = None
        if layout.random and self._draws == "exact":
            draws = FullBatchDraws(share, layout.draws, isolated)
            if compat.is_compiled(self.module):
                self._note("drawing for the whole batch: compiled code runs eagerly meanwhile")
        # A dummy row needs a backward only to take part in its collectives.
        needed = statistics or any(rule.kind == "same" for rule in layout.outputs)
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._together())
            if not share.own and not needed:
                stack.enter_context(torch.no_grad())
            if layout.random and draws is None:
                stack.enter_context(own_stream(self.group.rank, self.group.device))
            result = self._run(own, structure, draws, statistics, bool(share.own))
        for name in sorted(isolated):
            self._note(f"{name} draws its dropout masks per rank: they differ from one process's")
        self._note_large_outputs(result, share)
        anchors = [tensor for tensor in own if tensor.requires_grad]
        if not share.own:
            anchors += [p for p in self._parameters if p.requires_grad]
        return self._finish(call, result, structure.signature, anchors)

    def _forward_local(
        self, inputs: list[torch.Tensor], structure: Structure, layout: Layout
    ) -> Any:
        rows = self._own_samples(inputs, layout)
        call = LocalCall(self.group, self._enter_backward, rows, layout.outputs)
        call.weigh(inputs, rows)
        statistics = layout.batch_norm and self._sync_batch_norm
        with self._together():
            result = self._run(inputs, structure, None, statistics, rows > 0)
        scalars = [t for t in flatten(result)[0] if t.dim() == 0 and t.is_floating_point()]
        if layout.whole_because and scalars:
            self._note(f"single-number outputs count by samples: {layout.whole_because}")
        return self._finish(call, result, structure.signature)

    def _forward_unshared(self, inputs: list[torch.Tensor], structure: Structure) -> Any:
        """No communication before backward: a rank may evaluate alone."""
        result = self._run(inputs, structure)
        if self.view == "local":
            rows = next((t.shape[0] for t in inputs if t.dim()), 1)
            return self._finish(LocalCall(self.group, self._enter_eval_backward, rows, ()), result)
        return self._finish(Call(self.group, self._enter_eval_backward), result)

    def _own_samples(self, inputs: Sequence[torch.Tensor], layout: Layout) -> int:
        if layout.whole_because:
            return next((tensor.shape[0] for tensor in inputs if tensor.dim()), 1)
        return layout.samples(inputs)

    def _run(
        self,
        inputs: Sequence[torch.Tensor],
        structure: Structure,
        draws: FullBatchDraws | None = None,
        statistics: bool = False,
        counts: bool = True,
    ) -> Any:
        """The module's forward under the modes it needs, which its checkpoints enter again."""
        args, kwargs = structure.rebuild(inputs)

        @contextlib.contextmanager
        def modes() -> Iterator[None]:
            with contextlib.ExitStack() as stack:
                if statistics:
                    stack.enter_context(CrossRankBatchNorm(self.group, counts))
                if draws is not None:
                    stack.enter_context(draws)
                yield

        if draws is None and not statistics:
            with without_reentrant_checkpoints():
                return self.module(*args, **kwargs)
        # A second forward that stops at the last tensor it needs would not update averages again.
        whole = set_checkpoint_early_stop(False) if statistics else contextlib.nullcontext()
        again = compat.checkpoint_context(modes)
        with again, whole, without_reentrant_checkpoints(), modes():
            return self.module(*args, **kwargs)

    @property
    def _step(self) -> str:
        return f"{self._name}/{self._forwards}"

    def _together(self) -> contextlib.AbstractContextManager[None]:
        return parted.failing_together(self.group, self._step)

    def _finish(
        self, call: Call, result: Any, agree: str = "", anchors: Sequence[torch.Tensor] = ()
    ) -> Any:
        """What the loop sees of `result`. `agree`: what the input looked like, where ranks may
        find other outputs to require a gradient."""
        outputs, structure = flatten(result)
        trained = [t.requires_grad for t in outputs]
        if agree:
            trained = self._trained_anywhere(agree, trained)
        return structure.rebuild(pass_boundary(call, outputs, trained, anchors))

    def _trained_anywhere(self, key: str, own: list[bool]) -> list[bool]:
        """Which outputs require a gradient on any rank: one without samples, or on another branch,
        takes part in their backward. Collective for the first forward of a kind."""
        if key not in self._trained:
            found: list[Any] = [None] * self.group.size
            dist.all_gather_object(found, own, group=self.group.handle)
            self._trained[key] = [any(flags) for flags in itertools.zip_longest(*found)]
        known = self._trained[key]
        return [mine or any(known[i : i + 1]) for i, mine in enumerate(own)]

    def _enter_eval_backward(self) -> None:
        self._enter_backward(parted.EVAL)

    def _enter_backward(self, mode: str = parted.TRAIN) -> None:
        if not self._applied:
            raise InputError(
                "backward",
                "the OptimizedParallel of this forward is gone: nobody would average its gradients",
                "keep it until the backward",
            )
        if self._reducer is not None:
            begin = functools.partial(self._changes.train_in, mode, self._step)
            self._reducer.on_backward(self._reduce, begin)

    def _first(self, value: Any) -> Any:
        """Rank 0's value. Collective."""
        found = [value]
        source = dist.get_global_rank(_handle(self.group), 0)
        dist.broadcast_object_list(found, src=source, group=self.group.handle)
        return found[0]

    def _follow_parameters(self) -> None:
        """Starts the reducer anew when the user has frozen, unfrozen, replaced or converted
        parameters. Asks at every forward: a step on gradients of new parameters that nobody
        averages would part the ranks."""
        now = fingerprint(self.module)
        if now == self._known or has_borrowed_parameters(list(self.module.parameters())):
            return
        old = {id(p) for p in self._parameters}
        self._changes.meet("has frozen, unfrozen or replaced parameters", self._step)
        self.synchronize()
        if self._reducer is not None:
            self._reducer.close()
        self._reducer = None  # it holds what autograd knows of the old shapes
        if any(id(p) not in old for p in self.module.parameters()):
            self._copy_from_first()  # ranks may have drawn other values for new layers
        self._start_reducer()

    def _start_reducer(self) -> None:
        self._parameters = list(self.module.parameters())
        refuse_early_hooks(self._parameters)
        self._known = fingerprint(self.module)
        self._trained = {}
        trained = [p for p in self._parameters if p.requires_grad]
        self._owned = optimizers.parameter_ids(trained)
        if not trained:
            self._reducer = None
        elif self.engine == "ddp":
            self._reducer = DdpReducer(self.module, self.group)
        else:
            self._reducer = LateReducer(trained, self.group)

    def _copy_from_first(self) -> None:
        source = dist.get_global_rank(_handle(self.group), 0)
        with torch.no_grad():
            for tensor in [*self.module.parameters(), *self.module.buffers()]:
                dist.broadcast(tensor.data, src=source, group=self.group.handle)

    def _note_large_outputs(self, result: Any, share: Share) -> None:
        size = sum(t.numel() * t.element_size() for t in flatten(result)[0])
        if size * share.samples > LARGE_OUTPUT_BYTES * share.rows:
            self._note(
                "outputs of more than 256 MiB are gathered in every step: "
                "a model that returns its loss instead of them trains faster"
            )

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)
            if self.group.rank == 0:
                log.warning("%s", text)


def _one_of(where: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise InputError(where, f"'{given}' is unknown", f"one of {', '.join(known)}")


def _handle(group: Group) -> dist.ProcessGroup:
    assert group.handle is not None
    return group.handle
