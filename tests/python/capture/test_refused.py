"""What cannot be captured: one InputError with the place, the reason and the way out."""

from __future__ import annotations

import json
from collections import namedtuple

import pytest
import torch
from torch import nn

from parallel_opt.capture import capture, main
from parallel_opt.errors import InputError


def refused(*args, **kwargs) -> str:
    with pytest.raises(InputError) as error:
        capture(*args, **kwargs)
    return str(error.value)


@pytest.mark.parametrize("level", ["auto", "step", "joint", "export", "fragments", "trace"])
def test_a_batch_without_samples(level):
    assert refused(nn.Linear(4, 2), (torch.rand(0, 4),), level=level) == (
        "Linear: the batch has 0 samples (capture with at least one)"
    )


def test_one_of_several_batches_without_samples():
    batches = [torch.rand(2, 4), torch.rand(0, 4)]
    assert refused(nn.Linear(4, 2), batches=batches) == (
        "Linear: batches[1]: the batch has 0 samples (capture with at least one)"
    )


def test_a_second_batch_that_does_not_fit():
    told = refused(nn.Linear(4, 2), batches=[torch.rand(3, 4), torch.rand(3, 5)])
    assert told.startswith("Linear: batches[1]: the run failed: RuntimeError: mat1 and mat2 shapes")
    assert told.endswith("(does the model take it as it takes the first one?)")


def test_a_tensor_is_one_argument():
    graph = capture(nn.Linear(4, 2), torch.rand(3, 4))
    assert [graph.tensors[i].shape for i in graph.inputs] == [[3, 4]]


@pytest.mark.parametrize("args", [3, {"input": torch.rand(3, 4)}, "abc"])
def test_arguments_that_are_no_tuple(args):
    assert refused(nn.Linear(4, 2), args) == (
        f"Linear: args: {type(args).__name__} is no tuple of arguments "
        "(write (value,) for one argument, kwargs=... for named ones)"
    )


def test_a_named_tuple_is_one_argument_or_none():
    pair = namedtuple("pair", "x y")(torch.rand(3, 4), torch.rand(3, 4))
    assert refused(nn.Linear(4, 2), pair).startswith("Linear: args: pair is no tuple of arguments")


def test_named_arguments_that_are_no_dict():
    assert refused(nn.Linear(4, 2), (), [torch.rand(3, 4)]) == (
        'Linear: kwargs: list is no dict (write {"name": value})'
    )


def test_what_is_no_module():
    assert refused(torch.relu, (torch.rand(3),)) == (
        "module: builtin_function_or_method is no torch.nn.Module (wrap it in a module)"
    )
    assert refused(nn.Linear, (torch.rand(3),)) == (
        "module: a class, Linear, is no torch.nn.Module (make one of it)"
    )


SOURCE = """
import torch

def build():
    raise KeyError("no weights here")

def leave():
    raise SystemExit("I have had enough")

def nothing():
    return torch.nn.Linear(4, 2), (torch.rand(0, 4),)
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "model.py"
    path.write_text(SOURCE)
    return path


@pytest.mark.parametrize(
    ("factory", "what", "hint"),
    [
        (
            "build",
            "it raised KeyError: 'no weights here' at {source}:5",
            "its traceback stands above",
        ),
        (
            "leave",
            "it raised SystemExit: I have had enough at {source}:8",
            "its traceback stands above",
        ),
    ],
)
def test_a_factory_that_raises(source, capsys, factory, what, hint):
    spec = f"{source}:{factory}"
    assert main([spec, "-o", "unused.json", "--json"]) == 4
    told = capsys.readouterr()
    what = what.format(source=source)
    assert told.err.splitlines()[-1] == f"error: {spec}: {what} ({hint})"
    assert json.loads(told.out) == {
        "schema": "parallel-opt/error/1",
        "errors": [{"where": spec, "what": what, "hint": hint}],
    }


def test_errors_go_to_a_file_when_one_is_named(source, tmp_path, capsys):
    errors = tmp_path / "errors.json"
    assert main([f"{source}:nothing", "-o", "unused.json", "--errors", str(errors)]) == 4
    assert capsys.readouterr().err == ""
    (error,) = json.loads(errors.read_text())["errors"]
    assert error == {
        "where": "Linear",
        "what": "the batch has 0 samples",
        "hint": "capture with at least one",
    }
