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

from parallel_opt.engine import endings, script_end
from parallel_opt.engine.script_group import accept_own_setup
from parallel_opt.errors import (
    InputError,
    InternalError,
    _FaultError,
    exit_code,
    fault_lines,
    frames_after,
    traceback_without,
)
from parallel_opt.launch import EXIT, PEER_LOST

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
    _initialise(size, timeout_s)
    return whole_group(_device_of(_number("LOCAL_RANK", 0)))


def start(*, timeout_s: float = DEFAULT_TIMEOUT_S) -> Group:
    """As ``join()``, for a worker of the launcher: one rank has a default process group too, and a
    script that sets one up by itself is content with this one.

    So a script written for several ranks (a ``DistributedSampler``, say) runs with any number.
    """
    size = _number("WORLD_SIZE", 1)
    try:
        store = _initialise(size, timeout_s)
    except RuntimeError as error:
        if size > 1:
            raise
        log.warning("one rank, without a process group: %s", error)
        return Group(0, 1, _device_of(0))
    # torch's own hook marks each line with its rank: what rank 0 shows is nobody else's.
    sys.excepthook = sys.__excepthook__
    accept_own_setup(store)
    return whole_group(_device_of(_number("LOCAL_RANK", 0)))


def _initialise(size: int, timeout_s: float) -> Any:
    """Sets up the default process group; returns the store that its ranks meet in."""
    device = _device_of(_number("LOCAL_RANK", 0))
    timeout = datetime.timedelta(seconds=timeout_s)
    rank = 0 if size == 1 else _number("RANK", None)
    store = _store(rank, size, timeout) if size > 1 else dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=store,
        rank=rank,
        world_size=size,
        timeout=timeout,
    )
    return store


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
    """Ends this worker: barrier, leave the group, flush, exit without the interpreter's tear-down.

    The tear-down aborts now and then with gloo threads alive. After an error there is no barrier:
    the peers may be gone, and the code must be this worker's own.
    """
    if dist.is_available() and dist.is_initialized():
        try:
            if code == 0:
                endings.wait_for_all()
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
    ended: Callable[[int, BaseException | None], None] | None = None,
    failed: Callable[[str], None] | None = None,
    hidden: Sequence[str] = (),
) -> NoReturn:
    """Runs `main` and ends the worker as a plain Python process would end: with its exit code, its
    threads waited for, its exit handlers run, its files written to their end.

    A fault that parallel_opt found is told in its own words, with the line of the script that met
    it, and ends the worker with the exit code of a command that finds it. `ended` is told that code
    and the error before the worker leaves, `failed` the last words: the last line printed, or what
    the script said by ``sys.exit``. Tracebacks start after the frames of the files in `hidden`.
    """
    code, stopped_by = 0, None
    try:
        main()
    except SystemExit as stop:
        code = _code_of(stop)
        if code and failed is not None:
            failed(f"{EXIT} {code}" if isinstance(stop.code, int) else str(stop.code))
    except KeyboardInterrupt:
        code = 130
    except BaseException as error:
        text, code = _told(error, (__file__, *hidden))
        stopped_by = error
        _show(error, text, (__file__, *hidden))
        if failed is not None:
            failed(text.splitlines()[-1])
    script_end.wait_for_threads()
    if ended is not None:
        ended(code, stopped_by)
    stopped_by = None  # its traceback holds what the script has left open
    script_end.run_exit_handlers()
    script_end.drop_script()
    script_end.close_files()
    finish(code)


_PEER_ERRORS = ("gloo/transport", "Connection closed by peer", "Connection reset by peer")


def _code_of(stop: SystemExit) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return 1


def _show(error: BaseException, text: str, hidden: Sequence[str]) -> None:
    """Prints `text`, unless the script has its own way to show its errors."""
    own = sys.excepthook is not sys.__excepthook__ and not isinstance(error, _FaultError)
    if own and not is_peer_lost(error):
        sys.excepthook(type(error), error, frames_after(error, hidden))
    else:
        sys.stderr.write(text)


def is_peer_lost(error: BaseException) -> bool:
    """Whether a collective failed because the process at its other end has died."""
    several = os.environ.get("WORLD_SIZE", "1") != "1"
    return (
        several and isinstance(error, RuntimeError) and any(w in str(error) for w in _PEER_ERRORS)
    )


def _told(error: BaseException, hidden: Sequence[str]) -> tuple[str, int]:
    """What a worker that ends with this error prints, and its exit code."""
    if is_peer_lost(error):
        # The rank that failed first says why; 30 lines of its peers' would bury that.
        first = _gist(error)
        return f"{_line(error, hidden)}rank {os.environ.get('RANK')}: {PEER_LOST}: {first}\n", 1
    if not isinstance(error, _FaultError) or isinstance(error, InternalError):
        return traceback_without(error, hidden), 1
    return "\n".join([_line(error, hidden) + fault_lines(error)[0], *fault_lines(error)[1:], ""]), (
        exit_code(error)
    )


def _gist(error: BaseException) -> str:
    """What gloo says, without the line of its source before it and the advice after it."""
    first = str(error).splitlines()[0].split(". This is")[0]
    return first.split(".cc:", 1)[-1].partition("] ")[2] or first


def _line(error: BaseException, hidden: Sequence[str]) -> str:
    """The line of the script that met an error, as tracebacks write it."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_filename not in hidden:
            return f'  File "{frame.f_code.co_filename}", line {line}\n'
    return ""


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
