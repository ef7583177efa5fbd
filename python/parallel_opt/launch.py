"""Run an unchanged training script on this host: ``python -m parallel_opt.launch train.py``.

The ranks are started and watched by torchrun's elastic agent. With ``--ranks auto`` the first
attempt has one rank per GPU (one on a CPU host); when the plan found at the first forward wants
another number, the workers stop there, before any step, and are started again with it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from parallel_opt.errors import (
    Fault,
    InputError,
    MachineError,
    _FaultError,
    exit_code,
    fault_lines,
)
from parallel_opt.output import check_writable

log = logging.getLogger("parallel_opt")

RELAUNCH_EXIT_CODE = (
    75  # EX_TEMPFAIL of sysexits.h: "try again", no code that a training script is likely to use
)
INTERRUPTED = 130
RANKS = "PARALLEL_OPT_RANKS"
"""Variable with the number of ranks, or auto: the first plan may ask for another one."""
RELAUNCH_PLAN = "PARALLEL_OPT_RELAUNCH_PLAN"
"""Variable with the file of the plan that asked for another number of ranks. Unlike a plan that the
user gives, it counts for the model that it was made for only."""


LOG_LEVEL = "PARALLEL_OPT_LOG_LEVEL"
"""Variable with the least level of what the ranks log, by its name in ``logging``."""

LOG_DIR = "PARALLEL_OPT_LOG_DIR"
"""Variable with the directory of this attempt's logs."""

EXIT = "SystemExit:"
"""How the last words of a script begin that ends itself with a number: it wants no message."""

PEER_LOST = "another rank is gone"
"""In the last words of a rank that failed because a peer did."""


def worker_error_file(logs: Path, rank: int) -> Path:
    """Where a rank notes the error that ended it."""
    return logs / f"error.{rank}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parallel-opt run",
        description="Run an unchanged training script on all local devices.",
    )
    parser.add_argument("--ranks", default="auto", help="processes: a number, or auto (planned)")
    parser.add_argument(
        "--report", metavar="DIR", help="write run.json, timeline.json, report.html"
    )
    parser.add_argument("--plan", metavar="FILE", help="run this plan instead of searching")
    parser.add_argument("--json", action="store_true", help="print run.json on stdout at the end")
    parser.add_argument("--quiet", action="store_true", help="no messages but warnings and errors")
    parser.add_argument("--verbose", action="store_true", help="more messages")
    parser.add_argument("-m", "--module", action="store_true", help="script names a module")
    parser.add_argument("script", help="the training script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed to the script")
    return parser


def _ranks(text: str) -> int | None:
    """The pinned number of ranks; None for auto."""
    if text == "auto":
        return None
    if not text.isdigit() or int(text) < 1:
        raise InputError(
            "--ranks", f"{text!r} is no number of processes", "a number above 0, or auto"
        )
    return int(text)


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _first_ranks() -> int:
    """One rank per GPU; one on a CPU host, where cores are shared out by the plan."""
    import torch

    return max(1, torch.cuda.device_count())


def _planned_ranks(plan_file: Path) -> int:
    from parallel_opt._core import Plan

    return int(Plan.from_json(plan_file.read_text(), str(plan_file)).mesh.ranks)


def _environment(
    run_dir: Path, ranks: int, pinned: bool, plan: Path | None, given: bool
) -> dict[str, str]:
    environment = {
        "PARALLEL_OPT_RUN_DIR": str(run_dir),
        RANKS: str(ranks) if pinned else "auto",
        # Reference: with gloo a restarted script must not reuse the agent's store
        # (docs/design.md#launch).
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if plan is not None:
        environment["PARALLEL_OPT_PLAN" if given else RELAUNCH_PLAN] = str(plan)
    if "OMP_NUM_THREADS" not in os.environ:
        environment["OMP_NUM_THREADS"] = str(max(1, _usable_cores() // ranks))
    return environment


class Ending(NamedTuple):
    """Of one attempt: the exit code of the rank that failed first, else 0, and what ended it."""

    code: int
    fault: Fault | None = None


def _start(command: Sequence[str], ranks: int, logs: Path) -> Ending:
    """Run the workers of one attempt to their end."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The agent's own report repeats what the script's traceback already says.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=f"parallel_opt_{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        # Every rank runs the whole script: what ranks other than 0 print is the same again, so it
        # goes to files.
        logs_specs=DefaultLogsSpecs(
            log_dir=str(logs), redirects={rank: Std.ALL for rank in range(1, ranks)}
        ),
    )
    try:
        elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        rank = _to_blame(error.get_first_failure()[0], codes, logs)
        fault = (
            None if codes[rank] == RELAUNCH_EXIT_CODE else _tell_failure(rank, codes[rank], logs)
        )
        return Ending(codes[rank] if codes[rank] > 0 else 128 - codes[rank], fault)
    except (KeyboardInterrupt, SignalException):
        return Ending(INTERRUPTED, ("", "interrupted", ""))
    return Ending(0)


def _to_blame(first: int, codes: dict[int, int], logs: Path) -> int:
    """The rank that failed by itself, where `first` has only lost its peer."""
    if not _lost_its_peer(first, logs):
        return first
    others = (r for r, c in codes.items() if c != -signal.SIGTERM and not _lost_its_peer(r, logs))
    return next(others, first)


def _lost_its_peer(rank: int, logs: Path) -> bool:
    return PEER_LOST in (_last_words(logs, rank) or "")


def _tell_failure(rank: int, code: int, logs: Path) -> Fault:
    """Prints what the user cannot see on the terminal: a signal, and the messages of a rank other
    than 0. Returns it all in one fault."""
    name = f"rank {rank}"
    own, first = (_last_words(logs, r) for r in (rank, 0))
    fault = (name, own or f"ended with exit code {code}", "")
    if code < 0:
        hint = "fewer ranks or a smaller batch" if -code == signal.SIGKILL else ""
        text = f"was killed by {_signal_name(-code)}"
        text += ": most often the system, when memory runs out" if hint else ""
        fault = (name, text, hint)
    if code > 0 and (own or "").startswith(EXIT):
        fault = (name, f"ended itself with exit code {code}", "")
        log.debug("%s %s", name, fault[1])  # the script's own wish, and nothing to be told of
    elif rank != 0 and (own is None or own != first):  # rank 0's stderr is the terminal's
        _show_stderr(rank, code, logs)
    if code < 0:
        print(f"{name} {fault[1]}" + (f" ({fault[2]})" if fault[2] else ""), file=sys.stderr)
    return fault


def _show_stderr(rank: int, code: int, logs: Path) -> None:
    tail: list[str] = []
    for path in sorted(logs.glob(f"**/{rank}/stderr.log")):
        tail = path.read_text(errors="replace").splitlines()[-30:]
    if tail:
        head = f"rank {rank} failed; the end of what it wrote to stderr:"
        print(head, *tail, sep="\n", file=sys.stderr)
    elif code > 0:
        print(
            f"rank {rank} ended with exit code {code} and wrote nothing to stderr", file=sys.stderr
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(logs: Path, rank: int) -> str | None:
    """The error that ended a rank, as the worker noted it."""
    try:
        return worker_error_file(logs, rank).read_text()
    except OSError:
        return None


def _run(options: argparse.Namespace, run_dir: Path) -> Ending:
    if not options.module and not Path(options.script).is_file():
        raise MachineError(options.script, "no such script", "is the path right?")
    pinned = _ranks(options.ranks)
    plan = Path(options.plan).resolve() if options.plan else None
    given = plan is not None
    if plan is not None and not plan.is_file():
        raise MachineError(str(plan), "no such plan", "write one with parallel-opt plan -o FILE")
    ranks = pinned or (_planned_ranks(plan) if plan else _first_ranks())
    if ranks > _usable_cores():
        log.warning("%d ranks share %d cores: one thread each", ranks, _usable_cores())
    module = ["-m"] if options.module else []
    command = ["-m", "parallel_opt.worker", *module, options.script, *options.arguments]
    while True:
        os.environ.update(_environment(run_dir, ranks, pinned is not None, plan, given))
        # A report directory may hold the logs of earlier runs.
        attempt = "first" if given or plan is None else "again"
        logs = run_dir / "logs" / f"{os.getpid()}-{attempt}"
        logs.mkdir(parents=True, exist_ok=True)
        os.environ[LOG_DIR] = str(logs)
        ending = _start(command, ranks, logs)
        wanted = run_dir / "relaunch.json"
        if ending.code != RELAUNCH_EXIT_CODE or not wanted.is_file():
            return ending
        # The script ran up to its first forward only; the plan asks for another number of ranks.
        plan, given = wanted.rename(run_dir / "plan.json"), False
        planned = _planned_ranks(plan)
        log.warning(
            "the plan wants %d ranks, not %d: starting again before any step", planned, ranks
        )
        ranks, pinned = planned, planned
        os.environ.pop("OMP_NUM_THREADS", None)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code of the script, or ours (2 usage, 4 bad input, 5 missing
    part)."""
    options = _parser().parse_args(argv)
    level = logging.WARNING if options.quiet else logging.INFO
    level = logging.DEBUG if options.verbose else level
    os.environ[LOG_LEVEL] = logging.getLevelName(level)
    logging.basicConfig(level=level, format="parallel-opt: %(message)s", stream=sys.stderr)
    stdout = sys.stdout
    if options.json:  # stdout is for the document alone: what the script prints goes to stderr
        saved = os.dup(1)
        os.dup2(2, 1)
        stdout = os.fdopen(saved, "w")
    try:
        if options.report:
            run_dir = Path(options.report).resolve()
            check_writable(run_dir)
            with contextlib.suppress(FileNotFoundError):  # an earlier run's, kept
                (run_dir / "run.json").replace(run_dir / "run.previous.json")
            ending = _run(options, run_dir)
            _print_document(run_dir, options.json, stdout.write, ending)
            return ending.code
        with tempfile.TemporaryDirectory(prefix="parallel_opt_run_") as temporary:
            ending = _run(options, Path(temporary))
            _print_document(Path(temporary), options.json, stdout.write, ending)
            return ending.code
    except _FaultError as error:
        return report_error(error, options.json, stdout.write)
    finally:
        stdout.flush()


def _print_document(
    run_dir: Path, wanted: bool, write: Callable[[str], object], ending: Ending
) -> None:
    """The run's document; where rank 0 was ended before it could write one, what ended the run."""
    if not wanted:
        return
    document = run_dir / "run.json"
    if document.is_file():
        write(document.read_text())
    else:
        write(_error_document([ending.fault] if ending.fault is not None else []))


def _error_document(faults: Sequence[Fault]) -> str:
    errors = [{"where": a, "what": b, "hint": c} for a, b, c in faults]
    return json.dumps({"schema": "parallel-opt/error/1", "errors": errors}, indent=2) + "\n"


def report_error(error: _FaultError, as_json: bool, write: Callable[[str], object]) -> int:
    """Print the faults on stderr, with ``as_json`` as a document too; returns the exit code."""
    print(*fault_lines(error), sep="\n", file=sys.stderr)
    if as_json:
        write(_error_document(error.faults))
    return exit_code(error)


if __name__ == "__main__":
    sys.exit(main())
