"""Finding optimizers, moving them to new parameters, refusing stale ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from parallel_opt.engine import optimizers
from parallel_opt.errors import InputError


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    optimizers.watch_optimizers()
    yield
    optimizers._stale.clear()
    while optimizers._undo:
        optimizers._undo.pop()()


def test_optimizers_are_found_by_their_parameters() -> None:
    one, two = nn.Linear(2, 2), nn.Linear(2, 2)
    first = torch.optim.SGD(one.parameters(), lr=0.1)
    both = torch.optim.AdamW([*one.parameters(), *two.parameters()])
    assert set(optimizers.find_optimizers(one.parameters())) == {first, both}
    assert optimizers.find_optimizers(two.parameters()) == [both]


def test_a_dead_optimizer_is_forgotten() -> None:
    module = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    assert optimizers.find_optimizers(module.parameters()) == [optimizer]
    del optimizer
    assert optimizers.find_optimizers(module.parameters()) == []


def test_rebinding_keeps_state_groups_and_scheduler() -> None:
    torch.manual_seed(0)
    plain, moved = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    moved.load_state_dict(plain.state_dict())
    x = torch.randn(4, 3, dtype=torch.float64)
    pairs = []
    for module in (plain, moved):
        groups = [{"params": [module.weight], "lr": 0.1}, {"params": [module.bias], "lr": 0.2}]
        optimizer = torch.optim.AdamW(groups)
        pairs.append((module, optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)))
    for step in range(3):
        if step == 1:  # the second model's parameters are replaced by copies
            module, optimizer, _ = pairs[1]
            old = [module.weight, module.bias]
            module.weight, module.bias = (nn.Parameter(p.detach().clone()) for p in old)
            optimizers.rebind(
                [optimizer], dict(zip(old, [module.weight, module.bias], strict=True))
            )
        for module, optimizer, scheduler in pairs:
            optimizer.zero_grad()
            module(x).square().sum().backward()
            optimizer.step()
            scheduler.step()
    for a, b in zip(plain.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    rates = [group["lr"] for group in pairs[1][1].param_groups]
    assert rates == [0.1 * 0.5**3, 0.2 * 0.5**3]


def test_an_optimizer_with_replaced_parameters_is_refused() -> None:
    module = nn.Linear(2, 2)
    hidden = torch.optim.SGD(module.parameters(), lr=0.1)
    optimizers.rebind([], {module.weight: nn.Parameter(torch.zeros(2, 2))})
    module(torch.ones(1, 2)).sum().backward()
    with pytest.raises(InputError) as caught:
        hidden.step()
    assert str(caught.value) == (
        "SGD.param_groups[0]: holds a parameter that the plan has replaced "
        "(build the optimizer from model.parameters() after the first forward)"
    )


class Owner:
    def __init__(self, module: nn.Module) -> None:
        self.calls = 0
        self._owned = optimizers.parameter_ids(list(module.parameters()))

    def owned_parameters(self) -> frozenset[int]:
        return self._owned

    def synchronize(self) -> None:
        self.calls += 1


def test_owners_are_called_only_for_their_parameters() -> None:
    mine, other = nn.Linear(2, 2), nn.Linear(2, 2)
    owner = Owner(mine)
    optimizers.add_owner(owner)
    for module in (mine, other):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        module(torch.ones(1, 2)).sum().backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        torch.nn.utils.clip_grad_value_(module.weight, 1.0)
        optimizer.step()
    assert owner.calls == 3
    optimizers.remove_owner(owner)
    torch.nn.utils.clip_grad_norm_(mine.parameters(), 1.0)
    assert owner.calls == 3
