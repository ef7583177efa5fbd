"""``with parallel_opt.energy()``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import parallel_opt
from parallel_opt import InputError


def test_a_block_is_metered_and_labelled() -> None:
    with parallel_opt.energy() as e:
        sum(range(100_000))
        with pytest.raises(InputError, match="the window is not over"):
            _ = e.energy_j
    assert e.window_s > 0
    assert e.quality in {"counter", "integrated_power", "modelled", "unavailable"}
    if e.energy_j is not None:
        assert e.energy_j.low <= e.energy_j.value <= e.energy_j.high
        assert e.energy_j.quality == e.quality
    assert [d.source for d in e.devices]


def test_a_meter_shows_its_energy_and_how_it_was_obtained() -> None:
    e = parallel_opt.energy()
    assert repr(e) == "<energy: the window is not over>"
    with e:
        pass
    amount = "" if e.energy_j is None else f"{e.energy_j.value:.4g} J, "
    assert repr(e) == f"<energy: {amount}{e.quality}, over {e.window_s:.4g} s>"


def test_a_second_window_starts_anew_and_errors_come_out() -> None:
    meter = parallel_opt.energy()
    with pytest.raises(KeyError), meter:
        raise KeyError("the user's own")
    first = meter.window_s
    with meter:
        pass
    assert meter.window_s != first


def test_the_command_meters_another_program() -> None:
    program = Path(sys.executable).with_name("parallel-opt")
    code = "import sys; print('hello'); sys.exit(3)"
    done = subprocess.run(
        [program, "energy", "--json", "--", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == "hello\n"
    document = json.loads(done.stdout)
    assert document["schema"] == "parallel-opt/energy/1"
    assert document["window_s"] > 0
    assert document["devices"]
