"""Errors and switches: where all ranks have them the loop may go on, with one alone it must not."""

from __future__ import annotations

import pytest
import torch
from small import batch, grads, linear, same
from torch import nn

from harness import RankPool
from parallel_opt.engine import parted
from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.parted import failing_together, switching_together
from parallel_opt.engine.process_group import Group


class Picky(nn.Module):
    """Refuses every batch while it is strict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = linear()
        self.strict = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.strict:
            raise RuntimeError("not now")
        return self.layer(x)


def skipping(group: Group, view: str) -> int:
    """A loop that skips what fails; how often it did."""
    plain, shared = Picky(), Picky()
    parallel = DataParallel(shared, group, engine="ddp", view=view)
    parallel.apply()
    skipped = 0
    for step in range(4):
        shared.strict = step in (1, 2)
        try:
            parallel(batch()).square().mean().backward()
        except RuntimeError:
            skipped += 1
    for _ in range(2):
        plain(batch()).square().mean().backward()
    same(grads(shared), grads(plain))
    parallel.unapply()
    return skipped


def test_a_batch_that_fails_on_all_ranks_may_be_skipped(ranks: RankPool) -> None:
    assert ranks.run(skipping, 2, "global") == [2, 2]
    assert ranks.run(skipping, 2, "local") == [2, 2]


def alone(group: Group, name: str) -> str:
    parted.PATIENCE_S = 0.5
    try:
        with failing_together(group, name):
            if group.rank == 1:
                raise IndexError("index out of range")
    except parted.RanksParted as error:
        return f"{error} from {error.__cause__}"
    finally:
        parted.PATIENCE_S = 20.0
    return "goes on"


def test_a_rank_that_fails_alone_ends(ranks: RankPool) -> None:
    assert ranks.run(alone, 2, "alone") == [
        "goes on",
        "rank 1 alone fails on its part of the batch: the ranks cannot go on together (leave the "
        "sample out of the data, or run on one rank) from index out of range",
    ]
    assert not issubclass(parted.RanksParted, Exception)  # what loops catch


def switches(group: Group, name: str, both: bool) -> str:
    parted.SWITCH_PATIENCE_S = 0.5 if not both else 40.0
    try:
        if both or group.rank == 0:
            switching_together(group, name, "turns left")
    except parted.RanksParted as error:
        return str(error)
    finally:
        parted.SWITCH_PATIENCE_S = 40.0
    return "goes on"


def test_a_rank_that_switches_its_model_alone_ends(ranks: RankPool) -> None:
    assert ranks.run(switches, 2, "both", True) == ["goes on", "goes on"]
    assert ranks.run(switches, 2, "one", False) == [
        "rank 0 alone turns left: the ranks cannot go on together (do so on every rank)",
        "goes on",
    ]


def unshared(group: Group) -> str:
    """Evaluation with gradients is nobody else's business."""
    module = Picky()
    parallel = DataParallel(module, group, engine="ddp")
    parallel.apply()
    module.eval()
    module.strict = group.rank == 0
    try:
        parallel(batch())
        return "good"
    except RuntimeError as error:
        return str(error)
    finally:
        parallel.unapply()


def test_a_rank_may_fail_alone_in_evaluation(ranks: RankPool) -> None:
    assert ranks.run(unshared, 2) == ["not now", "good"]


def evaluates(module: torch.nn.Module) -> None:
    module.eval()


def freezes(module: torch.nn.Module) -> None:
    module.requires_grad_(False)
    next(iter(module.parameters())).requires_grad_(True)


def replaces(module: torch.nn.Module) -> None:
    name, parameter = next(iter(module.named_parameters()))
    setattr(module, name, torch.nn.Parameter(parameter.detach().clone()))


CHANGES = {"evaluates": evaluates, "freezes": freezes, "replaces": replaces}


def changes(group: Group, change: str, everywhere: bool) -> str:
    """Three steps; before the second one, and back before the third, the loop changes something."""
    parted.SWITCH_PATIENCE_S = 40.0 if everywhere else 0.5
    module = linear()
    parallel = DataParallel(module, group)
    parallel.apply()
    try:
        for step in range(3):
            if step == 1 and (everywhere or group.rank == 0):
                CHANGES[change](module)
            elif step == 1:
                return "waits"  # in its forward, for rank 0
            elif step == 2:
                module.train().requires_grad_(True)
            parallel(batch()).square().sum().backward()
    except parted.RanksParted as error:
        return str(error)
    finally:
        parted.SWITCH_PATIENCE_S = 40.0
        if everywhere:
            parallel.unapply()
    return "goes on"


@pytest.mark.parametrize(
    "change, what",
    [
        ("evaluates", "trains in eval() mode"),
        ("freezes", "has frozen, unfrozen or replaced parameters"),
        ("replaces", "has frozen, unfrozen or replaced parameters"),
    ],
)
def test_a_rank_that_changes_its_model_alone_ends(ranks: RankPool, change: str, what: str) -> None:
    assert ranks.run(changes, 2, change, True) == ["goes on", "goes on"]
    assert ranks.run(changes, 2, change, False) == [
        f"rank 0 alone {what}: the ranks cannot go on together (do so on every rank)",
        "waits",
    ]
    ranks.stop()  # the engine of the run that parted is still applied
