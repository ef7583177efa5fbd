"""One test per trap that capture must not fall into."""

from __future__ import annotations

import threading

import pytest
import torch
from capture_models import case
from torch import nn
from torch.utils.checkpoint import checkpoint
from trap_models import (
    Checkpointed,
    CustomFunction,
    Mixed,
    NoLoss,
    Nothing,
    Packed,
    Pair,
    Sample,
    Scribbler,
    Sparse,
    Spectral,
    Structured,
)

from parallel_opt import compat
from parallel_opt._core import summarize
from parallel_opt.capture import capture
from parallel_opt.errors import InputError
from parallel_opt.trace import trace

X = torch.ones(3, 4)
ALL = ("auto", "step", "joint", "fragments", "trace")


def shapes(graph):
    return [graph.tensors[i].shape for i in graph.outputs]


@pytest.mark.parametrize("level", ["auto", "step", "trace"])
def test_checkpointed_parts_are_captured(level):
    graph = capture(Checkpointed(), (X,), level=level, dynamic_batch=False)
    assert summarize(graph).flops.forward == 2 * 3 * (4 * 16 + 16 * 4 + 4 * 2)
    # recomputation stops when all that is needed is there: the second product is not
    recomputed = [op for op in graph.ops if op.phase == "backward" and "addmm" in op.target]
    assert len(recomputed) == (1 if level == "step" else 0)


class CheckpointedTower(nn.Module):
    """Each part keeps its input alone: 4 x 8 numbers in fp32."""

    def __init__(self, reentrant):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.parts = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 8)) for _ in range(3)
        )
        self.reentrant = reentrant

    def forward(self, x):
        x = self.first(x)
        for part in self.parts:
            x = checkpoint(part, x, use_reentrant=self.reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_checkpointed_parts_keep_was_observed(reentrant):
    module, x = CheckpointedTower(reentrant), torch.ones(4, 8)
    graph = capture(module, (x,), dynamic_batch=False)
    summary = summarize(graph)
    assert summary.saved_bytes == 3 * 4 * 8 * 4
    parts = 2 * 4 * 3 * 2 * 8 * 32
    forward = 2 * 4 * 8 * 8 + parts
    assert summary.flops.forward == forward
    # The input needs no gradient; the parts run a second time.
    assert summary.flops.backward == 2 * forward - 2 * 4 * 8 * 8 + parts
    assert graph.notes[-1] == (
        "recorded from one run: parts run under activation checkpointing, "
        "and an export does not say which"
    )


@pytest.mark.parametrize("level", ["auto", "step", "trace"])
def test_autocast_inside_the_model_is_seen(level):
    graph = capture(Mixed(), (X,), level=level, dynamic_batch=False)
    dtypes = [
        graph.tensors[op.outputs[0]].dtype
        for op in graph.ops
        if op.phase == "forward" and op.target.startswith(("aten.linear", "aten.addmm"))
    ]
    assert dtypes == ["bf16", "fp32"]
    assert not torch.is_autocast_enabled("cpu")


def test_custom_function_is_one_opaque_operator_with_what_it_was_seen_to_do():
    graph = capture(CustomFunction(), (X,), level="trace", dynamic_batch=False)
    (op,) = [op for op in graph.ops if op.target == "autograd.MySwish"]
    assert op.attributes["bound_flops"] == 2 * 3 * 4 * 8  # x @ weight
    assert op.attributes["saved_bytes"] == 2 * 3 * 8 * 4  # hidden and gate are its own
    assert op.attributes["saved_inputs"] == [0, 1]
    assert not [o for o in graph.ops if "sigmoid" in o.target]
    summary = summarize(graph)
    assert [o.operator for o in summary.opaque] == ["autograd.MySwish"]
    assert summary.flops.forward == 2 * 3 * 4 * 4 + 2 * 3 * 4 * 8
    # the result of `inner`, hidden and gate
    assert graph.observed_saved_bytes == (3 * 4 + 2 * 3 * 8) * 4


def test_step_sees_into_a_custom_function():
    graph = capture(CustomFunction(), (X,), level="step", dynamic_batch=False)
    assert [op.phase for op in graph.ops if "sigmoid" in op.target] == ["forward"]
    # x @ weight backward: two products; inner's weight: one
    assert summarize(graph).flops.backward == 2 * (2 * 3 * 4 * 8) + 2 * 3 * 4 * 4


def test_an_export_looks_into_a_custom_function_and_keeps_what_was_observed():
    graph = capture(CustomFunction(), (X,), dynamic_batch=False)
    assert graph.source == "torch.export"
    assert [op for op in graph.ops if "sigmoid" in op.target]
    assert graph.notes[-1].startswith("exported with the operators inside of MySwish; ")
    # as recorded above; its operators alone would keep one product more
    assert summarize(graph).saved_bytes == (3 * 4 + 2 * 3 * 8) * 4


def test_packed_sequences_run_on_the_real_batch():
    graph = capture(Packed(), (torch.randn(3, 5, 4), torch.tensor([5, 2, 3])))
    assert shapes(graph) == [[3, 5, 5]]
    assert "needs data" in graph.notes[-1]
    # 5 + 2 + 3 steps of a cell with three gates, from 4 and from 5 numbers
    assert summarize(graph).flops.forward == 10 * 2 * 3 * 5 * (4 + 5)


@pytest.mark.parametrize("level", ["auto", "trace"])
def test_sparse_gradients_do_not_matter(level):
    index = torch.randint(0, 50, (3, 4))
    graph = capture(Sparse(), (index,), level=level, dynamic_batch=False)
    assert shapes(graph) == [[3, 2]]
    whole = trace(Sparse(), (index,), {}, name="sparse", ties={}, backward=True)
    assert any(op.phase == "backward" for op in whole.ops)


@pytest.mark.parametrize("level", ["auto", "step", "trace"])
def test_complex_numbers(level):
    graph = capture(Spectral(), (torch.randn(3, 8),), level=level, dynamic_batch=False)
    assert shapes(graph) == [[3, 8], [3, 5, 2]]
    assert {t.dtype for t in graph.tensors} >= {"complex64", "fp32"}


@pytest.mark.parametrize("level", ["auto", "step", "trace", "fragments"])
def test_data_classes_and_nested_containers_go_in(level):
    args = (Sample(X), [{"left": torch.ones(3, 4)}, {"left": torch.ones(3, 1)}])
    graph = capture(Structured(), args, {"flag": True}, level=level, dynamic_batch=False)
    assert [graph.tensors[i].shape for i in graph.inputs] == [[3, 4], [3, 4], [3, 1]]
    assert shapes(graph) == [[3, 4], []]
    assert isinstance(Structured()(Sample(X)), Pair)


@pytest.mark.parametrize("level", ["auto", "step", "trace"])
def test_none_is_no_output(level):
    graph = capture(NoLoss(), (X,), {"labels": None}, level=level, dynamic_batch=False)
    assert shapes(graph) == [[3, 4]]


@pytest.mark.parametrize("level", ["auto", "trace", "step"])
def test_module_that_returns_nothing_still_has_operators(level):
    graph = capture(Nothing(), (X,), level="trace", dynamic_batch=False)
    assert graph.outputs == []
    assert summarize(graph).flops.forward == 2 * 3 * 4 * 4


class Doubling(nn.Module):
    def forward(self, weight):
        return weight * 2


def test_parametrizations_and_weight_norm_count_their_originals():
    module = nn.Linear(4, 4)
    nn.utils.parametrize.register_parametrization(module, "weight", Doubling())
    for level in ("auto", "step", "trace"):
        graph = capture(module, (X,), level=level, dynamic_batch=False)
        assert graph.count_parameters().parameters == 20  # 4 x 4 and a bias of 4
        assert any(op.module.startswith("parametrizations") for op in graph.ops), level


def test_wrappers_are_taken_off():
    module, args, _ = case("mlp")
    plain = capture(module, args)
    assert capture(nn.DataParallel(module), args) == plain
    assert capture(torch.compile(nn.DataParallel(module)), args) == plain


def test_compiled_part_of_a_module_runs_as_it_is():
    module, args, _ = case("mlp")
    plain = capture(module, args, level="trace")
    module.net[0].compile()
    assert capture(module, args, level="trace") == plain


def test_scripted_module_is_traced():
    module = torch.jit.script(nn.Sequential(nn.Linear(4, 4), nn.ReLU()))
    graph = capture(module, (X,))
    assert graph.count_parameters().parameters == 20
    assert summarize(graph).flops.forward == 2 * 3 * 4 * 4


def test_lazy_buffers_are_refused_too():
    with pytest.raises(InputError, match="has no shape yet"):
        capture(nn.LazyBatchNorm1d(), (X,))


def everything(module):
    """All that capture must leave as it is."""
    state = {k: v.clone() for k, v in module.state_dict(keep_vars=False).items()}
    flags = {k: (p.requires_grad, p.grad) for k, p in module.named_parameters()}
    return (
        {k: v.tolist() for k, v in state.items()},
        flags,
        [m.training for m in module.modules()],
        module.attribute.tolist(),
        [list(inner) for inner in module.history["losses"]],
        module.generator.get_state().tolist(),
        sorted(module.__dict__),
        module.flag,
        torch.get_rng_state().tolist(),
    )


@pytest.mark.parametrize("level", ["auto", "trace", "fragments", "export"])
def test_forward_that_writes_to_everything_leaves_no_mark(level):
    torch.manual_seed(5)
    module, x = Scribbler(), torch.ones(3, 4)
    before = everything(module)
    versions = [p._version for p in module.parameters()]
    try:
        capture(module, (x,), level=level, batches=[] if level == "export" else [(x,), (x + 1,)])
    except InputError:
        assert level == "export"  # it looks at data
    assert everything(module) == before
    assert torch.equal(x, torch.ones(3, 4))
    assert [p._version for p in module.parameters()] == versions
    assert torch.is_grad_enabled()


def test_state_comes_back_after_a_forward_that_fails():
    class Failing(Scribbler):
        def forward(self, x):
            super().forward(x)
            raise RuntimeError("in the middle")

    torch.manual_seed(5)
    module, x = Failing(), torch.ones(3, 4)
    before = everything(module)
    with pytest.raises(InputError, match="in the middle"):
        capture(module, (x,))
    assert everything(module) == before
    assert torch.equal(x, torch.ones(3, 4))


@pytest.mark.parametrize("level", ALL)
def test_weights_are_not_allocated_twice(level):
    module = nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 1000))  # 8 MB
    x = torch.randn(2, 1000)
    changes = compat.cpu_allocations(lambda: capture(module, (x,), level=level))
    assert max((c.bytes for c in changes), default=0) < 1_000_000  # no copy of one weight, 4 MB


def test_weights_are_not_allocated_twice_by_a_run_on_real_data():
    class Big(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1000, 1000)

        def forward(self, x):
            return self.fc(x) if float(x.sum()) > 0 else x

    module, x = Big(), torch.ones(2, 1000)
    changes = compat.cpu_allocations(lambda: capture(module, (x,), batches=[x, x]))
    assert max((c.bytes for c in changes), default=0) < 1_000_000


def test_two_threads_may_run_modules_during_a_capture():
    done = threading.Event()
    other = nn.Linear(4, 4)

    def work():
        while not done.is_set():
            other(X)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        module, args, _ = case("mlp")
        first = capture(module, args)
        assert capture(module, args) == first
    finally:
        done.set()
        thread.join()
