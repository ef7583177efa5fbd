"""One model through torch.export and through both ONNX exporters: the same counts."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from parallel_opt import _core


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        layers: list[nn.Module] = [nn.Linear(32, 64), nn.ReLU()]
        for _ in range(4):
            layers += [nn.Linear(64, 64), nn.GELU()]
        super().__init__(*layers, nn.Linear(64, 10))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(4, width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(torch.relu(self.norm1(self.conv1(x))))


class ResNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 7, stride=2, padding=3)
        self.blocks = nn.ModuleList(Residual(16) for _ in range(3))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.stem(x)), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(16, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0])


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        b, s, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, s, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, s, c))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.layers = nn.ModuleList(Block(32) for _ in range(3))
        self.head = nn.Linear(32, 10)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Masked(nn.Module):
    """Layers that each make numbers of the same mask: exporters make them once."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(100, 32)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(3)
        )
        self.head = nn.Linear(32, 10)

    def forward(self, ids: Tensor) -> Tensor:
        x, unknown = self.embed(ids), ids == 0
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=unknown)
        return self.head(x)


MODELS = {
    "mlp": (Mlp, lambda: torch.randn(4, 32)),
    "resnet": (ResNet, lambda: torch.randn(2, 3, 32, 32)),
    "lstm": (Tagger, lambda: torch.randn(2, 5, 16)),
    "encoder": (Encoder, lambda: torch.randint(0, 100, (2, 16))),
    "masked": (Masked, lambda: torch.randint(0, 100, (2, 16))),
}


@functools.cache
def _model(name: str) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    make, sample = MODELS[name]
    model = make().eval()
    torch.backends.mha.set_fastpath_enabled(False)  # one operator of torch alone
    with torch.no_grad():  # exporters merge weights that are equal: none are, after training
        for parameter in model.parameters():
            parameter.normal_()
    return model, sample()


@functools.cache
def _reference(name: str) -> _core.GraphSummary:
    model, sample = _model(name)
    file = io.BytesIO()
    torch.export.save(torch.export.export(model, (sample,), strict=False), file)
    return _core.summarize(_core.read_pt2(file.getvalue(), name))


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "legacy"])
@pytest.mark.parametrize("name", MODELS)
def test_onnx_counts_as_pt2_does(name: str, dynamo: bool, tmp_path: Path) -> None:
    model, sample = _model(name)
    file = tmp_path / f"{name}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own legacy exporter
        torch.onnx.export(model, (sample,), file, dynamo=dynamo, verbose=False)
    summary, reference = _core.summarize(_core.load_onnx(str(file))), _reference(name)
    assert summary.parameters == reference.parameters
    assert summary.flops.forward == pytest.approx(reference.flops.forward, rel=0.01)
    assert summary.opaque == []

    def repeats(of: _core.GraphSummary) -> dict[str, int]:
        return {block.name: block.repeats for block in of.blocks if block.name.endswith(".*")}

    if name in ("resnet", "encoder", "masked"):
        assert (
            repeats(summary)
            == repeats(reference)
            == {"blocks.*" if name == "resnet" else "layers.*": 3}
        )


class Rotary(nn.Module):
    """Multiplies by a table that the exporter computes from sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 32), nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        angles = torch.arange(x.shape[1])[:, None] * 0.5 ** torch.arange(32)
        return self.second(self.first(x) * angles.cos())


def test_tables_that_the_exporter_computes_are_no_parameters(tmp_path: Path) -> None:
    file = tmp_path / "rotary.onnx"
    torch.onnx.export(Rotary(), (torch.randn(2, 16, 32),), file, dynamo=True, verbose=False)
    graph = _core.load_onnx(str(file))
    assert graph.count_parameters().parameters == 2 * (32 * 32 + 32)
    assert [16, 32] in [t.shape for t in graph.tensors if t.role == "constant"]


def test_symbolic_batch_is_bound_like_that_of_pt2(tmp_path: Path) -> None:
    model, sample = _model("encoder")
    file = tmp_path / "encoder.onnx"
    torch.onnx.export(
        model, (sample,), file, dynamo=True, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )  # fmt: skip
    graph = _core.load_onnx(str(file))
    assert [symbol.name for symbol in graph.symbols] == ["batch"]
    bound = _core.summarize(graph.bind({"batch": 2}))
    assert bound.flops.forward == pytest.approx(_reference("encoder").flops.forward, rel=0.01)
