"""Random small programs of torch: chains with branches of operators that models are made of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# One operator with its random settings, bound to the modules of the program.
Step = Callable[[nn.ModuleDict, list[Tensor]], Tensor]


class Program(nn.Module):
    """Steps over a growing list of values; each reads values by their number in the list."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict()
        self.steps: list[Step] = []
        self.words: list[str] = []  # what each step is, for messages

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            values.append(step(self.parts, values))
        return sum((v.float().mean() for v in values[-2:]), values[-1].new_zeros(()))


class Writer:
    """Grows a program step by step; runs each one, so that the next knows the shapes."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        torch.manual_seed(seed)
        self.program = Program()
        shape = [self.rng.randint(1, 4)] + [self.rng.randint(2, 9) for _ in range(2)]
        if self.rng.random() < 0.4:
            shape = [shape[0], self.rng.choice((2, 4, 6)), *self.rng.choices(range(4, 10), k=2)]
        self.input = torch.randn(shape)
        self.values = [self.input]

    def add(self, word: str, step: Step, **parts: nn.Module) -> None:
        """`step` finds its modules under names that begin with the step's number."""
        self.program.parts.update(parts)
        with torch.no_grad():
            value = step(self.program.parts, self.values)
        self.program.steps.append(step)
        self.program.words.append(word)
        self.values.append(value)

    def key(self) -> str:
        return f"p{len(self.program.steps)}"

    def numbers(self, values: list[int]) -> str:
        """Whole numbers that the program keeps; their name."""
        name = f"n{len(self.program.steps)}"
        self.program.register_buffer(name, torch.tensor(values))
        return name

    def source(self) -> int:
        """The last value mostly, or an earlier one."""
        last = len(self.values) - 1
        return last if self.rng.random() < 0.75 else self.rng.randint(0, last)


def write(seed: int, steps: int) -> tuple[Program, Tensor]:
    """The program of a seed and an input for it."""
    writer = Writer(seed)
    linear(writer, 0)
    while len(writer.program.steps) < steps:
        kind = writer.rng.choice(KINDS)
        kind(writer, writer.source())
    return writer.program, writer.input


def _axis(writer: Writer, value: Tensor) -> int:
    return writer.rng.randrange(value.dim())


def linear(writer: Writer, at: int) -> None:
    shape, key, rng = writer.values[at].shape, writer.key(), writer.rng
    if shape:
        module = nn.Linear(shape[-1], rng.randint(1, 9), bias=rng.random() < 0.6)
        writer.add("linear", lambda parts, v: parts[key](v[at]), **{key: module})


POINTWISE: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": lambda x: torch.exp(-x.abs()),
    "softplus": F.softplus,
    "elu": F.elu,
    "leaky": F.leaky_relu,
    "hardswish": F.hardswish,
    "mish": F.mish,
    "abs": torch.abs,
    "neg": torch.neg,
    "square": lambda x: x**2,
    "cube": lambda x: x.pow(3),
    "sqrt": lambda x: (x * x + 1).sqrt(),
    "rsqrt": lambda x: (x * x + 1).rsqrt(),
    "scaled": lambda x: x * 0.5 + 1,
    "clamp": lambda x: x.clamp(-1, 1),
    "sin": torch.sin,
    "log": lambda x: torch.log(x.abs() + 1),
    "reciprocal": lambda x: 1 / (x * x + 1),
    "detached": lambda x: x * x.detach(),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "masked": lambda x: x.masked_fill(x > 1, 0.0),
    "maximum": lambda x: torch.maximum(x, -x),
    "logsigmoid": F.logsigmoid,
    "erf": torch.erf,
    "clone": torch.clone,
    "in place": lambda x: (x + 1).mul_(2),
    "contiguous": lambda x: x.contiguous(),
}


def pointwise(writer: Writer, at: int) -> None:
    name = writer.rng.choice(list(POINTWISE))
    function = POINTWISE[name]
    writer.add(name, lambda parts, v: function(v[at]))


def binary(writer: Writer, at: int) -> None:
    """With any earlier value that it broadcasts with."""
    shape = writer.values[at].shape
    others = []
    for i, value in enumerate(writer.values):
        try:
            torch.broadcast_shapes(shape, value.shape)
        except RuntimeError:
            continue
        others.append(i)
    other = writer.rng.choice(others)
    name = writer.rng.choice(("add", "mul", "sub", "div", "lerp", "addcmul"))
    functions: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "add": torch.add,
        "mul": torch.mul,
        "sub": lambda a, b: a - 2 * b,
        "div": lambda a, b: a / (b.abs() + 1),
        "lerp": lambda a, b: torch.lerp(a, b.expand(torch.broadcast_shapes(a.shape, b.shape)), 0.3),
        "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    }
    function = functions[name]
    writer.add(f"{name} {other}", lambda parts, v: function(v[at], v[other]))


def softmax(writer: Writer, at: int) -> None:
    value = writer.values[at]
    if value.dim():
        axis = _axis(writer, value)
        function = writer.rng.choice((torch.softmax, torch.log_softmax, torch.cumsum))
        writer.add(function.__name__, lambda parts, v: function(v[at], axis))


def norm(writer: Writer, at: int) -> None:
    shape = writer.values[at].shape
    key = writer.key()
    if len(shape) < 2:
        return
    kinds: list[tuple[str, nn.Module]] = [
        ("layer_norm", nn.LayerNorm(shape[-1])),
        ("layer_norm_2", nn.LayerNorm(shape[-2:], bias=False)),
        ("layer_norm_plain", nn.LayerNorm(shape[-1], elementwise_affine=False)),
        ("rms_norm", nn.RMSNorm(shape[-1])),
    ]
    if len(shape) >= 3 and shape[1] % 2 == 0:
        kinds.append(("group_norm", nn.GroupNorm(2, shape[1])))
    if len(shape) in (3, 4) and math.prod(shape) // shape[1] > 1:
        made = nn.BatchNorm1d if len(shape) == 3 else nn.BatchNorm2d
        kinds.append(("batch_norm", made(shape[1])))
    name, module = writer.rng.choice(kinds)
    writer.add(name, lambda parts, v: parts[key](v[at]), **{key: module})


def layout(writer: Writer, at: int) -> None:
    value = writer.values[at]
    rng, shape = writer.rng, list(value.shape)
    if not shape:
        return
    axis, other = _axis(writer, value), _axis(writer, value)
    order = rng.sample(range(len(shape)), len(shape))
    start = rng.randrange(shape[axis])
    length = rng.randint(1, shape[axis] - start)
    pieces = [n for n in range(1, shape[axis] + 1) if shape[axis] % n == 0]
    piece = rng.choice(pieces)
    index = writer.numbers(rng.choices(range(shape[axis]), k=rng.randint(1, 6)))
    amounts = [rng.randint(0, 2) for _ in range(2)]
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "transpose": lambda x: x.transpose(axis, other),
        "permute": lambda x: x.permute(order),
        "narrow": lambda x: x.narrow(axis, start, length),
        "strided": lambda x: x[(slice(None),) * axis + (slice(None, None, 2),)],
        "split": lambda x: x.split(piece, axis)[0],
        "chunks": lambda x: torch.cat(x.chunk(2, axis)[::-1], axis),
        "unflatten": lambda x: x.unflatten(axis, (piece, -1)),
        "flatten": lambda x: x.flatten(min(axis, other), max(axis, other)),
        "reshape": lambda x: x.reshape(-1, shape[-1]),
        "unsqueeze": lambda x: x.unsqueeze(axis),
        "select": lambda x: x.select(axis, start),
        "expand": lambda x: x.unsqueeze(axis).expand(*x.shape[:axis], 3, *x.shape[axis:]),
        "repeat": lambda x: x.repeat(2, *[1] * (x.dim() - 1)),
        "repeat_interleave": lambda x: x.repeat_interleave(2, axis),
        "flip": lambda x: x.flip(axis),
        "roll": lambda x: x.roll(1, axis),
        "index_select": lambda x: x.index_select(axis, writer.program.get_buffer(index)),
        "advanced": lambda x: x[(slice(None),) * axis + (writer.program.get_buffer(index),)],
        "pad": lambda x: F.pad(x, amounts),
        "stack": lambda x: torch.stack([x, 2 * x], axis),
        "cat": lambda x: torch.cat([x, x, -x], axis),
        "unbind": lambda x: x.unbind(axis)[0] * x.unbind(axis)[-1],
        "tril": lambda x: x.tril() if x.dim() > 1 else x * 2,
        "diagonal": lambda x: x.diagonal(0, -2, -1) if x.dim() > 1 else x + 1,
        "movedim": lambda x: x.movedim(axis, other),
    }
    name = rng.choice(list(kinds))
    function = kinds[name]
    if len(shape) < 5 or name not in ("unflatten", "unsqueeze", "expand", "stack"):
        writer.add(f"{name} {axis} {other} {shape}", lambda parts, v: function(v[at]))


def reduce(writer: Writer, at: int) -> None:
    value = writer.values[at]
    if value.dim() < 2:
        return
    axis, keep = _axis(writer, value), writer.rng.random() < 0.5
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "sum": lambda x: x.sum(axis, keepdim=keep),
        "mean": lambda x: x.mean(axis, keepdim=keep),
        "amax": lambda x: x.amax(axis, keepdim=keep),
        "max": lambda x: x.max(axis, keepdim=keep).values,
        "var": lambda x: x.var(axis, keepdim=keep, unbiased=False),
        "norm": lambda x: torch.linalg.vector_norm(x, dim=axis, keepdim=keep),
        "logsumexp": lambda x: x.logsumexp(axis, keepdim=keep),
        "topk": lambda x: x.topk(1, axis).values,
        "sort": lambda x: x.sort(axis).values,
        "normalize": lambda x: F.normalize(x, dim=axis),
    }
    name = writer.rng.choice(list(kinds))
    function = kinds[name]
    writer.add(f"{name} {axis}", lambda parts, v: function(v[at]))


def product(writer: Writer, at: int) -> None:
    """With another value, or with its own transpose."""
    value = writer.values[at]
    if value.dim() < 2:
        return
    fitting = [
        i
        for i, other in enumerate(writer.values)
        if other.dim() == value.dim()
        and other.shape[-2] == value.shape[-1]
        and other.shape[:-2] == value.shape[:-2]
    ]
    if fitting and writer.rng.random() < 0.7:
        other = writer.rng.choice(fitting)
        writer.add(f"matmul {other}", lambda parts, v: v[at] @ v[other])
        return
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "gram": lambda x: x @ x.mT,
        "einsum": lambda x: torch.einsum("...ij,...kj->...ik", x, x + 1),
        "einsum_sum": lambda x: torch.einsum("...ij,...ij->...i", x, x * 2),
        "outer": lambda x: torch.einsum("...i,...j->...ij", x[..., 0], x[..., -1]),
        "column": lambda x: x @ x.flatten()[: x.shape[-1], None],
        "attention": lambda x: F.scaled_dot_product_attention(x, x * 2, x.tanh()),
        "causal": lambda x: F.scaled_dot_product_attention(x, x * 2, x.tanh(), is_causal=True),
    }
    name = writer.rng.choice(list(kinds))
    function = kinds[name]
    writer.add(name, lambda parts, v: function(v[at]))


def convolution(writer: Writer, at: int) -> None:
    shape = writer.values[at].shape
    if len(shape) not in (3, 4) or min(shape[2:]) < 3:
        return
    rng, key = writer.rng, writer.key()
    flat = len(shape) == 3
    settings: dict[str, Any] = {
        "kernel_size": rng.randint(1, 3),
        "stride": rng.randint(1, 2),
        "padding": rng.randint(0, 1),
        "bias": rng.random() < 0.5,
    }
    if rng.random() < 0.3:
        made: Any = nn.ConvTranspose1d if flat else nn.ConvTranspose2d
    else:
        made = nn.Conv1d if flat else nn.Conv2d
    module = made(shape[1], rng.randint(1, 6), **settings)
    writer.add(f"{made.__name__} {settings}", lambda parts, v: parts[key](v[at]), **{key: module})


def pool(writer: Writer, at: int) -> None:
    shape = writer.values[at].shape
    if len(shape) != 4 or min(shape[2:]) < 3:
        return
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "max_pool": lambda x: F.max_pool2d(x, 2),
        "avg_pool": lambda x: F.avg_pool2d(x, 3, 1, 1),
        "adaptive": lambda x: F.adaptive_avg_pool2d(x, 2),
        "adaptive_one": lambda x: F.adaptive_avg_pool2d(x, 1),
        "nearest": lambda x: F.interpolate(x, scale_factor=2),
        "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
        "unfold": lambda x: F.unfold(x, 2),
        "pixel": lambda x: F.pixel_unshuffle(F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)), 2),
    }
    name = writer.rng.choice(list(kinds))
    function = kinds[name]
    writer.add(name, lambda parts, v: function(v[at]))


def embedding(writer: Writer, at: int) -> None:
    key, shape = writer.key(), writer.values[at].shape
    if len(shape) > 3:
        return
    table = nn.Embedding(writer.rng.randint(3, 12), writer.rng.randint(1, 8))
    writer.add(
        "embedding",
        lambda parts, v: parts[key]((v[at].abs() * 10).long() % parts[key].num_embeddings),
        **{key: table},
    )


def loss(writer: Writer, at: int) -> None:
    value = writer.values[at]
    if value.dim() != 2:
        return
    classes = value.shape[1]
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "cross_entropy": lambda x: F.cross_entropy(x, x[:, 0].long() % classes),
        "mse": lambda x: F.mse_loss(x, torch.zeros_like(x)),
        "l1": lambda x: F.l1_loss(x, torch.ones_like(x)),
        "bce": lambda x: F.binary_cross_entropy_with_logits(x, torch.ones_like(x)),
        "kl": lambda x: F.kl_div(x, torch.ones_like(x), reduction="none"),
    }
    name = writer.rng.choice(list(kinds))
    function = kinds[name]
    writer.add(name, lambda parts, v: function(v[at]) + v[at])


KINDS = (
    *(linear, linear, linear, pointwise, pointwise, pointwise, binary, binary, softmax, norm, norm),
    *(layout, layout, layout, layout, reduce, product, product, convolution, convolution, pool),
    *(embedding, loss),
)
