"""Compilation is bounded, never fatal, and changes no result."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from local_models import ConvNet, Mlp, Settings
from torch import nn

from parallel_opt.engine import compile as engine_compile
from parallel_opt.engine.local import LocalEngine

COMPILE = Settings(compile=True)


def started(module: nn.Module, backend: Any, settings: Settings = COMPILE) -> LocalEngine:
    engine = LocalEngine(module, settings, backend=backend)
    engine.apply()
    return engine


def failing(graph: Any, inputs: Any) -> Any:
    raise RuntimeError("no such instruction")


def test_a_failing_compiler_means_eager_with_one_note(conv_net: ConvNet) -> None:
    x = torch.randn(2, 3, 4, 4)
    twin = ConvNet()
    twin.load_state_dict(conv_net.state_dict())
    engine = started(conv_net, failing)
    for _ in range(3):
        assert torch.equal(conv_net(x), twin(x))
    assert torch.equal(conv_net.norm.running_mean, twin.norm.running_mean)  # not updated twice
    assert len(engine.notes) == 1
    assert engine.notes[0].startswith("compile: off, running eagerly: BackendCompilerFailed:")


def test_no_compiler_means_eager_with_one_note(
    mlp: Mlp, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    engine = started(mlp, "inductor")
    assert mlp(torch.randn(2, 8)).shape == (2, 4)
    assert engine.notes == ["compile: off: no C++ compiler (install g++)"]


def test_missing_python_headers_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(engine_compile.shutil, "which", lambda name: "/bin/true")
    monkeypatch.setattr(engine_compile.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert engine_compile.compile_obstacle("cpu") == (
        f"{tmp_path}/Python.h is missing (install the interpreter's -dev package)"
    )


def test_the_smaller_last_batch_runs_eagerly_until_it_is_frequent(mlp: Mlp) -> None:
    engine = started(mlp, "eager")
    assert engine.compiled is not None
    graphs = []
    for _ in range(engine_compile.PATIENCE + 2):  # epochs
        mlp(torch.randn(4, 8)).sum().backward()
        mlp(torch.randn(3, 8)).sum().backward()
        graphs.append(engine.compiled.graphs)
    assert graphs == [1] * engine_compile.PATIENCE + [2, 2]


def test_validation_does_not_compile_at_once_and_training_after_it_does(mlp: Mlp) -> None:
    engine = started(mlp, "eager")
    assert engine.compiled is not None
    mlp.eval()
    with torch.no_grad():
        mlp(torch.randn(4, 8))
    assert engine.compiled.graphs == 0
    mlp.train()
    mlp(torch.randn(4, 8)).sum().backward()
    assert engine.compiled.graphs == 1


def test_ever_new_shapes_stop_compiling_with_one_note(mlp: Mlp) -> None:
    engine = started(mlp, "eager")
    assert engine.compiled is not None
    for batch in range(1, 10):
        for _ in range(engine_compile.PATIENCE + 1):
            mlp(torch.randn(batch, 8)).sum().backward()
    assert engine.compiled.graphs == engine_compile.MAX_COMPILATIONS
    assert engine.notes == ["compile: after 4 input shapes, others run eagerly"]


def test_a_forward_that_counts_its_calls_stops_compiling() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            return self.layer(x) * self.calls

    module = Counting()
    engine = started(module, "eager")
    assert engine.compiled is not None
    x = torch.randn(2, 2)
    for _ in range(40):
        module(x)
    assert module.calls == 40
    assert torch.allclose(module(x), module.layer(x) * 41)
    assert engine.compiled.graphs <= 12


def test_data_dependent_control_flow_trains() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x) if x.sum() > 0 else self.b(x)

    module = Branching()
    started(module, "eager")
    for sign in (1, -1, 1, -1):
        x = sign * torch.ones(1, 2)
        assert torch.equal(module(x), (module.a if sign > 0 else module.b)(x))


def test_two_engines_on_one_class_do_not_share_a_recompile_limit() -> None:
    engines = []
    for _ in range(12):
        module = Mlp()
        engines.append(started(module, "eager"))
        module(torch.randn(2, 8))
    assert [e.compiled.graphs for e in engines if e.compiled] == [1] * 12


def test_compiled_code_survives_unapply(mlp: Mlp) -> None:
    engine = started(mlp, "eager")
    assert engine.compiled is not None
    x = torch.randn(2, 8)
    mlp(x)
    engine.unapply()
    mlp(x)
    engine.apply()
    mlp(x)
    assert engine.compiled.graphs == 1


def test_inductor_trains_like_plain_with_dropout_masks_and_recompute(dropout_mlp: Mlp) -> None:
    """Really compiles. Same seed, same masks: the fp32 run is the user's run."""
    losses = []
    for how in (None, Settings(compile=True, fused_optimizer=True, recompute=["first"])):
        torch.manual_seed(0)
        module = Mlp(dropout=0.5)
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-2)
        if how is not None:
            engine = started(module, "inductor", how)
            engine.adopt_optimizer(optimizer)
        torch.manual_seed(1)
        run = []
        for _ in range(4):
            loss = module(torch.randn(16, 8)).square().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            run.append(loss.item())
        losses.append(run)
    assert engine.notes == []
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
