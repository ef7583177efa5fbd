"""``parallel-opt run``: exit codes, tracebacks, ranks, documents, no orphans."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from launching import losses, run, started

TRAIN = """
import os, torch
from parallel_opt import OptimizedParallel
torch.manual_seed(0)
pins = {"compile": False, "precision": "fp32", "probe_budget_s": 5.0}
model = OptimizedParallel(torch.nn.Linear(4, 2), **pins)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(8):
    optimizer.zero_grad()
    x = torch.arange(24.0).reshape(6, 4) / 24 + step / 8
    loss = model(x).square().mean()
    loss.backward()
    optimizer.step()
    print(f"step {step} loss {loss.item():.6f}")
print("world", os.environ["WORLD_SIZE"])
"""


def test_one_and_two_ranks_print_the_same_losses_once(tmp_path: Path) -> None:
    one = run(tmp_path, TRAIN, "--ranks", "1")
    two = run(tmp_path, TRAIN, "--ranks", "2")
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    assert "world 1" in one.stdout and "world 2" in two.stdout
    assert len(losses(two.stdout)) == 8
    assert all(
        abs(a - b) <= 2e-6 for a, b in zip(losses(one.stdout), losses(two.stdout), strict=True)
    )


def test_report_directory_holds_the_documents(tmp_path: Path) -> None:
    done = run(tmp_path, TRAIN, "--ranks", "1", "--report", str(tmp_path / "out"), "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)  # stdout holds the document alone
    assert document["schema"] == "parallel-opt/run/1"
    assert document["exit_code"] == 0 and document["plan"]["mesh"]["data"] == 1
    assert document == json.loads((tmp_path / "out" / "run.json").read_text())
    assert (tmp_path / "out" / "timeline.json").is_file()
    assert (tmp_path / "out" / "report.html").is_file()
    assert "step 0 loss" in done.stderr


def test_a_script_that_raises_keeps_its_traceback_and_exit_code(tmp_path: Path) -> None:
    done = run(tmp_path, "def f():\n    raise ValueError('no such luck')\nf()\n", "--ranks", "2")
    assert done.returncode == 1
    assert done.stderr.count("ValueError: no such luck") == 1
    assert 'train.py", line 3, in <module>' in done.stderr
    assert "runpy" not in done.stderr and "worker.py" not in done.stderr


def test_quiet_run_tells_nothing_and_another_run_its_plan(tmp_path: Path) -> None:
    told, quiet = (run(tmp_path, TRAIN, "--ranks", "1", *flags) for flags in ([], ["--quiet"]))
    assert "parallel-opt: plan: 1 rank" in told.stderr
    assert (quiet.returncode, quiet.stderr) == (0, "")


def test_plan_of_another_model_is_a_fault_of_the_input(tmp_path: Path) -> None:
    other = "model = OptimizedParallel(torch.nn.Linear(4, 3), **pins)\nmodel(torch.ones(6, 4))\n"
    made = TRAIN[: TRAIN.index("model =")] + other
    run(tmp_path, made + f"model.export_plan(r'{tmp_path}/plan.json')\n", "--ranks", "1")
    done = run(tmp_path, TRAIN, "--plan", str(tmp_path / "plan.json"))
    assert done.returncode == 4
    script, fault = done.stderr.splitlines()[-2:]
    assert script == f'  File "{tmp_path}/train.py", line 11'
    assert fault.startswith(f"error: {tmp_path}/plan.json:provenance.model_hash: ")
    assert "Traceback" not in done.stderr


def test_an_earlier_report_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text("of yesterday")
    done = run(tmp_path, "raise SystemExit(3)", "--report", str(tmp_path / "out"))
    assert done.returncode == 3
    assert (tmp_path / "out" / "run.previous.json").read_text() == "of yesterday"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["exit_code"] == 3


def test_exit_code_of_the_script_is_passed_on(tmp_path: Path) -> None:
    assert run(tmp_path, "import sys; sys.exit(7)", "--ranks", "1").returncode == 7


def test_arguments_reach_the_script(tmp_path: Path) -> None:
    """Launcher and ranks are programs here, as a user has them."""
    script = tmp_path / "train.py"
    script.write_text("import sys; print(sys.argv[1:], __name__)")
    done = started(["--ranks", "2", str(script), "--lr", "0.5"])
    assert (done.returncode, done.stdout) == (0, "['--lr', '0.5'] __main__\n"), done.stderr


def test_one_dead_rank_ends_the_others(tmp_path: Path) -> None:
    script = (
        "import os, time, pathlib\n"
        f"pathlib.Path(r'{tmp_path}', 'pid' + os.environ['RANK']).write_text(str(os.getpid()))\n"
        "if os.environ['RANK'] == '1': raise SystemExit(3)\n"
        "time.sleep(600)\n"
    )
    done = run(tmp_path, script, "--ranks", "2")
    assert done.returncode == 3
    assert not _alive(int((tmp_path / "pid0").read_text()))


def test_error_of_another_rank_is_shown(tmp_path: Path) -> None:
    script = (
        "import os, time\n"
        "if os.environ['RANK'] == '1': raise ValueError('only here')\n"
        "time.sleep(600)\n"
    )
    done = run(tmp_path, script, "--ranks", "2")
    assert done.returncode == 1
    assert "rank 1 failed; the end of what it wrote to stderr:\n" in done.stderr
    assert done.stderr.count("ValueError: only here") == 1
    named = [word for word in done.stderr.split() if word.endswith(".log")]
    assert named == []  # its folder is gone by now


def test_logs_in_a_report_directory_stay(tmp_path: Path) -> None:
    script = "import os\nif os.environ['RANK'] == '1': raise ValueError('only here')\n"
    run(tmp_path, script, "--ranks", "2", "--report", str(tmp_path / "out"))
    logs = list((tmp_path / "out" / "logs").glob("**/1/stderr.log"))
    assert len(logs) == 1 and "ValueError: only here" in logs[0].read_text()


def test_killed_rank_names_the_signal_and_its_usual_cause(tmp_path: Path) -> None:
    script = (
        "import os, signal, time\n"
        "if os.environ['RANK'] == '0': os.kill(os.getpid(), signal.SIGKILL)\n"
        "time.sleep(600)\n"
    )
    done = run(tmp_path, script, "--ranks", "2")
    assert done.returncode == 128 + 9
    assert done.stderr.splitlines()[-1] == (
        "rank 0 was killed by SIGKILL: most often the system, when memory runs out (fewer ranks or "
        "a smaller batch)"
    )


TWO_MODELS = """
import os, pathlib, torch
from parallel_opt import OptimizedParallel
torch.manual_seed(0)
pins = {"compile": False, "precision": "fp32", "probe_budget_s": 0.0}
for width in (4, 8):
    model = OptimizedParallel(torch.nn.Linear(width, 2), **pins)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        optimizer.zero_grad()
        model(torch.ones(6, width)).square().mean().backward()
        optimizer.step()
    print(width, model.explain()[0])
"""


def test_second_model_of_a_relaunched_script_plans_for_itself(tmp_path: Path) -> None:
    # What a start that was asked for by the first model's plan looks like.
    export = f"model.export_plan(r'{tmp_path}/p')"
    one = TWO_MODELS.replace("(4, 8)", "(4,)").replace("print(", f"{export}; print(")
    first = run(tmp_path, one, "--ranks", "1")
    assert first.returncode == 0, first.stderr
    (tmp_path / "two.py").write_text(TWO_MODELS)
    done = subprocess.run(
        [sys.executable, "two.py"],
        cwd=tmp_path,
        env={**os.environ, "PARALLEL_OPT_RELAUNCH_PLAN": str(tmp_path / "p")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own, other = done.stdout.splitlines()
    assert own == "4 started again for this plan: ranks wanted: 1"
    assert other.startswith("8 ") and "started again" not in other


def test_killed_launcher_leaves_no_orphan(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import os, time, pathlib\n"
        f"pathlib.Path(r'{tmp_path}', 'pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-m", "parallel_opt.launch", "--ranks", "1", str(script)]
    launcher = subprocess.Popen(command)
    _wait_until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text() != "")
    worker = int((tmp_path / "pid").read_text())
    launcher.kill()
    launcher.wait()
    _wait_until(lambda: not _alive(worker))


def test_missing_script(tmp_path: Path) -> None:
    done = started([str(tmp_path / "none.py")])
    assert done.returncode == 4
    assert done.stderr == f"error: {tmp_path}/none.py: no such script (is the path right?)\n"


def test_ranks_that_are_no_number(tmp_path: Path) -> None:
    done = run(tmp_path, "", "--ranks", "many")
    assert done.returncode == 4
    text = "error: --ranks: 'many' is no number of processes (a number above 0, or auto)\n"
    assert done.stderr == text


def test_unwritable_report_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(tmp_path, "", "--report", str(tmp_path / "file" / "below"))
    assert done.returncode == 4
    assert "Not a directory (choose a directory you may write)" in done.stderr


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie waits for init to collect it; it runs nothing any more.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def _wait_until(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
