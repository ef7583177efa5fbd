"""Hand-written models of tables, graphs, points, fields and images without convolutions."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.entry import Architecture, Made, tokens


class Dlrm(nn.Module):
    """Embedding bags and a dense tower; pairwise products of all of them feed the top."""

    def __init__(self, tables: int = 4, rows: int = 50, width: int = 16) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(rows, width, mode="sum") for _ in range(tables))
        self.bottom = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, width), nn.ReLU())
        pairs = (tables + 1) * tables // 2
        self.top = nn.Sequential(nn.Linear(width + pairs, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, dense: Tensor, categories: Tensor, offsets: Tensor, y: Tensor) -> Tensor:
        x = self.bottom(dense)
        columns = [x, *(bag(categories[i], offsets) for i, bag in enumerate(self.bags))]
        stacked = torch.stack(columns, 1)
        products = torch.bmm(stacked, stacked.transpose(1, 2))
        i, j = torch.tril_indices(len(columns), len(columns), -1).unbind(0)
        logits = self.top(torch.cat([x, products[:, i, j]], 1)).squeeze(1)
        return functional.binary_cross_entropy_with_logits(logits, y)


class MessagePassing(nn.Module):
    """Two layers of a graph network: gather along edges, sum by `index_add`."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.message = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.update = nn.ModuleList(nn.GRUCell(width, width) for _ in range(2))
        self.head = nn.Linear(width, 5)

    def forward(self, nodes: Tensor, edges: Tensor, y: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        h = nodes
        for message, update in zip(self.message, self.update, strict=True):
            sent = torch.relu(message(torch.cat([h[source], h[target]], -1)))
            h = update(torch.zeros_like(h).index_add(0, target, sent), h)
        return functional.cross_entropy(self.head(h), y)


class GraphAttention(nn.Module):
    """Attention over incoming edges: softmax by `scatter_reduce`, sum by `scatter_add`."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.project = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(2 * width, 1)
        self.head = nn.Linear(width, 5)

    def forward(self, nodes: Tensor, edges: Tensor, y: Tensor) -> Tensor:
        source, target = edges[0], edges[1]
        h = self.project(nodes)
        pairs = torch.cat([h.index_select(0, source), h.index_select(0, target)], -1)
        scores = functional.leaky_relu(self.score(pairs), 0.2).squeeze(-1)
        bound = torch.full((nodes.size(0),), -math.inf)
        most = bound.scatter_reduce(0, target, scores.detach(), "amax")
        weights = torch.exp(scores - most[target])
        total = torch.zeros(nodes.size(0)).scatter_add(0, target, weights)
        sent = h[source] * (weights / total[target]).unsqueeze(-1)
        index = target.unsqueeze(-1).expand_as(sent)
        gathered = torch.zeros_like(h).scatter_add(0, index, sent)
        return functional.cross_entropy(self.head(functional.elu(gathered)), y)


class PointNet(nn.Module):
    """Shared layers per point, a learned rotation, one maximum over all points."""

    def __init__(self) -> None:
        super().__init__()
        self.pose = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU())
        self.rotation = nn.Linear(16, 9)
        self.points = nn.Sequential(
            nn.Conv1d(3, 32, 1), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 1)
        )
        self.head = nn.Sequential(
            nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.3), nn.Linear(32, 10)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pose = self.pose(x).max(2).values
        rotation = self.rotation(pose).view(-1, 3, 3) + torch.eye(3)
        turned = torch.bmm(x.transpose(1, 2), rotation).transpose(1, 2)
        return functional.cross_entropy(self.head(self.points(turned).amax(2)), y)


class MixerLayer(nn.Module):
    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = nn.Sequential(nn.Linear(patches, 32), nn.GELU(), nn.Linear(32, patches))
        self.channels = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norm2(x))


class MlpMixer(nn.Module):
    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.layers = nn.Sequential(*(MixerLayer(16, width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.layers(self.patches(x).flatten(2).transpose(1, 2))
        return functional.cross_entropy(self.head(self.norm(x).mean(1)), y)


class Nerf(nn.Module):
    """Positional encoding, a tower with a skip, and the volume integral along each ray."""

    def __init__(self, width: int = 64, octaves: int = 4) -> None:
        super().__init__()
        self.octaves = octaves
        size = 3 + 6 * octaves
        self.first = nn.ModuleList([nn.Linear(size, width), nn.Linear(width, width)])
        self.second = nn.ModuleList([nn.Linear(width + size, width), nn.Linear(width, width)])
        self.density, self.color = nn.Linear(width, 1), nn.Linear(width, 3)

    def forward(self, points: Tensor, steps: Tensor, y: Tensor) -> Tensor:
        rates = 2.0 ** torch.arange(self.octaves)
        angles = (points.unsqueeze(-1) * rates).flatten(-2)
        x = torch.cat([points, angles.sin(), angles.cos()], -1)
        h = x
        for layer in self.first:
            h = torch.relu(layer(h))
        h = torch.cat([h, x], -1)
        for layer in self.second:
            h = torch.relu(layer(h))
        opacity = 1 - torch.exp(-functional.softplus(self.density(h)).squeeze(-1) * steps)
        clear = torch.cumprod(torch.cat([torch.ones_like(opacity[:, :1]), 1 - opacity], 1), 1)
        weights = opacity * clear[:, :-1]
        pixels = (weights.unsqueeze(-1) * torch.sigmoid(self.color(h))).sum(1)
        return functional.mse_loss(pixels, y)


class Capsules(nn.Module):
    """Routing by agreement: votes by einsum, three rounds."""

    def __init__(self, primary: int = 16, inner: int = 8, digits: int = 5, outer: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, primary * inner // 16, 5, 2)
        self.shape = (primary, inner)
        self.votes = nn.Parameter(torch.randn(primary, digits, inner, outer) / 8)

    @staticmethod
    def squash(x: Tensor) -> Tensor:
        square = x.square().sum(-1, keepdim=True)
        return square / (1 + square) * x / torch.sqrt(square + 1e-8)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.squash(self.stem(x).view(x.size(0), *self.shape))
        votes = torch.einsum("bpi,pdio->bpdo", h, self.votes)
        logits = torch.zeros(votes.shape[:3])
        for _ in range(2):
            result = self.squash(torch.einsum("bpd,bpdo->bdo", logits.softmax(-1), votes))
            logits = logits + torch.einsum("bpdo,bdo->bpd", votes, result)
        result = self.squash(torch.einsum("bpd,bpdo->bdo", logits.softmax(-1), votes))
        return functional.multi_margin_loss(result.norm(dim=-1), y)


class FourierLayer(nn.Module):
    def __init__(self, width: int, modes: int) -> None:
        super().__init__()
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(width, width, modes, modes, dtype=torch.cfloat))
        self.local = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(x)
        low = spectrum[:, :, : self.modes, : self.modes]
        mixed = torch.einsum("bixy,ioxy->boxy", low, self.weight)
        full = torch.zeros_like(spectrum)
        full[:, :, : self.modes, : self.modes] = mixed
        return functional.gelu(torch.fft.irfft2(full, s=x.shape[-2:]) + self.local(x))


class FourierOperator(nn.Module):
    """Fourier neural operator: convolution as a product of low frequencies."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.lift = nn.Linear(3, width)
        self.layers = nn.Sequential(*(FourierLayer(width, 4) for _ in range(2)))
        self.project = nn.Linear(width, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.layers(self.lift(x).permute(0, 3, 1, 2))
        return functional.mse_loss(self.project(h.permute(0, 2, 3, 1)), y)


class KolmogorovArnold(nn.Module):
    """Splines on edges: a basis of hat functions contracted with coefficients."""

    def __init__(self, sizes: tuple[int, ...] = (8, 16, 4), knots: int = 8) -> None:
        super().__init__()
        self.register_buffer("knots", torch.linspace(-1, 1, knots))
        self.coefficients = nn.ParameterList(
            nn.Parameter(torch.randn(b, a, knots) / 8) for a, b in itertools.pairwise(sizes)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        for coefficients in self.coefficients:
            basis = torch.clamp(1 - 3.5 * (torch.tanh(x).unsqueeze(-1) - self.knots).abs(), min=0)
            x = torch.einsum("bik,oik->bo", basis, coefficients)
        return functional.smooth_l1_loss(x, y)


class TwoTower(nn.Module):
    """Contrastive retrieval: normalised towers, a learned temperature, both directions."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.Linear(24, 32), nn.PReLU(), nn.Linear(32, 16))
        self.item = nn.Sequential(nn.Linear(12, 32), nn.Hardswish(), nn.Linear(32, 16))
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, query: Tensor, item: Tensor) -> Tensor:
        q = functional.normalize(self.query(query), dim=-1)
        i = functional.normalize(self.item(item), dim=-1)
        logits = q @ i.t() * self.scale.exp()
        same = torch.arange(logits.size(0))
        return (
            functional.cross_entropy(logits, same) + functional.cross_entropy(logits.t(), same)
        ) / 2


class SelfDistillation(nn.Module):
    """A student predicts what a teacher without gradients says of another view."""

    def __init__(self) -> None:
        super().__init__()
        self.student = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16))
        self.teacher = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16))
        self.predictor = nn.Linear(16, 16)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        with torch.no_grad():
            goal = functional.normalize(self.teacher(second), dim=-1)
        guess = functional.normalize(self.predictor(self.student(first)), dim=-1)
        return 2 - 2 * (guess * goal).sum(-1).mean()


def _dlrm() -> Made:
    return Dlrm(), {
        "dense": torch.randn(8, 13),
        "categories": tokens(50, 4, 24),
        "offsets": torch.arange(0, 24, 3),
        "y": torch.rand(8).round(),
    }


def _graph(model: nn.Module) -> Made:
    inputs = {
        "nodes": torch.randn(40, 32),
        "edges": torch.stack([tokens(40, 160), torch.arange(160) % 40]),
        "y": tokens(5, 40),
    }
    return model, inputs


def _nerf() -> Made:
    return Nerf(), {
        "points": torch.randn(16, 12, 3),
        "steps": torch.rand(16, 12),
        "y": torch.rand(16, 3),
    }


OTHER = {
    "dlrm": Architecture("recommendation", _dlrm),
    "two_tower": Architecture(
        "recommendation",
        lambda: (TwoTower(), {"query": torch.randn(16, 24), "item": torch.randn(16, 12)}),
    ),
    "self_distillation": Architecture(
        "vision",
        lambda: (
            SelfDistillation(),
            {"first": torch.randn(8, 24), "second": torch.randn(8, 24)},
        ),
    ),
    "message_passing": Architecture("graph", lambda: _graph(MessagePassing())),
    "graph_attention": Architecture("graph", lambda: _graph(GraphAttention())),
    "pointnet": Architecture(
        "points", lambda: (PointNet(), {"x": torch.randn(4, 3, 64), "y": tokens(10, 4)})
    ),
    "mlp_mixer": Architecture(
        "vision", lambda: (MlpMixer(), {"x": torch.randn(2, 3, 32, 32), "y": tokens(10, 2)})
    ),
    "nerf": Architecture("fields", _nerf),
    "capsules": Architecture(
        "vision", lambda: (Capsules(), {"x": torch.randn(4, 1, 11, 11), "y": tokens(5, 4)})
    ),
    "fourier_operator": Architecture(
        "fields",
        lambda: (
            FourierOperator(),
            {"x": torch.randn(2, 16, 16, 3), "y": torch.randn(2, 16, 16, 1)},
        ),
    ),
    "kolmogorov_arnold": Architecture(
        "tables", lambda: (KolmogorovArnold(), {"x": torch.randn(16, 8), "y": torch.randn(16, 4)})
    ),
}
