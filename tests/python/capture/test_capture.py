"""capture() against torch.export's own view of a model, and against what it must leave alone."""

from __future__ import annotations

import copy
import logging
import random
from logging.handlers import BufferingHandler

import numpy
import pytest
import torch
from capture_models import CASES, TiedLanguageModel, case
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from parallel_opt._core import load_pt2, summarize
from parallel_opt.capture import capture, export, ties
from parallel_opt.capture_state import flat_call
from parallel_opt.errors import InputError
from parallel_opt.trace import trace

EXPORTABLE = sorted(set(CASES) - {"data"})


def parameters_of(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def operators(graph, phase="forward"):
    return [op.target for op in graph.ops if op.phase == phase]


def exported_view(module, args, kwargs):
    """(target, result shapes) of every operator on tensors, as torch.export has them."""
    with flat_call(module, args, kwargs):
        program = torch.export.export(copy.deepcopy(module), args, kwargs)
    view = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        results = list(value) if isinstance(value, (tuple, list)) else [value]
        tensors = [list(v.shape) for v in results if isinstance(v, torch.Tensor)]
        if (
            node.op == "call_function"
            and isinstance(node.target, torch._ops.OpOverload)
            and tensors
        ):
            view.append((str(node.target), tensors))
    return view


# Not in_place: torch gives no shape to the copies into buffers that it adds at the end.
@pytest.mark.parametrize("name", sorted(set(EXPORTABLE) - {"in_place"}))
def test_graph_equals_what_torch_exports(name):
    module, args, kwargs = case(name)
    # With a symbolic batch torch keeps slices that do nothing: compare at a fixed one.
    graph = capture(module, args, kwargs, dynamic_batch=False)
    assert not [note for note in graph.notes if "trace" in note or "recorded" in note]
    seen = [(op.target, [graph.tensors[i].shape for i in op.outputs]) for op in graph.ops]
    assert seen == exported_view(module, args, kwargs)


@pytest.mark.parametrize("name", sorted(CASES))
def test_parameters_and_buffers_are_counted_exactly(name):
    module, args, kwargs = case(name)
    count = capture(module, args, kwargs).count_parameters()
    assert count.parameters == parameters_of(module)
    assert count.trainable == sum(p.numel() for p in module.parameters() if p.requires_grad)
    assert count.parameter_bytes == sum(p.numel() * p.element_size() for p in module.parameters())
    assert count.buffer_bytes == sum(b.numel() * b.element_size() for b in module.buffers())


@pytest.mark.parametrize("name", EXPORTABLE)
def test_outputs_keep_order_and_shape(name):
    module, args, kwargs = case(name)
    graph = capture(module, args, kwargs)
    with flat_call(module, args, kwargs), torch.random.fork_rng():
        outputs = copy.deepcopy(module)(*args, **kwargs)
    assert [graph.tensors[i].shape for i in graph.outputs] == [list(t.shape) for t in outputs]


@pytest.mark.parametrize("name", EXPORTABLE)
def test_graph_binds_to_another_batch(name):
    module, args, kwargs = case(name)
    graph = capture(module, args, kwargs)
    assert [s.name for s in graph.symbols] == ["batch"]
    batch = args[0].shape[0]

    def doubled(value):
        return torch.cat([value, value]) if isinstance(value, torch.Tensor) else value

    larger = capture(module, [doubled(a) for a in args], kwargs)
    bound = graph.bind({"batch": 2 * batch})
    assert [t.shape for t in bound.tensors] == [t.shape for t in larger.tensors]
    assert bound.bind({"batch": batch}) == graph


def structure(graph):
    """All but the device, which meta weights have of their own."""
    tensors = [(t.name, t.role, t.dtype, t.shape, t.expressions, t.tied_to) for t in graph.tensors]
    return tensors, [(op.target, op.inputs, op.outputs, op.module) for op in graph.ops]


# Not the encoder: nn.TransformerEncoder copies its layers, and torch 2.13 crashes on copies of fake
# tensors.
@pytest.mark.parametrize("name", ["mlp", "conv", "tied", "attention", "recurrent"])
def test_real_fake_and_meta_weights_give_one_graph(name):
    module, args, kwargs = case(name)
    real = capture(module, args, kwargs)
    with torch.device("meta"):
        on_meta = case(name)[0]
    with FakeTensorMode():
        made_fake = case(name)[0]
    for weights in (on_meta, made_fake):
        graph = capture(weights, args, kwargs)
        assert structure(graph) == structure(real)
        assert graph.count_parameters().parameters == parameters_of(module)


@pytest.mark.parametrize("level", ["export", "trace"])
def test_tied_parameters_are_one_tensor(level):
    module, args, _ = case("tied")
    graph = capture(module, args, level=level)
    named = {t.fqn: i for i, t in enumerate(graph.tensors) if t.fqn}
    assert ties(module) == {"head.weight": "embed.weight"}
    assert graph.tensors[named["head.weight"]].tied_to == named["embed.weight"]
    uses = [op.module for op in graph.ops if named["embed.weight"] in dict(op.inputs).values()]
    assert uses == ["embed", "head"]


def test_views_of_one_storage_are_not_tied():
    module, args, _ = case("views")
    with torch.device("meta"):
        on_meta = case("views")[0]
    for weights in (module, on_meta):
        assert capture(weights, args).count_parameters().parameters == 32  # 2 of 4 x 4


def test_real_weights_saved_by_torch_tie_themselves(tmp_path):
    program = torch.export.export(TiedLanguageModel(), (torch.zeros(4, 5, dtype=torch.long),))
    torch.export.save(program, tmp_path / "tied.pt2")
    graph = load_pt2(str(tmp_path / "tied.pt2"))
    assert graph.count_parameters().parameters == parameters_of(TiedLanguageModel())
    assert (graph.name, graph.source) == ("tied", "tied.pt2")


def test_modules_and_calls_are_known():
    module, args, _ = case("tied")
    calls = [(op.module, op.call) for op in capture(module, args).ops if "linear" in op.target]
    assert calls == [("qkv", 0), ("mix", 0), ("mix", 1), ("head", 0)]
    traced = capture(module, args, level="trace")
    assert {(op.module, op.call) for op in traced.ops if "mm" in op.target} == set(calls)


def test_inputs_keep_call_order_and_constants_are_noted():
    module, args, kwargs = case("several")
    graph = capture(module, args, kwargs)
    assert [graph.tensors[i].name for i in graph.inputs] == ["x", "y", "mask"]
    assert 'the input "scale" is fixed at 3' in graph.notes
    assert [graph.tensors[i].expressions for i in graph.inputs] == [
        ["batch", ""],
        ["batch", ""],
        ["", ""],
    ]


def test_storage_is_shared_by_views_and_in_place_operators():
    module, args, _ = case("in_place")
    for level in ("export", "trace"):
        graph = capture(module, args, level=level)
        for op in graph.ops:
            if op.target in ("aten.t.default", "aten.mul_.Tensor", "aten.add_.Tensor"):
                assert graph.tensors[op.outputs[0]].alias_of == op.inputs[0][1], op.target
        clone = next(op for op in graph.ops if op.target == "aten.clone.default")
        assert graph.tensors[clone.outputs[0]].alias_of is None


def test_training_mode_is_kept():
    module, args, _ = case("mlp")
    dropout = next(op for op in capture(module, args).ops if "dropout" in op.target)
    assert dropout.attributes["train"] is True
    quiet = next(op for op in capture(module.eval(), args).ops if "dropout" in op.target)
    assert quiet.attributes["train"] is False


class Masked(nn.Module):
    """The batch cannot be a symbol: its size must equal that of a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, 4))

    def forward(self, mask):
        return self.weight.masked_fill(mask, 0)


def test_what_torch_logs_of_a_try_that_failed_is_not_shown():
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    handler = BufferingHandler(100)
    logger.addHandler(handler)
    try:
        graph = capture(Masked(), (torch.ones(5, 4) > 0,))
        assert operators(graph) == ["aten.masked_fill.Scalar"]
        assert handler.buffer == []  # torch logs an error with 40 lines of its stack
        logger.error("as before")
        assert [record.msg for record in handler.buffer] == ["as before"]
    finally:
        logger.removeHandler(handler)


def test_model_that_branches_on_data_is_recorded_from_a_run(capfd):
    module, args, _ = case("data")
    graph = capture(module, args)
    assert graph.source == "trace"
    assert graph.notes[0].startswith("recorded from one run, because torch.export failed: ")
    assert graph.notes[1].startswith("run on the real batch, because it needs data")
    assert [op.module for op in graph.ops if "addmm" in op.target] == ["large"]
    assert graph.count_parameters().parameters == parameters_of(module)
    assert capfd.readouterr() == ("", "")  # torch.export would print the graph it got to
    with pytest.raises(InputError, match=r"DataDependent: torch\.export failed"):
        capture(module, args, level="export")


@pytest.mark.parametrize("name", ["mlp", "conv", "tied", "attention", "encoder", "frozen"])
def test_export_and_trace_count_the_same_arithmetic(name):
    module, args, kwargs = case(name)
    exported = summarize(capture(module, args, kwargs))
    traced = summarize(capture(module, args, kwargs, level="trace"))
    assert traced.flops.forward == exported.flops.forward > 0
    assert traced.opaque == []


def test_tensors_that_change_their_shape_in_place_keep_their_gradient():
    """torch does so to the mean over the pixels of channels_last."""
    pool = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    pixels = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
    graph = capture(pool.to(memory_format=torch.channels_last), (pixels,), level="trace")
    assert "aten.as_strided_.default" in operators(graph)
    assert [t.name for t in graph.tensors if t.role == "constant"] == []
    # of the filter's weights: 2 * 2 samples * 36 results * 4 * 27 weights; of the layer's: 2*2*4*2
    # twice, and once more for its input
    assert summarize(graph).flops.backward == 2 * 2 * 36 * 4 * 27 + 2 * (2 * 2 * 4 * 2)


def test_backward_is_recorded_with_the_modules_of_its_forward():
    module, args, _ = case("mlp")
    graph = trace(module, args, {}, name="mlp", ties={}, backward=True)
    matmuls = [op for op in graph.ops if op.target == "aten.mm.default"]
    # last layer: input and weight gradient; first layer: weight gradient
    assert [op.module for op in matmuls] == ["net.3", "net.3", "net.0"]
    assert {op.phase for op in matmuls} == {"backward"}


def snapshot(module):
    attributes = {name: dict(m.__dict__) for name, m in module.named_modules()}
    state = {k: v.clone() for k, v in module.state_dict().items()}
    plain = {k: v.clone() for k, v in module.named_buffers()}
    return attributes, state, plain, {k: p.grad for k, p in module.named_parameters()}


@pytest.mark.parametrize("level", ["auto", "trace"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_nothing_changes(name, level):
    module, args, kwargs = case(name)
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.ones_like(parameter)
    seen = []
    handle = module.register_forward_hook(lambda *_: seen.append(1))
    before = snapshot(module)
    randoms = torch.get_rng_state(), random.getstate(), numpy.random.get_state()[1].copy()
    capture(module, args, kwargs, level=level)
    assert torch.equal(torch.get_rng_state(), randoms[0])
    assert random.getstate() == randoms[1]
    assert (numpy.random.get_state()[1] == randoms[2]).all()
    after = snapshot(module)
    for was, now in zip(before[1:3], after[1:3], strict=True):
        assert was.keys() == now.keys()
        assert all(torch.equal(was[k], now[k]) for k in was)
    for key, names in before[0].items():
        assert names.keys() == after[0][key].keys()
        assert all(names[k] is after[0][key][k] for k in names), key
    assert all(before[3][k] is after[3][k] for k in before[3])
    assert all(p.is_leaf for p in module.parameters())
    handle.remove()
    assert not module._forward_hooks  # the handle still finds its dictionary


def test_lstm_keeps_its_flat_weights():
    module, args, _ = case("recurrent")
    capture(module, args)
    assert module.lstm._flat_weights[0] is module.lstm.weight_ih_l0


def test_gradients_may_be_off_around_it():
    module, args, _ = case("mlp")
    with torch.no_grad():
        inside = capture(module, args)
    assert inside == capture(module, args)


def test_compiled_module_is_captured_as_what_it_wraps():
    module, args, _ = case("mlp")
    assert capture(torch.compile(module), args) == capture(module, args)


def test_archive_holds_no_weights():
    module = nn.Linear(1000, 1000)  # 4 MB
    assert len(export(module, (torch.randn(2, 1000),))) < 20_000


def test_batch_of_one_stays_fixed():
    graph = capture(nn.Linear(4, 4), (torch.randn(1, 4),))
    assert [t.shape for t in graph.tensors][-1] == [1, 4]


@pytest.mark.parametrize("level", ["export", "trace"])
def test_parametrized_weights_count_their_originals(level):
    module = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
    graph = capture(module, (torch.randn(2, 4),), level=level)
    assert graph.count_parameters().parameters == 24  # 4 x 4, one norm per row, bias of 4
    assert graph.outputs


def test_lazy_module_is_refused_until_it_has_shapes():
    module = nn.LazyLinear(4)
    with pytest.raises(InputError) as error:
        capture(module, (torch.randn(2, 3),))
    assert str(error.value) == ("LazyLinear: weight has no shape yet (run one forward pass first)")
    module(torch.randn(2, 3))
    assert capture(module, (torch.randn(2, 3),)).count_parameters().parameters == 16  # 3 * 4 + 4


def test_unknown_level_is_refused():
    with pytest.raises(InputError) as error:
        capture(nn.Linear(1, 1), (), level="magic")
    known = "auto, step, joint, export, fragments, trace"
    assert str(error.value) == f'level: unknown level "magic" (one of {known})'


def test_model_that_does_not_run_names_both_reasons():
    with pytest.raises(InputError) as error:
        capture(nn.Linear(4, 4), (torch.randn(2, 3),))
    text = str(error.value)
    assert text.startswith("Linear: torch.export failed: ")
    assert "; the run failed too: RuntimeError: " in text
    assert text.endswith("(does the model run?)")
