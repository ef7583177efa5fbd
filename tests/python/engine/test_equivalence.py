"""Training on 1, 2, 3 and 4 ranks equals training on one process, in fp64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import CASES
from training import Loop, assert_same, parallel, reference

from harness import RankPool
from parallel_opt.engine.process_group import Group

ENGINES = ("ddp", "late")


def loop_for(name: str, **changes: Any) -> Loop:
    """Adam turns the rounding noise of a zero gradient (a bias before batch norm) into steps."""
    return Loop(optimizer="sgd" if name == "conv_batch_norm" else "adamw", **changes)


def equal(
    group: Group,
    name: str,
    engine: str,
    loop: Loop,
    shares: tuple[int, ...] = (),
) -> list[str]:
    expected = reference(name, loop)
    found, engine_of = parallel(group, name, loop, engine, shares)
    assert_same(expected, found)
    assert torch.equal(found.generator, expected.generator), "the random state differs"
    if group.size > 1:
        assert engine_of.view == "global"
        assert engine_of.engine == engine, engine_of.notes
    return engine_of.notes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", [name for name in CASES if name != "batch_branch"])
def test_every_model_trains_as_on_one_process(
    ranks: RankPool, name: str, size: int, engine: str
) -> None:
    for notes in ranks.run(equal, size, name, engine, loop_for(name)):
        assert notes == []


def test_one_rank_runs_the_module_as_it_is(ranks: RankPool) -> None:
    assert ranks.run(equal, 1, "dropout", "ddp", Loop()) == [[]]


SHARES = [("mlp", (3, 1)), ("conv_batch_norm", (3, 1)), ("conv_batch_norm", (7, 0))]
SHARES += [("mlp", (7, 0)), ("dropout", (5, 2, 1)), ("contrastive", (5, 2, 1))]
SHARES += [("transformer_dropout", (3, 1)), ("row_branch", (7, 0)), ("with_loss", (5, 2, 1))]
SHARES += [("penalty", (7, 0)), ("sum_loss", (5, 2, 1)), ("lstm_dropout", (0, 1))]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("name", "shares"), SHARES)
def test_uneven_shares_train_as_on_one_process(
    ranks: RankPool, name: str, shares: tuple[int, ...], engine: str
) -> None:
    for notes in ranks.run(equal, len(shares), name, engine, loop_for(name), shares):
        assert notes == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "loop",
    [
        Loop(accumulate=2),
        Loop(clip=True),
        Loop(accumulate=2, clip=True, optimizer="sgd", optimizer_first=False),
        Loop(optimizer_first=False),
    ],
    ids=["accumulate", "clip", "accumulate_clip_sgd_after", "optimizer_after"],
)
def test_loop_shapes_train_as_on_one_process(ranks: RankPool, loop: Loop, engine: str) -> None:
    for name in ("transformer", "row_branch"):
        ranks.run(equal, 2, name, engine, loop)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_branches_on_the_whole_batch_is_computed_whole(
    ranks: RankPool, engine: str
) -> None:
    notes = ranks.run(equal, 2, "batch_branch", engine, Loop())
    expected = "every rank computes the whole batch: it branches on values of the whole batch"
    assert notes == [[expected]] * 2


def equal_local(group: Group, name: str, engine: str, loop: Loop, shares: tuple[int, ...]) -> None:
    """Each rank's loop holds its rows; gradients equal those of the mean over the whole batch."""
    expected = reference(name, loop)
    found, engine_of = parallel(group, name, loop, engine, shares, "local")
    assert_same(expected, found, losses=False)
    assert engine_of.view == "local"
    assert engine_of.engine == engine


LOCAL = ["mlp", "conv_batch_norm", "lstm_batch_first", "lstm_sequence_first", "transformer"]
LOCAL += ["tied", "penalty", "row_branch", "with_loss"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", LOCAL)
def test_local_view_averages_over_all_samples(ranks: RankPool, name: str, engine: str) -> None:
    loop = loop_for(name)
    ranks.run(equal_local, 2, name, engine, loop, ())
    ranks.run(equal_local, 3, name, engine, loop, (5, 2, 1))
