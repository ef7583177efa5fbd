"""Trials measure every candidate and leave no trace."""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from local_models import ConvNet, Mlp, Settings
from torch import nn
from torch.utils.checkpoint import checkpoint

from parallel_opt import trial as trial_module
from parallel_opt.measure import resident_bytes
from parallel_opt.trial import Plain, run_trials
from parallel_opt.trial_batch import ForwardBackward

CANDIDATES = [
    Settings(precision="bf16", fused_optimizer=True),
    Settings(compile=True, memory_format="channels_last"),
    Settings(recompute=["conv"], threads=1),
]


class Eventful(ConvNet):
    """Keeps books in its forward: buffers, attributes, random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.log: list[float] = [0.5]
        self.last = torch.zeros(1)
        self.noise, self.choice = torch.Generator().manual_seed(1), random.Random(2)
        self.others = {"numpy": [np.random.default_rng(3), np.random.RandomState(4)]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.log.append(random.random() + float(np.random.rand()))
        self.log[-1] += self.choice.random() + sum(g.normal() for g in self.others["numpy"])
        x = x + torch.randn(x.shape, generator=self.noise)
        y = super().forward(nn.functional.dropout(x, 0.1, self.training))
        self.last = y.detach()
        self.extra = len(self.log)
        return y


def own_generators(module: nn.Module) -> list[Any]:
    if not isinstance(module, Eventful):
        return []
    states = [
        str(g.get_state() if isinstance(g, np.random.RandomState) else g.bit_generator.state)
        for g in module.others["numpy"]
    ]
    return [module.noise.get_state().tolist(), module.choice.getstate(), *states]


def fingerprint(module: nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """A hash over all that a user could see."""
    parts: list[Any] = [
        [(n, id(p), p.stride(), p._version, p.tolist()) for n, p in module.named_parameters()],
        [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in module.parameters()],
        [(n, id(b), b.tolist()) for n, b in module.named_buffers()],
        [m.training for m in module.modules()],
        [sorted(m.__dict__) for m in module.modules()],
        [[len(m._forward_hooks), len(m._backward_hooks)] for m in module.modules()],
        torch.get_rng_state().tolist(),
        random.getstate(),
        own_generators(module),
        pickle.dumps(np.random.get_state()),
        pickle.dumps(optimizer.state_dict()),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
    ]
    return hashlib.sha256(pickle.dumps(parts)).hexdigest()


@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_the_user_can_see_changes(compiled: bool) -> None:
    module = Eventful()
    optimizer = torch.optim.AdamW(module.parameters())
    x = torch.randn(4, 3, 5, 5)
    module(x).sum().backward()
    optimizer.step()  # state and gradients exist
    calls: list[str] = []
    module.head.register_forward_hook(lambda *_: calls.append("hook"))
    module.head.weight.register_hook(lambda grad: calls.append("tensor hook"))
    module.conv.weight.register_post_accumulate_grad_hook(lambda p: calls.append("accumulated"))
    before, log, x_before = fingerprint(module, optimizer), list(module.log), x.clone()

    candidates = CANDIDATES if compiled else [CANDIDATES[0], CANDIDATES[2]]
    with torch.no_grad():
        grad_mode = torch.is_grad_enabled()
        trials = run_trials(
            module, (x,), {}, candidates, budget_s=60, optimizers=[optimizer], backend="eager"
        )
        assert torch.is_grad_enabled() is grad_mode
    assert fingerprint(module, optimizer) == before
    assert (module.calls, module.log, calls) == (1, log, [])
    assert torch.equal(x, x_before)
    assert x.grad is None
    assert [t.error or t.skipped for t in trials] == [None] * (len(candidates) + 1)


class Reentrant(nn.Module):
    """Its checkpoint takes ``backward()`` only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = checkpoint(nn.functional.dropout, self.first(x), 0.5, use_reentrant=True)
        result: torch.Tensor = self.last(hidden)
        return result


def test_a_model_with_reentrant_checkpoints_is_tried() -> None:
    module, calls = Reentrant(), []
    x = torch.randn(3, 4)
    module(x).sum().backward()
    module.last.weight.register_post_accumulate_grad_hook(lambda p: calls.append("accumulated"))
    before = [(p.grad, p.grad.clone()) for p in module.parameters()]
    random_state = torch.get_rng_state()
    trials = run_trials(module, (x,), {}, [Settings(fused_optimizer=True)], budget_s=60)
    assert [t.error or t.skipped for t in trials] == [None, None]
    assert trials[1].max_relative_difference == 0.0  # the same masks as plain's
    for p, (grad, value) in zip(module.parameters(), before, strict=True):
        assert p.grad is grad and torch.equal(grad, value)
    assert calls == []
    assert torch.equal(torch.get_rng_state(), random_state)


def test_every_trial_carries_its_numbers(conv_net: ConvNet) -> None:
    optimizer = torch.optim.AdamW(conv_net.parameters())
    trials = run_trials(
        conv_net,
        (torch.randn(4, 3, 5, 5),),
        {},
        CANDIDATES,
        budget_s=60,
        optimizers=[optimizer],
        backend="eager",
    )
    plain, bf16, compiled, recompute = trials
    # AdamW will make two tensors of a parameter's size and a step count of 4 bytes.
    state = sum(2 * p.nbytes + 4 for p in conv_net.parameters())
    assert plain.settings == Plain()
    assert [t.settings for t in trials[1:]] == CANDIDATES
    for trial in trials:
        assert trial.forward_backward_s is not None
        assert trial.forward_backward_s.n >= min(trial_module.CLEARLY_WORSE)
        assert trial.optimizer_s is not None
        assert trial.peak_bytes == (trial.transient_bytes or 0) + (trial.resident_bytes or 0)
        assert trial.resident_bytes == resident_bytes(conv_net) + state
    assert plain.speedup is not None
    assert plain.speedup.median == 1
    assert plain.max_relative_difference == 0
    assert plain.rounding is None  # no TF32 on a CPU
    assert bf16.max_relative_difference is not None
    assert 1e-5 < bf16.max_relative_difference < 5e-2
    assert compiled.max_relative_difference is not None
    assert compiled.max_relative_difference < 1e-4
    assert compiled.compile_s > 0 == plain.compile_s
    assert recompute.transient_bytes is not None
    assert plain.transient_bytes is not None
    assert compiled.engine is not None


def test_the_engine_of_a_trial_has_its_code_at_once(mlp: Mlp) -> None:
    x = torch.randn(4, 8)
    trial = run_trials(mlp, (x,), {}, [Settings(compile=True)], budget_s=60, backend="eager")[1]
    assert trial.engine is not None
    assert trial.engine.compiled is not None
    graphs = trial.engine.compiled.graphs
    trial.engine.apply()
    mlp(x).sum().backward()
    assert trial.engine.compiled.graphs == graphs == 1


def ticking(step: float) -> Iterator[float]:
    now = 0.0
    while True:
        now += step
        yield now


def test_a_compilation_that_does_not_fit_is_skipped_and_says_so(mlp: Mlp) -> None:
    @dataclass
    class Slow(Settings):
        predicted_compile_s: float = 100.0

    trials = run_trials(mlp, (torch.randn(4, 8),), {}, [Slow(compile=True)], budget_s=50)
    assert trials[1].skipped is not None
    assert trials[1].skipped.startswith("compiling would take about 100 s, ")
    assert trials[1].forward_backward_s is None
    assert trials[0].forward_backward_s is not None


def test_the_budget_ends_the_rounds_and_plain_is_always_measured(mlp: Mlp) -> None:
    clock = ticking(1.0)
    trials = run_trials(
        mlp,
        (torch.randn(4, 8),),
        {},
        [Settings(threads=1), Settings(precision="bf16")],
        budget_s=6,
        clock=lambda: next(clock),
    )
    assert trials[0].forward_backward_s is not None
    assert any(t.skipped for t in trials[1:])


def test_a_slow_compilation_costs_nobody_a_turn(mlp: Mlp, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was thought to take 5 s of the 45 and takes 100: the others are measured before, and what
    it made is measured on top."""

    @dataclass
    class Compiled(Settings):
        compile: bool = True
        predicted_compile_s: float = 5.0

    now = [0.0]
    run_once, start = ForwardBackward.__call__, trial_module._Bench._start

    def one_run(run: Any) -> Any:
        now[0] += 0.1
        return run_once(run)

    def slow_start(bench: Any, entry: Any, *left: float) -> None:
        start(bench, entry, *left)
        now[0] += 100 if entry.trial.settings.compile and entry.live else 0

    monkeypatch.setattr(ForwardBackward, "__call__", one_run)
    monkeypatch.setattr(trial_module._Bench, "_start", slow_start)
    settings = [Compiled(), Compiled(precision="bf16"), Settings(precision="bf16")]
    _, first, second, quick = run_trials(
        mlp,
        (torch.randn(4, 8),),
        {},
        settings,
        budget_s=45,
        backend="eager",
        clock=lambda: now[0],
    )
    assert quick.forward_backward_s is not None
    assert quick.forward_backward_s.n >= trial_module.MIN_ROUNDS
    assert first.forward_backward_s is not None
    assert first.forward_backward_s.n >= trial_module.GRACE_ROUNDS
    assert first.speedup is not None
    assert first.speedup.n == first.forward_backward_s.n  # of the same rounds
    assert second.skipped is not None
    assert second.skipped.endswith(" s, 0 s are left")


def test_a_candidate_that_fails_is_reported_and_others_go_on(mlp: Mlp) -> None:
    class Broken(Settings):
        @property
        def threads(self) -> int:  # type: ignore[override]
            raise ValueError("no threads here")

        @threads.setter
        def threads(self, value: int) -> None:
            pass

    trials = run_trials(mlp, (torch.randn(4, 8),), {}, [Broken(), Settings()], budget_s=30)
    assert trials[1].error == "ValueError: no threads here"
    assert trials[2].forward_backward_s is not None
    assert "forward" not in mlp.__dict__


def test_an_error_of_the_users_forward_comes_out_and_all_is_put_back(mlp: Mlp) -> None:
    x, state = torch.randn(4, 9), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        run_trials(mlp, (x,), {}, [Settings()], budget_s=30)
    assert "forward" not in mlp.__dict__
    assert torch.equal(torch.get_rng_state(), state)


def test_clearly_worse_candidates_stop_early(mlp: Mlp, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each read of the clock costs 1; a run between two reads costs what the settings say.
    now = [0.0]

    def clock() -> float:
        return now[0]

    original = ForwardBackward.__call__

    def run_once(run: Any) -> Any:
        now[0] += 10.0 if torch.get_num_threads() == 1 else 2.0
        return original(run)

    monkeypatch.setattr(ForwardBackward, "__call__", run_once)
    monkeypatch.setattr(trial_module, "_calm", lambda entries: False)
    torch.set_num_threads(2)
    trials = run_trials(
        mlp, (torch.randn(4, 8),), {}, [Settings(threads=1)], budget_s=1e4, clock=clock
    )
    rounds = [t.forward_backward_s.n for t in trials if t.forward_backward_s]
    assert rounds == [trial_module.MAX_ROUNDS, min(trial_module.CLEARLY_WORSE)]


def test_inputs_of_the_users_graph_survive(mlp: Mlp) -> None:
    source = torch.randn(4, 8, requires_grad=True)
    x = source * 2
    run_trials(mlp, (), {"x": x}, [Settings(precision="bf16")], budget_s=30)
    mlp(x).sum().backward()  # the graph below x is still there
    assert source.grad is not None


def test_a_forward_that_writes_to_its_parameters_is_refused_and_undone(mlp: Mlp) -> None:
    class Writing(Mlp):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                self.first.weight.mul_(0.5)
            return super().forward(x)

    module = Writing()
    before = module.first.weight.clone()
    with pytest.raises(RuntimeError, match=r"writes to parameters \(first.weight\)"):
        run_trials(module, (torch.randn(4, 8),), {}, [Settings()], budget_s=30)
    assert torch.equal(module.first.weight, before)


def test_progress_rises_to_one(mlp: Mlp) -> None:
    seen: list[float] = []
    run_trials(
        mlp,
        (torch.randn(4, 8),),
        {},
        [Settings(threads=1)],
        budget_s=30,
        progress=lambda share, text: seen.append(share),
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
