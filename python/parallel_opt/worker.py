"""One rank of ``parallel-opt run``: runs the user's script as ``__main__`` and ends in good
order."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from parallel_opt import compat, record
from parallel_opt.engine import endings, process_group, script_end, script_files
from parallel_opt.errors import InputError, exit_code, fault_lines
from parallel_opt.launch import LOG_DIR, LOG_LEVEL, worker_error_file
from parallel_opt.options import resolve

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def _die_with_parent() -> None:
    """Leave no orphan when the launcher is killed. Elsewhere than on Linux the agent cleans up."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _log_to_stderr() -> None:
    """Rank 0 tells what is planned; what a script prints stays its own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("parallel-opt: %(message)s"))
    log = logging.getLogger("parallel_opt")
    log.addHandler(handler)
    first = os.environ.get("RANK", "0") == "0"
    log.setLevel(os.environ.get(LOG_LEVEL, "INFO") if first else "ERROR")
    log.propagate = False  # a script that sets up logging of its own must not get each line twice


def _run_script() -> None:
    named = sys.argv[1] == "-m"
    script = sys.argv[2 if named else 1]
    sys.argv = sys.argv[2 if named else 1 :]
    sys.path[0] = os.getcwd() if named else str(Path(script).resolve().parent)
    # Ranks of an unchanged script must shuffle and initialise alike. While rank 0 plans, the others
    # wait: as long as they do at planning.
    group = process_group.start(timeout_s=resolve({})[0].timeout_s)
    if group.size > 1:
        process_group.share_seed(group)
        script_files.save_whole()
        endings.watch(compat.default_store(), group.rank, group.size, _stop)
    (script_end.run_module if named else script_end.run_script)(script)


def _note_error(words: str) -> None:
    """For the launcher, which tells an error that all ranks have once."""
    directory = os.environ.get(LOG_DIR)
    if directory is not None:
        path = worker_error_file(Path(directory), int(os.environ.get("RANK", "0")))
        with contextlib.suppress(OSError):  # the error itself stands on stderr
            path.write_text(words)


def _stop(fault: InputError) -> None:
    """From a thread, while the script waits for ranks that have ended."""
    words = fault_lines(fault)[0]
    print(words, file=sys.stderr, flush=True)
    _note_error(words)
    sys.stdout.flush()
    os._exit(exit_code(fault))


def main() -> None:
    """Run ``sys.argv[1]``, or the module after ``-m``, with the rest as its arguments. Does not
    return."""
    _die_with_parent()
    _log_to_stderr()
    hidden = (__file__, script_end.__file__)
    process_group.run_worker(_run_script, ended=record.close, failed=_note_error, hidden=hidden)


if __name__ == "__main__":
    main()
