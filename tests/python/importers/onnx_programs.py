"""Random ONNX programs with open sizes, grown node by node beside the ONNX evaluator."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

OPSET = 18
Array = np.ndarray[Any, Any]


class Program:
    """Nodes, what they make at the sizes that `x` has, and what their products cost."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Array] = {}
        rank = self.rng.choice((2, 3, 3, 4))
        self.open = {0: "batch", rank - 1 if rank > 2 and self.rng.random() < 0.5 else 1: "length"}
        self.fixed = [self.rng.randint(2, 6) for _ in range(rank)]
        self.values = {"x": self.sample({"batch": 3, "length": 8})}

    def sample(self, sizes: dict[str, int]) -> Array:
        shape = [
            sizes[self.open[i]] if i in self.open else size for i, size in enumerate(self.fixed)
        ]
        return np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, dtype)
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(np.full(shape, 0.25), np.float32)

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Adds a node and runs it; the name of its first result."""
        names = [f"v{len(self.values) + i}" for i in range(outputs)]
        made = helper.make_node(kind, list(inputs), names, **attributes)
        fed = [name for name in dict.fromkeys(inputs) if name]
        known = {**self.values, **self.constants}
        infos = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(known[n].dtype), None)
            for n in fed
        ]
        results = [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in names]
        graph = helper.make_graph([made], "one", infos, results)
        one = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        got = ReferenceEvaluator(one).run(None, {name: known[name] for name in fed})
        self.nodes.append(made)
        self.values.update({n: np.asarray(v) for n, v in zip(names, got, strict=True)})
        return names[0]

    def model(self) -> onnx.ModelProto:
        """Every value is a result; none but the input's shape is said."""
        shape = [self.open.get(i, size) for i, size in enumerate(self.fixed)]
        infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        results = [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), None)
            for n, v in self.values.items()
            if n != "x"
        ]
        weights = [numpy_helper.from_array(v, n) for n, v in self.constants.items()]
        graph = helper.make_graph(self.nodes, "random", infos, results, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])

    def at(self, sizes: dict[str, int], names: list[str]) -> list[Array] | None:
        """Values at other sizes; nothing where the program does not run at them."""
        if names == ["x"]:
            return [self.sample(sizes)]
        model = self.model()
        del model.graph.output[:]
        model.graph.output.extend(
            helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in names
        )
        try:
            got = ReferenceEvaluator(model).run(names, {"x": self.sample(sizes)})
        except Exception:  # of many kinds: constants that do not fit, windows that are too large
            return None
        return [np.asarray(value) for value in got]

    def words(self) -> list[str]:
        """What the program does, for messages."""
        return [f"{node.output[0]} = {node.op_type}{tuple(node.input)}" for node in self.nodes]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.values[name].shape)

    def floats(self, least: int = 1, most: int = 5) -> list[str]:
        return [
            name
            for name, value in self.values.items()
            if value.dtype == np.float32 and least <= value.ndim <= most and value.size
        ]


def write(seed: int, steps: int) -> Program:
    program = Program(seed)
    for _ in range(200):
        if len(program.nodes) >= steps:
            break
        step = program.rng.choice(STEPS)
        found = program.floats()
        x = found[-1] if program.rng.random() < 0.7 else program.rng.choice(found)
        try:
            step(program, x)
        except IndexError:  # the evaluator's own, of average pools with strides
            continue
    return program


def pointwise(p: Program, x: str) -> None:
    kinds = ("Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Exp", "Erf", "Softplus", "Identity", "Floor")
    p.node(p.rng.choice(kinds), x)


def along(p: Program, x: str) -> None:
    axis = p.rng.randrange(-len(p.shape(x)), len(p.shape(x)))
    if p.rng.random() < 0.3:
        p.node("CumSum", x, p.constant(axis))
    else:
        p.node(p.rng.choice(("Softmax", "LogSoftmax")), x, axis=axis)


def pair(p: Program, x: str) -> None:
    """With an earlier value, where both broadcast at the sizes at hand and at all others."""
    fitting = [y for y in p.floats() if p.shape(y) == p.shape(x) or p.values[y].size == 1 or y == x]
    kind = p.rng.choice(("Add", "Mul", "Sub", "Max", "Greater", "Where"))
    y = p.rng.choice(fitting)
    if kind == "Where":
        p.node("Where", p.node("Greater", x, y), x, p.constant(0.5, np.float32))
    else:
        p.node(kind, x, y)


def transpose(p: Program, x: str) -> None:
    rank = len(p.shape(x))
    p.node("Transpose", x, perm=p.rng.sample(range(rank), rank))


def slice_(p: Program, x: str) -> None:
    axis = p.rng.randrange(len(p.shape(x)))
    start, end = p.rng.choice(((0, -1), (1, 2**62), (-2, 2**62), (0, 3), (1, -1)))
    step = p.rng.choice((1, 1, 2))
    names = [p.constant([n]) for n in (start, end, axis, step)]
    if p.shape(x)[axis] > 2:
        p.node("Slice", x, *names)


def concat(p: Program, x: str) -> None:
    axis = p.rng.randrange(-len(p.shape(x)), len(p.shape(x)))
    p.node("Concat", *[x] * p.rng.randint(1, 3), axis=axis)


def split(p: Program, x: str) -> None:
    axis = p.rng.randrange(len(p.shape(x)))
    if p.shape(x)[axis] > 1:
        p.node("Split", x, outputs=2, axis=axis, num_outputs=2)


def gather(p: Program, x: str) -> None:
    axis = p.rng.randrange(len(p.shape(x)))
    index = p.rng.choice((0, [0, -1], [[0, 0, -1]]))
    p.node("Gather", x, p.constant(index), axis=axis)


def pad(p: Program, x: str) -> None:
    rank = len(p.shape(x))
    pads = [p.rng.randint(0, 2) for _ in range(2 * rank)]
    p.node("Pad", x, p.constant(pads), mode=p.rng.choice(("constant", "edge")))


def reduce(p: Program, x: str) -> None:
    rank = len(p.shape(x))
    axes = p.rng.sample(range(rank), p.rng.randint(1, rank))
    kind = p.rng.choice(("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2", "ArgMax"))
    keep = p.rng.randint(0, 1)
    if kind == "ArgMax":
        p.node(kind, x, axis=axes[0], keepdims=keep)
    else:
        p.node(kind, x, p.constant(axes), keepdims=keep)


def stand(p: Program, x: str) -> None:
    """An axis of one element more, or one less."""
    rank = len(p.shape(x))
    if rank < 5:
        wide = p.node("Unsqueeze", x, p.constant([p.rng.randrange(-rank - 1, rank + 1)]))
        if p.rng.random() < 0.4:
            at = p.shape(wide).index(1)
            p.node("Squeeze", wide, p.constant([at]))


def dense(p: Program, x: str) -> None:
    width = p.shape(x)[-1]
    if len(p.shape(x)) < 2 or not fixed(p, x, -1):
        return
    made = p.node("MatMul", x, p.weight(width, p.rng.randint(1, 7)))
    if p.rng.random() < 0.5:
        p.node("Add", made, p.weight(p.shape(made)[-1]))


def gram(p: Program, x: str) -> None:
    rank = len(p.shape(x))
    if rank < 2:
        return
    order = [*range(rank - 2), rank - 1, rank - 2]
    turned = p.node("Transpose", x, perm=order)
    p.node("MatMul", *p.rng.choice(((x, turned), (turned, x))))


def convolution(p: Program, x: str) -> None:
    shape = p.shape(x)
    if len(shape) not in (3, 4) or min(shape[2:]) < 4 or not fixed(p, x, 1):
        return
    rank, kernel = len(shape) - 2, p.rng.randint(1, 3)
    settings = {
        "kernel_shape": [kernel] * rank,
        "strides": [p.rng.randint(1, 2)] * rank,
        "pads": [p.rng.randint(0, kernel - 1)] * (2 * rank),
    }
    kind = p.rng.choice(("Conv", "Conv", "ConvTranspose", "MaxPool", "AveragePool"))
    if kind.startswith("Conv"):
        weight = (shape[1], 4) if kind == "ConvTranspose" else (4, shape[1])
        p.node(kind, x, p.weight(*weight, *[kernel] * rank), **settings)
    else:
        p.node(kind, x, **settings)


def pooled(p: Program, x: str) -> None:
    """The mean: of the evaluator's GlobalMaxPool one axis is missing in 3 dimensions."""
    if len(p.shape(x)) in (3, 4):
        p.node("GlobalAveragePool", x)


def fixed(p: Program, x: str, axis: int) -> bool:
    """Does this axis of a value have the same size at all sizes of the input?"""
    other = p.at({"batch": 5, "length": 11}, [x])
    return other is not None and other[0].shape[axis] == p.shape(x)[axis]


def sizes(p: Program, x: str) -> None:
    """What exporters write of `x.view(x.shape[0], -1)` and its like: sizes that nodes compute."""
    shape = p.node("Shape", x)
    rank = len(p.shape(x))
    axis = p.rng.randrange(rank)
    one = p.node("Gather", shape, p.constant(axis), axis=0)
    kind = p.rng.choice(("rows", "doubled", "half", "like", "range", "expand", "flat", "cut"))
    if kind == "rows":
        first = p.node("Gather", shape, p.constant(0), axis=0)
        listed = p.node("Unsqueeze", first, p.constant([0]))
        p.node("Reshape", x, p.node("Concat", listed, p.constant([-1]), axis=0))
    elif kind == "doubled":
        twice = p.node("Concat", *[x] * 2, axis=axis)
        more = p.node("Mul", shape, p.constant([2 if i == axis else 1 for i in range(rank)]))
        p.node("Reshape", twice, more)
    elif kind == "half":
        end = p.node("Unsqueeze", p.node("Div", one, p.constant(2)), p.constant([0]))
        if p.shape(x)[axis] > 1:
            p.node("Slice", x, p.constant([0]), end, p.constant([axis]))
    elif kind == "like":
        filled = p.node("ConstantOfShape", shape, value=helper.make_tensor("v", 1, [1], [2.0]))
        p.node("Add", x, filled)
    elif kind == "range":
        places = p.node("Range", p.constant(0), one, p.constant(p.rng.randint(1, 3)))
        p.node("Cast", places, to=TensorProto.FLOAT)
    elif kind == "expand":
        p.node("Expand", p.constant([0.5], np.float32), shape)
    elif kind == "flat":
        p.node("Reshape", x, p.node("ReduceProd", shape, p.constant([0]), keepdims=1))
    else:
        less = p.node("Sub", one, p.constant(1))
        starts = p.node("Unsqueeze", less, p.constant([0]))
        p.node("Slice", x, starts, p.constant([2**62]), p.constant([axis]))


def reshape(p: Program, x: str) -> None:
    """Zeros keep a size, -1 takes what is left."""
    rank = len(p.shape(x))
    kind = p.rng.choice(("keep", "merge", "flatten", "heads"))
    if kind == "keep":
        asked = [0] * rank
        asked[p.rng.randrange(rank)] = -1
        p.node("Reshape", x, p.constant(asked))
    elif kind == "merge" and rank > 1:
        p.node("Reshape", x, p.constant([0] * (rank - 2) + [-1]))
    elif kind == "heads" and p.shape(x)[-1] % 2 == 0 and fixed(p, x, -1) and rank < 5:
        p.node("Reshape", x, p.constant([0] * (rank - 1) + [2, p.shape(x)[-1] // 2]))
    else:
        p.node("Flatten", x, axis=p.rng.randint(0, rank))


def norm(p: Program, x: str) -> None:
    if fixed(p, x, -1):
        width = p.shape(x)[-1]
        p.node("LayerNormalization", x, p.weight(width), p.weight(width), axis=-1)


def lookup(p: Program, x: str) -> None:
    """Rows of a table by numbers that are made of the value."""
    whole = p.node("Cast", p.node("Relu", x), to=TensorProto.INT64)
    index = p.node("Min", whole, p.constant(4))
    if len(p.shape(x)) < 5:
        p.node("Gather", p.weight(5, p.rng.randint(1, 6)), index)


def tile(p: Program, x: str) -> None:
    p.node("Tile", x, p.constant([p.rng.randint(1, 2) for _ in p.shape(x)]))


def einsum(p: Program, x: str) -> None:
    rank = len(p.shape(x))
    if rank not in (2, 3):
        return
    letters = "abc"[:rank]
    text = p.rng.choice((f"{letters}->{letters[::-1]}", f"{letters},{letters}->{letters[0]}",
                         f"{letters},{letters[:-1]}z->{letters[:-2]}{letters[-1]}z"))  # fmt: skip
    p.node("Einsum", *[x] * (1 + text.count(",")), equation=text)


STEPS: tuple[Callable[[Program, str], None], ...] = (
    *(pointwise, along, pair, pair, transpose, transpose, slice_, slice_, concat, split, gather),
    *(pad, reduce, reduce, stand, stand, dense, dense, gram, convolution, convolution, pooled),
    *(sizes, sizes, sizes, reshape, reshape, norm, lookup, tile, einsum),
)


def product_flops(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> float:
    """2 per multiply-add of every product, from the shapes that the evaluator made."""
    total = 0.0
    for node in model.graph.node:
        first = shapes.get(node.input[0], ()) if node.input else ()
        result = float(np.prod(shapes[node.output[0]], dtype=float))
        if node.op_type == "MatMul":
            total += 2 * result * first[-1]
        elif node.op_type == "Conv":
            total += 2 * result * float(np.prod(shapes[node.input[1]][1:]))
        elif node.op_type == "ConvTranspose":
            total += 2 * float(np.prod(first)) * float(np.prod(shapes[node.input[1]][1:]))
        elif node.op_type == "Einsum" and len(node.input) == 2:
            text = helper.get_attribute_value(node.attribute[0]).decode()
            left, right = text.split("->")[0].split(",")
            size = dict(zip(left, first, strict=True))
            size.update(zip(right, shapes[node.input[1]], strict=True))
            kept = text.split("->")[1]  # a sum over one element is none
            if any(count > 1 for letter, count in size.items() if letter not in kept):
                total += 2 * float(np.prod([float(n) for n in size.values()]))
    return total
