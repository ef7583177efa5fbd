"""From a PyTorch module to a Graph: torch.export first, a run-time trace when that fails.

Also a program: ``python -m parallel_opt.capture file.py:factory -o model.pt2``.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt import compat
from parallel_opt._core import Graph, join_batches, read_pt2
from parallel_opt.capture_state import flat_outputs, preserved, quiet, unwrapped
from parallel_opt.errors import InputError
from parallel_opt.operators import registered, with_registered
from parallel_opt.trace import trace

__all__ = ["capture", "export", "main", "ties"]

LEVELS = ("auto", "export", "trace")


def capture(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    level: str = "auto",
    name: str | None = None,
    dynamic_batch: bool = True,
) -> Graph:
    """The graph of one forward pass, as the module would run now (training mode and all).

    Nothing of the module changes: no weight is copied or allocated twice; random states, buffers,
    gradients and attributes are as before.

    Args:
        module: Any module; its weights may be real, fake or on the meta device.
        args: One batch, as in ``module(*args, **kwargs)``. With ``dynamic_batch`` the size of
            dimension 0 of the first tensor becomes the symbol ``batch`` where the model allows it:
            ``graph.bind({"batch": n})`` counts another batch.
        kwargs: Keyword arguments of the same call.
        level: ``"export"`` uses torch.export on fake tensors; ``"trace"`` records one run, on fake
            tensors or, if the model looks at data, on the real batch; ``"auto"`` exports, and
            traces when that fails: ``graph.notes`` says why.
        name: Name of the graph; by default the class of the module.

    Raises:
        InputError: Neither way works; both reasons are named.
    """
    if level not in LEVELS:
        raise InputError("level", f'unknown level "{level}"', "one of " + ", ".join(LEVELS))
    module = unwrapped(module)
    name = name or type(module).__name__
    args, kwargs = tuple(args), dict(kwargs or {})
    lazy = [fqn for fqn, p in module.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise InputError(name, f"{lazy[0]} has no shape yet", "run one forward pass first")
    reason = ""
    if level != "trace":
        try:
            return with_registered(_exported(module, args, kwargs, name, dynamic_batch))
        except Exception as error:  # torch.export raises whatever the model's own code raises
            reason = _first_line(error)
            if level == "export":
                raise InputError(
                    name, f"torch.export failed: {reason}", 'try level="trace"'
                ) from error
    try:
        return with_registered(_traced(module, args, kwargs, name, dynamic_batch, reason))
    except Exception as error:
        if reason:
            raise InputError(
                name,
                f"torch.export failed: {reason}; the run failed too: {_first_line(error)}",
                "does the model run?",
            ) from error
        raise


def _exported(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, dynamic: bool
) -> Graph:
    graph = read_pt2(export(module, args, kwargs, name=name, dynamic_batch=dynamic), name)

    def at_batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        return read_pt2(export(module, args, kwargs, name=name, dynamic_batch=False), name)

    return graph if graph.symbols or not dynamic else _with_batch(graph, at_batch, args, kwargs)


def _traced(
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    dynamic: bool,
    reason: str,
) -> Graph:
    notes = [f"recorded from one run, because torch.export failed: {reason}"] if reason else []
    tied = ties(module)
    graph = trace(module, args, kwargs, name=name, ties=tied, notes=notes)
    if not dynamic or len(graph.notes) > len(notes):  # it looked at data: another run may differ
        return graph

    def at_batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Graph:
        return trace(module, args, kwargs, name=name, ties=tied, notes=notes)

    return _with_batch(graph, at_batch, args, kwargs)


def _with_batch(
    graph: Graph,
    at_batch: Callable[[tuple[Any, ...], dict[str, Any]], Graph],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Graph:
    """A graph that fixes its batch, made general by a second capture with one sample more."""
    batch = _batch(args, kwargs)
    if batch is None:
        return graph

    def one_more(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or value.dim() == 0 or value.shape[0] != batch:
            return value
        return torch.cat([value, value[:1]])

    try:
        larger = at_batch(*compat.tree_map(one_more, (args, kwargs)))
    except Exception:  # the model really takes this batch only
        return graph
    return join_batches(graph, batch, larger, batch + 1) or graph


def export(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    dynamic_batch: bool = True,
) -> bytes:
    """A .pt2 archive of the module's graph without its weights; raises what torch.export raises."""
    module = unwrapped(module)
    args, kwargs = _placed(module, tuple(args), dict(kwargs or {}))
    with preserved(module), flat_outputs(module), quiet(), torch.enable_grad():
        shapes = _dynamic(args, kwargs) if dynamic_batch else None
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=False)
        _drop_weights(program)
        extra = {
            "schema": "parallel-opt/capture/1",
            "name": name or type(module).__name__,
            "ties": ties(module),
            "symbols": _batch_symbols(program),
            "operators": registered(),
        }
        buffer = io.BytesIO()
        torch.export.save(program, buffer, extra_files={"parallel_opt.json": json.dumps(extra)})
    return buffer.getvalue()


def ties(module: nn.Module) -> dict[str, str]:
    """Other names of a parameter or buffer -> its first: ``{"head.weight": "embed.weight"}``."""
    first: dict[int, str] = {}
    result = {}
    for kind in (module.named_parameters, module.named_buffers):
        for fqn, tensor in kind(remove_duplicate=False):
            known = first.setdefault(id(tensor), fqn)
            if known != fqn:
                result[fqn] = known
    return result


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _placed(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs of the weights' own kind: on meta, or fake in their mode; unchanged for real ones."""
    mode = None
    on_meta = False
    for tensor in (*module.parameters(), *module.buffers()):
        mode = mode or getattr(tensor, "fake_mode", None)
        on_meta = on_meta or (tensor.device.type == "meta" and mode is None)

    def place(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if mode is not None and getattr(value, "fake_mode", None) is None:
            return mode.from_tensor(value)
        return value.to("meta") if on_meta else value

    if mode is None and not on_meta:
        return args, kwargs
    placed: tuple[tuple[Any, ...], dict[str, Any]] = compat.tree_map(place, (args, kwargs))
    return placed


def _batch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | None:
    """Samples in the inputs: dimension 0 of the first tensor that has one."""
    for leaf in compat.tree_leaves((args, kwargs)):
        if isinstance(leaf, torch.Tensor) and leaf.dim() > 0:
            return int(leaf.shape[0])
    return None


def _dynamic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Which sizes may vary: dimension 0 of every tensor that has the batch there."""
    batch = _batch(args, kwargs)
    if batch is None or batch < 2:  # torch treats sizes 0 and 1 as constants
        return None
    shapes = torch.export.ShapesCollection()
    for leaf in compat.tree_leaves((args, kwargs)):
        if isinstance(leaf, torch.Tensor) and leaf.dim() > 0 and leaf.shape[0] == batch:
            shapes[leaf] = {0: torch.export.Dim.AUTO}
    return shapes


def _batch_symbols(program: Any) -> dict[str, str]:
    """Symbols that stand for dimension 0 of an input: one name for all."""
    inputs = set(program.graph_signature.user_inputs)
    symbols: dict[str, str] = {}
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if (
            node.op == "placeholder"
            and node.name in inputs
            and isinstance(value, torch.Tensor)
            and value.dim() > 0
        ):
            size = str(value.shape[0])
            if isinstance(value.shape[0], torch.SymInt) and size.isidentifier():
                symbols[size] = "batch"
    return symbols


def _drop_weights(program: Any) -> None:
    """Shapes stay, payloads go: an archive of a graph need not hold gigabytes."""

    def on_meta(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        bare = torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device="meta")
        return nn.Parameter(bare, value.requires_grad) if isinstance(value, nn.Parameter) else bare

    for table in (program.state_dict, program.constants):
        for key, value in list(table.items()):
            table[key] = on_meta(value)
    program.example_inputs = None


def _load_factory(spec: str) -> tuple[nn.Module, tuple[Any, ...], dict[str, Any]]:
    """What ``file.py:factory`` returns: a module, (module, args) or (module, args, kwargs)."""
    import runpy

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
    module, args, kwargs = (
        (*made, *((), {})[len(made) - 1 :]) if isinstance(made, tuple) else (made, (), {})
    )
    if not isinstance(module, nn.Module):
        raise InputError(
            spec,
            f"returned {type(module).__name__}, no torch.nn.Module",
            "return module, args, kwargs",
        )
    if isinstance(args, torch.Tensor):
        args = (args,)
    return module, tuple(args), dict(kwargs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Save the graph of what a Python file makes. Exit code 0; 4: bad input; 5: missing file."""
    import argparse
    import sys

    parser = argparse.ArgumentParser(
        prog="python -m parallel_opt.capture", description="Save a model's graph."
    )
    parser.add_argument(
        "factory", metavar="FILE.py:FUNCTION", help="returns module, (module, args) or with kwargs"
    )
    parser.add_argument(
        "-o", "--output", default="model.pt2", help="file to write (default: model.pt2)"
    )
    options = parser.parse_args(arguments)
    try:
        module, args, kwargs = _load_factory(options.factory)
        try:
            archive = export(module, args, kwargs)
        except Exception as error:
            raise InputError(
                options.factory,
                f"torch.export failed: {_first_line(error)}",
                "a .pt2 needs a model that exports",
            ) from error
        with open(options.output, "wb") as file:
            file.write(archive)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 4
    except OSError as error:
        print(
            f"error: {error.filename}: {error.strerror} (may it be read and written?)",
            file=sys.stderr,
        )
        return 4
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
