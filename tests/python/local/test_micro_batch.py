"""Micro-batches inside one forward are exact for any loss, or refused with the reason."""

from __future__ import annotations

import pytest
import torch
from local_models import ConvNet, Mlp, Settings
from torch import nn

from parallel_opt.engine.local import LocalEngine


def loss_and_gradients(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    module.zero_grad()
    x = x.clone().requires_grad_()
    output = module(x)
    # Not a mean over samples: every sample's gradient depends on all the others.
    loss = output.logsumexp(0).square().sum() + output.std()
    loss.backward()
    return [loss.detach(), x.grad, *(p.grad for p in module.parameters() if p.requires_grad)]


@pytest.mark.parametrize(("batch", "count"), [(8, 2), (7, 3), (3, 8), (1, 4)])
def test_loss_and_all_gradients_equal_the_whole_batch(mlp: Mlp, batch: int, count: int) -> None:
    mlp.double()
    mlp.first.bias.requires_grad_(False)
    x = torch.randn(batch, 8, dtype=torch.float64)
    if batch == 1:
        x = x.expand(1, 8).clone()
    expected = loss_and_gradients(mlp, x) if batch > 1 else []
    engine = LocalEngine(mlp, Settings(micro_batches=count))
    engine.apply()
    if batch == 1:
        assert mlp(x).shape == (1, 4)
        return
    for a, b in zip(loss_and_gradients(mlp, x), expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert engine.notes == []


def test_only_one_micro_batch_is_saved_for_backward(mlp: Mlp) -> None:
    sizes: list[int] = []
    LocalEngine(mlp, Settings(micro_batches=4)).apply()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        mlp(torch.randn(8, 8))
    assert sorted(sizes) == sorted(p.numel() for p in mlp.parameters())


def test_dropout_masks_of_backward_are_those_of_forward() -> None:
    class Noise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(8))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(self.scale * x, 0.5, self.training)

    module = Noise()
    LocalEngine(module, Settings(micro_batches=2)).apply()
    x = torch.ones(4, 8)
    output = module(x)
    output.sum().backward()
    # d(sum)/d(scale) is the column sum of the masks, as is the output for x = scale = 1.
    assert torch.equal(module.scale.grad, output.detach().sum(0))


def test_the_backward_runs_under_the_users_autocast_and_keeps_gradients(mlp: Mlp) -> None:
    LocalEngine(mlp, Settings(micro_batches=2)).apply()
    with torch.autocast("cpu", torch.bfloat16):
        mlp(torch.randn(4, 8)).float().sum().backward()
    assert all(p.grad is not None for p in mlp.parameters())


def test_batch_norm_is_refused(conv_net: ConvNet) -> None:
    engine = LocalEngine(conv_net, Settings(micro_batches=2))
    engine.apply()
    conv_net(torch.randn(4, 3, 4, 4)).sum().backward()
    assert engine.notes == ["micro-batches: off: norm normalises over the batch"]


class Scalar(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).mean()


class Mixing(Scalar):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return y - y.mean(0)


@pytest.mark.parametrize(
    ("module", "reason"),
    [(Scalar(), "an output has no batch dimension"), (Mixing(), "the forward mixes samples")],
)
def test_forwards_that_may_not_be_split_run_whole(module: nn.Module, reason: str) -> None:
    x = torch.randn(6, 8)
    expected = module(x)
    state = torch.get_rng_state()
    engine = LocalEngine(module, Settings(micro_batches=2))
    engine.apply()
    torch.testing.assert_close(module(x), expected)
    assert reason in engine.notes[0]
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
