"""Micro-batches inside one forward are exact for any loss, or refused with the reason."""

from __future__ import annotations

import copy
from typing import Any

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


class TokenLoss(nn.Module):
    """Returns its loss, an average over the labels that are not -100, and its logits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4, dtype=torch.float64)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.layer(x)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits, "decay": self.layer.weight.square().sum()}


def test_a_loss_of_the_models_own_is_put_together_by_the_labels_that_count() -> None:
    labels = torch.tensor([[0, 1, 2], [3, -100, -100], [-100, -100, -100], [1, 2, -100], [0, 0, 1]])
    x = torch.randn(5, 3, 8, dtype=torch.float64)
    plain, split = TokenLoss(), TokenLoss()
    split.load_state_dict(plain.state_dict())
    engine = LocalEngine(split, Settings(micro_batches=5))
    engine.apply()
    for module in (plain, split):
        out = module(x, labels)
        (out["loss"] + 0.1 * out["decay"] + out["logits"].square().mean()).backward()
    assert engine.notes == []
    for a, b in zip(plain.parameters(), split.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(split(x, labels), plain(x, labels), rtol=1e-12, atol=1e-12)


class Mixing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        return y - y.mean(0)


def test_a_forward_that_may_not_be_split_runs_whole() -> None:
    module, x = Mixing(), torch.randn(6, 8)
    expected = module(x)
    state = torch.get_rng_state()
    engine = LocalEngine(module, Settings(micro_batches=2))
    engine.apply()
    torch.testing.assert_close(module(x), expected)
    reason = "output 0 is not made of per-sample rows, sums or means"
    assert engine.notes == [f"micro-batches: off: {reason}"]
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_later_batch_that_mixes_samples_ends_the_splitting() -> None:
    class Late(Mixing):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x) * (1 + (x.mean() > 5))

    module = Late()
    engine = LocalEngine(module, Settings(micro_batches=2))
    engine.apply()
    module(torch.randn(6, 8))
    assert engine.notes == []
    far = torch.randn(6, 8)
    far[0] += 40  # mean 40 / 6 of the whole and 0 of the second part
    module(far)
    reason = "output 0 is not made of per-sample rows"
    assert engine.notes == [
        f"batch 2 shows what the ones before did not: {reason}; the whole batch is computed "
        "together from here on, and earlier steps may differ from plain's",
        f"micro-batches: off: {reason}",
    ]


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.layer(x) / self.calls


def test_a_forward_that_counts_its_calls_is_not_split() -> None:
    module = Counting()
    engine = LocalEngine(module, Settings(micro_batches=2))
    engine.apply()
    for _ in range(3):
        module(torch.randn(4, 8)).sum().backward()
    assert module.calls == 3
    assert engine.notes == ["micro-batches: off: each forward changes Counting.calls"]


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.utils.spectral_norm(nn.Linear(8, 4)),
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 4)),
    ],
)
def test_power_iterations_are_those_of_one_forward(layer: Any) -> None:
    module = nn.Sequential(layer())
    twin = copy.deepcopy(module)
    engine = LocalEngine(module, Settings(micro_batches=2))
    engine.apply()
    x = torch.randn(4, 8)
    for _ in range(2):
        assert torch.equal(module(x), twin(x))
    assert engine.notes[0].startswith("micro-batches: off: each forward changes ")


def test_a_cache_that_the_first_forward_fills_is_no_obstacle() -> None:
    class Caching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(8, 4)
            self.scale: torch.Tensor | None = None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.scale is None:
                self.scale = torch.full((4,), 2.0)
            return self.layer(x) * self.scale

    module = Caching()
    engine = LocalEngine(module, Settings(micro_batches=2))
    engine.apply()
    module(torch.randn(4, 8)).sum().backward()
    assert engine.notes == []


def test_other_random_numbers_are_said_once(dropout_mlp: Mlp) -> None:
    engine = LocalEngine(dropout_mlp, Settings(micro_batches=2))
    engine.apply()
    for _ in range(2):
        dropout_mlp(torch.randn(4, 8)).sum().backward()
    assert engine.notes == [
        "micro-batches: each draws its own random numbers: dropout masks differ from those of the "
        "whole batch"
    ]


def test_what_only_an_unused_output_needs_gets_no_gradient() -> None:
    """Zeros instead of None would let AdamW decay it."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.used(x), self.unused(x)

    heads = Heads()
    LocalEngine(heads, Settings(micro_batches=2)).apply()
    heads(torch.ones(4, 3))[0].sum().backward()
    assert heads.used.weight.grad is not None
    assert heads.unused.weight.grad is None
