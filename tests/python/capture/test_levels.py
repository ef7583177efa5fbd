"""Every level of capture on models where all of them work, and what each adds."""

from __future__ import annotations

import pytest
import torch
import transformers
from capture_models import case
from torch import nn
from trap_models import NoLoss

from parallel_opt._core import summarize
from parallel_opt.capture import capture
from parallel_opt.errors import InputError

LEVELS = ("export", "step", "joint", "fragments", "trace")
MODELS = ("mlp", "conv", "tied", "attention", "several", "views", "frozen")


@pytest.fixture(scope="module")
def graphs():
    """Each level's graph of a model, made once."""
    made = {}

    def graph(name, level):
        if (name, level) not in made:
            module, args, kwargs = case(name)
            made[name, level] = capture(module, args, kwargs, level=level, dynamic_batch=False)
        return made[name, level]

    return graph


@pytest.mark.parametrize("name", MODELS)
def test_all_levels_count_the_same_arithmetic(graphs, name):
    counted = {level: summarize(graphs(name, level)) for level in LEVELS}
    expected = counted["export"].flops.forward
    assert {level: s.flops.forward for level, s in counted.items()} == dict.fromkeys(
        LEVELS, expected
    )
    assert all(s.opaque == [] for s in counted.values())


@pytest.mark.parametrize("name", MODELS)
def test_recorded_backward_is_the_derived_one(graphs, name):
    derived = summarize(graphs(name, "export")).flops.backward
    for level in ("step", "joint"):
        assert summarize(graphs(name, level)).flops.backward == derived, level


@pytest.mark.parametrize("name", MODELS)
def test_all_levels_know_parameters_inputs_and_outputs(graphs, name):
    module, _, _ = case(name)
    for level in LEVELS:
        graph = graphs(name, level)
        count = graph.count_parameters()
        assert count.parameters == sum(p.numel() for p in module.parameters()), level
        assert count.trainable == sum(p.numel() for p in module.parameters() if p.requires_grad)
        other = graphs(name, "export")
        for ids in ("inputs", "outputs"):
            shapes = [[g.tensors[i].shape for i in getattr(g, ids)] for g in (graph, other)]
            assert shapes[0] == shapes[1], (level, ids)


@pytest.mark.parametrize("name", ["mlp", "conv", "tied", "attention"])
def test_observed_saved_bytes_are_those_of_the_rules(graphs, name):
    derived = summarize(graphs(name, "export")).saved_bytes
    for level in ("trace", "step", "fragments"):
        assert graphs(name, level).observed_saved_bytes == derived, level


@pytest.mark.parametrize("level", ["step", "joint"])
def test_backward_operators_carry_the_module_of_their_forward(graphs, level):
    graph = graphs("mlp", level)
    matmuls = [op for op in graph.ops if op.phase == "backward" and "mm" in op.target]
    assert [op.module for op in matmuls] == ["net.3", "net.3", "net.0"]
    assert {op.phase for op in graph.ops} == {"forward", "backward"}


@pytest.mark.parametrize("level", LEVELS)
def test_module_that_is_called_twice_has_call_numbers(graphs, level):
    calls = {
        (op.module, op.call)
        for op in graphs("tied", level).ops
        if op.phase == "forward" and ("mm" in op.target or "linear" in op.target)
    }
    assert calls == {("qkv", 0), ("mix", 0), ("mix", 1), ("head", 0)}


@pytest.mark.parametrize("level", ["step", "joint"])
def test_batch_is_a_symbol_of_recorded_steps_too(level):
    module, args, kwargs = case("mlp")
    graph = capture(module, args, kwargs, level=level)
    assert [s.name for s in graph.symbols] == ["batch"]
    four, eight = summarize(graph), summarize(graph.bind({"batch": 8}))
    assert eight.flops.backward == 2 * four.flops.backward


def test_step_takes_the_loss_that_is_given():
    module, args, _ = case("mlp")
    graph = capture(module, args, level="step", loss_fn=lambda y: y.pow(2).mean())
    targets = [op.target for op in graph.ops]
    assert "aten.pow.Tensor_Scalar" in targets
    assert targets.index("aten.pow.Tensor_Scalar") < targets.index("aten.mm.default")


def test_step_takes_the_models_own_loss():
    labels = torch.zeros(3, dtype=torch.long)
    graph = capture(NoLoss(), (torch.randn(3, 4),), {"labels": labels}, level="step")
    assert any(op.target.startswith("aten.nll_loss_backward") for op in graph.ops)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("stepped", [False, True])
def test_step_traces_the_optimizer_and_leaves_it_alone(kind, stepped):
    module = nn.Linear(4, 2)
    optimizer = kind(module.parameters(), lr=0.1)
    if stepped:
        module(torch.randn(3, 4)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    before = [p.detach().clone() for p in module.parameters()]
    states = {k: dict(v) for k, v in optimizer.state.items()}
    graph = capture(module, (torch.randn(3, 4),), level="step", optimizer=optimizer)
    written = [op for op in graph.ops if op.phase == "optimizer"]
    assert any(op.target.endswith("_.Tensor") or "addc" in op.target for op in written)
    assert summarize(graph).flops.backward == 2 * 3 * 4 * 2  # the weight's gradient; x has none
    assert all(torch.equal(p, q) for p, q in zip(module.parameters(), before, strict=True))
    assert {k: dict(v) for k, v in optimizer.state.items()}.keys() == states.keys()
    assert all(p.grad is None for p in module.parameters())


def test_fragments_name_the_graph_break_and_what_ran_between():
    module, args, kwargs = case("data")
    graph = capture(module, args, kwargs, level="fragments")
    assert graph.source == "fragments"
    assert graph.notes[0].startswith("torch.compile gets 2 pieces; ")
    assert graph.notes[1].startswith("graph break: ")
    assert {op.module for op in graph.ops} >= {"norm", "large"}
    made = {i: op for op in graph.ops for i in op.outputs}
    (product,) = [op for op in graph.ops if "addmm" in op.target]
    assert any(made[i].module == "norm" for _, i in product.inputs if i in made)


def test_joint_export_says_why_it_cannot():
    module, args, kwargs = case("data")
    with pytest.raises(InputError, match=r"DataDependent: the joint export failed: ") as error:
        capture(module, args, kwargs, level="joint")
    assert str(error.value).endswith('(try level="fragments")')


def test_step_says_that_data_decides():
    module, args, kwargs = case("data")
    with pytest.raises(InputError, match=r"DataDependent: the trace of a step failed: ") as error:
        capture(module, args, kwargs, level="step")
    assert str(error.value).endswith('(try level="trace")')


def test_export_reports_the_place_that_needs_data():
    module, args, kwargs = case("data")
    with pytest.raises(InputError) as error:
        capture(module, args, kwargs, level="export")
    assert "torch.export failed: data dependent error" in str(error.value)
    assert "capture_models.py:" in str(error.value)


@pytest.fixture(scope="module")
def language_model():
    """A Hugging Face model: outputs of its own class, a loss, tied weights, a cache in between."""
    config = transformers.GPT2Config(
        vocab_size=64, n_positions=16, n_embd=16, n_layer=2, n_head=2, attn_implementation="sdpa"
    )
    module = transformers.GPT2LMHeadModel(config)
    tokens = torch.randint(0, 64, (2, 8))
    return module, {"input_ids": tokens, "labels": tokens}


@pytest.mark.parametrize("level", ["auto", "step", "trace"])
def test_hugging_face_model_is_captured_with_its_loss(language_model, level):
    module, kwargs = language_model
    graph = capture(module, (), kwargs, level=level, dynamic_batch=False)
    tokens, width, vocabulary, layers = 2 * 8, 16, 64, 2
    # per layer: qkv and output 4 w^2, two of the MLP 8 w^2, scores and values 2 s w
    products = layers * (12 * width**2 + 2 * 8 * width) + vocabulary * width
    assert summarize(graph).flops.forward == 2 * tokens * products
    assert graph.count_parameters().parameters == module.num_parameters()
    assert graph.tensors[graph.outputs[0]].shape == []  # the loss comes first
    assert summarize(graph).opaque == []


def test_hugging_face_model_on_the_meta_device(language_model):
    module, kwargs = language_model
    with torch.device("meta"):
        bare = transformers.GPT2LMHeadModel(module.config)
    for level in ("auto", "trace"):
        real = summarize(capture(module, (), kwargs, level=level))
        assert summarize(capture(bare, (), kwargs, level=level)).flops == real.flops
