"""Several observed batches: branches with frequencies, loops with trip counts."""

from __future__ import annotations

import pytest
import torch
from dynamic_models import Generating, Iterated, Routed, Skipping, minus, plus, trips
from torch import nn

from parallel_opt._core import Graph, summarize
from parallel_opt.capture import as_call, capture

LINEAR = 2 * 6 * 4 * 4  # FLOPs of Linear(4, 4) on six rows
SMALL, LARGE = LINEAR, 2 * (2 * 6 * 4 * 64)
HEAD = 2 * 6 * 4 * 2


def flops(graph):
    return summarize(graph).flops.forward


def regions(graph):
    return [(r.name, r.kind, r.group, round(r.runs, 6), r.observed) for r in graph.regions]


def modules_in(graph, name):
    index = next(i for i, r in enumerate(graph.regions) if r.name == name)
    return {op.module for op in graph.ops if op.region == index and "mm" in op.target}


def test_branch_on_data_becomes_two_alternatives_with_their_frequencies():
    graph = capture(Routed(), batches=[plus(), minus(), minus()])
    assert regions(graph) == [
        ("branch_1.0", "branch", "branch_1", round(2 / 3, 6), True),
        ("branch_1.1", "branch", "branch_1", round(1 / 3, 6), True),
    ]
    assert modules_in(graph, "branch_1.0") == {"large.0", "large.2"}
    assert modules_in(graph, "branch_1.1") == {"small"}
    assert flops(graph) == pytest.approx(LINEAR + HEAD + 2 / 3 * LARGE + SMALL / 3)
    assert graph.source == "trace"
    assert graph.notes[-1] == (
        "3 batches took different ways: 1 branch and 0 loops with the frequencies seen"
    )


def test_results_of_alternatives_are_joined():
    graph = capture(Routed(), batches=[plus(), minus()])
    (join,) = [op for op in graph.ops if op.target == "parallel_opt.join"]
    made = {i: op for op in graph.ops for i in op.outputs}
    assert [made[i].module for _, i in join.inputs] == ["small", "large.2"]
    readers = {op.module for op in graph.ops if join.outputs[0] in dict(op.inputs).values()}
    assert join.region is None
    assert readers == {"head"}


def test_equal_batches_give_the_exported_graph_and_what_was_saved():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    graph = capture(module, batches=[plus(), minus()])
    assert not graph.regions
    assert graph.source != "trace"
    assert graph.observed_saved_bytes == 6 * 8 * 4  # the result of the ReLU, kept once
    assert summarize(graph).saved_bytes == 6 * 8 * 4
    assert graph.bind({"batch": 12}).observed_saved_bytes is None  # nobody looked at that size


def test_batches_that_take_one_way_leave_it_one_way():
    graph = capture(Routed(), batches=[plus(), plus()])
    assert not graph.regions
    assert flops(graph) == LINEAR + SMALL + HEAD
    assert graph.observed_saved_bytes == summarize(graph).saved_bytes > 0


def test_varying_trip_count_becomes_a_loop_with_the_mean():
    graph = capture(Iterated(), batches=[trips(2), trips(5)])
    assert regions(graph) == [("loop_1.body", "loop", "loop_1", 3.5, True)]
    assert flops(graph) == LINEAR + 3.5 * LINEAR + HEAD
    body = [op for op in graph.ops if op.region == 0]
    (entry,) = [op for op in body if op.target == "parallel_opt.join"]
    assert entry.attributes["carried"] == graph.tensors[body[-1].outputs[0]].name
    assert body[-1].target == "aten.tanh.default"
    made = {i: op for op in graph.ops for i in op.outputs}
    assert made[entry.inputs[0][1]].module == "enter"


def test_loop_that_a_batch_does_not_enter_passes_its_start_on():
    graph = capture(Iterated(), batches=[trips(0), trips(4)])
    assert regions(graph) == [("loop_1.body", "loop", "loop_1", 2.0, True)]
    last = [op for op in graph.ops if op.target == "parallel_opt.join"][-1]
    made = {i: op for op in graph.ops for i in op.outputs}
    assert {made[i].module for _, i in last.inputs} == {"enter", ""}


def test_growing_cache_is_a_loop_at_its_middle_size():
    start = torch.rand(2, 3, 4)
    graph = capture(Generating(), batches=[(start, torch.tensor(1)), (start, torch.tensor(3))])
    assert regions(graph) == [("loop_1.body", "loop", "loop_1", 2.0, True)]
    grown = [op for op in graph.ops if op.target == "aten.cat.default"]
    # the second of three steps: 3 entries, one from the first step, one of its own
    assert [graph.tensors[op.outputs[0]].shape for op in grown] == [[2, 5, 4]]


def test_alternatives_nest():
    batches = [plus(), minus(), 20 * plus(), 20 * plus()]
    graph = capture(Skipping(), batches=batches)
    runs = {r.name: (r.runs, r.parent) for r in graph.regions}
    assert runs["branch_1.0"] == (0.5, None)  # both blocks left out, by half of the batches
    expected = {op.name: graph.expected_runs(op) for op in graph.ops}
    large = [op for op in graph.ops if op.module == "blocks.0.large.0" and "mm" in op.target]
    assert [expected[op.name] for op in large] == [0.25]


def test_batches_of_different_sizes_are_compared_by_operators():
    graph = capture(Routed(), batches=[plus(4), minus(6), plus(8)])
    assert [r.name for r in graph.regions] == ["branch_1.0", "branch_1.1"]
    assert [round(r.runs, 6) for r in graph.regions] == [round(2 / 3, 6), round(1 / 3, 6)]


def test_more_than_five_batches_are_not_run():
    calls = []

    class Counted(Routed):
        def forward(self, *args):
            calls.append(1)
            return super().forward(*args)

    capture(Counted(), batches=[plus()] * 9, level="trace")
    # fake, its real repetition, and five batches
    assert len(calls) == 7


def test_exported_level_says_that_batches_differ():
    class Random(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return self.fc(x) if self.calls % 2 else self.fc(self.fc(x))

    module = Random()
    graph = capture(module, batches=[plus(), plus()], level="export")
    assert graph.notes[-1] == "batches took different ways: this graph has one of them"
    assert [r.runs for r in capture(module, batches=[plus(), plus()]).regions] == [1.5]
    assert module.calls == 0


def test_a_way_waits_for_what_python_looked_at():
    graph = capture(Routed(), batches=[plus(), minus()])
    maker = {index: op for op in graph.ops for index in op.outputs}
    network = graph.to_networkx()
    for number, region in enumerate(graph.regions):
        mean = maker[region.predicate]
        first = next(op for op in graph.ops if op.region == number)
        assert mean.target == "aten.mean.default"
        assert network.has_edge(mean.name, first.name)


def test_merged_graph_is_a_document():
    graph = capture(Routed(), batches=[plus(), minus()])
    assert Graph.from_json(graph.to_json()) == graph


def test_batches_are_calls():
    x = torch.zeros(1)
    assert as_call(x) == ((x,), {})
    assert as_call((x, 3)) == ((x, 3), {})
    assert as_call({"x": x}) == ((), {"x": x})
    assert as_call(((x,), {"y": 2})) == ((x,), {"y": 2})
