"""The replay of a recorded step against torch's own memory tracker on the step, to the byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional

from parallel_opt import _core
from parallel_opt.capture import capture


class _NoModules:
    """MemTracker's hooks on modules hold outputs longer than a step without them does."""

    is_bw = False

    def register_user_hooks(self, *_: object) -> None: ...

    def clear_user_hooks(self) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _Tracker(MemTracker):
    """Live bytes after every operator, while its operands still live."""

    def __init__(self) -> None:
        super().__init__()
        self._mod_tracker = _NoModules()  # type: ignore[assignment]
        self.curve: list[tuple[str, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_dispatch__(func, types, args, kwargs)
        totals = [part["Total"] for part in self.get_tracker_snapshot("current").values()]
        self.curve.append((str(func), sum(totals)))
        return result


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(functional.gelu(self.up(self.norm(x))))


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = self.qkv(x).view(batch, length, 3, 2, width // 2).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*heads.unbind(0), is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))


class WithLoss(nn.Module):
    """The loss is the model's result, so that nothing but the step itself holds what it makes."""

    def __init__(
        self, inner: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], y: Tensor
    ) -> None:
        super().__init__()
        self.inner, self.loss = inner, loss
        self.register_buffer("y", y)

    def forward(self, x: Tensor) -> Tensor:
        return self.loss(self.inner(x), self.get_buffer("y"))


def _images() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(16, 10)),
    )


def _tokens() -> nn.Module:
    layers = [Attention(32), Residual(32), Attention(32), Residual(32)]
    return nn.Sequential(nn.Embedding(50, 32), *layers, nn.Linear(32, 50), nn.Flatten(0, 1))


CASES: dict[str, tuple[Callable[[], nn.Module], Any, Tensor, Tensor]] = {
    "layers": (
        lambda: nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8)),
        functional.mse_loss,
        torch.zeros(128, 64),
        torch.zeros(128, 8),
    ),
    "residual": (
        lambda: nn.Sequential(*(Residual(32) for _ in range(4)), nn.Linear(32, 8)),
        functional.smooth_l1_loss,
        torch.zeros(64, 16, 32),
        torch.zeros(64, 16, 8),
    ),
    "images": (
        _images,
        functional.cross_entropy,
        torch.zeros(16, 3, 16, 16),
        torch.zeros(16, dtype=torch.int64),
    ),
    "tokens": (
        _tokens,
        functional.cross_entropy,
        torch.zeros(4, 24, dtype=torch.int64),
        torch.zeros(96, dtype=torch.int64),
    ),
    "activations": (
        lambda: nn.Sequential(
            *(nn.Linear(48, 96, bias=False), nn.Sigmoid(), nn.Linear(96, 96, bias=False)),
            *(nn.Tanh(), nn.Softmax(-1), nn.Linear(96, 24), nn.LeakyReLU()),
            *(nn.Linear(24, 1), nn.Sigmoid()),
        ),
        functional.binary_cross_entropy,
        torch.zeros(256, 48),
        torch.zeros(256, 1),
    ),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-3),
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, foreach=False),
    "adamw": lambda p: torch.optim.AdamW(p, foreach=False),
    "adamw-lists": lambda p: torch.optim.AdamW(p, foreach=True),
}


# In these, torch holds more than the operators that are left need: a node of autograd the tensors
# it kept and its gradient until the last of its operators (a layer's products and the sum for its
# bias), a function of many operators its operands.
HELD = {
    "backward": ("aten.mm.default", "aten.sum.dim_IntList"),
    "forward": ("aten.nll_loss_forward.default",),
}
VIEWS = (
    "_unsafe_view",
    "detach",
    "expand",
    "permute",
    "select",
    "squeeze",
    "t",
    "transpose",
    "unbind",
    "view",
)


def _is_view(target: str) -> bool:
    return target.split(".")[1] in VIEWS


def _tracked(
    model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor
) -> tuple[int, list[tuple[str, int]]]:
    """The peak of a step, and the live bytes at each operator of its forward and backward."""

    def step(tracker: _Tracker | None = None) -> list[tuple[str, int]]:
        loss = model(x)
        loss.backward()
        curve = list(tracker.curve) if tracker is not None else []
        optimizer.step()
        optimizer.zero_grad()
        return curve

    step()  # optimizer states exist from the first step on
    tracker = _Tracker()
    tracker.track_external(model, optimizer, x)
    with tracker:
        curve = step(tracker)
    return sum(part["Total"] for part in tracker.get_tracker_snapshot("peak").values()), curve


@pytest.mark.parametrize("optimizer_name", OPTIMIZERS)
@pytest.mark.parametrize("name", CASES)
def test_replay_equals_torchs_tracker_to_the_byte(name: str, optimizer_name: str) -> None:
    make, loss, x, y = CASES[name]
    torch.manual_seed(0)
    model = WithLoss(make(), loss, y)
    optimizer = OPTIMIZERS[optimizer_name](model.parameters())
    graph = capture(model, (x,), level="step", loss_fn=lambda loss: loss, optimizer=optimizer)
    replayed = _core.replay_live_bytes(graph)
    peak, curve = _tracked(model, optimizer, x)
    assert replayed.peak_bytes == peak
    ours = zip(graph.ops, replayed.curve_bytes, strict=True)
    told = [(op, live) for op, live in ours if op.phase != "optimizer" and not _is_view(op.target)]
    seen = [(target, live) for target, live in curve if not _is_view(target)]
    assert [op.target for op, _ in told] == [target for target, _ in seen]
    exact = 0
    for (op, replay), (_, live) in zip(told, seen, strict=True):
        assert replay == live or (op.target in HELD[op.phase] and replay < live), op.name
        exact += replay == live
    assert exact > 0.75 * len(told)


def test_summary_of_a_recorded_step_tells_its_peak() -> None:
    make, loss, x, y = CASES["layers"]
    model = WithLoss(make(), loss, y)
    graph = capture(model, (x,), level="step", loss_fn=lambda loss: loss)
    peak = _core.summarize(graph).live_peak
    assert peak is not None
    assert (peak.bytes, peak.at) == (
        _core.replay_live_bytes(graph).peak_bytes,
        "threshold_backward_1",
    )
    assert _core.summarize(capture(model, (x,), level="export")).live_peak is None
