"""Models whose parameters change during training, and loops that change a model's outputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small import ENGINES, batch, grads, linear, same
from torch import nn

from harness import RankPool
from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.process_group import Group


def new_layer(module: nn.Sequential, rank: int, step: int) -> None:
    if step != 1:
        return
    torch.manual_seed(rank)  # as in the local view, where ranks draw different numbers
    module[1] = nn.Linear(2, 4).double()


def assigned(module: nn.Sequential, rank: int, step: int) -> None:
    if step != 1:
        return
    values = {name: 0.1 * torch.ones_like(v) for name, v in module.state_dict().items()}
    module.load_state_dict(values, assign=True)


def frozen(module: nn.Sequential, rank: int, step: int) -> None:
    module[0].requires_grad_(step < 1)


def thawed_between(module: nn.Sequential, rank: int, step: int) -> None:
    module[0].requires_grad_(step == 1)


def resized(module: nn.Sequential, rank: int, step: int) -> None:
    """As Hugging Face's resize_token_embeddings: the same parameters, of another shape."""
    if step != 1:
        return
    for parameter in module[1].parameters():
        parameter.data = torch.cat([parameter.data, parameter.data[:1]])
        parameter.grad = None


CHANGES = {
    "new layer": new_layer,
    "assigned": assigned,
    "resized": resized,
    "frozen": frozen,
    "frozen but in the second step": thawed_between,
}


def changing(group: Group, engine: str, change: str) -> None:
    """Three steps; between them the user changes what the parameters are."""
    x = batch()

    def run(module: nn.Sequential, rank: int, forward: Any, finish: Any) -> list[Any]:
        seen = []
        for step in range(3):
            CHANGES[change](module, rank, step)
            module.zero_grad()
            forward(x).square().mean().backward()
            finish()
            seen += grads(module)
        return seen

    plain, shared = (nn.Sequential(linear(), linear(2, 2)) for _ in range(2))
    expected = run(plain, 0, plain, lambda: None)
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    same(run(shared, group.rank, parallel, parallel.synchronize), expected)
    parallel.unapply()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("change", CHANGES)
def test_parameters_are_followed_from_the_next_step(
    ranks: RankPool, engine: str, change: str
) -> None:
    ranks.run(changing, 2, engine, change)


def widened(group: Group) -> None:
    """An fp32 model becomes fp64: buckets of the old type would round its gradients."""
    x = batch()
    plain, shared = linear(), linear().float()
    with torch.no_grad():
        for mine, other in zip(shared.parameters(), plain.parameters(), strict=True):
            other.copy_(mine)
    parallel = DataParallel(shared, group, engine="ddp")
    parallel.apply()
    parallel(x.float()).sum().backward()
    shared.zero_grad()
    shared.double()
    plain(x).square().mean().backward()
    parallel(x).square().mean().backward()
    same(grads(shared), grads(plain))
    parallel.unapply()


def test_a_model_may_change_its_type(ranks: RankPool) -> None:
    ranks.run(widened, 2)


class Outputs(nn.Module):
    """Rows, a coupled matrix or another set of rows, a constant, and two without gradient."""

    def __init__(self, coupled: bool) -> None:
        super().__init__()
        self.first, self.fixed = linear(3, 3), linear(3, 2).requires_grad_(False)
        self.coupled = coupled

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.first(x)
        second = hidden @ hidden.T if self.coupled else hidden * 3
        return hidden + 1, second, self.first.bias * 2, self.fixed(x), hidden.detach().clone()


def changed_in_place(forward: Any, rows: int) -> tuple[list[bool], float]:
    """A loop that changes all outputs in place; which of them require a gradient, and their sum."""
    outputs = forward(batch(rows))
    trained = [output.requires_grad for output in outputs]
    total = float(sum(o.numpy().sum() for o in outputs if not o.requires_grad))
    for output in outputs:
        output.mul_(2)
    sum(output.square().sum() for output in outputs).backward()
    return trained, total


def outputs_of(group: Group, coupled: bool, view: str) -> None:
    plain, shared = Outputs(coupled), Outputs(coupled)
    parallel = DataParallel(shared, group, engine="ddp", view=view)
    parallel.apply()
    for rows in (6, 6, 1):
        plain.zero_grad()
        shared.zero_grad()
        expected = changed_in_place(plain, rows)
        assert expected[0] == [True, True, True, False, False]
        found = changed_in_place(parallel, rows)
        assert found[0] == expected[0]
        assert found[1] == pytest.approx(expected[1], rel=1e-12)
        same(grads(shared), grads(plain))
    plain.first.requires_grad_(False)
    shared.first.requires_grad_(False)
    assert [o.requires_grad for o in parallel(batch())] == [False] * 5
    parallel.unapply()


@pytest.mark.parametrize("view", ["global", "local"])
@pytest.mark.parametrize("coupled", [False, True])
def test_outputs_are_as_free_as_the_models_own(ranks: RankPool, coupled: bool, view: str) -> None:
    # in the local view both ranks get the same batch: the mean of equal gradients
    ranks.run(outputs_of, 2, coupled, view)


class Ragged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nested.to_padded_tensor(self.layer(x).tanh(), 0.0).sum(1)


def nested(group: Group, other: bool) -> str:
    """The view that is found where ranks have the same ragged batch, or each its own."""
    plain, shared = Ragged(), Ragged()
    parallel = DataParallel(shared, group, engine="ddp")
    parallel.apply()
    parts = [batch(rows) + (group.rank if other else 0) for rows in (2, 4, 1)]
    x = torch.nested.nested_tensor(parts, layout=torch.jagged)
    parallel(x).square().mean().backward()
    if not other:
        plain(x).square().mean().backward()
        same(grads(shared), grads(plain))
    parallel.unapply()
    return parallel.view


def test_nested_tensors_are_compared_and_computed_whole(ranks: RankPool) -> None:
    assert ranks.run(nested, 2, False) == ["global", "global"]
    assert ranks.run(nested, 2, True) == ["local", "local"]
