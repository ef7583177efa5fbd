"""python -m parallel_opt.capture file.py:factory -o model.pt2"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_opt._core import load_model, summarize
from parallel_opt.capture import main

SOURCE = """
import torch
from torch import nn

def module_and_args():
    return nn.Linear(4, 2), (torch.randn(3, 4),)

def one_tensor():
    return nn.Linear(4, 2), torch.randn(3, 4)

class Scaled(nn.Linear):
    def forward(self, x, *, scale):
        return super().forward(x) * scale

def with_kwargs():
    return Scaled(4, 2), (torch.randn(3, 4),), {"scale": torch.tensor(2.0)}

def keyword_sample():
    return Scaled(4, 2), {"x": torch.randn(3, 4), "scale": torch.tensor(2.0)}

def with_loss():
    return nn.Linear(4, 2), torch.randn(3, 4), lambda y: y.pow(3).mean()

class Routed(nn.Linear):
    def forward(self, x):
        return super().forward(x) if float(x.sum()) > 0 else super().forward(super().forward(x))

def routed():
    return Routed(4, 4), torch.ones(3, 4)

def several_batches():
    return Routed(4, 4), [torch.ones(3, 4), -torch.ones(3, 4)]

class Hub(nn.Linear):
    dummy_inputs = {"input": torch.ones(3, 4)}

def with_dummy_inputs():
    return Hub(4, 2)

def four_things():
    return nn.Linear(4, 2), (torch.randn(3, 4),), {}, 4

def odd_third():
    return nn.Linear(4, 2), (torch.randn(3, 4),), "loss"

def no_module():
    return 3

def breaks():
    raise KeyError("my own mistake")

def raises():
    return nn.Linear(4, 2), (torch.randn(3, 5),)
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(
    "factory",
    ["module_and_args", "one_tensor", "with_kwargs", "keyword_sample", "with_dummy_inputs"],
)
def test_saves_what_the_factory_returns(source, tmp_path, factory):
    out = tmp_path / "out.pt2"
    assert main([f"{source}:{factory}", "-o", str(out)]) == 0
    graph = load_model(str(out))
    assert graph.count_parameters().parameters == 10  # 4 * 2 + 2
    assert graph.bind({"batch": 7}).tensors[-1].shape == [7, 2]


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ("{source}", 4, "error: {source}: names no factory (write file.py:factory)\n"),
        (
            "{source}:nothing",
            4,
            'error: {source}:nothing: no function "nothing" in {source} (there are: Hub, '
            "Routed, Scaled, breaks, four_things, keyword_sample, module_and_args, no_module, "
            "odd_third, one_tensor, raises, routed, several_batches, with_dummy_inputs, "
            "with_kwargs, with_loss)\n",
        ),
        (
            "{source}:no_module",
            4,
            "error: {source}:no_module: returned int, no torch.nn.Module "
            "(return module, args, kwargs)\n",
        ),
        (
            "{source}:four_things",
            4,
            "error: {source}:four_things: returned 4 things (return module, args, kwargs)\n",
        ),
        (
            "{source}:odd_third",
            4,
            "error: {source}:odd_third: the third thing returned is str "
            "(a dict of arguments, or a loss)\n",
        ),
        (
            "/nowhere/m.py:f",
            4,
            "error: /nowhere/m.py: No such file or directory (may it be read and written?)\n",
        ),
    ],
)
def test_bad_input_is_named(source, capsys, spec, code, message):
    assert main([spec.format(source=source), "-o", "unused.pt2"]) == code
    assert capsys.readouterr().err == message.format(source=source)


def test_model_that_does_not_export_says_so(source, tmp_path, capsys):
    out = tmp_path / "out.pt2"
    assert main([f"{source}:raises", "-o", str(out)]) == 4
    assert f"error: {source}:raises: torch.export failed: " in capsys.readouterr().err
    assert not out.exists()


def test_factory_that_raises_shows_its_own_frames_only(source, capsys):
    assert main([f"{source}:breaks", "-o", "unused.pt2"]) == 4
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "Traceback (most recent call last):"
    assert told[1].startswith(f'  File "{source}", line ')
    assert told[-2:] == [
        "KeyError: 'my own mistake'",
        f"error: {source}:breaks: it raised KeyError: 'my own mistake' at {source}:50 "
        "(its traceback stands above)",
    ]
    assert not any("runpy" in line or "capture_program" in line for line in told)


def test_unwritable_output_is_named(source, capsys):
    assert main([f"{source}:module_and_args", "-o", "/nowhere/out.pt2"]) == 4
    assert capsys.readouterr().err == (
        "error: /nowhere/out.pt2: No such file or directory (may it be read and written?)\n"
    )


def test_model_that_only_runs_becomes_a_document(source, tmp_path, capsys):
    archive, document = tmp_path / "out.pt2", tmp_path / "out.json"
    assert main([f"{source}:routed", "-o", str(archive)]) == 4
    assert "-o graph.json takes any" in capsys.readouterr().err
    assert main([f"{source}:routed", "-o", str(document)]) == 0
    graph = load_model(str(document))
    assert (graph.name, graph.source) == ("Routed", "trace")
    assert summarize(graph).flops.forward == 2 * 3 * 4 * 4


def test_document_holds_the_branches_of_several_batches(source, tmp_path):
    document = tmp_path / "out.json"
    assert main([f"{source}:several_batches", "-o", str(document)]) == 0
    graph = load_model(str(document))
    assert [r.runs for r in graph.regions] == [1.5]  # the same layer once or twice
    assert graph.observed_saved_bytes is not None


def test_notes_are_said_once_to_who_takes_errors_from_a_file(source, tmp_path, capsys):
    document, errors = tmp_path / "out.json", tmp_path / "errors.json"
    words = [f"{source}:several_batches", "-o", str(document)]
    assert main(words) == 0
    assert "note: " in capsys.readouterr().err
    assert main([*words, "--errors", str(errors)]) == 0
    assert capsys.readouterr().err == ""
    assert load_model(str(document)).notes


def test_level_and_loss_are_those_asked_for(source, tmp_path, capsys):
    document = tmp_path / "out.json"
    words = [f"{source}:with_loss", "--level", "step", "-o", str(document), "--json"]
    assert main(words) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["schema"] == "parallel-opt/graph-summary/1"
    assert summary["flops"] == {"forward": 2 * 3 * 4 * 2, "backward": 2 * 3 * 4 * 2}
    assert "aten.pow.Tensor_Scalar" in [op.target for op in load_model(str(document)).ops]


def test_level_that_makes_no_archive_asks_for_a_document(source, capsys):
    assert main([f"{source}:one_tensor", "--level", "trace", "-o", "out.pt2"]) == 4
    assert capsys.readouterr().err == (
        "error: out.pt2: only torch.export makes a .pt2; this graph is a document of its own "
        "(write -o graph.json)\n"
    )


def test_command_line_reads_a_factory_that_does_not_export(source):
    program = shutil.which("parallel-opt", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.fail("make build leaves parallel-opt beside the interpreter")
    run = subprocess.run(
        [program, "graph", f"{source}:several_batches", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    summary = json.loads(run.stdout)
    assert summary["source"] == f"{source}:several_batches"
    assert summary["flops"]["forward"] == 1.5 * 2 * 3 * 4 * 4
