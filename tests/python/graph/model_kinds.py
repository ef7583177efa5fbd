"""One small model for each kind that capture must take; each returns its loss, or tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

Sample = tuple[tuple[Any, ...], dict[str, Any]]


class Applied(nn.Module):
    """A forward given as a function of the module's parts."""

    def __init__(self, forward: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._run = forward

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self, *args, **kwargs)


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


def tied() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.tanh(m.embed(x))).sum()

    model = Applied(run, embed=nn.Embedding(10, 8), head=nn.Linear(8, 10, bias=False))
    model.head.weight = model.embed.weight
    return model


def shared() -> nn.Module:
    layer = nn.Linear(8, 8)
    return Applied(lambda m, x: m.c(m.b(m.a(x).relu()).relu()).sum(), a=layer, b=layer, c=layer)


def buffered() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        m.seen += 1
        m.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return m.fc(x - m.mean).sum()

    model = Applied(run, fc=nn.Linear(8, 4))
    model.register_buffer("mean", torch.zeros(8))
    model.register_buffer("seen", torch.zeros((), dtype=torch.long))
    return model


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    model[0].register_forward_hook(lambda m, args, out: out * 2)
    model[2].register_forward_pre_hook(lambda m, args: (args[0].tanh(),))
    return model


def pruned() -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    return model


def double_backward() -> nn.Module:
    """A gradient penalty: a gradient is part of the forward."""

    def run(m: Any, x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(m.net(x).sum(), x, create_graph=True)
        return (g.norm(dim=1) - 1).square().mean()

    return Applied(run, net=nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)))


def functorch() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        jacobian = torch.func.vmap(torch.func.jacrev(lambda row: torch.tanh(row @ m.w)))(x)
        return jacobian.square().sum()

    return Applied(run, w=nn.Parameter(torch.randn(8, 3)))


def no_grad_part() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = m.teacher(x)
        return (m.student(x) - target).square().mean()

    return Applied(run, teacher=nn.Linear(8, 4), student=nn.Linear(8, 4))


def routed() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        return (m.small(x) if float(x.sum()) > 0 else m.large(x)).sum()

    return Applied(
        run,
        small=nn.Linear(8, 4),
        large=nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)),
    )


def sized() -> nn.Module:
    return Applied(lambda m, x: m.fc(x[x[:, 0] > 0]).sum(), fc=nn.Linear(8, 4))


def generator() -> nn.Module:
    def steps(m: Any, x: Tensor) -> Any:
        for layer in m.layers:
            x = layer(x).relu()
            yield x

    return Applied(
        lambda m, x: sum(h.sum() for h in steps(m, x)),
        layers=nn.ModuleList(nn.Linear(8, 8) for _ in range(4)),
    )


def nested() -> nn.Module:
    def run(m: Any, x: Tensor, y: Tensor) -> Tensor:
        both = torch.nested.nested_tensor([x, y], layout=torch.jagged)
        return m.fc(both).values().sum()

    return Applied(run, fc=nn.Linear(8, 4))


def sparse() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        where = torch.tensor([[0, 1, 2], [2, 0, 1]])
        graph = torch.sparse_coo_tensor(where, torch.ones(3), (3, 3))
        return torch.sparse.mm(graph, m.fc(x)).sum()

    return Applied(run, fc=nn.Linear(8, 4))


def numpy_inside() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        scale = float(x.detach().numpy().std())
        return m.fc(x / scale).sum()

    return Applied(run, fc=nn.Linear(8, 4))


def one(*shape: int) -> Callable[[], Sample]:
    return lambda: ((torch.randn(*shape),), {})


def tokens() -> Sample:
    return (torch.randint(10, (3, 5)),), {}


Kind = tuple[Callable[[], nn.Module], Callable[[], Sample]]

KINDS: dict[str, Kind] = {
    "tied weights": (tied, tokens),
    "shared modules": (shared, one(3, 8)),
    "dict output": (
        lambda: Applied(lambda m, x: {"y": m.fc(x), "none": None}, fc=nn.Linear(8, 4)),
        one(3, 8),
    ),
    "data class output": (
        lambda: Applied(lambda m, x: Output(m.fc(x), x.tanh()), fc=nn.Linear(8, 4)),
        one(3, 8),
    ),
    "keyword arguments only": (
        lambda: Applied(lambda m, *, x, scale: m.fc(x) * scale, fc=nn.Linear(8, 4)),
        lambda: ((), {"x": torch.randn(3, 8), "scale": 2.0}),
    ),
    "in-place writes": (
        lambda: Applied(lambda m, x: m.fc(x).mul_(2).relu_().sum(), fc=nn.Linear(8, 4)),
        one(3, 8),
    ),
    "buffers that are written": (buffered, one(3, 8)),
    "hooks": (hooked, one(3, 8)),
    "parametrizations": (
        lambda: parametrizations.orthogonal(nn.Linear(8, 8)),
        one(3, 8),
    ),
    "pruned": (pruned, one(3, 8)),
    "random numbers": (
        lambda: Applied(
            lambda m, x: m.drop(m.fc(x) + torch.randn(3, 4)).sum(),
            fc=nn.Linear(8, 4),
            drop=nn.Dropout(0.5),
        ),
        one(3, 8),
    ),
    "parts without gradients": (no_grad_part, one(3, 8)),
    "gradients in the forward": (double_backward, one(3, 8)),
    "functorch transforms": (functorch, one(3, 8)),
    "complex numbers": (
        lambda: Applied(
            lambda m, x: torch.fft.ifft(torch.fft.fft(x.to(torch.complex64)) * m.w).abs().sum(),
            w=nn.Parameter(torch.randn(8, dtype=torch.complex64)),
        ),
        one(3, 8),
    ),
    "sparse tensors": (sparse, one(3, 8)),
    "nested tensors": (nested, lambda: ((torch.randn(2, 8), torch.randn(3, 8)), {})),
    "control flow by data": (routed, one(3, 8)),
    "sizes by data": (sized, one(3, 8)),
    "numpy inside": (numpy_inside, one(3, 8)),
    "module lists and generators": (generator, one(3, 8)),
    "scripted": (lambda: torch.jit.script(nn.Sequential(nn.Linear(8, 4), nn.ReLU())), one(3, 8)),
    "compiled": (lambda: torch.compile(nn.Sequential(nn.Linear(8, 4), nn.ReLU())), one(3, 8)),
    "data parallel": (lambda: nn.DataParallel(nn.Linear(8, 4)), one(3, 8)),
    "dynamically quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(
            nn.Sequential(nn.Linear(8, 4), nn.ReLU()), {nn.Linear}
        ),
        one(3, 8),
    ),
    "parameters alone": (
        lambda: Applied(
            lambda m: (m.a @ m.b).sum(),
            a=nn.Parameter(torch.randn(4, 8)),
            b=nn.Parameter(torch.randn(8, 2)),
        ),
        lambda: ((), {}),
    ),
}
