"""What happens on some ranks and not on others: a forward that fails, a switch of the model.

Each rank computes its own samples, so a bad one (an index out of range, say) raises on one rank
only, while the others go on to exchange what they computed. A loop that catches the error and takes
the next batch would then pair its values with those of another batch. So that rank ends.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager

from parallel_opt import compat
from parallel_opt.engine.process_group import Group, is_peer_lost

PATIENCE_S = 20.0
"""How much later than this rank the others may fail in the same forward."""
SWITCH_PATIENCE_S = 40.0
"""How much later they may come to it: less than what a collective waits."""


class RanksParted(BaseException):
    """This rank cannot go on with the others. No Exception: a loop that skips bad batches must not
    skip it."""


@contextmanager
def failing_together(group: Group, forward: str) -> Iterator[None]:
    """Lets an error of the forward pass when every rank has one; costs nothing otherwise.

    Args:
        forward: Its name, alike on all ranks and used once.

    Raises:
        RanksParted: Other ranks had no error within `PATIENCE_S`.
    """
    try:
        yield
    except Exception as error:
        if not is_peer_lost(error) and not _all_fail(group, forward):
            raise RanksParted(
                f"rank {group.rank} alone fails on its part of the batch: the ranks cannot go on "
                "together (leave the sample out of the data, or run on one rank)"
            ) from error
        raise


SWITCHED = "has switched something on the model (an attribute, or train() or eval() of a part)"


def switching_together(group: Group, switch: str, what: str) -> None:
    """Waits until every rank has switched its model in the same way.

    Args:
        switch: Its name, alike on all ranks and used once.
        what: What this rank does, in words.

    Raises:
        RanksParted: Other ranks have not within `SWITCH_PATIENCE_S`.
    """
    if not _all_meet(group, f"switched/{switch}", SWITCH_PATIENCE_S):
        raise RanksParted(
            f"rank {group.rank} alone {what}: the ranks cannot go on together (do so on every rank)"
        )


TRAIN, EVAL = "train", "eval"


class Changes:
    """What this rank changes at some step and the others must change too, or they would wait for
    each other in the forward and in the backward. Costs nothing where nothing changes."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._count = 0
        self._mode = TRAIN

    def train_in(self, mode: str, step: str) -> None:
        """A forward or a backward that trains in train() or eval() mode."""
        if mode != self._mode:
            self._mode = mode
            self.meet(f"trains in {mode}() mode", step)

    def meet(self, what: str, step: str) -> None:
        """Waits for the others to change the same at the step of this name."""
        self._count += 1
        switching_together(self._group, f"{step}/{self._count}/{what}", what)


def _all_fail(group: Group, forward: str) -> bool:
    return _all_meet(group, f"failed/{forward}", PATIENCE_S)


def _all_meet(group: Group, name: str, patience_s: float) -> bool:
    store = compat.default_store()
    if store is None:
        return True  # nobody to ask
    keys = [f"parallel_opt/{name}/{rank}" for rank in range(group.size)]
    store.set(keys[group.rank], "1")
    try:
        store.wait(keys, datetime.timedelta(seconds=patience_s))
    except Exception:  # a timeout's type depends on the store and on torch's version
        return False
    return True
