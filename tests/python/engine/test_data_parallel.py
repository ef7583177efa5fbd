"""What the data-parallel engine does beyond a plain loop: odd loops and wrong inputs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small import ENGINES, batch, grads, linear, same
from torch import nn
from torch.utils.checkpoint import checkpoint

from harness import RankPool
from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.process_group import Group
from parallel_opt.errors import InputError


def two_forwards(group: Group, engine: str) -> None:
    """Two forwards in one backward, then two backwards after two forwards."""
    x = batch()

    def run(module: nn.Module, forward: Any) -> None:
        (forward(x).square().sum() + forward(2 * x).tanh().sum()).backward()
        first, second = forward(x).sum(), forward(x * x).square().sum()
        first.backward()
        second.backward()

    plain, shared = linear(), linear()
    run(plain, plain)
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    run(shared, parallel)
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()


@pytest.mark.parametrize("engine", ENGINES)
def test_several_forwards_per_backward_are_exact(ranks: RankPool, engine: str) -> None:
    ranks.run(two_forwards, 2, engine)


def adversarial(group: Group, engine: str) -> None:
    """One model's output is another's input; each has its own engine, and the input a gradient."""
    x = batch()

    def run(first: Any, second: Any, leaf: torch.Tensor) -> None:
        hidden = first(leaf)
        (second(hidden).square().mean() + hidden.tanh().sum()).backward()

    plain = linear(3, 3), linear(3, 2)
    leaf = x.clone().requires_grad_()
    run(*plain, leaf)
    modules = linear(3, 3), linear(3, 2)
    engines = [DataParallel(module, group, engine=engine, shares=(2, 1)) for module in modules]
    for parallel in engines:
        parallel.apply()
    own = x.clone().requires_grad_()
    run(*engines, own)
    for parallel in engines:
        parallel.synchronize()
    same(grads(*modules), grads(*plain))
    same([own.grad], [leaf.grad])
    for parallel in engines:
        parallel.unapply()


@pytest.mark.parametrize("engine", ENGINES)
def test_one_model_may_feed_another(ranks: RankPool, engine: str) -> None:
    ranks.run(adversarial, 2, engine)


def without_sync(group: Group, engine: str, end_in_sync: bool) -> None:
    x = batch()
    plain, shared = linear(), linear()
    for factor in (1, 2):
        plain(factor * x).square().mean().backward()
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    with parallel.no_sync():
        parallel(x).square().mean().backward()
        if not end_in_sync:
            parallel(2 * x).square().mean().backward()
    if end_in_sync:
        parallel(2 * x).square().mean().backward()
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()


@pytest.mark.parametrize("end_in_sync", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_no_sync_defers_the_average(ranks: RankPool, engine: str, end_in_sync: bool) -> None:
    ranks.run(without_sync, 2, engine, end_in_sync)


class Checkpointed(nn.Module):
    def __init__(self, norm_last: bool, reentrant: bool = False) -> None:
        super().__init__()
        self.stem, self.reentrant = nn.Linear(3, 3), reentrant
        layers = [nn.BatchNorm1d(4), nn.Dropout(0.5)]
        self.body = nn.Sequential(nn.Linear(3, 4), *(layers[::-1] if norm_last else layers))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(checkpoint(self.body, self.stem(x), use_reentrant=self.reentrant))


def recompute(group: Group, engine: str, norm_last: bool, reentrant: bool) -> None:
    """Recomputation in backward sees the same statistics and masks as the forward, and updates
    running averages again."""

    def run(forward: Any) -> torch.Tensor:
        torch.manual_seed(2)
        loss = forward(batch(8)).square().mean()
        loss.backward()
        return loss.detach()

    torch.manual_seed(0)
    plain = Checkpointed(norm_last, reentrant).double()
    shared = copy.deepcopy(plain)
    parallel = DataParallel(shared, group, engine=engine, shares=(3, 1))
    parallel.apply()
    torch.testing.assert_close(run(parallel), run(plain), rtol=1e-12, atol=0)
    parallel.synchronize()
    same(grads(shared), grads(plain))
    same(list(shared.buffers()), list(plain.buffers()))
    parallel.unapply()
    assert parallel.notes == []


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("norm_last", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_checkpointed_blocks_recompute_alike(
    ranks: RankPool, engine: str, norm_last: bool, reentrant: bool
) -> None:
    ranks.run(recompute, 2, engine, norm_last, reentrant)


def unreached(group: Group) -> None:
    """No input of a reentrant checkpoint requires a gradient: its part gets none, as plain's."""
    plain = Checkpointed(False, reentrant=True).double()
    plain.stem.requires_grad_(False)
    shared = copy.deepcopy(plain)
    parallel = DataParallel(shared, group, engine="ddp")
    parallel.apply()
    for forward in (plain, parallel):
        forward(batch()).square().mean().backward()
    assert shared.body[0].weight.grad is None
    assert plain.body[0].weight.grad is None
    parallel.unapply()


def test_a_reentrant_checkpoint_that_gives_no_gradient_gives_none(ranks: RankPool) -> None:
    ranks.run(unreached, 2)


def double_backward(group: Group, engine: str) -> str:
    parallel = DataParallel(linear(), group, engine=engine)
    parallel.apply()
    x = batch().requires_grad_()
    try:
        torch.autograd.grad(parallel(x).square().sum(), x, create_graph=True)
    except InputError as error:
        return str(error)
    finally:
        parallel.unapply()
    return "accepted"


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_of_gradients_are_refused(ranks: RankPool, engine: str) -> None:
    assert (
        ranks.run(double_backward, 2, engine)
        == [
            "backward(create_graph=True): gradients of gradients do not pass between ranks "
            "(compute this term with the plain module, or run on one rank)"
        ]
        * 2
    )


def gradient_by_hand(group: Group, engine: str, view: str) -> None:
    """Of some parameters, one that the loss does not reach, and an input; then a step as usual."""
    plain, shared = (nn.ModuleList([linear(), linear(2, 2), linear()]) for _ in range(2))
    for module in (plain, shared):
        module.forward = lambda x, m=module: m[1](torch.tanh(m[0](x)))  # type: ignore[method-assign]
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    whole = batch(4)
    own = whole if view == "global" else whole[2 * group.rank : 2 * group.rank + 2].clone()
    found = []
    for module, forward, x in ((plain, plain, whole), (shared, parallel, own)):
        x = x.clone().requires_grad_()
        wanted = [module[0].weight, module[1].bias, module[2].bias]
        wanted += [x] if view == "global" else []
        loss = forward(x).square().mean()
        first = torch.autograd.grad(loss, wanted, retain_graph=True, allow_unused=True)
        (one,) = torch.autograd.grad(loss, module[1].weight)
        assert all(p.grad is None for p in module.parameters())
        forward(x.detach()).square().mean().backward()
        found.append([*first, one])
    parallel.synchronize()
    same(found[1], found[0])
    same(grads(shared), grads(plain))
    parallel.unapply()


@pytest.mark.parametrize("view", ["global", "local"])
@pytest.mark.parametrize("engine", ENGINES)
def test_autograd_grad_for_parameters_gives_the_mean(
    ranks: RankPool, engine: str, view: str
) -> None:
    ranks.run(gradient_by_hand, 2, engine, view)


def mixed_batches(group: Group) -> str:
    parallel = DataParallel(linear(), group)
    parallel.apply()
    try:
        parallel(batch() * (1 if group.rank < 2 else 2))
    except InputError as error:
        return str(error)
    finally:
        parallel.unapply()
    return "accepted"


def test_batches_that_agree_on_some_ranks_only_are_refused(ranks: RankPool) -> None:
    assert (
        ranks.run(mixed_batches, 3)
        == [
            "training batch 0: some ranks have the same batch and others do not "
            "(give every rank the same batch (same seed), or each its own (DistributedSampler))"
        ]
        * 3
    )


def changed_view(group: Group) -> str:
    parallel = DataParallel(linear(), group)
    parallel.apply()
    parallel(batch())
    try:
        parallel(batch() * (1 + group.rank))
    except InputError as error:
        return str(error)
    finally:
        parallel.unapply()
    return "accepted"


def test_a_loop_that_changes_its_view_is_refused(ranks: RankPool) -> None:
    assert ranks.run(changed_view, 2)[0] == (
        "training batch 1: every rank has another batch, after the global view before "
        "(give every rank the same batch (same seed), or each its own (DistributedSampler))"
    )


def lonely_evaluation(group: Group) -> None:
    module = nn.Sequential(linear(), nn.BatchNorm1d(2).double(), nn.Dropout(0.5))
    parallel = DataParallel(module, group)
    parallel.apply()
    parallel(batch()).sum().backward()
    module.eval()
    if group.rank == 0:
        with torch.no_grad():
            assert parallel(batch()).shape == (6, 2)
        assert parallel(batch()).shape == (6, 2)
    module.train()
    parallel(batch()).sum().backward()
    parallel.unapply()


def test_rank_zero_may_evaluate_alone(ranks: RankPool) -> None:
    ranks.run(lonely_evaluation, 2)


def eval_with_gradients(group: Group, view: str) -> None:
    """Fine-tuning in eval mode: gradients count, batch statistics and dropout do not."""
    x = batch()
    plain, shared = linear().eval(), linear().eval()
    plain(x).square().mean().backward()
    parallel = DataParallel(shared, group, view=view)
    parallel.apply()
    own = x if view == "global" else x.chunk(2)[group.rank]
    parallel(own).square().mean().backward()
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()


@pytest.mark.parametrize("view", ["global", "local"])
def test_gradients_in_eval_mode_are_averaged(ranks: RankPool, view: str) -> None:
    ranks.run(eval_with_gradients, 2, view)


def small_batches(group: Group) -> None:
    plain, shared = linear(), linear()
    parallel = DataParallel(shared, group)
    parallel.apply()
    for rows in (3, 1, 2):
        plain(batch(rows)).square().mean().backward()
        parallel(batch(rows)).square().mean().backward()
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()


def test_a_batch_smaller_than_the_ranks_trains(ranks: RankPool) -> None:
    ranks.run(small_batches, 4)


def empty_local_batch(group: Group) -> None:
    x = batch()
    plain, shared = linear(), linear()
    plain(x).square().mean().backward()
    parallel = DataParallel(shared, group, view="local")
    parallel.apply()
    own = x if group.rank == 0 else x[:0]
    parallel(own).square().mean().backward()  # the mean of nothing is NaN
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()


def test_an_empty_local_batch_does_not_spread_nan(ranks: RankPool) -> None:
    ranks.run(empty_local_batch, 2)
