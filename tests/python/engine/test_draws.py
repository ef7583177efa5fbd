"""Random numbers drawn for the whole batch equal one process's, row for row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from parallel_opt.engine.draws import Draw, DrawRule, FullBatchDraws, match_draws
from parallel_opt.engine.layout import find_layout
from parallel_opt.engine.shares import Share


class Drawing(nn.Module):
    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(4, 4, dtype=torch.float64))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x @ self.weight)


def attention(x: torch.Tensor) -> torch.Tensor:
    return functional.scaled_dot_product_attention(x, x, x, dropout_p=0.3)


def flattened(x: torch.Tensor) -> torch.Tensor:
    return functional.dropout(x.reshape(-1, 4), 0.5).view(x.shape)


def drop_path(x: torch.Tensor) -> torch.Tensor:
    return x * torch.bernoulli(torch.full((x.shape[0], 1, 1), 0.5, dtype=x.dtype))


def shared_noise(x: torch.Tensor) -> torch.Tensor:
    return x + torch.randn(4, dtype=x.dtype) + functional.dropout(x, 0.5)


FUNCTIONS = {
    "dropout": lambda x: functional.dropout(x, 0.3),
    "dropout_in_place": lambda x: functional.dropout(x, 0.3, inplace=True),
    "channel_dropout": lambda x: functional.dropout1d(x, 0.3),
    "alpha_dropout": lambda x: functional.alpha_dropout(x, 0.3, True),
    "transposed": lambda x: functional.dropout(x.transpose(1, 2), 0.3),
    "two_orders": lambda x: functional.dropout(functional.dropout(x.mT, 0.3).contiguous(), 0.3),
    "attention": attention,
    "flattened": flattened,
    "drop_path": drop_path,
    "noise": lambda x: x + torch.randn_like(x),
    "normal": lambda x: torch.normal(x, 0.1),
    "sized": lambda x: x * torch.rand(x.shape[0], 3, 1, dtype=x.dtype),
    "uniform": lambda x: x + torch.empty_like(x).uniform_(1, 2),
    "gumbel": lambda x: functional.gumbel_softmax(x),
    "shared_noise": shared_noise,
}


def drawn(module: nn.Module, x: torch.Tensor, counts: Sequence[int], dim: int) -> list[Any]:
    """Each rank's rows and final random state, one rank after the other."""
    layout = find_layout(module, lambda tensors: module(*tensors), [x])
    assert (layout.whole_because, layout.input_dims) == ("", (dim,))
    results = []
    for rank in range(len(counts)):
        share = Share(tuple(counts), rank)
        torch.manual_seed(3)
        with FullBatchDraws(share, layout.draws, set()):
            rows = module(x.narrow(dim, share.start, share.rows))
        results.append((rows.narrow(dim, 0, share.own), torch.get_rng_state()))
    return results


def check(module: nn.Module, x: torch.Tensor, counts: Sequence[int], dim: int) -> None:
    torch.manual_seed(3)
    expected = module(x)
    state = torch.get_rng_state()
    results = drawn(module, x, counts, dim)
    found = torch.cat([rows for rows, _ in results], dim)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert all(torch.equal(after, state) for _, after in results)


@pytest.mark.parametrize("counts", [(4, 3), (6, 1), (0, 7), (3, 2, 2)], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_row_gets_the_numbers_of_one_process(name: str, counts: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    check(Drawing(FUNCTIONS[name]), torch.randn(7, 3, 4, dtype=torch.float64), counts, 0)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(4, 4, 2, dropout=0.5, bidirectional=True)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.4)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.rnn(x)[0]
        hidden = self.attention(hidden, hidden, hidden, need_weights=False)[0]
        flat = functional.dropout(hidden.reshape(-1, 8), 0.5)  # time outside, samples inside
        return self.head(flat).view(x.shape)


@pytest.mark.parametrize("counts", [(4, 3), (6, 1)], ids=str)
def test_sequence_first_models_draw_alike(counts: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    check(Recurrent().double(), torch.randn(5, 7, 4, dtype=torch.float64), counts, 1)


def test_channels_last_images_draw_in_memory_order() -> None:
    torch.manual_seed(1)
    images = torch.randn(7, 4, 3, 3, dtype=torch.float64)
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Dropout(0.5)).double()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    check(model, images.contiguous(memory_format=torch.channels_last), (4, 3), 0)


def test_an_operator_that_draws_by_value_needs_the_whole_batch() -> None:
    module = Drawing(lambda x: functional.rrelu(x, training=True))
    layout = find_layout(module, lambda tensors: module(*tensors), [torch.ones(6, 4).double()])
    assert layout.whole_because == "it draws random numbers by aten::rrelu_with_noise"


def test_another_sequence_length_follows_the_same_rule() -> None:
    rule = DrawRule(Draw("aten::bernoulli_", (8, 6, 4), (0, 1, 2)), 0)
    torch.manual_seed(3)
    expected = torch.empty(8, 9, 4).bernoulli_(0.5)
    torch.manual_seed(3)
    with FullBatchDraws(Share((5, 3), 1), [rule], set()):
        found = torch.empty(3, 9, 4).bernoulli_(0.5)
    assert torch.equal(found, expected[5:])


def test_draws_in_another_pattern_have_no_rule() -> None:
    big = Draw("aten::bernoulli_", (6, 4))
    assert match_draws([big], [big, big], 6, 4, None) is None
    assert match_draws([big], [Draw("aten::uniform_", (4, 4))], 6, 4, None) is None
    assert match_draws([big], [Draw("aten::bernoulli_", (5, 4))], 6, 4, None) is None
    assert match_draws([big], [Draw("aten::bernoulli_", (4, 3))], 6, 4, None) is None
    # 3 of 6 samples at a time, as a forward in micro-batches draws
    part = Draw("aten::bernoulli_", (2, 4))
    assert match_draws([Draw("aten::bernoulli_", (3, 4))], [part], 6, 4, None) is None
    rule = DrawRule(Draw("aten::bernoulli_", (12, 4)), 0, factor=2, inner=True)
    part = Draw("aten::bernoulli_", (8, 4))
    assert match_draws([rule.draw], [part], 6, 4, steps=2) == [rule]


class Conditional(nn.Module):
    """Draws in the branch that ``torch.cond`` takes."""

    def __init__(self) -> None:
        super().__init__()
        self.flag = nn.Buffer(torch.tensor(True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        noisy = lambda y: y * torch.rand_like(y)  # noqa: E731
        return torch.cond(self.flag, noisy, torch.sin, (x,))


def test_draws_in_a_conditional_branch_equal_one_process() -> None:
    module, x = Conditional(), torch.arange(12.0, dtype=torch.float64).view(6, 2) + 1
    torch.manual_seed(3)
    expected = module(x)
    results = drawn(module, x, (4, 2), 0)
    assert torch.equal(torch.cat([rows for rows, _ in results]), expected)
