"""Operators with random shapes and settings: FLOPs and saved bytes against torch, exactly."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_counts import torch_flops, torch_saved_bytes

from parallel_opt import _core
from parallel_opt.capture import ties

ROUNDS = 12
# A call of operands that need gradients, or not, and the shapes of these.
Case = tuple[str, Callable[..., Tensor], list[list[int]]]


class Call(nn.Module):
    """One call between operators that keep nothing of its operands."""

    def __init__(self, call: Callable[..., Tensor], shapes: list[list[int]], frozen: int) -> None:
        super().__init__()
        self.call, self.frozen = call, frozen
        self.operands = nn.ParameterList(nn.Parameter(torch.randn(s)) for s in shapes)
        self.part = call if isinstance(call, nn.Module) else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        made = [p.exp().mul(1.5).neg() for p in self.operands]
        made = [t.detach() if i == self.frozen else t for i, t in enumerate(made)]
        return self.call(*made).neg().sum() + x.sum() * self.operands[0].sum()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _sizes(rng: random.Random, rank: int, most: int = 6) -> list[int]:
    return [rng.randint(1, most) for _ in range(rank)]


def matmul(rng: random.Random) -> Case:
    """Of any two ranks from 1 to 4, with leading axes that broadcast."""
    inner, left, right = rng.randint(1, 7), rng.randint(1, 4), rng.randint(1, 4)
    batch = _sizes(rng, 2, 4)

    def leading(count: int) -> list[int]:
        return [n if rng.random() < 0.7 else 1 for n in batch[2 - count :]]

    a = [inner] if left == 1 else [*leading(left - 2), rng.randint(1, 6), inner]
    b = [inner] if right == 1 else [*leading(right - 2), inner, rng.randint(1, 6)]
    if 1 in (left, right):  # torch's counter knows no product with a vector
        return matmul(rng)
    return f"matmul {a} {b}", torch.matmul, [a, b]


def einsum(rng: random.Random) -> Case:
    size = dict(zip("abcdef", _sizes(rng, 6, 5), strict=True))
    terms = ["".join(rng.sample("abcdef", rng.randint(1, 4))) for _ in range(rng.randint(1, 3))]
    letters = sorted(set("".join(terms)))
    kept = "".join(rng.sample(letters, rng.randint(0, min(len(letters), 4))))
    equation = f"{','.join(terms)}->{kept}"
    shapes = [[size[letter] for letter in term] for term in terms]
    return f"{equation} {shapes}", lambda *operands: torch.einsum(equation, *operands), shapes


def convolution(rng: random.Random) -> Case:
    rank, kernel = rng.randint(1, 3), rng.randint(1, 3)
    transposed, dilation = rng.random() < 0.3, rng.randint(1, 2)
    settings: dict[str, Any] = {
        "stride": rng.randint(1, 2),
        "padding": rng.randint(0, 2) if not transposed else 0,
        "dilation": dilation,
        "bias": torch.ones(4) if rng.random() < 0.5 else None,
    }
    channels = rng.randint(1, 5)
    x = [rng.randint(1, 3), channels, *[n + 5 for n in _sizes(rng, rank, 4)]]
    weight = [channels, 4] if transposed else [4, channels]
    names = {True: "conv_transpose", False: "conv"}
    function = getattr(F, f"{names[transposed]}{rank}d")
    word = f"{function.__name__} {x} {kernel} {settings}"
    return word, lambda a, w: function(a, w, **settings), [x, [*weight, *[kernel] * rank]]


def attention(rng: random.Random) -> Case:
    batch, groups, shared = rng.randint(1, 3), rng.randint(1, 3), rng.choice((1, 1, 2))
    rows, keys, width = _sizes(rng, 3, 7)
    value = width if rng.random() < 0.7 else rng.randint(1, 7)
    shapes = [
        [batch, groups * shared, rows, width],
        [batch, groups, keys, width],
        [batch, groups, keys, value],
    ]
    options = {"is_causal": rng.random() < 0.4, "enable_gqa": shared > 1}
    word = f"attention {shapes} {options}"
    return word, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options), shapes


def linear(rng: random.Random) -> Case:
    x = _sizes(rng, rng.randint(2, 4))
    out = rng.randint(1, 6)
    bias = [[out]] if rng.random() < 0.5 else []
    return f"linear {x} {out} {bias}", F.linear, [x, [out, x[-1]], *bias]


def added(rng: random.Random) -> Case:
    """Products that are added to something."""
    b, n, k, m = _sizes(rng, 4)
    cases: list[Case] = [
        ("addmm", torch.addmm, [[n, m], [n, k], [k, m]]),
        ("addmm row", torch.addmm, [[m], [n, k], [k, m]]),
        ("baddbmm", torch.baddbmm, [[b, n, m], [b, n, k], [b, k, m]]),
        ("bmm", torch.bmm, [[b, n, k], [b, k, m]]),
        ("tensordot", lambda x, y: torch.tensordot(x, y, 2), [[b, n, k], [n, k, m]]),
        ("inner", torch.inner, [[n, k], [m, k]]),
        ("cdist", lambda x, y: (x[:, None] - y[None]).square().sum(-1), [[n, k], [m, k]]),
    ]
    word, call, shapes = rng.choice(cases)
    return f"{word} {shapes}", call, shapes


def recurrent(rng: random.Random) -> Case:
    columns, hidden = _sizes(rng, 2)
    steps, samples = rng.randint(2, 6), rng.randint(2, 6)  # of one, some copies are views
    kind = rng.choice((nn.LSTM, nn.GRU, nn.RNN))
    module: Any = kind(
        columns,
        hidden,
        num_layers=rng.randint(1, 2),
        bidirectional=rng.random() < 0.5,
        bias=rng.random() < 0.7,
        batch_first=rng.random() < 0.5,
    )
    word = f"{module} of {[steps, samples, columns]}"

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = module

        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.layer(x)[0]
            return result

    return word, First(), [[steps, samples, columns]]


def normalisation(rng: random.Random) -> Case:
    x = [rng.randint(2, 3), 2 * rng.randint(1, 3), *_sizes(rng, rng.randint(1, 2))]
    channels = [x[1]]
    cases: list[Case] = [
        ("layer_norm", lambda a, w: F.layer_norm(a, w.shape, w), [x, x[-1:]]),
        ("layer_norm of two", lambda a, w: F.layer_norm(a, w.shape, w), [x, x[-2:]]),
        ("rms_norm", lambda a, w: F.rms_norm(a, w.shape, w), [x, x[-1:]]),
        ("group_norm", lambda a, w: F.group_norm(a, 2, w), [x, channels]),
        ("batch_norm", lambda a, w: F.batch_norm(a, None, None, w, training=True), [x, channels]),
    ]
    word, call, shapes = rng.choice(cases)
    return f"{word} {shapes}", call, shapes


class Labelled(nn.Module):
    """A loss of rows that are all of the first class."""

    def __init__(self, function: Callable[..., Tensor], rows: int, how: str) -> None:
        super().__init__()
        self.function, self.how = function, how
        self.register_buffer("labels", torch.zeros(rows, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, self.labels, reduction=self.how)


def loss(rng: random.Random) -> Case:
    rows, classes = _sizes(rng, 2)
    how = rng.choice(("mean", "sum", "none"))
    cases: list[Case] = [
        ("cross_entropy", Labelled(F.cross_entropy, rows, how), [[rows, classes]]),
        ("nll", Labelled(F.nll_loss, rows, how), [[rows, classes]]),
        ("mse", lambda x, y: F.mse_loss(x, y, reduction=how), [[rows, classes]] * 2),
        ("smooth_l1", lambda x, y: F.smooth_l1_loss(x, y, reduction=how), [[rows, classes]] * 2),
        ("huber", lambda x, y: F.huber_loss(x, y, reduction=how), [[rows, classes]] * 2),
    ]
    word, call, shapes = rng.choice(cases)
    return f"{word} {how} {shapes}", call, shapes


KINDS = (matmul, einsum, convolution, attention, linear, added, recurrent, normalisation, loss)


def _read(model: nn.Module, x: Tensor) -> _core.GraphSummary:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about itself
        torch.export.save(torch.export.export(model, (x,), strict=False), file)
    return _core.summarize(_core.read_pt2(file.getvalue(), "random", ties(model)))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_counts_equal_torchs(kind: Callable[[random.Random], Case]) -> None:
    rng, faults = random.Random(kind.__name__), []
    for _ in range(ROUNDS):
        word, call, shapes = kind(rng)
        # One kernel makes all gradients of attention: torch's formula leaves some out.
        may_freeze = len(shapes) > 1 and kind is not attention
        frozen = rng.randrange(len(shapes)) if may_freeze and rng.random() < 0.4 else -1
        torch.manual_seed(0)
        model, x = Call(call, shapes, frozen), torch.randn(2)
        ours = _read(model, x)
        theirs = (*torch_flops(model, (x,)), torch_saved_bytes(model, (x,)))
        if (ours.flops.forward, ours.flops.backward, ours.saved_bytes) != theirs or ours.opaque:
            counts = (ours.flops.forward, ours.flops.backward, ours.saved_bytes, ours.opaque)
            faults.append(f"{word}, operand {frozen} frozen: {counts}, torch {theirs}")
    assert faults == []
