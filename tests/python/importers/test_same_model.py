"""One model through torch.export, ONNX and TensorFlow: the same FLOPs and the same blocks."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch_twins import BATCH, SEQ, torch_twin

from parallel_opt import _core

# How often a layer is repeated. The first of an MLP has another width.
REPEATS = {"mlp": 2, "transformer": 3, "residual": 3}
PRODUCTS = ("contraction", "convolution", "attention")


@dataclass(frozen=True)
class Counted:
    flops: float
    blocks: list[tuple[int, float]]  # how often, FLOPs of the products in one


def _counted(file: Path) -> Counted:
    graph = _core.load_model(str(file))
    sizes = {"batch": BATCH, "seq": SEQ}
    bound = graph.bind({symbol.name: sizes[symbol.name] for symbol in graph.symbols})
    analysis = _core.analyze(bound, operators=True)
    outermost = {block.name: block.inside or block.name for block in analysis.blocks}
    flops = dict.fromkeys(outermost.values(), 0.0)
    for op in analysis.operator_list:
        if op.block and op.op_class in PRODUCTS:
            flops[outermost[op.block]] += op.flops
    repeats = [(b.name, b.repeats) for b in analysis.blocks if not b.inside]
    return Counted(
        _core.summarize(bound).flops.forward,
        [(count, flops[name] / count) for name, count in repeats],
    )


def _from_torch(name: str, folder: Path) -> dict[str, Counted]:
    """The model in PyTorch as .pt2 and as ONNX, with weights that no exporter takes for equal."""
    torch.manual_seed(0)
    model, arguments = torch_twin(name)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    program = torch.export.export(model.eval(), arguments, strict=False)
    torch.export.save(program, folder / f"{name}.pt2")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own exporter
        torch.onnx.export(model, arguments, folder / f"{name}.onnx", dynamo=True, verbose=False)
    return {suffix: _counted(folder / f"{name}.{suffix}") for suffix in ("pt2", "onnx")}


@pytest.mark.parametrize("name", REPEATS)
def test_three_formats_agree(name: str, keras_exports: Path, tmp_path: Path) -> None:
    counted = {**_from_torch(name, tmp_path), "keras": _counted(keras_exports / name)}
    expected = counted["pt2"]
    assert [count for count, _ in expected.blocks] == [REPEATS[name]]
    for one in counted.values():
        assert one.flops == pytest.approx(expected.flops, rel=0.01)
        assert [count for count, _ in one.blocks] == [count for count, _ in expected.blocks]
        # Some add the bias in an operator of its own.
        assert [flops for _, flops in one.blocks] == pytest.approx(
            [flops for _, flops in expected.blocks], rel=0.01
        )
