"""Questions: how long do `import parallel_opt` and `parallel-opt plan` of a 12-layer GPT take?

Budgets: 100 ms (and torch is not imported), 50 ms. Whole processes; the empty interpreter is timed
in turns with the import and subtracted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROUNDS = 11


def seconds(command: list[str]) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def import_time() -> None:
    empty = [sys.executable, "-c", "pass"]
    code = "import sys, parallel_opt; assert 'torch' not in sys.modules"
    full = [sys.executable, "-c", code]
    seconds(full)
    pairs = [(seconds(empty), seconds(full)) for _ in range(ROUNDS)]
    extra = sorted(1e3 * (b - a) for a, b in pairs)
    print(
        f"import parallel_opt: {median(extra):.0f} ms without torch "
        f"({extra[0]:.0f} to {extra[-1]:.0f}; budget 100 ms)"
    )


def plan_time() -> None:
    import torch

    from parallel_opt.capture import export
    from parallel_opt.demo.models import ByteGPT

    program = Path(sys.executable).with_name("parallel-opt")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gpt.pt2"
        path.write_bytes(export(ByteGPT(depth=12).train(), (torch.zeros(8, 128).long(),)))
        command = [str(program), "plan", "--model", str(path), "--cluster", "local", "--json"]
        version = [str(program), "version"]
        seconds(command)
        times = sorted(1e3 * seconds(command) for _ in range(ROUNDS))
        start = sorted(1e3 * seconds(version) for _ in range(ROUNDS))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        search_ms = 1e3 * json.loads(done.stdout)["search"]["wall_s"]
    print(
        f"parallel-opt plan, 12-layer GPT: {median(times):.0f} ms whole process "
        f"({times[0]:.0f} to {times[-1]:.0f}; budget 50 ms), of that {search_ms:.1f} ms search; "
        f"`parallel-opt version` takes {median(start):.0f} ms"
    )


if __name__ == "__main__":
    import_time()
    plan_time()
