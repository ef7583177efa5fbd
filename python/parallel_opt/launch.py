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
from collections.abc import Sequence
from pathlib import Path

from parallel_opt.errors import (
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


def _start(command: Sequence[str], ranks: int, logs: Path) -> int:
    """Run the workers of one attempt to their end and return the exit code of the first that
    failed, else 0."""
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
        rank, failure = error.get_first_failure()
        if failure.exitcode != RELAUNCH_EXIT_CODE:
            _tell_failure(rank, failure.exitcode, logs)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except (KeyboardInterrupt, SignalException):
        return INTERRUPTED
    return 0


def _tell_failure(rank: int, code: int, logs: Path) -> None:
    """What the user cannot see on the terminal: a signal, and the messages of a rank other than
    0."""
    name = f"rank {rank}"
    if code < 0:
        text = f"{name} was killed by {_signal_name(-code)}"
        if -code == signal.SIGKILL:
            text += ": most often the system, when memory runs out (fewer ranks or a smaller batch)"
        print(text, file=sys.stderr)
    if rank == 0:
        return  # its stderr is the terminal's
    own, first = (_last_words(logs, r) for r in (rank, 0))
    if own is not None and own == first:
        return  # rank 0 has failed alike, and that stands on stderr already
    tail: list[str] = []
    for path in sorted(logs.glob(f"**/{rank}/stderr.log")):
        tail = path.read_text(errors="replace").splitlines()[-30:]
    if tail:
        print(
            f"{name} failed; the end of what it wrote to stderr:", *tail, sep="\n", file=sys.stderr
        )
    elif code > 0:
        print(f"{name} ended with exit code {code} and wrote nothing to stderr", file=sys.stderr)


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


def _run(options: argparse.Namespace, run_dir: Path) -> int:
    if not Path(options.script).is_file():
        raise MachineError(options.script, "no such script", "is the path right?")
    pinned = _ranks(options.ranks)
    plan = Path(options.plan).resolve() if options.plan else None
    given = plan is not None
    if plan is not None and not plan.is_file():
        raise MachineError(str(plan), "no such plan", "write one with parallel-opt plan -o FILE")
    ranks = pinned or (_planned_ranks(plan) if plan else _first_ranks())
    command = ["-m", "parallel_opt.worker", options.script, *options.arguments]
    while True:
        os.environ.update(_environment(run_dir, ranks, pinned is not None, plan, given))
        # A report directory may hold the logs of earlier runs.
        attempt = "first" if given or plan is None else "again"
        logs = run_dir / "logs" / f"{os.getpid()}-{attempt}"
        logs.mkdir(parents=True, exist_ok=True)
        os.environ[LOG_DIR] = str(logs)
        code = _start(command, ranks, logs)
        wanted = run_dir / "relaunch.json"
        if code != RELAUNCH_EXIT_CODE or not wanted.is_file():
            return code
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
            code = _run(options, run_dir)
            _print_document(run_dir, options.json, stdout.write)
            return code
        with tempfile.TemporaryDirectory(prefix="parallel_opt_run_") as temporary:
            code = _run(options, Path(temporary))
            _print_document(Path(temporary), options.json, stdout.write)
            return code
    except _FaultError as error:
        return report_error(error, options.json, stdout.write)
    finally:
        stdout.flush()


def _print_document(run_dir: Path, wanted: bool, write: object) -> None:
    document = run_dir / "run.json"
    if wanted and document.is_file() and callable(write):
        write(document.read_text())


def report_error(error: _FaultError, as_json: bool, write: object) -> int:
    """Print the faults on stderr, with ``as_json`` as a document too; returns the exit code."""
    print(*fault_lines(error), sep="\n", file=sys.stderr)
    if as_json and callable(write):
        errors = [{"where": a, "what": b, "hint": c} for a, b, c in error.faults]
        write(json.dumps({"schema": "parallel-opt/error/1", "errors": errors}, indent=2) + "\n")
    return exit_code(error)


if __name__ == "__main__":
    sys.exit(main())
