"""One graph by torch.export, as an archive without weights."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from parallel_opt import compat
from parallel_opt import compat_capture as private
from parallel_opt import compat_functions as functions
from parallel_opt._core import Graph, analyze
from parallel_opt.capture_flex import flex_operands
from parallel_opt.capture_inputs import batch_of, map_tensors
from parallel_opt.capture_state import flat_call, masks_as_in_a_run, preserved, quiet, unwrapped
from parallel_opt.operators import registered


def export(
    module: nn.Module,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    name: str | None = None,
    dynamic_batch: bool = True,
    strict: bool = False,
    on_autocast: Callable[[], None] | None = None,
) -> bytes:
    """A .pt2 archive of the module's graph without its weights; raises what torch.export raises.
    ``on_autocast`` is called when parts of it run under autocast."""
    module = unwrapped(module)
    args, kwargs = _placed(module, tuple(args), dict(kwargs or {}))
    with (
        preserved(module),
        flat_call(module, args, kwargs) as (args, kwargs),
        quiet(),
        torch.enable_grad(),
        functions.compile_eagerly(lifting=True),
        functions.flex_attention_anywhere(),
        masks_as_in_a_run("position_ids" in kwargs),
    ):
        shapes = _dynamic(args, kwargs) if dynamic_batch else None
        program = torch.export.export(module, args, kwargs, dynamic_shapes=shapes, strict=strict)
        if on_autocast is not None and _has_autocast(program):
            on_autocast()
        sizes = _sizes_of_data(program, args, kwargs)
        _simplify_masks(program)
        _drop_weights(program)
        extra = {
            "schema": "parallel-opt/capture/1",
            "name": name or type(module).__name__,
            "ties": ties(module),
            "symbols": _batch_symbols(program),
            "sizes": sizes,
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


def first_line(error: BaseException) -> str:
    """An error in one line, for a note."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def looks_at_data(error: BaseException) -> bool:
    """Whether torch says that the model's path or a size depends on values of tensors."""
    return any("DataDependent" in kind.__name__ for kind in type(error).__mro__)


def _placed(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs of the weights' own kind: on meta, or fake in their mode; unchanged for real ones."""
    mode = None
    on_meta = False
    for tensor in (*module.parameters(), *module.buffers()):
        mode = mode or getattr(tensor, "fake_mode", None)
        on_meta = on_meta or (tensor.device.type == "meta" and mode is None)

    def place(value: torch.Tensor) -> Any:
        if mode is not None and getattr(value, "fake_mode", None) is None:
            return mode.from_tensor(value)
        return value.to("meta") if on_meta else value

    if mode is None and not on_meta:
        return args, kwargs
    placed: tuple[tuple[Any, ...], dict[str, Any]] = map_tensors((args, kwargs), place)
    return placed


def _dynamic(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Which sizes may vary: dimension 0 of every tensor that has the batch there."""
    batch = batch_of(args, kwargs)
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


class _SizeReader(torch.fx.Interpreter):
    """Runs a program and notes what its symbols stand for."""

    def __init__(self, program: torch.fx.GraphModule, wanted: set[str]) -> None:
        super().__init__(program)
        self.wanted, self.sizes = wanted, dict[str, int]()

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        pairs = zip(compat.tree_leaves(n.meta.get("val")), compat.tree_leaves(result), strict=False)
        for symbolic, real in pairs:
            if isinstance(symbolic, torch.Tensor) and isinstance(real, torch.Tensor):
                for size, number in zip(symbolic.shape, real.shape, strict=False):
                    self._note(size, number)
            else:
                self._note(symbolic, real)
        return result

    def _note(self, size: Any, number: Any) -> None:
        if str(size) in self.wanted and isinstance(number, int):
            self.sizes.setdefault(str(size), number)


def _sizes_of_data(
    program: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, int]:
    """Sizes that depend on data (tokens that an expert gets), as they are in this batch: the
    program runs once, on copies of what it may write. Nothing where tensors hold no data."""
    wanted = {name for name in map(str, program.range_constraints) if name.startswith("u")}
    given = [t for t in compat.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    tensors = [*program.state_dict.values(), *program.constants.values(), *given]
    real = all(
        not isinstance(t, torch.Tensor) or (t.device.type != "meta" and not private.is_fake(t))
        for t in tensors
    )
    if not wanted or not real:
        return {}
    copy = program.module()
    for part in copy.modules():
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.clone())
    reader = _SizeReader(copy, wanted)
    try:
        with torch.no_grad():
            args, kwargs = map_tensors((args, dict(kwargs)), torch.clone)
            reader.run(*compat.tree_leaves((args, kwargs)), enable_io_processing=False)
    except Exception:  # the sizes that were seen until then stand; a note names the others
        return reader.sizes
    return reader.sizes


def _simplify_masks(program: Any) -> None:
    """torch cannot save a flex_attention: its functions are taken out, and what its mask leaves to
    be computed is written among the options of its kernel."""
    signature = program.graph_signature
    constants = {**signature.inputs_to_lifted_tensor_constants, **signature.inputs_to_buffers}
    state = {**program.state_dict, **program.constants}

    def value_of(argument: Any) -> Any:
        if not isinstance(argument, torch.fx.Node):
            return argument
        if argument.op == "get_attr":
            return getattr(program.graph_module, str(argument.target))
        return state.get(constants.get(argument.name, ""), argument.meta.get("val"))

    for node in program.graph.nodes:
        if getattr(node.target, "_name", "") == "flex_attention":
            _, attributes = flex_operands([_valued(a, value_of) for a in node.args])
            q, k, v, _, mask, scale, _, *rest = node.args
            tensors = [a for a in mask[:-1] if isinstance(a, torch.fx.Node)]
            node.args = (q, k, v, None, tensors, scale, attributes, *(list(r) for r in rest))


def _has_autocast(program: Any) -> bool:
    """Whether autocast is on somewhere; where it is switched off, which models do against others,
    nothing is cast."""
    graphs = [m for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule)]
    return any(
        getattr(node.target, "_name", "") == "wrap_with_autocast" and node.args[2] is not False
        for graph in graphs
        for node in graph.graph.nodes
    )


def _valued(argument: Any, value_of: Callable[[Any], Any]) -> Any:
    if isinstance(argument, (list, tuple)):
        return tuple(_valued(a, value_of) for a in argument)
    return value_of(argument)


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


def draft_reason(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """What keeps a module from being exported, with its place in the code, as draft_export reports
    it; empty when it has nothing to say. Runs the model once on the real batch."""
    try:
        with (
            preserved(module),
            flat_call(module, args, kwargs) as (args, kwargs),
            quiet(),
            functions.compile_eagerly(),
        ):
            return "; ".join(private.draft_failures(module, args, kwargs)[:3])
    except Exception:  # it fails where export does, or is not there
        return ""


def products_in_vmap(graph: Graph) -> bool:
    """Whether products run inside of torch.vmap: an exported graph has them at the sizes that the
    mapped function sees."""
    mapped: set[int] = set()
    inside: list[int] = []
    for at, op in enumerate(graph.ops):
        if op.target.endswith("._add_batch_dim"):
            mapped.update(op.outputs)
        elif not op.target.endswith("._remove_batch_dim") and mapped.intersection(
            index for _, index in op.inputs if index is not None
        ):
            mapped.update(op.outputs)
            inside.append(at)
    if not inside:
        return False
    operators = analyze(graph, operators=True).operator_list
    return any(operators[at].op_class in _PRODUCTS for at in inside)


_PRODUCTS = ("contraction", "convolution", "attention", "recurrent")
