"""Graph.to_networkx(): every operator a node, every tensor between two of them an edge."""

from __future__ import annotations

import sys
from pathlib import Path

import networkx
import pytest

from parallel_opt import _core
from parallel_opt.errors import MachineError


def _graph() -> _core.Graph:
    """Two blocks: h = linear(x, w); x = x + relu(h)."""
    b = _core.GraphBuilder("small", "test")
    x = b.add_tensor("x", "input", "fp32", [2, 8])
    b.set_inputs([x])
    for i in range(2):
        module = f"blocks.{i}"
        w = b.add_tensor(f"w{i}", "parameter", "fp32", [8, 8], fqn=f"{module}.fc.weight")
        h = b.add_tensor(f"h{i}", "activation", "fp32", [2, 8])
        r = b.add_tensor(f"r{i}", "activation", "fp32", [2, 8])
        y = b.add_tensor(f"y{i}", "activation", "fp32", [2, 8])
        inputs = [("input", x), ("weight", w)]
        b.add_op("aten.linear.default", f"linear{i}", inputs, [h], module=f"{module}.fc")
        b.add_op("aten.relu.default", f"relu{i}", [("self", h)], [r], module=module)
        inputs = [("self", x), ("other", r)]
        b.add_op("aten.add.Tensor", f"add{i}", inputs, [y], module=module)
        x = y
    b.set_outputs([x])
    return b.build()


def test_operators_are_nodes_with_what_they_cost() -> None:
    g = _graph().to_networkx()
    assert isinstance(g, networkx.MultiDiGraph)
    assert g.graph == {"name": "small", "source": "test"}
    assert list(g) == ["linear0", "relu0", "add0", "linear1", "relu1", "add1"]
    node = g.nodes["linear1"]
    assert node["target"] == "aten.linear.default"
    assert node["class"] == "contraction"
    assert node["flops"] == 2 * 2 * 8 * 8
    assert node["bytes"] == 4 * (16 + 64 + 16)  # x and the weight read, the result written
    assert node["module"] == "blocks.1.fc"
    assert node["block"] == "blocks.*"
    assert node["phase"] == "forward"
    assert node["kind"] == "operator"
    assert node["level"] == 3


def test_tensors_are_edges() -> None:
    g = _graph().to_networkx()
    assert {(a, b): d["tensor"] for a, b, d in g.edges(data=True)} == {
        ("linear0", "relu0"): "h0",
        ("relu0", "add0"): "r0",
        ("add0", "linear1"): "y0",
        ("add0", "add1"): "y0",
        ("linear1", "relu1"): "h1",
        ("relu1", "add1"): "r1",
    }
    edge = g.edges["add0", "add1", 0]
    assert (edge["bytes"], edge["shape"], edge["dtype"]) == (64, "2x8", "fp32")
    assert networkx.dag_longest_path_length(g, weight="") == 5


def test_sources_are_nodes_when_asked_for() -> None:
    g = _graph().to_networkx(sources=True)
    assert g.nodes["w0"]["kind"] == "parameter"
    assert g.nodes["x"]["kind"] == "input"
    assert set(g.successors("x")) == {"linear0", "add0"}
    assert g.edges["w1", "linear1", 0]["bytes"] == 256


def _branch() -> _core.Graph:
    """c = x > 0; y = exp(relu(x)) where c, else tanh(x)."""
    b = _core.GraphBuilder("branch", "test")
    x = b.add_tensor("x", "input", "fp32", [2, 8])
    c, *made = (
        b.add_tensor(name, "activation", "fp32", [2, 8]) for name in ("c", "r", "e", "t", "y")
    )
    b.set_inputs([x])
    b.add_op("aten.gt.Scalar", "gt", [("self", x)], [c])
    ways = [b.add_region(f"if.{way}", "branch", "if", 0.5) for way in ("true", "false")]
    for way in ways:
        b.decide(way, c)
    b.add_op("aten.relu.default", "relu", [("self", x)], [made[0]], region=ways[0])
    b.add_op("aten.exp.default", "exp", [("self", made[0])], [made[1]], region=ways[0])
    b.add_op("aten.tanh.default", "tanh", [("self", x)], [made[2]], region=ways[1])
    joined = [("inputs", made[1]), ("inputs", made[2])]
    b.add_op("parallel_opt.join", "join", joined, [made[3]])
    b.set_outputs([made[3]])
    return b.build()


def test_a_way_of_a_branch_waits_for_its_condition() -> None:
    g = _branch().to_networkx()
    assert sorted((a, b, d["decides"]) for a, b, d in g.edges(data=True)) == [
        ("exp", "join", False),
        ("gt", "relu", True),
        ("gt", "tanh", True),
        ("relu", "exp", False),
        ("tanh", "join", False),
    ]
    assert [g.nodes[name]["region"] for name in ("gt", "exp", "tanh")] == [
        "",
        "if.true",
        "if.false",
    ]
    assert networkx.dag_longest_path_length(g, weight="") == 3  # gt, relu, exp, join


@pytest.mark.parametrize("sources", [False, True])
def test_a_network_is_written_as_graphml(tmp_path: Path, sources: bool) -> None:
    for graph in (_graph(), _branch()):
        network = graph.to_networkx(sources=sources)
        networkx.write_graphml(network, tmp_path / "model.graphml")
        again = networkx.read_graphml(tmp_path / "model.graphml", force_multigraph=True)
        assert dict(again.nodes(data=True)) == dict(network.nodes(data=True))
        assert len(again.edges) == len(network.edges)


def test_without_networkx_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(MachineError) as error:
        _graph().to_networkx()
    assert str(error.value) == (
        "networkx: is not installed, which to_networkx() needs (pip install networkx)"
    )
