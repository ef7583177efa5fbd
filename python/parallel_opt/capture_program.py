"""``python -m parallel_opt.capture file.py:factory -o model.pt2``: a model's graph as a file."""

from __future__ import annotations

import argparse
import json
import runpy
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from parallel_opt._core import Graph, read_pt2, summarize
from parallel_opt.capture import LEVELS, as_call, capture
from parallel_opt.capture_export import export, first_line
from parallel_opt.errors import InputError, traceback_without


@dataclass
class Made:
    """What a factory made: a module and how it is called."""

    module: nn.Module
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    loss_fn: Callable[[Any], torch.Tensor] | None = None
    batches: list[Any] = field(default_factory=list)


def made_by(spec: str) -> Made:
    """What ``file.py:factory`` returns: a module, (module, sample), (module, args, kwargs) or
    (module, args, loss_fn). A sample is a tensor, a tuple of arguments or a dict of keyword
    arguments; a list of samples is several batches.

    Raises InputError for anything else, and what the file itself raises.
    """
    path, _, function = spec.rpartition(":")
    if not path or not function:
        raise InputError(spec, "names no factory", "write file.py:factory")
    names = runpy.run_path(path)
    if not callable(names.get(function)):
        known = sorted(
            key for key, value in names.items() if callable(value) and not key.startswith("_")
        )
        raise InputError(
            spec, f'no function "{function}" in {path}', "there are: " + ", ".join(known)
        )
    made = names[function]()
    parts = made if isinstance(made, tuple) else (made,)
    hint = "return module, args, kwargs"
    if not parts or not isinstance(parts[0], nn.Module):
        kind = type(parts[0]).__name__ if parts else "an empty tuple"
        raise InputError(spec, f"returned {kind}, no torch.nn.Module", hint)
    if len(parts) > 3:
        raise InputError(spec, f"returned {len(parts)} things", hint)
    return _called(spec, parts)


def _called(spec: str, parts: tuple[Any, ...]) -> Made:
    made = Made(parts[0])
    if len(parts) == 1:
        own = getattr(made.module, "dummy_inputs", None)  # of Hugging Face's models
        made.kwargs = dict(own) if isinstance(own, dict) else {}
        return made
    if isinstance(parts[1], list):
        made.batches = parts[1]
        made.args, made.kwargs = as_call(parts[1][0]) if parts[1] else ((), {})
    else:
        made.args, made.kwargs = as_call(parts[1])
    if len(parts) == 3:
        if isinstance(parts[2], dict):
            made.kwargs = {**made.kwargs, **parts[2]}
        elif callable(parts[2]):
            made.loss_fn = parts[2]
        else:
            kind = type(parts[2]).__name__
            raise InputError(
                spec, f"the third thing returned is {kind}", "a dict of arguments, or a loss"
            )
    return made


def _made(spec: str) -> Made:
    try:
        return made_by(spec)
    except (InputError, OSError):
        raise
    except (Exception, SystemExit) as error:  # the user's own file raised
        hidden = (__file__, runpy.__file__, "<frozen runpy>")
        print(traceback_without(error, hidden), end="", file=sys.stderr)
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename not in hidden]
        place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        what = f"it raised {first_line(error)}{place}"
        raise InputError(spec, what, "its traceback stands above") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 4: bad input or a missing file."""
    options = _parser().parse_args(arguments)
    try:
        made = _made(options.factory)
        output = str(options.output)
        if output.endswith(".json") or options.level not in ("auto", "export") or made.batches:
            graph = _graph(options, made)
            if options.output is not None:
                _write(output, graph)
            seen: Graph | None = graph
        else:
            seen = _archive(options, made, output)
        if options.json and seen is not None:
            print(summarize(seen).to_json())
    except InputError as error:
        return _failed(options, error)
    except OSError as error:
        what = error.strerror or first_line(error)
        hint = "may it be read and written?"
        return _failed(options, InputError(str(error.filename or options.factory), what, hint))
    return 0


def _failed(options: argparse.Namespace, error: InputError) -> int:
    errors = [{"where": where, "what": what, "hint": hint} for where, what, hint in error.faults]
    document = json.dumps({"schema": "parallel-opt/error/1", "errors": errors}, indent=2)
    if options.errors is not None:
        with open(options.errors, "w", encoding="utf-8") as file:
            file.write(document)
        return 4
    for fault in error.faults:
        print(f"error: {InputError(*fault)}", file=sys.stderr)
    if options.json:
        print(document)
    return 4


def _graph(options: argparse.Namespace, made: Made) -> Graph:
    graph = capture(
        made.module,
        made.args,
        made.kwargs,
        level=options.level,
        batches=made.batches,
        loss_fn=made.loss_fn,
    )
    # A program that takes the errors from a file takes the notes from the graph.
    for note in graph.notes if options.errors is None else ():
        print(f"note: {note}", file=sys.stderr)
    return graph


def _write(output: str, graph: Graph) -> None:
    if not output.endswith(".json"):
        what = "only torch.export makes a .pt2; this graph is a document of its own"
        raise InputError(output, what, "write -o graph.json")
    with open(output, "w", encoding="utf-8") as file:  # a missing folder is the user's error
        file.write(graph.to_json())


def _archive(options: argparse.Namespace, made: Made, output: str) -> Graph | None:
    """An archive, as torch.export makes it; its graph is read only to be shown."""
    try:
        archive = export(made.module, made.args, made.kwargs)
    except Exception as error:
        raise InputError(
            options.factory,
            f"torch.export failed: {first_line(error)}",
            "a .pt2 needs a model that exports; -o graph.json takes any",
        ) from error
    with open(output, "wb") as file:
        file.write(archive)
    if not options.json:
        return None
    return read_pt2(archive, type(made.module).__name__)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m parallel_opt.capture", description="Save a model's graph."
    )
    parser.add_argument(
        "factory",
        metavar="FILE.py:FUNCTION",
        help="returns module, (module, sample), (module, args, kwargs) or (module, args, loss_fn)",
    )
    parser.add_argument(
        "-o",
        "--output",
        default="model.pt2",
        metavar="FILE",
        help="a .pt2 archive, or a .json document, which any model has (default: model.pt2)",
    )
    parser.add_argument(
        "--level", choices=LEVELS, default="auto", help="how to look at the model (default: auto)"
    )
    parser.add_argument("--json", action="store_true", help="print the summary of the graph")
    parser.add_argument(
        "--errors", metavar="FILE", help="write what is wrong there, not to the standard error"
    )
    return parser
