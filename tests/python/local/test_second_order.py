"""Second backward passes and gradients of gradients through compiled code."""

from __future__ import annotations

import pytest
import torch
from local_models import Mlp, Settings
from torch import nn
from torch.utils.checkpoint import checkpoint

from parallel_opt.engine.local import LocalEngine

GIVEN_UP = "compile: off, running eagerly: compiled code has no gradients of gradients"


class Critic(nn.Module):
    """Writes to buffers, draws, returns views of what it computed and of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.utils.spectral_norm(nn.Linear(6, 8))
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.3)
        self.last = nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        hidden = self.drop(torch.tanh(self.norm(self.first(x))))
        return self.last(hidden).view(-1), hidden.t(), x.view(-1)


def penalised(settings: Settings | None, steps: int = 3) -> tuple[list[torch.Tensor], list[str]]:
    """Losses and state after steps with a gradient penalty."""
    torch.manual_seed(0)
    model = Critic().double()
    notes: list[str] = []
    if settings is not None:
        engine = LocalEngine(model, settings)
        engine.apply()
        notes = engine.notes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    calls: list[torch.Tensor] = []
    model.last.weight.register_hook(lambda grad: calls.append(grad.clone()))
    found = []
    for _ in range(steps):
        x = torch.randn(8, 6, dtype=torch.float64, requires_grad=True)
        scores, hidden, _ = model(x)
        total = scores.square().sum() + hidden.sin().sum()
        (grad,) = torch.autograd.grad(total, x, create_graph=True)
        loss = scores.mean() + (grad.norm(dim=1) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.detach())
    return [*found, *calls, *model.state_dict().values()], notes


def test_a_gradient_penalty_is_right_from_the_first_step_on() -> None:
    """Really compiles: loss, hooks, weights, averages and random numbers equal plain's."""
    plain, _ = penalised(None)
    ours, notes = penalised(Settings(compile=True))
    assert len(ours) == len(plain)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert [note.split(" (")[0] for note in notes] == [GIVEN_UP]


def test_micro_batches_have_gradients_of_gradients(mlp: Mlp) -> None:
    mlp.double()
    x = torch.randn(4, 8, dtype=torch.float64, requires_grad=True)

    def found() -> list[torch.Tensor]:
        mlp.zero_grad()
        (grad,) = torch.autograd.grad(mlp(x).sin().sum(), x, create_graph=True)
        grad.square().sum().backward()
        return [p.grad.clone() for p in mlp.parameters() if p.grad is not None]

    plain = found()
    LocalEngine(mlp, Settings(micro_batches=2)).apply()
    torch.testing.assert_close(found(), plain)


def test_two_backwards_over_one_graph_stay_compiled() -> None:
    def found(settings: Settings | None) -> list[torch.Tensor]:
        torch.manual_seed(0)
        # Gelu keeps what its backward could overwrite.
        model = nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 4))
        model.double()
        if settings is not None:
            engine = LocalEngine(model, settings)
            engine.apply()
        output = model(torch.randn(16, 8, dtype=torch.float64))
        output.sin().sum().backward(retain_graph=True)
        output.square().sum().backward()
        assert settings is None or engine.notes == []
        return [p.grad for p in model.parameters() if p.grad is not None]

    torch.testing.assert_close(found(Settings(compile=True)), found(None))


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.part = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.first(x))
        return checkpoint(self.part, hidden, use_reentrant=False)  # type: ignore[no-any-return]


def averages(module: nn.Module) -> list[torch.Tensor]:
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        module(x).square().sum().backward()
    return list(module.buffers())


def test_averages_of_a_users_checkpoint_are_updated_as_often_as_plain() -> None:
    """Twice per step: in the forward and in its repetition."""
    plain, ours = Checkpointed(), Checkpointed()
    ours.load_state_dict(plain.state_dict())
    engine = LocalEngine(ours, Settings(compile=True), backend="aot_eager")
    engine.apply()
    torch.testing.assert_close(averages(ours), averages(plain))
    assert plain.part[1].num_batches_tracked.item() == 4
    assert engine.notes == [
        "compile: off, running eagerly: it would update the averages of a checkpointed batch norm "
        "once"
    ]


@pytest.mark.parametrize("compiled", [False, True])
def test_averages_of_a_recomputed_block_are_updated_once(compiled: bool) -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    ours = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8))
    ours.load_state_dict(plain.state_dict())
    settings = Settings(compile=compiled, recompute=["1"])
    engine = LocalEngine(ours, settings, backend="aot_eager")
    engine.apply()
    torch.testing.assert_close(averages(ours), averages(plain))
    assert plain[1].num_batches_tracked.item() == 2
    assert engine.notes == []
