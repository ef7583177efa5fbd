"""The calls that probe.py times: what each computes on which operands, and its size."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, cycle

import torch
from torch.nn import functional
from torch.optim.adamw import adamw

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COLD_BYTES = 64 << 20
"""Operands of a call are not those of the call before, as in a training step: so many bytes pass
before they come again, in at most COLD_COPIES copies."""
COLD_COPIES = 8
MOST_KEPT = 256  # results
RANDOM_BLOCK = 1 << 16

Call = Callable[[], object]


@dataclass(frozen=True)
class Point:
    """One size of a kernel; ``size`` in FLOPs of a call or bytes moved by it, ``calls`` of that
    size at once."""

    size: float
    make: Callable[[torch.device], Call]
    calls: int = 1


def _random(device: torch.device, dtype: str, *shape: int, seed: int = 0) -> torch.Tensor:
    # A generator of our own: the user's random numbers must not move. One block of them over and
    # over: drawing all would take longer than measuring does.
    generator = torch.Generator(device).manual_seed(seed)
    elements = math.prod(shape)
    block = torch.randn(min(elements, RANDOM_BLOCK), device=device, generator=generator)
    whole = block.to(DTYPES[dtype]).repeat(-(-elements // len(block)))
    return whole[:elements].view(shape).clone()


def _in_turns(nbytes: float, make: Callable[[], Call]) -> Call:
    """Calls on copies of operands that take so many bytes, one after the other."""
    copies = cycle([make() for _ in range(_copies(nbytes))])
    return lambda: next(copies)()


def _copies(nbytes: float) -> int:
    return max(1, min(COLD_COPIES, int(COLD_BYTES // nbytes)))


@dataclass
class Kept:
    """Calls whose results stay for a while, as those of a step stay for its backward: one that was
    freed at once would be written again while it is in the caches. Measured 32 GB/s of GELU so, 16
    in steps of the same size."""

    call: Call
    most_bytes: int = COLD_BYTES
    _results: deque[object] = field(default_factory=deque)

    def __call__(self) -> object:
        result = self.call()
        if not self._results:
            nbytes = sum(x.nbytes for x in _tensors(result))
            self._results = deque(maxlen=max(1, min(MOST_KEPT, self.most_bytes // (nbytes + 1))))
        self._results.append(result)
        return result


def _tensors(result: object) -> Iterator[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        yield result
    elif isinstance(result, tuple | list):
        for one in result:
            yield from _tensors(one)


def matmul(dtype: str, n: int) -> Point:
    """n rows through a layer n / 2 wide to 2 n, and the two products of its backward: kernels are
    slower at such shapes than at squares."""

    def make(device: torch.device) -> Call:
        def one() -> Call:
            x, weight = _random(device, dtype, n, n // 2), _random(device, dtype, 2 * n, n // 2)
            gradient = _random(device, dtype, n, 2 * n)

            def products() -> object:
                y = functional.linear(x, weight)
                return y, torch.mm(gradient, weight), torch.mm(gradient.t(), x)

            return _forward(products)

        return _in_turns(3.5 * DTYPES[dtype].itemsize * n * n, one)

    return Point(2.0 * n**3, make, calls=3)


@dataclass(frozen=True)
class Image:
    batch: int
    channels: int
    side: int

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.channels**2 * 9 * self.side**2


def convolution(dtype: str, shape: Image, channels_last: bool, backward: bool) -> Point:
    def make(device: torch.device) -> Call:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        c = shape.channels

        x = _random(device, dtype, shape.batch, c, shape.side, shape.side)
        x = x.to(memory_format=layout).requires_grad_(backward)
        weight = _random(device, dtype, c, c, 3, 3).to(memory_format=layout)
        weight.requires_grad_(backward)
        if not backward:
            return _forward(lambda: functional.conv2d(x, weight, padding=1))
        return _backward(functional.conv2d(x, weight, padding=1), [x, weight])

    # The backward is two convolutions of the same cost: to the input and to the weight.
    return Point(shape.flops * (2 if backward else 1), make)


def attention(dtype: str, batch: int, heads: int, length: int, width: int, backward: bool) -> Point:
    def make(device: torch.device) -> Call:
        def operand() -> torch.Tensor:  # as projections leave it
            x = _random(device, dtype, batch, length, heads, width).transpose(1, 2)
            return x.requires_grad_(backward)

        def one() -> Call:
            q, k, v = operand(), operand(), operand()
            if not backward:
                return _forward(lambda: functional.scaled_dot_product_attention(q, k, v))
            return _backward(functional.scaled_dot_product_attention(q, k, v), [q, k, v])

        return _in_turns(4.0 * DTYPES[dtype].itemsize * batch * heads * length * width, one)

    # Forward: two products of length^2 x width. Backward: four, and the scores once more.
    products = 5 if backward else 2
    return Point(2.0 * products * batch * heads * length**2 * width, make)


def _forward(work: Call) -> Call:
    def call() -> object:
        with torch.no_grad():
            return work()

    return call


def _backward(out: torch.Tensor, inputs: list[torch.Tensor]) -> Call:
    gradient = torch.ones_like(out)
    return lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)


def elementwise(elements: int) -> Point:
    def make(device: torch.device) -> Call:
        def one() -> Call:
            a, b = (torch.full((elements,), 0.5, device=device) for _ in range(2))
            return _forward(lambda: a * b)  # the result is allocated, as in a real step

        return _in_turns(8.0 * elements, one)

    return Point(3.0 * 4 * elements, make)


def copy(elements: int, source: str, target: str) -> Point:
    """A transfer between or within the host's and the device's memory; "host" is pinned."""

    def make(device: torch.device) -> Call:
        def place(where: str) -> torch.Tensor:
            if where == "device":
                return torch.full((elements,), 0.5, device=device)
            return torch.full((elements,), 0.5, pin_memory=device.type == "cuda")

        a, b = place(source), place(target)
        if source != target:
            return _forward(lambda: b.copy_(a, non_blocking=True))
        pairs = [(a, b)] + [(a.clone(), b.clone()) for _ in range(_copies(8.0 * elements) - 1)]
        turns = cycle(pairs)

        def copy_next() -> object:
            one, other = next(turns)
            return other.copy_(one, non_blocking=True)

        return _forward(copy_next)

    # Bytes that arrive; within one memory they are read and written.
    return Point((8.0 if source == target else 4.0) * elements, make)


def reduce(elements: int) -> Point:
    width = 256

    def make(device: torch.device) -> Call:
        def one() -> Call:
            x = torch.full((elements // width, width), 0.5, device=device)
            return _forward(lambda: functional.layer_norm(x, (width,)))

        return _in_turns(4.0 * elements, one)

    return Point(2.0 * 4 * elements, make)


def batch_norm(elements: int, backward: bool) -> Point:
    """Each channel's sums run over all images, so that a processor passes over them once more, and
    not in the order in which they lie: measured 7 to 10 GB/s where a layer norm has 10 to 16."""
    channels, side = 64, 16
    shape = (elements // (channels * side**2), channels, side, side)

    def make(device: torch.device) -> Call:
        def one() -> Call:
            x = _random(device, "fp32", *shape).requires_grad_(backward)
            weight, bias, mean, spread = (
                torch.full((channels,), value, device=device) for value in (1.0, 0.0, 0.0, 1.0)
            )
            if not backward:
                return _forward(
                    lambda: functional.batch_norm(x, mean, spread, weight, bias, training=True)
                )
            weight.requires_grad_(True)
            bias.requires_grad_(True)
            out = functional.batch_norm(x, mean, spread, weight, bias, training=True)
            return _backward(out, [x, weight, bias])

        return _in_turns((8.0 if backward else 4.0) * elements, one)

    return Point((12.0 if backward else 8.0) * elements, make)


def activation(elements: int, backward: bool) -> Point:
    """GELU: an error function, and an exponential more in the backward."""

    def make(device: torch.device) -> Call:
        def one() -> Call:
            x = torch.full((elements,), 0.5, device=device, requires_grad=backward)
            return _backward(functional.gelu(x), [x]) if backward else _forward(lambda: gelu(x))

        gelu = functional.gelu
        return _in_turns((12.0 if backward else 4.0) * elements, one)

    return Point((12.0 if backward else 8.0) * elements, make)


def pooling(elements: int) -> Point:
    def make(device: torch.device) -> Call:
        # Images of 64 x 64 or, where there are fewer elements, of half the side.
        side = 64 if elements >= 1 << 14 else 32
        seeds = count()

        def one() -> Call:
            # Equal values would never surprise the branch that looks for the largest, nor do the
            # same ones again: measured 2.6 GB/s of one image over and over, 0.96 of new ones.
            x = _random(device, "fp32", 1, elements // side**2, side, side, seed=next(seeds))
            return _forward(lambda: functional.max_pool2d(x, 2, return_indices=True))

        return _in_turns(4.0 * elements, one)

    # Read, and a quarter of it written: the graph does not show the indices.
    return Point((4.0 + 4 / 4) * elements, make)


def recurrent(dtype: str, batch: int, length: int, width: int, backward: bool) -> Point:
    """An LSTM's layer; its gates are two products of each step's rows with 4 width^2 weights."""

    def make(device: torch.device) -> Call:
        with torch.random.fork_rng(devices=[]):  # as in _random: the user's numbers must not move
            kind = {"device": device, "dtype": DTYPES[dtype]}
            layer = torch.nn.LSTM(width, width, batch_first=True, **kind)
        x = _random(device, dtype, batch, length, width).requires_grad_(backward)
        if not backward:
            return _forward(lambda: layer(x))
        return _backward(layer(x)[0], [x, *layer.parameters()])

    # As many products again for the inputs as for the weights.
    return Point(2.0 * (2 if backward else 1) * batch * length * 8 * width**2, make)


ADAMW_PASSES, ADAMW_KERNELS, ADAMW_FUSED_PASSES = 20, 9, 7
"""Over a parameter's bytes, and launches; `optimizer_cost` in parallel_opt/cost/optimizer.h."""


def optimizer(elements: int, fused: bool) -> Point:
    """AdamW's loop over tensors of so many elements, with all that it costs beside kernels. Without
    the class around it, on which someone's hooks may wait."""
    tensors = max(8, min(32, (1 << 23) // elements))

    def make(device: torch.device) -> Call:
        def values(value: float) -> list[torch.Tensor]:
            return [torch.full((elements,), value, device=device) for _ in range(tensors)]

        def one() -> Call:
            parameters, gradients = values(0.5), values(0.1)
            means, squares = values(0.1), values(0.01)
            # A fused step counts in a tensor of the device, the others in one of the host.
            steps = [torch.ones((), device=device if fused else "cpu") for _ in range(tensors)]

            def step() -> object:
                adamw(
                    parameters,
                    gradients,
                    means,
                    squares,
                    [],
                    steps,
                    foreach=False,
                    fused=fused,
                    amsgrad=False,
                    beta1=0.9,
                    beta2=0.999,
                    lr=1e-6,
                    weight_decay=0.01,
                    eps=1e-8,
                    maximize=False,
                )
                return None

            return _forward(step)

        # States were last touched a step ago: measured 0.6 to 0.8 of what steps take in one place.
        return _in_turns(4.0 * 4 * elements * tensors, one)

    moved = 4.0 * elements * (ADAMW_FUSED_PASSES if fused else ADAMW_PASSES)
    kernels = 1 if fused else ADAMW_KERNELS
    return Point(moved / kernels, make, calls=kernels * tensors)


def embedding(rows: int, backward: bool) -> Point:
    """Rows of a table picked at random; their gradients into a table of zeros."""
    width, table_rows = 64, 4096

    def make(device: torch.device) -> Call:
        generator = torch.Generator(device).manual_seed(0)

        def one() -> Call:
            index = torch.randint(table_rows, (rows,), device=device, generator=generator)
            table = _random(device, "fp32", table_rows, width).requires_grad_(backward)
            if backward:
                return _backward(functional.embedding(index, table), [table])
            return _forward(lambda: functional.embedding(index, table))

        return _in_turns(table_bytes, one)

    picked = 4.0 * rows * width
    table_bytes = 4.0 * table_rows * width
    moved = picked + table_bytes if backward else picked + min(picked, table_bytes)
    return Point(8.0 * rows + moved, make)
