"""What an averaged loss averages over, told apart by runs on altered labels."""

from __future__ import annotations

import pytest
import torch
from test_layout import Function, layout_of, numbers
from torch.nn import functional

from parallel_opt.engine.averages import Case, OutputRule, average_rules, choose, difference


def cross_entropy(ignored: int, shifted: bool = False) -> Function:
    def model(w: torch.Tensor, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = x @ w
        if shifted:
            logits, labels = logits[:, :-1], labels[:, 1:]
        flat = labels.flatten()
        return functional.cross_entropy(logits.flatten(0, 1), flat, ignore_index=ignored)

    return Function(model)


@pytest.mark.parametrize("shifted", [False, True])
def test_labels_that_all_count_in_this_batch_are_found_to_weigh(shifted: bool) -> None:
    labels = torch.tensor([[0, 1, 2, 3]] * 6)  # nothing ignored yet: samples would fit as well
    layout = layout_of(cross_entropy(-100, shifted), numbers(6, 4, 4), labels)
    assert layout.outputs == (OutputRule("mean", labels=1, shifted=shifted),)


def test_a_loss_over_all_tokens_stays_a_mean_over_samples() -> None:
    def model(w: torch.Tensor, x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (x @ w - labels[..., None]).square().mean()

    layout = layout_of(Function(model), numbers(6, 4, 4), torch.tensor([[0, 1, 2, 3]] * 6))
    assert layout.outputs == (OutputRule("mean"),)


def test_a_padding_entry_of_the_users_own_is_found() -> None:
    labels = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 2], [1, 1, 3, 3], [0, 2, 3, 3]])
    layout = layout_of(cross_entropy(3), numbers(4, 4, 4), labels)
    assert layout.outputs == (OutputRule("mean", labels=1, ignored=3),)
    # entries that are not 3: 3 + 3 + 2 + 2
    assert layout.outputs[0].weigh([numbers(4, 4, 4), labels], 4) == 10


def test_a_loss_under_a_mask_weighs_by_its_ones() -> None:
    def model(w: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ((x @ w).square().mean(-1) * mask).sum() / mask.sum()

    mask = torch.ones(6, 4, dtype=torch.bool)
    layout = layout_of(Function(model), numbers(6, 4, 4), mask)
    assert layout.outputs == (OutputRule("mean", labels=1, ignored=0),)


def test_weights_of_samples_are_added_up() -> None:
    def model(w: torch.Tensor, x: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return ((x @ w).square().mean(-1) * weights).sum() / weights.sum()

    weights = torch.tensor([1.0, 2.0, 0.5, 0.5, 3.0, 1.0], dtype=torch.float64)
    layout = layout_of(Function(model), numbers(6, 4), weights)
    assert layout.outputs == (OutputRule("mean", labels=1, summed=True),)
    assert layout.outputs[0].weigh([numbers(6, 4), weights], 6) == 8


def test_nearly_equal_losses_do_not_hide_the_unit() -> None:
    """At initialisation every token costs about ln V: a wrong share is off by little."""
    model = cross_entropy(-100).float()
    with torch.no_grad():
        model.weight.mul_(1e-3)
    labels = torch.tensor([[0, 1, 2, 3]] * 5 + [[0, -100, -100, -100]])
    layout = layout_of(model, numbers(6, 4, 4).float(), labels)
    assert layout.outputs == (OutputRule("mean", labels=1),)


def test_two_rules_that_both_fit_and_disagree_are_no_answer() -> None:
    one = torch.ones(())
    inputs = [torch.ones(3, 2), torch.tensor([1, 1, 5])]
    parts = [[inputs[0][:2], inputs[1][:2]], [inputs[0][2:], inputs[1][2:]]]
    case = Case(one, (one, one), parts, (2, 1))  # equal parts: any share fits
    rules = [OutputRule("mean"), OutputRule("mean", labels=1, ignored=5)]
    assert [case.weight(rule) for rule in rules] == [2 / 3, 1.0]
    assert choose(rules, [case]) is None
    assert choose(rules[:1], [case]) == rules[0]


def test_only_inputs_that_carry_samples_are_taken_for_labels() -> None:
    inputs = [torch.ones(4, 3), torch.tensor([1, 2, 3])]
    assert list(average_rules(inputs, (0, None))) == [
        OutputRule("mean"),
        OutputRule("mean", labels=0, summed=True),
        OutputRule("mean", labels=0, summed=True, shifted=True),
    ]


def test_the_difference_is_relative_and_counts_nan_as_zero() -> None:
    assert difference(torch.tensor([1.0, 3.0]), torch.tensor([2.0, 4.0])) == 0.25
    nan = float("nan")
    assert difference(torch.tensor([nan, 1.0]), torch.tensor([nan, 1.0])) == 0
    assert difference(torch.ones(2), torch.ones(3)) == float("inf")
