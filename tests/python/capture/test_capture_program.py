"""python -m parallel_opt.capture file.py:factory -o model.pt2"""

from __future__ import annotations

import pytest

from parallel_opt._core import load_model
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


@pytest.mark.parametrize("factory", ["module_and_args", "one_tensor", "with_kwargs"])
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
            'error: {source}:nothing: no function "nothing" in {source} (there are: Scaled, '
            "breaks, module_and_args, no_module, one_tensor, raises, with_kwargs)\n",
        ),
        (
            "{source}:no_module",
            4,
            "error: {source}:no_module: returned int, no torch.nn.Module "
            "(return module, args, kwargs)\n",
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
        f"error: {source}:breaks: it raised the error above",
    ]
    assert not any("runpy" in line or "capture_program" in line for line in told)


def test_unwritable_output_is_named(source, capsys):
    assert main([f"{source}:module_and_args", "-o", "/nowhere/out.pt2"]) == 4
    assert capsys.readouterr().err == (
        "error: /nowhere/out.pt2: No such file or directory (may it be read and written?)\n"
    )
