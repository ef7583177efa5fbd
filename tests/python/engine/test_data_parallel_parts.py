"""What surrounds the data-parallel engine: start-up, unapply, optimizers, fallbacks, draws."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from small import ENGINES, batch, grads, linear, same
from torch import nn
from torch.nn import functional

from harness import RankPool
from parallel_opt.engine import data_parallel, optimizers, reducers
from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.process_group import Group
from parallel_opt.errors import InputError


def failing_start_up(group: Group) -> list[str]:
    parallel = DataParallel(linear(), group, engine="ddp")
    original = reducers._try_ddp
    reducers._try_ddp = lambda group: "gradients [1.0], expected [1.5]" if group.rank == 1 else ""
    try:
        parallel.apply()
    finally:
        reducers._try_ddp = original
    assert parallel.engine == "late"
    parallel(batch()).sum().backward()
    parallel.unapply()
    return parallel.notes


def test_a_failed_start_up_test_chooses_the_slow_twin(ranks: RankPool) -> None:
    first, second = ranks.run(failing_start_up, 2)
    text = (
        "DDP fails its start-up test ({}): gradients are reduced late, and parameter.grad holds "
        "this rank's part until an optimizer steps or clips"
    )
    assert first == [text.format("it failed on another rank")]
    assert second == [text.format("gradients [1.0], expected [1.5]")]


def leaves_no_trace(group: Group, engine: str) -> None:
    """Names, copies and pickles are plain while applied; afterwards nothing is left."""
    module = nn.Sequential(linear(), nn.BatchNorm1d(2).double())
    before = {key: dict(part.__dict__) for key, part in module.named_modules()}
    clip, step = torch.nn.utils.clip_grad_norm_, torch.amp.GradScaler.step
    parallel = DataParallel(module, group, engine=engine)
    parallel.apply()
    parallel(batch()).sum().backward()
    parallel.synchronize()
    assert [name for name, _ in module.named_parameters()] == [
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    ]
    twin = copy.deepcopy(module)
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for other in (twin, loaded):
        assert list(other.state_dict()) == list(module.state_dict())
        other(batch()).sum().backward()
    parallel.unapply()
    assert {key: set(part.__dict__) for key, part in module.named_modules()} == {
        key: set(values) for key, values in before.items()
    }
    assert torch.nn.utils.clip_grad_norm_ is clip
    assert torch.amp.GradScaler.step is step
    module.zero_grad()
    module(batch()).square().sum().backward()  # no hook of ours reduces any more
    plain = copy.deepcopy(module)
    plain.zero_grad()
    plain(batch()).square().sum().backward()
    same(grads(module), grads(plain))


@pytest.mark.parametrize("engine", ENGINES)
def test_unapply_leaves_the_module_as_it_was(ranks: RankPool, engine: str) -> None:
    ranks.run(leaves_no_trace, 2, engine)


def scaled(group: Group, engine: str, fused: bool) -> None:
    """An infinite gradient on one rank's rows skips the step on every rank."""
    x = batch().float()
    bad = x.clone()
    bad[0, 0] = float("inf")  # rank 0's row

    def run(module: nn.Module, forward: Any) -> list[torch.Tensor]:
        optimizer = torch.optim.Adam(module.parameters(), fused=fused)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for data in (x, bad, x):
            optimizer.zero_grad()
            scaler.scale(forward(data).sum()).backward()
            if not fused:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == 4.0
        return [p.detach().clone() for p in module.parameters()]

    plain, shared = linear().float(), linear().float()
    expected = run(plain, plain)
    parallel = DataParallel(shared, group, engine=engine, view="global")
    parallel.apply()
    torch.testing.assert_close(run(shared, parallel), expected)
    parallel.unapply()


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_grad_scaler_skips_the_same_steps(ranks: RankPool, engine: str, fused: bool) -> None:
    ranks.run(scaled, 2, engine, fused)


def closures(group: Group, engine: str) -> None:
    x = batch()

    def run(module: nn.Module, forward: Any) -> list[torch.Tensor]:
        optimizer = torch.optim.LBFGS(module.parameters(), max_iter=4)

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = forward(x).square().mean()
            loss.backward()
            return loss

        optimizer.step(closure)
        return [p.detach().clone() for p in module.parameters()]

    plain, shared = linear(), linear()
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    torch.testing.assert_close(run(shared, parallel), run(plain, plain), rtol=1e-9, atol=1e-12)
    parallel.unapply()


@pytest.mark.parametrize("engine", ENGINES)
def test_optimizers_with_closures_see_averaged_gradients(ranks: RankPool, engine: str) -> None:
    ranks.run(closures, 2, engine)


def sparse(group: Group, engine: str) -> None:
    tokens = torch.tensor([[0, 1], [2, 2], [3, 1], [5, 0]])

    def run(module: nn.Module, forward: Any, finish: Any) -> torch.Tensor:
        forward(tokens).square().sum().backward()
        finish()
        grad = module.weight.grad
        assert grad is not None and grad.is_sparse
        return grad.to_dense()

    torch.manual_seed(0)
    plain = nn.Embedding(6, 3, sparse=True).double()
    shared = copy.deepcopy(plain)
    parallel = DataParallel(shared, group, engine=engine)
    parallel.apply()
    found = run(shared, parallel, parallel.synchronize)
    torch.testing.assert_close(found, run(plain, plain, lambda: None), rtol=1e-12, atol=0)
    parallel.unapply()


@pytest.mark.parametrize("engine", ENGINES)
def test_sparse_gradients_stay_sparse(ranks: RankPool, engine: str) -> None:
    ranks.run(sparse, 2, engine)


class MeanLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x).square().mean()


def one_sample_each(group: Group) -> list[str]:
    x = batch(2)
    plain, shared = MeanLoss(), MeanLoss()
    plain(x).backward()
    parallel = DataParallel(shared, group)
    parallel.apply()
    parallel(x[group.rank : group.rank + 1]).backward()
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()
    return parallel.notes


def test_a_returned_loss_counts_by_samples_when_one_sample_says_nothing(ranks: RankPool) -> None:
    text = "single-number outputs count by samples: "
    text += "no input tensor has a dimension of two or more samples"
    assert ranks.run(one_sample_each, 2) == [[text]] * 2


class Coupled(nn.Module):
    """Normalises over the batch in a way that no slicing can keep."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.body(x)
        return functional.softmax(hidden, dim=0)


def coupled(group: Group) -> list[str]:
    torch.manual_seed(0)
    plain = Coupled().double()
    shared = copy.deepcopy(plain)
    parallel = DataParallel(shared, group)
    parallel.apply()
    plain(batch()).square().sum().backward()
    parallel(batch()).square().sum().backward()
    parallel.synchronize()
    same(grads(shared), grads(plain))
    parallel.unapply()
    return parallel.notes


def test_a_model_that_couples_samples_is_computed_whole(ranks: RankPool) -> None:
    expected = "every rank computes the whole batch: "
    expected += "output 0 is not made of per-sample rows, sums or means"
    assert ranks.run(coupled, 2) == [[expected]] * 2


def different_start(group: Group) -> list[str]:
    """Ranks that start from other weights and random states continue from rank 0's."""
    torch.manual_seed(group.rank)
    module = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).double()
    x = batch()
    torch.manual_seed(10 + group.rank)
    parallel = DataParallel(module, group)
    parallel.apply()
    result = parallel(x)
    result.sum().backward()
    parallel.synchronize()
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)).double()
    torch.manual_seed(10)
    torch.testing.assert_close(result, plain(x), rtol=1e-12, atol=0)
    parallel.unapply()
    return parallel.notes


def test_ranks_continue_from_rank_zero(ranks: RankPool) -> None:
    text = "random states differed between ranks: all continue from rank 0's"
    assert ranks.run(different_start, 2) == [[text]] * 2


def own_draws(group: Group) -> list[str]:
    """Masks differ between ranks, the random state afterwards does not."""
    module = nn.Sequential(nn.Dropout(0.5), linear(64, 1))
    parallel = DataParallel(module, group, draws="independent")
    parallel.apply()
    with torch.no_grad():
        module[1].weight.copy_(2.0 ** -torch.arange(1, 65))  # the output spells out the mask
    torch.manual_seed(3)
    rows = parallel(torch.ones(2, 64, dtype=torch.float64))
    assert rows[0] != rows[1]
    parallel.unapply()
    return [str(torch.rand(()).item())]


def test_independent_draws_differ_and_leave_equal_states(ranks: RankPool) -> None:
    one, two = ranks.run(own_draws, 2)
    assert one == two


class Regularized(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


def compiled(group: Group, draws: str, dropout: float) -> tuple[int, list[str]]:
    """A compiled model with batch statistics over ranks, its graphs run by PyTorch itself."""
    calls = [0]

    def backend(graph: Any, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            calls[0] += 1
            return graph(*args)

        return run

    torch.manual_seed(0)
    plain = Regularized(dropout).double()
    shared = copy.deepcopy(plain)
    shared.compile(backend=backend)
    parallel = DataParallel(shared, group, draws=draws)
    parallel.apply()
    x = batch(8)
    for forward in (plain, parallel):
        torch.manual_seed(2)
        forward(x).square().mean().backward()
    parallel.synchronize()
    if draws == "exact":
        same(grads(shared), grads(plain))
    parallel.unapply()
    return calls[0], parallel.notes


def test_compiled_code_stays_compiled_unless_draws_are_exact(ranks: RankPool) -> None:
    for calls, notes in ranks.run(compiled, 2, "exact", 0.0):
        assert (calls > 0, notes) == (True, [])
    for calls, notes in ranks.run(compiled, 2, "independent", 0.5):
        assert (calls > 0, notes) == (True, [])
    text = "drawing for the whole batch: compiled code runs eagerly meanwhile"
    assert ranks.run(compiled, 2, "exact", 0.5) == [(0, [text])] * 2


def test_unknown_names_and_shares_are_refused() -> None:
    group = Group(0, 2, torch.device("cpu"))
    for given, text in [
        ({"engine": "fsdp"}, "engine: 'fsdp' is unknown (one of auto, ddp, late)"),
        ({"draws": "none"}, "draws: 'none' is unknown (one of exact, independent)"),
        ({"view": "both"}, "view: 'both' is unknown (one of auto, global, local)"),
        (
            {"shares": (1, 2, 3)},
            "plan.shares: [1, 2, 3] does not share samples among 2 ranks "
            "(one count per rank, none negative, not all zero)",
        ),
    ]:
        with pytest.raises(InputError) as caught:
            DataParallel(linear(), group, **given)  # type: ignore[arg-type]
        assert str(caught.value) == text
    assert data_parallel.ENGINES == ("auto", "ddp", "late")
    assert optimizers.find_optimizers([]) == []


def stepping_in_a_hook(group: Group, engine: str) -> str:
    module = linear()
    module.weight.register_post_accumulate_grad_hook(lambda p: None)
    parallel = DataParallel(module, group, engine=engine)
    try:
        parallel.apply()
    except InputError as error:
        return str(error)
    parallel.unapply()
    return "accepted"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hook_that_would_step_before_the_average_is_refused(ranks: RankPool, engine: str) -> None:
    expected = (
        "register_post_accumulate_grad_hook: on several ranks the hook would get this rank's part "
        "of the gradient (step after the backward, or run on one rank)"
    )
    assert ranks.run(stepping_in_a_hook, 2, engine) == [expected] * 2
    assert ranks.run(stepping_in_a_hook, 1, engine) == ["accepted"]
