"""Joins the ranks that torchrun (or a scheduler with its variables) started; leaves in order."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import os
import random
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from parallel_opt.errors import (
    InputError,
    InternalError,
    _FaultError,
    exit_code,
    fault_lines,
    traceback_without,
)

log = logging.getLogger("parallel_opt")

DEFAULT_TIMEOUT_S = 60.0  # a hung peer is noticed only after this


@dataclasses.dataclass(frozen=True)
class Group:
    """A set of ranks that train one model together.

    `statistics` is a second communicator over the same ranks, for collectives inside backward:
    their order against the gradient buckets may differ between ranks, which one communicator would
    not survive.
    """

    rank: int  # position in the group
    size: int
    device: torch.device
    handle: dist.ProcessGroup | None = None  # None: one rank, nothing to say
    statistics: dist.ProcessGroup | None = None


def join(*, timeout_s: float = DEFAULT_TIMEOUT_S) -> Group:
    """All ranks of this run as one group: gloo on CPU, NCCL on GPU; alone when none are named.

    A process group that the user's script has initialised already is used as it is.

    Raises:
        InputError: The environment names ranks but not where they meet.
    """
    if dist.is_initialized():
        return whole_group(_device_of(int(os.environ.get("LOCAL_RANK", "0"))))
    size = _number("WORLD_SIZE", 1)
    if size == 1:
        return Group(0, 1, _device_of(0))
    device = _device_of(_number("LOCAL_RANK", 0))
    timeout = datetime.timedelta(seconds=timeout_s)
    rank = _number("RANK", None)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=_store(rank, size, timeout),
        rank=rank,
        world_size=size,
        timeout=timeout,
    )
    return whole_group(device)


def whole_group(device: torch.device) -> Group:
    """The default process group as a Group."""
    return subgroup(range(dist.get_world_size()), device)


def subgroup(ranks: Sequence[int], device: torch.device) -> Group:
    """The group of some global ranks. Every rank of the run must call it with the same `ranks`.

    On a rank that is not among them the result has size 0.
    """
    ranks = list(ranks)
    if len(ranks) == 1:
        return Group(0, 1 if dist.get_rank() in ranks else 0, device)
    everyone = ranks == list(range(dist.get_world_size()))
    handle = dist.group.WORLD if everyone else dist.new_group(ranks)
    statistics = dist.new_group(ranks)
    if dist.get_rank() not in ranks:
        return Group(-1, 0, device)
    return Group(ranks.index(dist.get_rank()), len(ranks), device, handle, statistics)


def share_seed(group: Group) -> int:
    """Seeds Python, NumPy (when imported) and torch on every rank with rank 0's torch seed.

    An unchanged script then shuffles and initialises alike on every rank. Returns the seed.
    """
    seed = torch.initial_seed()
    if group.size > 1:
        word = torch.tensor([seed & (2**63 - 1)], dtype=torch.int64, device=group.device)
        dist.broadcast(word, src=dist.get_global_rank(_handle(group), 0), group=group.handle)
        seed = int(word.item())
    torch.manual_seed(seed)
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    return seed


def finish(code: int = 0) -> NoReturn:
    """Ends this worker: barrier, leave the group, flush, exit without interpreter tear-down.

    The tear-down aborts now and then with gloo threads alive. After an error there is no barrier:
    the peers may be gone, and the code must be this worker's own.
    """
    if dist.is_available() and dist.is_initialized():
        try:
            if code == 0:
                dist.barrier()
            dist.destroy_process_group()
        except Exception as error:
            log.warning("leaving the process group failed: %s", error)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run_worker(
    main: Callable[[], None],
    *,
    ended: Callable[[int], None] | None = None,
    failed: Callable[[str], None] | None = None,
    hidden: Sequence[str] = (),
) -> NoReturn:
    """Runs `main` and ends the worker with the exit code that a plain Python process would have.

    A fault that parallel_opt found is told in its own words, with the line of the script that met
    it, and ends the worker with the exit code of a command that finds it. `ended` is told that code
    before the worker leaves, `failed` what was printed. Tracebacks start after the frames of the
    files in `hidden`.
    """
    code = 0
    try:
        main()
    except SystemExit as stop:
        if isinstance(stop.code, int):
            code = stop.code
        elif stop.code is not None:
            print(stop.code, file=sys.stderr)
            code = 1
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        text, code = _told(error, (__file__, *hidden))
        sys.stderr.write(text)
        if failed is not None:
            failed(text)
    if ended is not None:
        ended(code)
    finish(code)


def _told(error: BaseException, hidden: Sequence[str]) -> tuple[str, int]:
    """What a worker that ends with this error prints, and its exit code."""
    if not isinstance(error, _FaultError) or isinstance(error, InternalError):
        return traceback_without(error, hidden), 1
    lines = [*fault_lines(error), ""]
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename not in hidden:
            lines.insert(0, f'  File "{frame.f_code.co_filename}", line {line}')
            break
    return "\n".join(lines), exit_code(error)


def _handle(group: Group) -> dist.ProcessGroup:
    assert group.handle is not None
    return group.handle


def _device_of(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def _number(name: str, default: int | None) -> int:
    text = os.environ.get(name)
    if text is None and default is not None:
        return default
    if text is None or not text.isdigit():
        raise InputError(
            f"environment variable {name}",
            "is not set" if text is None else f"'{text}' is not a number",
            "start the script with `parallel-opt run` or torchrun",
        )
    return int(text)


def _store(rank: int, size: int, timeout: datetime.timedelta) -> Any:
    """The meeting point, with a name space per attempt.

    A restarted worker that reads the keys of the former attempt gets addresses of dead processes.
    """
    if "MASTER_ADDR" not in os.environ:
        raise InputError(
            "environment variable MASTER_ADDR",
            "is not set",
            "start the script with `parallel-opt run` or torchrun",
        )
    agent_has_it = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        os.environ["MASTER_ADDR"],
        _number("MASTER_PORT", None),
        world_size=None if agent_has_it else size,
        is_master=rank == 0 and not agent_has_it,
        timeout=timeout,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore("try" + attempt, store)  # type: ignore[attr-defined]
