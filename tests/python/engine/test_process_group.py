"""Joining from the launcher's variables, and leaving with the right exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forks import forked
from parallel_opt.engine import process_group
from parallel_opt.errors import InputError

SCRIPT = """
import os, sys
import torch, torch.distributed as dist
from parallel_opt.engine import process_group

def main():
    group = process_group.join(timeout_s=120)
    torch.manual_seed(group.rank + 5)
    seed = process_group.share_seed(group)
    total = torch.tensor([group.rank + 1.0, torch.rand(()).item()])
    dist.all_reduce(total, group=group.handle)
    print(f"rank {group.rank} of {group.size}: {total[0].item():.0f}, seed {seed}")
    if os.environ["LOCAL_RANK"] == "1":
        HOW
process_group.run_worker(main)
"""


def launch(tmp_path: Path, how: str) -> subprocess.CompletedProcess[str]:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("HOW", how))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    python = [str(Path(process_group.__file__).parents[2])]
    environment["PYTHONPATH"] = os.pathsep.join(
        python + environment.get("PYTHONPATH", "").split(":")
    )
    options = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--local-addr=127.0.0.1"]
    return subprocess.run(
        [
            sys.executable,
            *("-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1"),
            *(*options, str(script)),
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_ranks_of_torchrun_join_at_each_attempt_and_leave_with_code_0(tmp_path: Path) -> None:
    fail_once = "os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and sys.exit(3)"
    done = launch(tmp_path, fail_once)
    assert done.returncode == 0, done.stderr
    # 1 + 2 = 3; rank 0's seed 5 on both, under new names the second time
    # Both write to one pipe: their lines may run together. Rank 0 may be ended before its first.
    counts = [done.stdout.count(f"rank {rank} of 2: 3, seed 5") for rank in (0, 1)]
    assert counts in ([2, 2], [1, 2])


@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("raise ValueError('bad data')", 1, "ValueError: bad data"),
        ("sys.exit(7)", 7, ""),
        ("sys.exit('stopped')", 1, "stopped"),
        ("raise KeyboardInterrupt", 130, ""),
        ("sys.exit()", 0, ""),
    ],
)
def test_a_worker_leaves_with_its_own_code(how: str, code: int, text: str, tmp_path: Path) -> None:
    done = forked(_leave, how, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert text in done.stderr


def _leave(how: str) -> None:
    process_group.run_worker(lambda: exec(how))


def test_without_ranks_in_the_environment_one_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    group = process_group.join()
    assert (group.rank, group.size, group.handle) == (0, 1, None)
    assert process_group.share_seed(group) == torch.initial_seed()


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("RANK", "environment variable RANK: is not set"),
        ("MASTER_ADDR", "environment variable MASTER_ADDR: is not set"),
    ],
)
def test_a_half_set_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, missing: str, text: str
) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv(missing)
    with pytest.raises(InputError) as caught:
        process_group.join()
    assert str(caught.value) == f"{text} (start the script with `parallel-opt run` or torchrun)"


def test_a_number_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError) as caught:
        process_group.join()
    assert str(caught.value) == (
        "environment variable WORLD_SIZE: 'two' is not a number "
        "(start the script with `parallel-opt run` or torchrun)"
    )
