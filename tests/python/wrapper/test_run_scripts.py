"""Scripts as people write them for several ranks, unchanged, under ``parallel-opt run``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from launching import losses, run

HEAD = """
import os, sys, random, torch, torch.nn as nn, torch.nn.functional as F, torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset
from parallel_opt import OptimizedParallel
pins = {"compile": False, "precision": "fp32", "probe_budget_s": 0.0}
torch.manual_seed(0)
X, Y = torch.randn(48, 6), torch.randint(3, (48,))
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
    def training_step(self, x, y):
        return F.cross_entropy(self(x), y)
    def by_hand(self, x, y):
        return F.cross_entropy(self.last(torch.relu(self.first(x))), y)
"""
SHARDED = """
model = OptimizedParallel(Net(), **pins)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
data = TensorDataset(X, Y)
for x, y in DataLoader(data, batch_size=8, sampler=DistributedSampler(data, shuffle=False)):
    optimizer.zero_grad()
    LOSS.backward()
    optimizer.step()
weights = torch.cat([p.detach().flatten() for p in model.parameters()])
everyone = [torch.empty_like(weights) for _ in range(dist.get_world_size())]
dist.all_gather(everyone, weights)
print("equal", all(torch.equal(w, weights) for w in everyone), "of", len(everyone))
"""


def sharded(loss: str) -> str:
    return SHARDED.replace("LOSS", loss)


def test_a_script_that_sets_up_its_own_group_runs_and_takes_it_down(tmp_path: Path) -> None:
    script = HEAD + 'dist.init_process_group("gloo")\n' + sharded("F.cross_entropy(model(x), y)")
    done = run(tmp_path, script + "dist.destroy_process_group()\n", "--ranks", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal True of 2\n"
    assert (
        "parallel-opt: torch.distributed.init_process_group: the 2 ranks of this run are joined by "
        "gloo already\n"
    ) in done.stderr


def test_a_script_with_a_sampler_runs_on_one_rank_too(tmp_path: Path) -> None:
    done = run(tmp_path, HEAD + sharded("F.cross_entropy(model(x), y)"), "--ranks", "1")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal True of 1\n"


def test_a_script_that_wants_other_ranks_is_refused(tmp_path: Path) -> None:
    script = HEAD + 'dist.init_process_group("gloo", rank=0, world_size=4)\n'
    done = run(tmp_path, script, "--ranks", "1")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "error: torch.distributed.init_process_group(world_size=): the script wants 4 ranks, this "
        "run has 1 (leave it out, or start that many: parallel-opt run --ranks 4)"
    )


def test_a_second_setup_is_refused_as_torch_does(tmp_path: Path) -> None:
    script = HEAD + 'dist.init_process_group("gloo")\n' * 2
    done = run(tmp_path, script, "--ranks", "1")
    assert done.returncode == 1
    assert "initialize the default process group twice" in done.stderr


def test_gradients_are_averaged_when_the_loop_calls_a_method(tmp_path: Path) -> None:
    done = run(tmp_path, HEAD + sharded("model.training_step(x, y)"), "--ranks", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "equal True of 2\n"
    assert "parallel-opt: plan: 2 ranks" in done.stderr


def test_ranks_that_would_train_apart_are_stopped(tmp_path: Path) -> None:
    done = run(tmp_path, HEAD + sharded("model.by_hand(x, y)"), "--ranks", "2")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "error: OptimizedParallel: SGD steps on parameters of a model whose forward never ran "
        "through its wrapper: 2 ranks would train 2 models (in training mode, call the wrapped "
        "model, or a method of it that calls the model)"
    )


GLOBAL = """
torch.set_default_dtype(torch.float64)
X = X.double()
model = OptimizedParallel(Net(), **pins)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
for step in range(5):
    rows = slice(8 * step, 8 * step + (8 if step < 4 else 5))  # the last batch is uneven
    optimizer.zero_grad()
    loss = F.cross_entropy(model(X[rows]), Y[rows])
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.12f}")
print("world", os.environ["WORLD_SIZE"], sum(p.abs().sum().item() for p in model.parameters()))
"""


def test_four_ranks_on_fewer_cores_train_what_one_trains(tmp_path: Path) -> None:
    one, four = (run(tmp_path, HEAD + GLOBAL, "--ranks", n) for n in "14")
    assert one.returncode == 0, one.stderr
    assert four.returncode == 0, four.stderr
    assert losses(four.stdout) == pytest.approx(losses(one.stdout), rel=1e-10)
    assert len(losses(four.stdout)) == 5
    last = [out.splitlines()[-1].split() for out in (one.stdout, four.stdout)]
    assert [words[1] for words in last] == ["1", "4"]
    assert float(last[1][2]) == pytest.approx(float(last[0][2]), rel=1e-10)


RANDOM = """
import numpy
random.seed(1); numpy.random.seed(1)
class Drops(Net):
    def forward(self, x):
        hidden = torch.relu(self.first(x))
        if random.random() < 0.5:
            hidden = hidden * 2
        if numpy.random.rand() < 0.5:
            hidden = hidden + 1
        return self.last(hidden)
model = OptimizedParallel(Drops(), **pins)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(10):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(X[:8]), Y[:8])
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.6f}")
"""


def test_draws_of_python_and_numpy_equal_those_of_plain_pytorch(tmp_path: Path) -> None:
    plain = RANDOM.replace("OptimizedParallel(Drops(), **pins)", "Drops()")
    wanted = losses(run(tmp_path, HEAD + plain, "--ranks", "1").stdout)
    assert len(wanted) == 10
    for ranks in "12":
        done = run(tmp_path, HEAD + RANDOM, "--ranks", ranks)
        assert done.returncode == 0, done.stderr
        assert losses(done.stdout) == pytest.approx(wanted, abs=2e-6), ranks


def test_a_failed_plan_stands_in_the_document(tmp_path: Path) -> None:
    script = HEAD + "model = OptimizedParallel(Net(), **pins)\nmodel(X[:1])\n"
    done = run(tmp_path, script, "--ranks", "2", "--json")
    assert done.returncode == 3
    document = json.loads(done.stdout)
    what = (
        "nothing fits: job.global_batch: batch smaller than ranks: 1 samples for 2 replicas (use "
        "at most 1 ranks or a larger batch)"
    )
    assert document["errors"] == [{"where": "plan", "what": what, "hint": ""}]
    assert document["exit_code"] == 3
    absent = {"machine", "plan", "plan_line", "planning", "measured", "events"}
    assert absent.isdisjoint(document)
    assert done.stderr.splitlines()[-1] == f"error: plan: {what}"


def test_an_error_of_the_script_stands_in_the_document(tmp_path: Path) -> None:
    done = run(tmp_path, "x = 1\nraise ValueError('mine')\n", "--ranks", "1", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["errors"] == [
        {"where": f"{tmp_path}/train.py:2", "what": "ValueError: mine", "hint": ""}
    ]


def test_a_rank_that_is_killed_leaves_a_document(tmp_path: Path) -> None:
    script = HEAD + "import signal, time\nif dist.get_rank() == 1: os.kill(os.getpid(), 9)\n"
    done = run(tmp_path, script + "time.sleep(600)\n", "--ranks", "2", "--json")
    assert done.returncode == 137
    assert json.loads(done.stdout) == {
        "schema": "parallel-opt/error/1",
        "errors": [
            {
                "where": "rank 1",
                "what": "was killed by SIGKILL: most often the system, when memory runs out",
                "hint": "fewer ranks or a smaller batch",
            }
        ],
    }


def test_a_lost_peer_is_told_in_a_line_and_its_killer_last(tmp_path: Path) -> None:
    script = HEAD + "import signal\nif dist.get_rank() == 1: os.kill(os.getpid(), 9)\n"
    done = run(tmp_path, script + "dist.barrier()\n", "--ranks", "2")
    assert done.returncode == 137
    assert "Traceback" not in done.stderr and "gloo" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("rank 1 was killed by SIGKILL: ")


def test_a_script_that_ends_itself_on_all_ranks_is_not_commented_on(tmp_path: Path) -> None:
    done = run(tmp_path, "import sys; sys.exit(7)", "--ranks", "2", "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


def test_a_script_that_trains_nothing_is_told_so(tmp_path: Path) -> None:
    done = run(tmp_path, "print('hello')", "--ranks", "1")
    assert (done.returncode, done.stdout) == (0, "hello\n")
    assert done.stderr == (
        "parallel-opt: the script trained no OptimizedParallel: nothing was planned or measured\n"
    )


def test_a_sample_that_fails_on_one_rank_ends_the_run(tmp_path: Path) -> None:
    """The loop skips it; the ranks would pair different batches from there on."""
    script = (
        HEAD
        + """
from parallel_opt.engine import parted
parted.PATIENCE_S = 0.5
net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(8, 2))
model = OptimizedParallel(net, **pins)
for step in range(6):
    tokens = torch.randint(10, (6, 2))
    tokens[0, 0] = 77 if step == 3 else 0
    try:
        model(tokens).sum().backward()
    except IndexError:
        print("skipped")
print("done")
"""
    )
    done = run(tmp_path, script, "--ranks", "2")
    assert (done.returncode, done.stdout) == (1, "")
    assert "IndexError: index out of range in self" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "parallel_opt.engine.parted.RanksParted: rank 0 alone fails on its part of the batch: the "
        "ranks cannot go on together (leave the sample out of the data, or run on one rank)"
    )


def test_ranks_may_load_the_checkpoint_that_they_just_wrote(tmp_path: Path) -> None:
    script = (
        HEAD
        + """
model = OptimizedParallel(Net(), **pins)
model(X[:8]).sum().backward()
for step in range(100):
    torch.save(model.state_dict(), "best.pt")
    model.load_state_dict(torch.load("best.pt"))
print("fine")
"""
    )
    script = f"import os; os.chdir(r'{tmp_path}')\n" + script
    done = run(tmp_path, script, "--ranks", "2")
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
