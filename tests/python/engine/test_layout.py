"""Which dimensions carry samples, found by running the model on parts of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from parallel_opt.engine.averages import OutputRule
from parallel_opt.engine.layout import BRANCHES, NO_BATCH, Layout, find_layout, layout_fault
from parallel_opt.engine.layout_book import HOOKS, LayoutBook
from parallel_opt.engine.structure import flatten
from parallel_opt.snapshot import has_user_hooks


class Function(nn.Module):
    """A model that is one Python function of its inputs and one weight."""

    def __init__(self, function: Callable[..., Any], shape: tuple[int, ...] = (4, 4)) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(self.weight, *args)


def layout_of(module: nn.Module, *inputs: torch.Tensor) -> Layout:
    return find_layout(module, lambda tensors: module(*tensors), list(inputs))


def numbers(*shape: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(shape, dtype=torch.float64)


def test_a_square_input_and_a_square_shared_mask_are_told_apart() -> None:
    module = Function(lambda w, x, mask: (x @ w) @ mask)
    layout = layout_of(module, numbers(4, 4), numbers(4, 4).tril())
    assert layout.input_dims == (0, None)
    assert layout.outputs == (OutputRule("rows", 0),)


def test_a_mask_per_sample_is_sliced() -> None:
    layout = layout_of(Function(lambda w, x, mask: (x @ w) * mask), numbers(6, 4), numbers(6, 1))
    assert layout.input_dims == (0, 0)


def test_the_batch_may_be_the_second_dimension() -> None:
    module = nn.GRU(4, 3).double()
    layout = layout_of(module, numbers(5, 6, 4), numbers(1, 6, 3))
    assert layout.input_dims == (1, 1)
    assert layout.outputs == (OutputRule("rows", 1), OutputRule("rows", 1))


def test_outputs_may_be_means_sums_rows_or_constants() -> None:
    def model(w: torch.Tensor, x: torch.Tensor) -> Any:
        y = x @ w
        return {
            "mean": y.mean(),
            "sum": y.sum(),
            "rows": y.T,
            "penalty": w.norm(),
            "flat": y.view(-1),
        }

    layout = layout_of(Function(model), numbers(5, 4))
    assert [(rule.kind, rule.dim) for rule in layout.outputs] == [
        ("mean", 0),
        ("sum", 0),
        ("rows", 1),
        ("same", 0),
        ("rows", 0),
    ]


@pytest.mark.parametrize("shifted", [False, True])
def test_a_loss_over_labels_that_count_is_weighted_by_them(shifted: bool) -> None:
    def model(w: torch.Tensor, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = x @ w
        if shifted:
            logits, labels = logits[:, :-1], labels[:, 1:]
        return functional.cross_entropy(logits.flatten(0, 1), labels.flatten())

    labels = torch.tensor([[0, 1, 2], [-100, 3, 1], [-100, -100, 0], [1, -100, -100], [2, 2, 2]])
    layout = layout_of(Function(model), numbers(5, 3, 4), labels)
    assert layout.outputs == (OutputRule("mean", labels=1, shifted=shifted),)
    # labels that are not -100: 3 + 2 + 1 + 1 + 3; without the first column: 2 + 2 + 1 + 0 + 2
    assert layout.outputs[0].weigh([numbers(5, 3, 4), labels], 5) == (7 if shifted else 10)


def test_samples_that_meet_in_the_model_are_noticed() -> None:
    layout = layout_of(Function(lambda w, x: (x @ w).softmax(0)), numbers(6, 4))
    assert layout.whole_because == "output 0 is not made of per-sample rows, sums or means"


def test_coupling_behind_a_zero_weight_is_noticed() -> None:
    """A freshly initialised gate hides what will count once it has learned."""
    module = Function(lambda w, x: x.cumsum(1) + w * x.mean(0), (1,))
    nn.init.zeros_(module.weight)
    layout = layout_of(module, numbers(6, 4))
    assert layout.whole_because == "output 0 is not made of per-sample rows, sums or means"
    assert module.weight.item() == 0


def test_a_branch_on_the_batch_is_noticed_and_one_per_row_is_allowed() -> None:
    def per_batch(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x @ w if x.sum() > -1e9 else x

    def per_row(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.stack([row @ w if row[0].item() > 0 else row for row in x])

    def on_weights(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x @ w if w.sum() > -1e9 else x

    def on_shared_input(w: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x @ w if bool((mask == mask.T).all()) else (x @ w) @ mask

    whole = layout_of(Function(per_batch), numbers(6, 4))
    assert whole.whole_because == "it branches on values of the whole batch"
    assert layout_of(Function(per_row), numbers(6, 4)).whole_because == ""
    assert layout_of(Function(on_weights), numbers(6, 4)).whole_because == ""
    assert layout_of(Function(on_shared_input), numbers(6, 4), numbers(4, 4)).input_dims == (
        0,
        None,
    )


def test_samples_that_meet_only_for_other_values_are_noticed() -> None:
    """At this batch whole and parts agree: the mean is positive, no value is large."""

    def choice(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.where(x.mean() > 0, x @ w, x)

    def scale(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return (x @ w) / x.abs().max().clamp(min=6.0)

    def capacity(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        best, keep = x.argmax(1), torch.ones(len(x), dtype=torch.bool)
        for expert in range(4):
            keep[(best == expert).nonzero().squeeze(1)[3:]] = False
        return (x @ w) * keep[:, None]

    rows = "for other values than this batch's output 0 is not made of per-sample rows"
    positive = numbers(8, 4).abs()
    assert layout_of(Function(choice), positive).whole_because == rows
    assert layout_of(Function(scale), positive.clamp(max=1)).whole_because == rows
    spread = torch.eye(4, dtype=torch.float64).repeat(2, 1)
    assert layout_of(Function(capacity), spread).whole_because == rows


class Recording(nn.Module):
    """Keeps in a buffer what it has seen, and uses it in later forwards at most."""

    def __init__(self, update: Callable[..., Any]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4, dtype=torch.float64))
        self.register_buffer("kept", torch.ones((), dtype=torch.float64))
        self.update = update

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ self.weight / self.kept.clone()
        with torch.no_grad():
            self.update(self, x)
        return y


def test_a_buffer_written_from_the_batch_is_noticed() -> None:
    def mean(module: Any, x: torch.Tensor) -> None:
        module.kept.mul_(0.5).add_(0.5 * x.abs().mean())

    def count(module: Any, x: torch.Tensor) -> None:
        module.kept += x.shape[0]

    def replaced(module: Any, x: torch.Tensor) -> None:
        module.kept = x.abs().max()

    def step(module: Any, x: torch.Tensor) -> None:
        module.kept += 1  # per forward, whatever the batch

    reason = "it writes the buffer 'kept' from the batch"
    for update in (mean, count, replaced):
        assert layout_of(Recording(update), numbers(6, 4)).whole_because == reason
    assert layout_of(Recording(step), numbers(6, 4)).whole_because == ""


class Keeping(nn.Module):
    """Leaves something in an attribute, for the loop or a later forward."""

    def __init__(self, keep: Callable[..., Any], start: Any = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4, dtype=torch.float64))
        self.kept, self.keep = start, keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x @ self.weight
        self.keep(self, y)
        return y


def test_an_attribute_written_from_the_batch_is_noticed() -> None:
    def hidden(module: Any, y: torch.Tensor) -> None:
        module.kept = y  # what an auxiliary loss of the loop reads

    def number(module: Any, y: torch.Tensor) -> None:
        module.kept = y.pow(2).sum().item()

    def inside(module: Any, y: torch.Tensor) -> None:
        module.kept["last"] = y.mean(0)

    def in_place(module: Any, y: torch.Tensor) -> None:
        module.kept.mul_(0.9).add_(y.detach().mean(0))

    reason = "it writes the attribute 'kept' from the batch"
    zeros = torch.zeros(4, dtype=torch.float64)
    for keep, start in ((hidden, None), (number, None), (inside, {}), (in_place, zeros)):
        assert layout_of(Keeping(keep, start), numbers(6, 4)).whole_because == reason, keep
    assert not zeros.any()  # looking for the layout leaves no trace


def test_an_attribute_that_is_the_same_for_every_batch_is_no_matter() -> None:
    def count(module: Any, y: torch.Tensor) -> None:
        module.kept += 1

    def temperature(module: Any, y: torch.Tensor) -> None:
        module.kept *= 0.99

    def table(module: Any, y: torch.Tensor) -> None:
        module.kept = torch.arange(y.shape[1])

    for keep, start in ((count, 0), (temperature, 1.0), (table, None)):
        assert layout_of(Keeping(keep, start), numbers(6, 4)).whole_because == "", keep


def test_what_an_output_hides_is_not_told_apart() -> None:
    def model(w: torch.Tensor, x: torch.Tensor) -> Any:
        return torch.distributions.Categorical(logits=x @ w, validate_args=False)

    reason = "it returns a Categorical, whose tensors cannot be told apart"
    assert layout_of(Function(model), numbers(6, 4)).whole_because == reason


def test_hooks_forbid_parts_when_they_come_and_later() -> None:
    module = Function(lambda w, x: x @ w)
    notes: list[str] = []
    book = LayoutBook(module, module, notes.append)
    inputs, structure = flatten(((numbers(6, 4),), {}))
    assert book.whole_or(inputs, structure, sliced=True).whole_because == ""
    module.register_forward_hook(lambda *_: None)
    assert book.whole_or(inputs, structure, sliced=True).whole_because == HOOKS
    assert book.whole_or(inputs, structure, sliced=False).whole_because == ""


def test_ranks_look_for_hooks_together() -> None:
    module = Function(lambda w, x: x @ w)
    notes: list[str] = []
    asked: list[Any] = []

    def agree(own: Any) -> Any:
        asked.append(own)
        return own

    book = LayoutBook(module, module, notes.append, agree=agree)
    inputs, structure = flatten(((numbers(6, 4),), {}))
    calls = [book.whole_or(inputs, structure, sliced=True) for _ in range(3)]
    assert all(layout.whole_because == "" for layout in calls)
    module.register_forward_hook(lambda *_: None)
    later = [book.whole_or(inputs, structure, sliced=True).whole_because for _ in range(16)]
    assert later[0] == "" and later[-1] == HOOKS  # at the call that all ranks look at
    assert notes[-1].startswith("hooks may keep or change values of the batch, added later:")


def test_weight_normalisation_is_no_hook_of_the_users() -> None:
    module = torch.nn.utils.spectral_norm(nn.Linear(4, 4))
    assert not has_user_hooks(module)


def test_a_branch_through_numpy_is_noticed() -> None:
    def model(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x @ w if x.detach().numpy().mean() > -1e9 else x

    assert layout_of(Function(model), numbers(6, 4)).whole_because == BRANCHES


def test_a_mask_looked_at_only_to_leave_it_out_is_sliced() -> None:
    def model(w: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x @ w if bool(mask.all()) else (x @ w) * mask

    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]] * 2)
    layout = layout_of(Function(model), numbers(6, 4), mask)
    assert layout == Layout((0, 0), (OutputRule("rows", 0),), branches=True)
    # the other way at last, and then a branch that matters
    assert layout_fault_of(layout, Function(model), numbers(6, 4), torch.ones(6, 4)) == ""

    def scaled(w: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return x @ w if bool(mask.all()) else (x @ w) * mask * 2

    assert layout_of(Function(scaled), numbers(6, 4), mask).whole_because == BRANCHES


def test_a_mask_per_sample_is_sliced_even_where_its_rows_repeat() -> None:
    """Rows 4 and 5 equal rows 0 and 1: not slicing the mask would fit this batch."""

    def model(w: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if bool(mask.sum() > 1e9):  # the likeliest guess fails: a branch never seen to be harmless
            return x
        return (x @ w) * mask[: len(x)]

    mask = torch.tensor([[1.0], [2], [3], [4], [1], [2]], dtype=torch.float64)
    layout = layout_of(Function(model), numbers(6, 4), mask)
    assert layout.whole_because == BRANCHES


def layout_fault_of(layout: Layout, module: nn.Module, *inputs: torch.Tensor) -> str:
    return layout_fault(layout, module, lambda tensors: module(*tensors), list(inputs))


def test_a_layout_is_held_against_later_batches() -> None:
    def model(w: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x @ w + (x.mean() > 1000)

    module, small = Function(model), numbers(6, 4)
    layout = layout_of(module, small)
    assert layout.whole_because == ""
    assert layout_fault_of(layout, module, small + 1) == ""
    far = small.clone()
    far[0] += 1e6
    reason = "output 0 is not made of per-sample rows"
    assert layout_fault_of(layout, module, far) == reason
    assert layout_fault_of(Layout((None,), whole_because=reason), module, far) == ""


def test_a_model_that_refuses_parts_is_computed_whole() -> None:
    layout = layout_of(Function(lambda w, x: x.view(6, 4) @ w), numbers(6, 4))
    assert layout.whole_because.startswith("it does not run on part of the batch (RuntimeError")


def test_one_sample_says_nothing() -> None:
    assert layout_of(Function(lambda w, x: x @ w), numbers(1, 4)).whole_because == NO_BATCH


class Disturbing(nn.Module):
    """Changes buffers, attributes and the random state in every forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).double()
        self.register_buffer("seen", torch.zeros(1))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.seen += 1
        return self.body(x) + torch.randn_like(x)


def test_the_search_leaves_no_trace() -> None:
    module = Disturbing()
    x = numbers(6, 4)
    generator = torch.get_rng_state()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    layout = layout_of(module, x)
    assert (layout.input_dims, layout.batch_norm, layout.random) == ((0,), True, True)
    assert [rule.draw.operator for rule in layout.draws] == ["aten::bernoulli_", "aten::randn_like"]
    assert module.calls == 0
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.equal(x, numbers(6, 4))
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name


@dataclasses.dataclass
class Pair:
    first: torch.Tensor
    name: str
    rest: list[torch.Tensor]


def test_nested_values_are_taken_apart_and_put_together() -> None:
    a, b, c = numbers(1), numbers(2), numbers(3)
    value = {"x": (a, 5), "pair": Pair(b, "p", [c]), "max": numbers(2, 2).max(0)}
    tensors, structure = flatten(value)
    assert [tuple(t.shape) for t in tensors] == [(1,), (2,), (3,), (2,), (2,)]
    again = structure.rebuild([t + 1 for t in tensors])
    assert torch.equal(again["x"][0], a + 1) and again["x"][1] == 5
    assert again["pair"].name == "p" and torch.equal(again["pair"].rest[0], c + 1)
    assert type(again["max"]) is type(value["max"])
    assert torch.equal(again["max"].indices, value["max"].indices + 1)  # type: ignore[attr-defined]
    assert flatten(again)[1].signature == structure.signature
