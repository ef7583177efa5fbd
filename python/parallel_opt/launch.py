"""Run an unchanged training script on this host: ``python -m parallel_opt.launch train.py``.

The ranks are started and watched by torchrun's elastic agent. With ``--ranks auto`` the first
attempt has one rank per GPU (one on a CPU host); when the plan found at the first forward wants
another number, the workers stop there, before any step, and are started again with it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from parallel_opt.errors import (
    InfeasibleError,
    InputError,
    MachineError,
    MissingPart,
    _FaultError,
)

log = logging.getLogger("parallel_opt")

RELAUNCH_EXIT_CODE = (
    75  # EX_TEMPFAIL of sysexits.h: "try again", no code that a training script is likely to use
)
INTERRUPTED = 130


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


def _environment(run_dir: Path, ranks: int, pinned: bool, plan: Path | None) -> dict[str, str]:
    environment = {
        "PARALLEL_OPT_RUN_DIR": str(run_dir),
        "PARALLEL_OPT_RANKS": str(ranks) if pinned else "auto",
        # Reference: with gloo a restarted script must not reuse the agent's store
        # (docs/design.md#launch).
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
    }
    if plan is not None:
        environment["PARALLEL_OPT_PLAN"] = str(plan)
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
        first = error.failures.get(0)  # its traceback stands on stderr already
        told = first is not None and first.exitcode > 0
        if not told and failure.exitcode != RELAUNCH_EXIT_CODE:
            _show_log_of(rank, logs)
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    except (KeyboardInterrupt, SignalException):
        return INTERRUPTED
    return 0


def _show_log_of(rank: int, logs: Path) -> None:
    """Print the end of what a rank other than 0 wrote before it failed."""
    for path in sorted(logs.glob(f"**/{rank}/stderr.log")):
        tail = path.read_text(errors="replace").splitlines()[-30:]
        print(f"rank {rank} failed; the end of {path}:", *tail, sep="\n", file=sys.stderr)


def _run(options: argparse.Namespace, run_dir: Path) -> int:
    if not Path(options.script).is_file():
        raise MachineError(options.script, "no such script", "is the path right?")
    pinned = _ranks(options.ranks)
    plan = Path(options.plan).resolve() if options.plan else None
    if plan is not None and not plan.is_file():
        raise MachineError(str(plan), "no such plan", "write one with parallel-opt plan -o FILE")
    ranks = pinned or (_planned_ranks(plan) if plan else _first_ranks())
    command = ["-m", "parallel_opt.worker", options.script, *options.arguments]
    while True:
        os.environ.update(_environment(run_dir, ranks, pinned is not None, plan))
        code = _start(command, ranks, run_dir / "logs")
        wanted = run_dir / "relaunch.json"
        if code != RELAUNCH_EXIT_CODE or not wanted.is_file():
            return code
        # The script ran up to its first forward only; the plan asks for another number of ranks.
        plan = wanted.rename(run_dir / "plan.json")
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
    logging.basicConfig(level=level, format="parallel-opt: %(message)s", stream=sys.stderr)
    stdout = sys.stdout
    if options.json:  # stdout is for the document alone: what the script prints goes to stderr
        saved = os.dup(1)
        os.dup2(2, 1)
        stdout = os.fdopen(saved, "w")
    try:
        if options.report:
            run_dir = Path(options.report).resolve()
            try:
                run_dir.mkdir(parents=True, exist_ok=True)
                (run_dir / "run.json").unlink(missing_ok=True)
                (run_dir / ".writable").touch()
                (run_dir / ".writable").unlink()
            except OSError as error:
                reason = error.strerror or str(error)
                raise MachineError(
                    str(run_dir), reason, "choose a directory you may write"
                ) from None
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
    for where, what, hint in error.faults:
        print(f"error: {where}: {what}" + (f" ({hint})" if hint else ""), file=sys.stderr)
    if as_json and callable(write):
        errors = [{"where": a, "what": b, "hint": c} for a, b, c in error.faults]
        write(json.dumps({"schema": "parallel-opt/error/1", "errors": errors}, indent=2) + "\n")
    if isinstance(error, InfeasibleError):
        return 3
    return 5 if isinstance(error, MissingPart) else 4


if __name__ == "__main__":
    sys.exit(main())
