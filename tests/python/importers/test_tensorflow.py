"""Keras models as SavedModel and frozen graph: counts against Keras, FLOPs and blocks against the
same model in PyTorch."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from parallel_opt import _core, errors

BATCH, SEQ = 4, 16
MODELS = ("mlp", "cnn", "transformer", "recurrent", "embeddings")


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow has no package for this machine (tools/requirements-test.txt)")
    folder = tmp_path_factory.mktemp("keras")
    program = Path(__file__).with_name("export_keras.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


class Attention(nn.Module):
    """Keras' MultiHeadAttention: projections with bias, scores as plain products."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, s, d = x.shape
        q, k, v = (
            layer(x).view(b, s, self.heads, d // self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = (q * (d // self.heads) ** -0.5) @ k.transpose(-1, -2)
        mask = torch.ones(s, s, dtype=torch.bool).tril()
        weights = scores.masked_fill(~mask, -1e9).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(b, s, d))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        self.lstm, self.gru = nn.LSTM(32, 48, batch_first=True), nn.GRU(48, 24, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(self.lstm(self.embedding(tokens))[0])[0][:, -1])


class Embeddings(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.dense = nn.Embedding(1000, 16), nn.Linear(13, 16)
        self.head = nn.Linear(32, 1)

    def forward(self, user: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        x = torch.cat([self.embedding(user).flatten(1), self.dense(dense).relu()], 1)
        return self.head(x).sigmoid()


def _torch_model(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    tokens = torch.zeros(BATCH, 20 if name == "recurrent" else SEQ, dtype=torch.int64)
    if name == "mlp":
        layers = [nn.Linear(64, 128), nn.ReLU()]
        for _ in range(2):
            layers += [nn.Linear(128, 128), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(128, 10)), (torch.zeros(BATCH, 64),)
    if name == "cnn":
        model = nn.Sequential(
            *(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1), nn.MaxPool2d(2)),
            *(nn.ConvTranspose2d(32, 8, 2, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(8, 10),
        )
        return model, (torch.zeros(BATCH, 3, 32, 32),)
    if name == "transformer":
        blocks = [Block(64, 4) for _ in range(3)]
        return nn.Sequential(nn.Embedding(100, 64), *blocks, nn.Linear(64, 100)), (tokens,)
    if name == "recurrent":
        return Recurrent(), (tokens,)
    return Embeddings(), (torch.zeros(BATCH, 1, dtype=torch.int64), torch.zeros(BATCH, 13))


def _torch_summary(name: str) -> Any:
    model, arguments = _torch_model(name)
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
def test_parameters_equal_keras(exported: Path, name: str) -> None:
    facts = json.loads((exported / "facts.json").read_text())[name]
    for file in _files(exported, name):
        assert _graph(file).count_parameters().parameters == facts["parameters"], file
    counted = _graph(exported / name).count_parameters()
    assert counted.trainable == facts["trainable"]


@pytest.mark.parametrize("name", MODELS)
def test_flops_and_blocks_equal_pytorch(exported: Path, name: str) -> None:
    expected = _torch_summary(name)
    for file in _files(exported, name):
        summary = _core.summarize(_graph(file))
        assert summary.flops.forward == pytest.approx(expected.flops.forward, rel=0.01), file
        repeats = [block.repeats for block in summary.blocks]
        wanted = [[block.repeats for block in expected.blocks]]
        if name == "recurrent":
            # PyTorch's layer is one operator; here the loop of the GRU shows, and its two gates are
            # alike. Each freezing orders the body anew: the gates stand together or not.
            assert wanted == [[]]
            wanted = [[2]] if file.is_dir() else [[2], []]
        assert repeats in wanted, file
        assert [one.operator_name for one in summary.opaque] == [], file


def test_signatures_are_named_after_a_colon(exported: Path) -> None:
    named = _core.load_model(f"{exported / 'mlp'}:serve")
    assert len(named.ops) == len(_core.load_model(str(exported / "mlp")).ops)
    with pytest.raises(errors.InputError, match="has no signature 'train'"):
        _core.load_model(f"{exported / 'mlp'}:train")


def test_damaged_files_are_refused(exported: Path, tmp_path: Path) -> None:
    whole = (exported / "transformer.pb").read_bytes()
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
