"""Layouts by the form of the inputs: looked for once, and held against later batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch

from parallel_opt.engine.layout import NO_BATCH, Layout, find_layout, layout_fault
from parallel_opt.engine.layout_trial import Run
from parallel_opt.engine.modes import Key, Modes, Words
from parallel_opt.engine.structure import Structure
from parallel_opt.snapshot import has_user_hooks

CHECKED_AT = frozenset(2**i for i in range(7))
"""Uses of a layout before which it is checked on the batch at hand: samples may meet in the model
for some batches only."""
CHECKED_EVERY = 128
HOOKS_EVERY = 16
HOOKS = "hooks may keep or change values of the batch"


class LayoutBook:
    """What is known of one module.

    Args:
        module: The user's module.
        forward: Runs it; kept apart from the module so that it need not be compiled.
        agree: Makes one value of what each rank found. Collective. None: there is one rank.
        leads: Whether this rank's findings count.
        meet: Called with a name, alike on all ranks, where a new mode of the module brings a layout
            under which ranks in the mode before would wait for each other.
        note: Takes what the user should know.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        forward: Callable[..., Any],
        note: Callable[[str], None],
        *,
        agree: Callable[[Any], Any] | None = None,
        leads: bool = True,
        meet: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._module, self._forward, self._note = module, forward, note
        self._alone, self._leads = agree is None, leads
        self._agree = agree or (lambda own: own)
        self._meet = meet
        self.modes = Modes(module)
        self._words = Words()
        self._layouts: dict[Key, Layout] = {}
        self._uses: dict[str, int] = {}
        self._agreed: dict[str, Layout] = {}  # by the form of the inputs: of the last call
        self._calls = 0
        self._has_hooks = False

    def layout(
        self, inputs: Sequence[torch.Tensor], structure: Structure, *, sliced: bool = False
    ) -> Layout:
        """The layout for this batch in the module's present mode. Collective where it is looked for
        or looked at again; where only the mode is new, each rank looks alone."""
        signature = structure.signature
        words = self._words.key(signature, structure.constants) if sliced else ()
        key = (signature, words, self.modes.key)
        self._uses[signature] = uses = self._uses.get(signature, -1) + 1
        known = self._layouts.get(key)
        run = self._run_of(structure)
        due = uses in CHECKED_AT or uses % CHECKED_EVERY == 0
        if known is None:
            before = self._agreed.get(signature)
            known = find_layout(self._module, run, inputs)
            if before is None:
                known, due = self._agree(known), False
            elif not sliced or known.whole_because == NO_BATCH:
                due = False
            elif not _goes_with(known, before):
                self._meet(f"{signature}/{uses}")
                due = False
        if due and not known.whole_because:
            own = layout_fault(known, self._module, run, inputs) if self._leads else ""
            fault = self._agree(own)
            if fault:
                self._note(
                    f"batch {uses + 1} shows what the ones before did not: {fault}; the whole "
                    "batch is computed together from here on, and earlier steps may differ from "
                    "plain's"
                )
                known = Layout((None,) * len(inputs), whole_because=fault)
        if known.whole_because != NO_BATCH:  # a later batch may have more samples
            self._layouts[key] = known
            self._agreed[signature] = known
        return known

    def whole_or(
        self, inputs: Sequence[torch.Tensor], structure: Structure, *, sliced: bool
    ) -> Layout:
        """The layout; where the batch would be ``sliced``, one that forbids it when hooks may keep
        or change values of the batch. Collective."""
        if sliced and self._hooked():
            return Layout((None,) * len(inputs), whole_because=HOOKS)
        return self.layout(inputs, structure, sliced=sliced)

    def _hooked(self) -> bool:
        """Collective every so many calls: ranks must not go different ways, and one of them alone
        may have hooks."""
        due = self._alone or self._calls in CHECKED_AT or self._calls % HOOKS_EVERY == 0
        self._calls += 1
        if due and not self._has_hooks:
            own = has_user_hooks(self._module) if self._leads else False
            self._has_hooks = bool(self._agree(own))
            if self._has_hooks and self._uses and not self._alone:
                self._note(
                    f"{HOOKS}, added later: the whole batch is computed together from here on, and "
                    "what they saw in up to 16 steps before may differ from plain's"
                )
        return self._has_hooks

    def _run_of(self, structure: Structure) -> Run:
        def run(tensors: Sequence[torch.Tensor]) -> Any:
            args, kwargs = structure.rebuild(tensors)
            return self._forward(*args, **kwargs)

        return run


def _goes_with(layout: Layout, other: Layout) -> bool:
    """Whether a rank under one of them and a rank under the other exchange the same values."""
    if layout.whole_because or other.whole_because:
        return bool(layout.whole_because) == bool(other.whole_because)
    mine, theirs = (dataclasses.replace(each, branches=False) for each in (layout, other))
    return mine == theirs
