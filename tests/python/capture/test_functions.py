"""Operators that take functions: flex_attention, control flow, compiled and checkpointed parts."""

from __future__ import annotations

import pytest
import torch
from function_models import (
    BLOCK,
    LENGTH,
    Combined,
    CompiledPart,
    Cond,
    Mapped,
    Masked,
    Reentrant,
    Region,
    Scanned,
    Vmapped,
    While,
    WithoutGradients,
    window,
)

from parallel_opt._core import load_model, summarize
from parallel_opt.capture import capture, export
from parallel_opt.capture_flex import block_density
from parallel_opt.errors import InputError

X = torch.ones(3, 4)
LINEAR = 2 * 3 * 4 * 4  # FLOPs of one layer on X
PROJECTION = 2 * 2 * LENGTH * 32 * 96
SCORES = 2 * 2 * LENGTH * LENGTH  # of two samples and two heads
ATTENTION = 2 * SCORES * (16 + 16)  # without a mask
CAUSAL = 10 / 16  # of 4 x 4 blocks those on and below the diagonal


def attention_of(graph):
    return [op for op in graph.ops if op.target == "higher_order.flex_attention"]


@pytest.mark.parametrize("level", ["auto", "step", "joint", "fragments", "trace"])
def test_flex_attention_counts_the_blocks_that_its_mask_leaves(level):
    graph = capture(Masked(), (torch.randn(2, LENGTH, 32),), level=level, dynamic_batch=False)
    summary = summarize(graph)
    assert summary.flops.forward == PROJECTION + CAUSAL * ATTENTION
    # of the projection its weight's gradient; of attention twice the forward
    assert summary.flops.backward == PROJECTION + 2 * CAUSAL * ATTENTION
    assert len(attention_of(graph)) == 1
    assert summary.opaque == []
    assert graph.notes == [n for n in graph.notes if "piece" in n]


@pytest.mark.parametrize("level", ["auto", "trace"])
@pytest.mark.parametrize(
    ("mask", "function", "density"),
    [("inside", window, 10 / 16), ("none", None, 1), ("bias", None, 1)],
)
def test_masks_of_every_kind(level, mask, function, density):
    # a window of one block reaches the blocks on the diagonal and those beside it: 4 + 2 * 3
    module = Masked(mask, function)
    graph = capture(module, (torch.randn(2, LENGTH, 32),), level=level, dynamic_batch=False)
    assert summarize(graph).flops.forward == PROJECTION + density * ATTENTION
    assert graph.notes == []


def test_mask_that_is_read_from_data_is_counted_in_full_with_a_note():
    x = torch.cat([torch.ones(2, LENGTH // 2, 32), -torch.ones(2, LENGTH // 2, 32)], 1)
    module = Masked("data")
    exported = capture(module, (x,), level="export", dynamic_batch=False)
    assert summarize(exported).flops.forward == PROJECTION + ATTENTION
    assert exported.notes[-1] == (
        "flex_attention in the model: the block mask depends on data that is not there: "
        "counted in full"
    )


def test_archive_of_flex_attention_keeps_what_its_mask_leaves(tmp_path):
    path = tmp_path / "flex.pt2"
    path.write_bytes(export(Masked(), (torch.randn(2, LENGTH, 32),)))
    graph = load_model(str(path))
    assert summarize(graph).flops.forward == PROJECTION + CAUSAL * ATTENTION
    assert summarize(graph.bind({"batch": 6})).flops.forward == 3 * (
        PROJECTION + CAUSAL * ATTENTION
    )


def test_density_counts_blocks_also_at_the_border():
    from torch.nn.attention.flex_attention import create_block_mask

    mask = create_block_mask(lambda b, h, q, k: q >= k, None, None, 300, 300, device="cpu")
    assert block_density(mask.as_tuple()) == 6 / 9  # three blocks, the last one short
    unknown = (*mask.as_tuple()[:2], mask.kv_num_blocks.to("meta"), *mask.as_tuple()[3:])
    assert block_density(unknown) == 6 / 9  # made anew from the function
    nothing = (*unknown[:-1], lambda b, h, q, k: unknown[2][0, 0, 0] > q)
    assert block_density(nothing) is None
    assert BLOCK == 128


def flops(module, level, x=X):
    summary = summarize(capture(module, (x,), level=level, dynamic_batch=False))
    return summary.flops.forward, summary.flops.backward


@pytest.mark.parametrize("level", ["auto", "joint", "step", "fragments"])
def test_cond_has_both_ways(level):
    graph = capture(Cond(), (X,), level=level, dynamic_batch=False)
    assert summarize(graph).flops.forward == LINEAR / 2 + 2 * LINEAR / 2
    assert [r.kind for r in graph.regions][:2] == ["branch", "branch"]
    assert "equally likely" in graph.notes[0]


def test_cond_that_is_traced_took_one_way():
    assert flops(Cond(), "trace") == (LINEAR, LINEAR)
    # two products; of the first its weight's gradient, of the second also that of its operand
    assert flops(Cond(), "trace", -X) == (2 * LINEAR, 3 * LINEAR)


def test_while_loop_counts_once_exported_and_as_it_ran_traced():
    assert flops(While(), "auto") == (LINEAR, 2 * LINEAR)
    assert flops(While(), "trace") == (3 * LINEAR, 5 * LINEAR)
    assert flops(While(), "fragments") == (3 * LINEAR, 5 * LINEAR)
    for level in ("step", "joint"):
        with pytest.raises(InputError, match="how often a while_loop runs depends on data"):
            capture(While(), (X,), level=level)


@pytest.mark.parametrize("level", ["auto", "joint", "step", "fragments", "trace"])
@pytest.mark.parametrize("kind", [Mapped, Scanned, Combined])
def test_loops_over_rows_count_every_row(kind, level):
    graph = capture(kind(), (X,), level=level, dynamic_batch=False)
    assert summarize(graph).flops.forward == LINEAR
    if kind is not Combined and level in ("auto", "step", "fragments"):
        assert {(r.kind, r.runs, r.observed) for r in graph.regions} == {("loop", 3.0, True)}


def test_scan_carries_what_a_run_leaves_to_the_next():
    graph = capture(Scanned(), (X,), level="step", dynamic_batch=False)
    forward = [op for op in graph.ops if op.phase == "forward"]
    (entry,) = [op for op in forward if "carried" in op.attributes]
    made = {graph.tensors[i].name for op in forward for i in op.outputs}
    assert entry.attributes["carried"] in made
    assert graph.observed_saved_bytes is None  # what is kept inside was not seen


@pytest.mark.parametrize("level", ["auto", "step", "joint", "fragments", "trace"])
def test_region_that_is_used_twice_is_there_twice(level):
    graph = capture(Region(), (X,), level=level, dynamic_batch=False)
    summary = summarize(graph)
    assert (summary.flops.forward, summary.flops.backward) == (2 * LINEAR, 3 * LINEAR)
    assert summary.saved_bytes == 2 * 3 * 4 * 4  # the results of tanh


@pytest.mark.parametrize("level", ["auto", "step", "joint", "fragments", "trace"])
def test_part_without_gradients_has_no_backward(level):
    assert flops(WithoutGradients(), level) == (2 * LINEAR, LINEAR)


@pytest.mark.parametrize("level", ["auto", "step", "joint", "fragments", "trace"])
def test_compiled_part_is_seen_through(level):
    assert flops(CompiledPart(), level) == (2 * LINEAR, 3 * LINEAR)


@pytest.mark.parametrize("level", ["auto", "step", "joint", "fragments", "trace"])
def test_reentrant_checkpoint_has_its_gradients(level):
    forward, backward = flops(Reentrant(), level)
    assert forward == 2 * LINEAR
    # The part runs again; a step is traced with the other kind, which stops at what nobody needs.
    assert backward == (3 if level == "step" else 4) * LINEAR


@pytest.mark.parametrize("level", ["auto", "step", "joint", "trace"])
def test_products_inside_vmap_count_for_all_samples(level):
    graph = capture(Vmapped(), (X,), level=level, dynamic_batch=False)
    assert summarize(graph).flops.forward == LINEAR
    assert summarize(graph).opaque == []


def test_what_torch_had_is_there_again_after_captures():
    import torch._dynamo
    import torch.nn.attention.flex_attention as flex
    import torch.utils.checkpoint as checkpoints

    def everything():
        return (
            torch.compile,
            torch._ops.HigherOrderOperator.__call__,
            flex._validate_device,
            checkpoints.CheckpointFunction,
            torch._dynamo.config.error_on_nested_fx_trace,
        )

    before = everything()
    for level in ("auto", "step", "joint", "fragments", "trace"):
        capture(Masked(), (torch.randn(2, LENGTH, 32),), level=level, dynamic_batch=False)
        assert everything() == before
    with pytest.raises(InputError):
        capture(Masked(), (torch.randn(2, LENGTH, 31),))
    assert everything() == before


class Spike(torch.autograd.Function):
    """A step, with the gradient of something smooth."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x > 0).float()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient / (1 + x.abs()) ** 2


class Spiking(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.second(Spike.apply(self.first(x)))


def test_a_function_with_a_gradient_of_its_own_passes_it_on():
    graph = capture(Spiking(), (X,))
    flops = summarize(graph).flops
    # the first layer's weight, the second's weight and operand: its operators have no gradient
    assert (flops.forward, flops.backward) == (2 * LINEAR, 3 * LINEAR)
    assert graph.notes[0].startswith("recorded from one run: Spike has a gradient")


@pytest.mark.parametrize("level", ["auto", "trace"])
def test_a_causal_language_model_has_no_mask_that_a_run_leaves_out(level):
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(
        "llama", vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=2, use_cache=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    graph = capture(model, (), {"input_ids": torch.zeros(2, 8, dtype=torch.int64)}, level=level)
    (attention,) = [op for op in graph.ops if "scaled_dot_product" in op.target]
    assert attention.attributes["is_causal"] is True
    assert "attn_mask" not in [argument for argument, _ in attention.inputs]


class Routed(torch.nn.Module):
    """Each expert takes the rows that are its own, and counts them in a buffer."""

    def __init__(self):
        super().__init__()
        self.experts = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(2))
        self.register_buffer("rows", torch.zeros(()))

    def forward(self, x):
        result = torch.zeros_like(x)
        for number, expert in enumerate(self.experts):
            rows = torch.where(x[:, 0] == number)[0]
            self.rows.add_(rows.shape[0])
            result.index_add_(0, rows, expert(x[rows]))
        return result


def test_sizes_that_depend_on_data_are_those_of_the_batch():
    module, x = Routed(), torch.tensor([0.0, 1, 1, 1, 0])[:, None].expand(5, 4)
    state = torch.get_rng_state()
    graph = capture(module, (x,))
    assert summarize(graph).flops.forward == 5 * 2 * 4 * 4
    sizes = {symbol.name: symbol.hint for symbol in graph.symbols if symbol.name != "batch"}
    assert sorted(sizes.values()) == [2, 3]
    assert sum("in the batch that was captured it is" in note for note in graph.notes) == 2
    assert float(module.rows) == 0
    assert torch.equal(state, torch.get_rng_state())
    doubled = graph.bind({name: 2 * size for name, size in sizes.items()})
    assert summarize(doubled).flops.forward == 10 * 2 * 4 * 4


def test_sizes_that_depend_on_data_are_1_where_there_is_none():
    with torch.device("meta"):
        module = Routed()
    graph = capture(module, (torch.zeros(5, 4, device="meta"),), level="export")
    assert any("taken as 1" in note for note in graph.notes)
