"""The operator table against the operators that torch has, and rows that users add."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from parallel_opt import InputError, _core, register_operator
from parallel_opt.capture import capture, export
from parallel_opt.operators import registered, unregister_operator


def _core_overloads() -> list[str]:
    """Every ATen overload that torch tags as core, from the dispatcher's own list of schemas."""
    found = set()
    for schema in torch._C._jit_get_all_schemas():
        namespace, _, name = schema.name.partition("::")
        packet = getattr(torch.ops.aten, name, None) if namespace == "aten" else None
        if packet is None:
            continue
        for overload in packet.overloads():
            if torch.Tag.core in getattr(packet, overload).tags:
                found.add(f"aten.{name}.{overload}")
    return sorted(found)


def test_every_core_operator_has_a_row() -> None:
    overloads = _core_overloads()
    assert len(overloads) > 150
    assert [name for name in overloads if not _core.knows_operator(name)] == []


def _dispatched(prefix: str) -> set[str]:
    names = {schema.name.partition("::")[2] for schema in torch._C._jit_get_all_schemas()}
    return {f"aten.{n}" for n in names if n.startswith(prefix) and "_native_" not in n}


def test_every_operator_over_lists_has_a_row() -> None:
    lists = _dispatched("_foreach_") | _dispatched("_amp_foreach_")
    fused = {
        f"aten._fused_{kind}{end}"
        for kind in ("adam", "adamw", "sgd", "adagrad")
        for end in ("", "_")
    }
    assert len(lists) > 80
    assert [name for name in sorted(lists | fused) if not _core.knows_operator(name)] == []


@pytest.mark.parametrize("way", [{"foreach": True}, {"fused": True}], ids=["foreach", "fused"])
@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad])
def test_a_step_of_an_optimizer_over_lists_is_counted(
    kind: type[torch.optim.Optimizer], way: dict[str, bool]
) -> None:
    model = nn.Linear(64, 32)
    optimizer = kind(model.parameters(), lr=0.1, **way)
    graph = capture(
        model, (torch.randn(4, 64),), level="step", optimizer=optimizer, dynamic_batch=False
    )
    assert _core.summarize(graph).opaque == []
    steps = [
        op for op in _core.analyze(graph, operators=True).operator_list if op.phase == "optimizer"
    ]
    parameters = 64 * 32 + 32
    assert sum(op.flops for op in steps) >= parameters  # a sum each, at the least
    assert sum(op.bytes for op in steps) >= 4 * 3 * parameters  # read both, written one


def test_rows_are_unique_and_more_than_a_thousand() -> None:
    rows = _core.known_operators()
    assert len(rows) == len(set(rows)) > 1000


FUSED = "parallel_opt_test::scaled_linear"


@torch.library.custom_op(FUSED, mutates_args=())
def scaled_linear(x: torch.Tensor, w: torch.Tensor, scale: float) -> torch.Tensor:
    return x @ w.t() * scale


@scaled_linear.register_fake
def _(x: torch.Tensor, w: torch.Tensor, scale: float) -> torch.Tensor:
    return x.new_empty(*x.shape[:-1], w.shape[0])


def _backward(ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
    x, w = ctx.saved_tensors  # type: ignore[attr-defined]
    return grad @ w, grad.flatten(0, -2).t() @ x.flatten(0, -2), None


def _keep(ctx: object, inputs: tuple[torch.Tensor, torch.Tensor, float], output: object) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])  # type: ignore[attr-defined]


scaled_linear.register_autograd(_backward, setup_context=_keep)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 12)
        self.weight = nn.Parameter(torch.randn(16, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return scaled_linear(self.embed(x), self.weight, 0.5).sum()


@pytest.fixture
def row() -> Iterator[None]:
    register_operator(
        FUSED, space="x=b* k, w=n k -> b* n", op_class="contraction", saves="x w",
        other_flops="b*n",
    )  # fmt: skip
    yield
    unregister_operator(FUSED)


def _sample() -> tuple[torch.Tensor]:
    return (torch.randn(4, 5, 8),)


@pytest.mark.parametrize("level", ["export", "trace"])
def test_unregistered_operator_is_listed(level: str) -> None:
    summary = _core.summarize(capture(Model(), _sample(), level=level))
    name = FUSED.replace("::", ".") + ".default"
    assert [(o.operator, o.count) for o in summary.opaque] == [(name, 1)]


@pytest.mark.parametrize("level", ["export", "trace"])
def test_registered_operator_is_counted(row: None, level: str) -> None:
    graph = capture(Model(), _sample(), level=level)
    summary = _core.summarize(graph)
    assert summary.opaque == []
    product = 2 * 20 * 12 * 16
    assert summary.flops.forward == 2 * 20 * 8 * 12 + product
    # both operands of the product need a gradient; of the first layer only the weight
    assert summary.flops.backward == 2 * 20 * 8 * 12 + 2 * product
    assert _core.Graph.from_json(graph.to_json()) == graph


def test_rows_travel_in_an_archive(row: None, tmp_path: Path) -> None:
    file = tmp_path / "model.pt2"
    file.write_bytes(export(Model(), _sample()))
    unregister_operator(FUSED)
    assert _core.summarize(_core.load_pt2(str(file))).opaque == []


def test_command_line_reads_rows_from_a_file(tmp_path: Path) -> None:
    model, rows = tmp_path / "model.pt2", tmp_path / "rows.json"
    model.write_bytes(export(Model(), _sample()))
    rows.write_text(
        '{"schema": "parallel-opt/operators/1", "operators": [{"target": '
        '"parallel_opt_test.scaled_linear", "class": "contraction", '
        '"space": "x=b* k, w=n k -> b* n"}]}'
    )
    command = [str(Path(sys.executable).parent / "parallel-opt"), "graph", str(model)]
    plain = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    known = subprocess.run(
        [*command, "--operators", str(rows)], capture_output=True, text=True, check=True
    ).stdout
    assert "scaled_linear" in plain
    assert "scaled_linear" not in known


def test_wrong_row_names_every_column() -> None:
    with pytest.raises(InputError) as error:
        register_operator("my_op", space="x=b k -> b", flops="2*b*j", mixed="q")
    where = "register_operator('my_op'):operators[0]"
    assert str(error.value).splitlines() == [
        f"{where}.target: 'my_op' is no namespace and name (write mylib.my_op)",
        f"{where}.mixed: 'q' is no dimension of the space (there are: b k)",
        f"{where}.flops: 'j' is no dimension of the space (there are: b k)",
    ]
    assert registered() == []


def test_branches_and_loops_become_regions() -> None:
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = torch.cond(
                x.sum() > 0, lambda x: self.a(x), lambda x: self.b(self.b(x)), (x,)
            )
            return result

    graph = capture(Branch(), (torch.randn(6, 3, 8),), level="export", dynamic_batch=False)
    assert [(r.kind, r.runs, r.observed) for r in graph.regions] == [("branch", 0.5, False)] * 2
    linear = 2 * 18 * 8 * 8
    assert _core.summarize(graph).flops.forward == 1.5 * linear  # one or two, equally likely
    assert _core.summarize(graph).opaque == []
    assert math.isclose(sum(r.runs for r in graph.regions), 1)


def test_builder_makes_regions() -> None:
    builder = _core.GraphBuilder("looped", "test")
    x = builder.add_tensor("x", "input", "fp32", [4])
    y = builder.add_tensor("y", "activation", "fp32", [4])
    z = builder.add_tensor("z", "activation", "fp32", [4])
    body = builder.add_region("loop.body", "loop", "loop", 3, observed=True)
    builder.add_op("aten.exp.default", "exp", [("self", x)], [y], region=body)
    builder.add_op("parallel_opt.join", "join", [("inputs", y)], [z])
    builder.set_inputs([x])
    builder.set_outputs([z])
    graph = builder.build()
    assert graph.expected_runs(graph.ops[0]) == 3
    assert graph.ops[0].region == 0
    assert graph.ops[1].region is None
    assert _core.summarize(graph).flops_all.forward == 3 * 4 * 10  # 10 for an exponential
