"""A script that sets up its process group by itself, under a launcher that has done so already."""

from __future__ import annotations

import functools
import inspect
import logging
import re
from typing import Any

import torch.distributed as dist

from parallel_opt.errors import InputError

log = logging.getLogger("parallel_opt")

WHERE = "torch.distributed.init_process_group"


def accept_own_setup(store: Any) -> None:
    """From now on one ``init_process_group`` of the script's finds the group of this run and is
    content.

    Where it asks for another backend, that replaces the run's, over the same `store`. A second
    call, or one after ``destroy_process_group``, is torch's own matter.

    Pre: the default group is initialised.
    """
    original = dist.init_process_group
    ours = dist.group.WORLD
    taken = False

    @functools.wraps(original)
    def init_process_group(*args: Any, **kwargs: Any) -> None:
        nonlocal taken
        if taken or not dist.is_initialized() or dist.group.WORLD is not ours:
            original(*args, **kwargs)
            return
        given = inspect.signature(original).bind_partial(*args, **kwargs).arguments
        rank, size, backend = dist.get_rank(), dist.get_world_size(), dist.get_backend()
        _check(given, rank, size)
        taken = True
        if _names(given.get("backend"), backend):
            log.info("%s: the %d ranks of this run are joined by %s already", WHERE, size, backend)
            return
        log.info("%s: %s in place of %s, as asked", WHERE, given["backend"], backend)
        dist.destroy_process_group()
        kept = {name: given[name] for name in ("timeout", "device_id") if name in given}
        again = dist.PrefixStore("script", store)  # type: ignore[attr-defined]
        original(given["backend"], store=again, rank=rank, world_size=size, **kept)

    dist.init_process_group = init_process_group
    dist.distributed_c10d.init_process_group = init_process_group


def _names(asked: Any, backend: str) -> bool:
    """Whether `asked`, as "gloo" or "cpu:gloo,cuda:nccl", has this backend, or leaves it open."""
    return not asked or backend in re.split("[:,]", str(asked).lower())


def _check(given: dict[str, Any], rank: int, size: int) -> None:
    faults = []
    hint = f"leave it out, or start that many: parallel-opt run --ranks {given.get('world_size')}"
    if given.get("world_size", -1) not in (-1, size):
        what = f"the script wants {given['world_size']} ranks, this run has {size}"
        faults.append((f"{WHERE}(world_size=)", what, hint))
    if given.get("rank", -1) not in (-1, rank):
        what = f"the script wants to be rank {given['rank']}, this is rank {rank}"
        faults.append((f"{WHERE}(rank=)", what, "leave it out, or use the variable RANK"))
    if faults:
        raise InputError.from_faults(faults)
