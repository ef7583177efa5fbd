"""A forward that fails on some ranks and not on others.

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


def _all_fail(group: Group, forward: str) -> bool:
    store = compat.default_store()
    if store is None:
        return True  # nobody to ask
    keys = [f"parallel_opt/failed/{forward}/{rank}" for rank in range(group.size)]
    store.set(keys[group.rank], "1")
    try:
        store.wait(keys, datetime.timedelta(seconds=PATIENCE_S))
    except Exception:  # a timeout's type depends on the store and on torch's version
        return False
    return True
