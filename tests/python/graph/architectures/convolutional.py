"""Hand-written models of images, volumes and waves: each returns its loss."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from architectures.entry import Architecture, Made, tokens


def _double(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
        nn.Conv2d(outer, outer, 3, padding=1, bias=False),
        nn.BatchNorm2d(outer),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Contracting and expanding path with skips; transposed convolutions go up."""

    def __init__(self, width: int = 8, classes: int = 4) -> None:
        super().__init__()
        sizes = [width << i for i in range(4)]
        self.stem = _double(3, width)
        self.down = nn.ModuleList(_double(a, 2 * a) for a in sizes[:-1])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * a, a, 2, 2) for a in reversed(sizes[:-1]))
        self.merge = nn.ModuleList(_double(2 * a, a) for a in reversed(sizes[:-1]))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        skips = [self.stem(x)]
        for down in self.down:
            skips.append(down(functional.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], 1))
        return functional.cross_entropy(self.head(x), y)


class ConditionedBlock(nn.Module):
    """Residual block of a diffusion model: the time embedding is added between convolutions."""

    def __init__(self, inner: int, outer: int, time: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, inner), nn.GroupNorm(4, outer)
        self.conv1 = nn.Conv2d(inner, outer, 3, padding=1)
        self.conv2 = nn.Conv2d(outer, outer, 3, padding=1)
        self.time = nn.Linear(time, outer)
        self.short = nn.Conv2d(inner, outer, 1) if inner != outer else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(functional.silu(self.norm1(x)))
        y = y + self.time(functional.silu(time))[:, :, None, None]
        return self.short(x) + self.conv2(functional.silu(self.norm2(y)))


class SpatialAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        batch, width, rows, columns = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, 3, self.heads, width // self.heads, -1)
        q, k, v = (part.transpose(-1, -2) for part in qkv.unbind(1))
        y = functional.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(-1, -2).reshape(batch, width, rows, columns))


class DiffusionUNet(nn.Module):
    """Predicts noise; sinusoidal time embedding, attention at the lowest resolution."""

    def __init__(self, width: int = 16, time: int = 32) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(
            [ConditionedBlock(width, width, time), ConditionedBlock(width, 2 * width, time)]
        )
        self.shrink = nn.ModuleList(
            [nn.Conv2d(width, width, 3, 2, 1), nn.Conv2d(2 * width, 2 * width, 3, 2, 1)]
        )
        self.middle1 = ConditionedBlock(2 * width, 2 * width, time)
        self.attention = SpatialAttention(2 * width, 4)
        self.middle2 = ConditionedBlock(2 * width, 2 * width, time)
        self.up = nn.ModuleList(
            [ConditionedBlock(4 * width, width, time), ConditionedBlock(2 * width, width, time)]
        )
        self.norm = nn.GroupNorm(4, width)
        self.head = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor, steps: Tensor, noise: Tensor) -> Tensor:
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half) / half)
        angles = steps[:, None].float() * rates[None]
        time = self.time(torch.cat([angles.sin(), angles.cos()], -1))
        x = self.stem(x)
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            x = block(x, time)
            skips.append(x)
            x = shrink(x)
        x = self.middle2(self.attention(self.middle1(x, time)), time)
        for block in self.up:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(torch.cat([x, skips.pop()], 1), time)
        return functional.mse_loss(self.head(functional.silu(self.norm(x))), noise)


class InvertedBottleneck(nn.Module):
    """EfficientNet's block: expand, depthwise, squeeze and excite, project."""

    def __init__(self, inner: int, outer: int, stride: int, kernel: int, expand: int = 4) -> None:
        super().__init__()
        wide = inner * expand
        self.expand = nn.Sequential(
            nn.Conv2d(inner, wide, 1, bias=False), nn.BatchNorm2d(wide), nn.SiLU()
        )
        self.depthwise = nn.Sequential(
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.SiLU(),
        )
        self.squeeze, self.excite = nn.Conv2d(wide, inner // 4, 1), nn.Conv2d(inner // 4, wide, 1)
        self.project = nn.Sequential(nn.Conv2d(wide, outer, 1, bias=False), nn.BatchNorm2d(outer))
        self.residual = stride == 1 and inner == outer

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(self.expand(x))
        gate = self.excite(functional.silu(self.squeeze(functional.adaptive_avg_pool2d(y, 1))))
        y = self.project(y * torch.sigmoid(gate))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.SiLU()
        )
        plan = [(16, 24, 2, 3), (24, 24, 1, 3), (24, 40, 2, 5), (40, 40, 1, 5)]
        self.blocks = nn.Sequential(*(InvertedBottleneck(*row) for row in plan))
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(40, 10)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1).flatten(1)
        return functional.cross_entropy(self.head(self.dropout(x)), y)


class WaveNet(nn.Module):
    """Causal dilated convolutions with gated units, residual and skip paths."""

    def __init__(self, width: int = 16, layers: int = 6, levels: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(levels, width)
        self.dilated = nn.ModuleList(
            nn.Conv1d(width, 2 * width, 2, dilation=2**i) for i in range(layers)
        )
        self.residual = nn.ModuleList(nn.Conv1d(width, width, 1) for _ in range(layers))
        self.skip = nn.ModuleList(nn.Conv1d(width, 2 * width, 1) for _ in range(layers))
        self.head = nn.Sequential(
            nn.ReLU(),
            nn.Conv1d(2 * width, 2 * width, 1),
            nn.ReLU(),
            nn.Conv1d(2 * width, levels, 1),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        h = self.embedding(x).transpose(1, 2)
        total: Tensor | None = None
        for i, (dilated, residual, skip) in enumerate(
            zip(self.dilated, self.residual, self.skip, strict=True)
        ):
            z = dilated(functional.pad(h, (2**i, 0)))
            filtered, gate = z.chunk(2, 1)
            z = torch.tanh(filtered) * torch.sigmoid(gate)
            total = skip(z) if total is None else total + skip(z)
            h = h + residual(z)
        return functional.cross_entropy(self.head(total), y)


class VideoNet(nn.Module):
    """3D convolutions over time, height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(3, 8, 3, padding=1),
            nn.BatchNorm3d(8),
            nn.ReLU(),
            nn.MaxPool3d((1, 2, 2)),
            nn.Conv3d(8, 16, (3, 1, 1), padding=(1, 0, 0)),
            nn.Conv3d(16, 16, (1, 3, 3), padding=(0, 1, 1)),
            nn.BatchNorm3d(16),
            nn.ReLU(),
            nn.AvgPool3d(2),
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pooled = functional.adaptive_avg_pool3d(self.features(x), 1).flatten(1)
        return functional.cross_entropy(self.head(pooled), y)


class Vae(nn.Module):
    """Convolutional encoder, reparameterised sample, transposed convolutions back."""

    def __init__(self, latent: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()
        )
        self.mean, self.log_variance = nn.Linear(32 * 49, latent), nn.Linear(32 * 49, latent)
        self.grow = nn.Linear(latent, 32 * 49)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(32, 16, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, 2, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(x).flatten(1)
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        again = self.decoder(self.grow(z).view(-1, 32, 7, 7))
        fit = functional.binary_cross_entropy(again, x, reduction="sum")
        distance = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
        return fit + distance


class Gan(nn.Module):
    """One generator step: images from noise, judged by a convolutional discriminator."""

    def __init__(self, latent: int = 16, width: int = 8) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.ConvTranspose2d(latent, 4 * width, 4, 1, 0, bias=False),
            nn.BatchNorm2d(4 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, 1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, 3, 4, 2, 1),
            nn.Tanh(),
        )
        self.judge = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(2 * width, affine=True),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 4),
        )

    def forward(self, noise: Tensor) -> Tensor:
        verdict = self.judge(self.generator(noise)).flatten()
        return functional.binary_cross_entropy_with_logits(verdict, torch.ones_like(verdict))


def _resnet50() -> Made:
    from counted_models import ResNet

    model = ResNet((3, 4, 6, 3), 4)
    return model, {"x": torch.randn(2, 3, 64, 64), "y": tokens(100, 2)}


def _of(make: type[nn.Module], shape: tuple[int, ...], classes: int, *target: int) -> Made:
    return make(), {"x": torch.randn(shape), "y": tokens(classes, *target)}


def _diffusion() -> Made:
    inputs = {
        "x": torch.randn(2, 3, 16, 16),
        "steps": tokens(1000, 2),
        "noise": torch.randn(2, 3, 16, 16),
    }
    return DiffusionUNet(), inputs


CONVOLUTIONAL = {
    "resnet50": Architecture("vision", _resnet50),
    "unet": Architecture("vision", partial(_of, UNet, (2, 3, 32, 32), 4, 2, 32, 32)),
    "diffusion_unet": Architecture("generative", _diffusion),
    "efficientnet": Architecture("vision", partial(_of, EfficientNet, (2, 3, 32, 32), 10, 2)),
    "wavenet": Architecture(
        "sound", lambda: (WaveNet(), {"x": tokens(64, 2, 128), "y": tokens(64, 2, 128)})
    ),
    "video_3d": Architecture("video", partial(_of, VideoNet, (2, 3, 8, 16, 16), 10, 2)),
    "vae": Architecture("generative", lambda: (Vae(), {"x": torch.rand(4, 1, 28, 28)})),
    "gan": Architecture("generative", lambda: (Gan(), {"noise": torch.randn(4, 16, 1, 1)})),
}
