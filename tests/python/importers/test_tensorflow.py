"""Keras models as SavedModel and frozen graph: counts against Keras, FLOPs and blocks against the
same model in PyTorch."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_twins import BATCH, SEQ, torch_twin

from parallel_opt import _core, errors

MODELS = ("mlp", "cnn", "residual", "transformer", "recurrent", "embeddings")


def _torch_summary(name: str) -> Any:
    model, arguments = torch_twin(name)
    file = io.BytesIO()
    torch.export.save(torch.export.export(model.eval(), arguments, strict=False), file)
    return _core.summarize(_core.read_pt2(file.getvalue(), name))


def _graph(path: Path) -> Any:
    graph = _core.load_model(str(path))
    sizes = {"batch": BATCH, "seq": SEQ}
    return graph.bind({s.name: sizes[s.name] for s in graph.symbols})


def _files(folder: Path, name: str) -> list[Path]:
    frozen = [folder / f"{name}.pb", folder / f"{name}_v1.pb"]
    return [folder / name, *(file for file in frozen if file.exists())]


@pytest.mark.parametrize("name", MODELS)
def test_parameters_equal_keras(keras_exports: Path, name: str) -> None:
    facts = json.loads((keras_exports / "facts.json").read_text())[name]
    for file in _files(keras_exports, name):
        assert _graph(file).count_parameters().parameters == facts["parameters"], file
    counted = _graph(keras_exports / name).count_parameters()
    assert counted.trainable == facts["trainable"]


@pytest.mark.parametrize("name", MODELS)
def test_flops_and_blocks_equal_pytorch(keras_exports: Path, name: str) -> None:
    expected = _torch_summary(name)
    for file in _files(keras_exports, name):
        summary = _core.summarize(_graph(file))
        assert summary.flops.forward == pytest.approx(expected.flops.forward, rel=0.01), file
        repeats = [block.repeats for block in summary.blocks]
        wanted = [[block.repeats for block in expected.blocks]]
        if name == "recurrent":
            # PyTorch's layer is one operator; here the loops of both layers show, 20 tokens each.
            # The GRU's two gates are alike: each freezing orders the body anew, together or not.
            assert wanted == [[]]
            wanted = [[2, 20, 20]] if file.is_dir() else [[2, 20, 20], [20, 20]]
        assert repeats in wanted, file
        assert [one.operator for one in summary.opaque] == [], file


def test_signatures_are_named_after_a_colon(keras_exports: Path) -> None:
    named = _core.load_model(f"{keras_exports / 'mlp'}:serve")
    assert len(named.ops) == len(_core.load_model(str(keras_exports / "mlp")).ops)
    with pytest.raises(errors.InputError, match="has no signature 'train'"):
        _core.load_model(f"{keras_exports / 'mlp'}:train")


def test_damaged_files_are_refused(keras_exports: Path, tmp_path: Path) -> None:
    whole = (keras_exports / "transformer.pb").read_bytes()
    faults = 0
    for cut in range(1, len(whole), max(1, len(whole) // 40)):
        file = tmp_path / "cut.pb"
        file.write_bytes(whole[:cut])
        try:
            _core.load_model(str(file))
        except errors.InputError as error:
            assert str(file) in str(error)
            faults += 1
    assert faults > 30
