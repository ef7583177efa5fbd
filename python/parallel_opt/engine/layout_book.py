"""Layouts by the form of the inputs: looked for once, and held against later batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from parallel_opt.engine.layout import NO_BATCH, Layout, find_layout, layout_fault
from parallel_opt.engine.layout_trial import Run
from parallel_opt.engine.structure import Structure

CHECKED_AT = frozenset(2**i for i in range(7))
"""Uses of a layout before which it is checked on the batch at hand: samples may meet in the model
for some batches only."""
CHECKED_EVERY = 128


class LayoutBook:
    """What is known of one module.

    Args:
        module: The user's module.
        forward: Runs it; kept apart from the module so that it need not be compiled.
        agree: Makes one value of what each rank found. Collective.
        leads: Whether this rank's findings count.
        note: Takes what the user should know.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        forward: Callable[..., Any],
        note: Callable[[str], None],
        *,
        agree: Callable[[Any], Any] = lambda own: own,
        leads: bool = True,
    ) -> None:
        self._module, self._forward, self._note = module, forward, note
        self._agree, self._leads = agree, leads
        self._layouts: dict[str, Layout] = {}
        self._uses: dict[str, int] = {}

    def layout(self, inputs: Sequence[torch.Tensor], structure: Structure) -> Layout:
        """The layout for this batch. Collective where it is looked for or looked at again."""
        key = structure.signature
        self._uses[key] = uses = self._uses.get(key, -1) + 1
        known = self._layouts.get(key)
        run = self._run_of(structure)
        if known is None:
            known = self._agree(find_layout(self._module, run, inputs))
        elif not known.whole_because and (uses in CHECKED_AT or uses % CHECKED_EVERY == 0):
            own = layout_fault(known, self._module, run, inputs) if self._leads else ""
            fault = self._agree(own)
            if fault:
                self._note(
                    f"batch {uses + 1} shows what the ones before did not: {fault}; the whole "
                    "batch is computed together from here on, and earlier steps may differ from "
                    "plain's"
                )
                nothing: tuple[int | None, ...] = (None,) * len(inputs)
                known = Layout(nothing, whole_because=fault)
        if known.whole_because != NO_BATCH:  # a later batch may have more samples
            self._layouts[key] = known
        return known

    def _run_of(self, structure: Structure) -> Run:
        def run(tensors: Sequence[torch.Tensor]) -> Any:
            args, kwargs = structure.rebuild(tensors)
            return self._forward(*args, **kwargs)

        return run
