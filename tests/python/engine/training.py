"""The training loop that equivalence tests run on one process and on many."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from models import CASES, Case, call
from torch import nn

from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.shares import split_batch

STEPS = 5
FULL_BATCH, LAST_BATCH = 8, 7


@dataclasses.dataclass(frozen=True)
class Loop:
    """What the user's loop does besides forward and backward."""

    optimizer: str = "adamw"
    accumulate: int = 1
    clip: bool = False
    optimizer_first: bool = True


@dataclasses.dataclass
class Record:
    """What one run left behind."""

    losses: list[float]
    gradients: list[dict[str, torch.Tensor | None]]
    model: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    generator: torch.Tensor


def build(case: Case) -> nn.Module:
    torch.manual_seed(0)
    return case.model().double()


def batches(case: Case, steps: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    sizes = [FULL_BATCH] * (steps - 1) + [LAST_BATCH]
    return [case.batch(size) for size in sizes]


def make_optimizer(loop: Loop, model: nn.Module) -> torch.optim.Optimizer:
    if loop.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def gradients(model: nn.Module) -> dict[str, torch.Tensor | None]:
    return {
        name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()
    }


def train(
    case: Case,
    loop: Loop,
    model: nn.Module,
    forward: Any,
    data: Sequence[tuple[torch.Tensor, torch.Tensor]],
    optimizer: torch.optim.Optimizer,
) -> Record:
    """The user's loop. `forward` is the model, or what stands for it."""
    losses: list[float] = []
    seen: list[dict[str, torch.Tensor | None]] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(gradients(model)))
    torch.manual_seed(2)
    for step, (x, target) in enumerate(data):
        loss = case.loss(call(case, forward, x, target), target, model)
        (loss / loop.accumulate).backward()
        losses.append(loss.item())
        if (step + 1) % loop.accumulate == 0:
            if loop.clip:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            optimizer.zero_grad()
    return Record(
        losses,
        seen,
        {name: value.clone() for name, value in model.state_dict().items()},
        copy.deepcopy(optimizer.state_dict()),
        torch.get_rng_state(),
    )


def reference(name: str, loop: Loop) -> Record:
    """One process, plain PyTorch."""
    case = CASES[name]
    model = build(case)
    return train(case, loop, model, model, batches(case, STEPS), make_optimizer(loop, model))


def parallel(
    group: Group, name: str, loop: Loop, engine: str, shares: Sequence[int], view: str = "global"
) -> tuple[Record, DataParallel]:
    """The same on the ranks of `group`. In the local view each rank's loop holds only its rows."""
    case = CASES[name]
    model = build(case)
    data = batches(case, STEPS)
    if view == "local":
        data = [own_rows(case, group, batch, shares) for batch in data]
    engine_of = DataParallel(model, group, shares=shares, engine=engine)
    if loop.optimizer_first:
        optimizer = make_optimizer(loop, model)
    engine_of.apply()
    if not loop.optimizer_first:
        optimizer = make_optimizer(loop, model)
    try:
        record = train(case, loop, model, engine_of, data, optimizer)
    finally:
        engine_of.unapply()
    return record, engine_of


def own_rows(
    case: Case, group: Group, batch: tuple[torch.Tensor, torch.Tensor], shares: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    counts = split_batch(batch[0].shape[case.batch_dim], group.size, shares)
    start = sum(counts[: group.rank])
    x, target = (t.narrow(case.batch_dim, start, counts[group.rank]) for t in batch)
    return x, target


def assert_same(expected: Record, found: Record, *, losses: bool = True) -> None:
    """Everything a run left behind, to 1e-10 relative."""
    if losses:
        torch.testing.assert_close(
            torch.tensor(found.losses).double(),
            torch.tensor(expected.losses).double(),
            rtol=1e-10,
            atol=1e-12,
        )
    assert len(found.gradients) == len(expected.gradients)
    for step, (one, many) in enumerate(zip(expected.gradients, found.gradients, strict=True)):
        assert list(many) == list(one)
        for name in one:
            a, b = one[name], many[name]
            assert (a is None) == (b is None), f"step {step}: {name} is {b}, expected {a}"
            if a is not None and b is not None:
                _close(b, a, f"gradient of {name} before step {step}")
    assert list(found.model) == list(expected.model)
    for name, value in expected.model.items():
        _close(found.model[name], value, name)
    _same_state(expected.optimizer, found.optimizer)


def _same_state(expected: dict[str, Any], found: dict[str, Any]) -> None:
    assert found["param_groups"] == expected["param_groups"]
    assert list(found["state"]) == list(expected["state"])
    for index, state in expected["state"].items():
        assert list(found["state"][index]) == list(state)
        for key, value in state.items():
            _close(found["state"][index][key], value, f"optimizer state {index}.{key}")


def _close(found: torch.Tensor, expected: torch.Tensor, name: str) -> None:
    torch.testing.assert_close(
        found, expected, rtol=1e-9, atol=1e-10, msg=lambda text: f"{name}: {text}"
    )
