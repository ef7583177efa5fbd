"""OptimizedParallel looks like the module it wraps, whatever plan is in force."""

from __future__ import annotations

import copy
import io
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from parallel_opt import InputError, OptimizedParallel, Plan

PLAIN = {"compile": False, "precision": "fp32", "probe_budget_s": 5.0}
"""Options under which no test compiles anything."""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(8, 16)
        self.norm = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, 4)
        self.scale = 1.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc2(F.relu(self.norm(self.fc1(x)))) * self.scale
        return y


def batch(rows: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 8, generator=generator)
    return x, torch.randint(4, (rows,), generator=generator)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> list[float]:
    losses = []
    for _ in range(steps):
        x, y = batch()
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Not Adam: it makes steps of full size from the rounding noise of gradients that are zero."""
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


@pytest.mark.parametrize("before", [True, False], ids=["optimizer before", "optimizer after"])
def test_losses_parameters_and_state_equal_plain(before: bool) -> None:
    plain = net()
    reference = train(plain, sgd(plain))
    module = net()
    if before:
        optimizer = sgd(module)
        model = OptimizedParallel(module, **PLAIN)
    else:
        model = OptimizedParallel(module, **PLAIN)
        optimizer = sgd(model)
    assert train(model, optimizer) == pytest.approx(reference, rel=1e-5)
    assert model.state_dict().keys() == plain.state_dict().keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_names_are_the_modules_own() -> None:
    module = net()
    model = OptimizedParallel(module)
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in module.named_parameters()]
    assert [n for n, _ in model.named_modules()] == [n for n, _ in module.named_modules()]
    assert list(model.state_dict()) == list(module.state_dict())
    assert all(a is b for a, b in zip(model.parameters(), module.parameters(), strict=True))
    assert model.module is module


def test_attributes_are_read_and_written_through() -> None:
    model = OptimizedParallel(net())
    assert model.scale == 1.0
    model.scale = 3.0
    assert model.module.scale == 3.0
    assert isinstance(model.fc1, nn.Linear)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = model.nonsense


def test_train_and_eval_reach_every_module() -> None:
    model = OptimizedParallel(net())
    model.eval()
    assert not model.training and not model.module.training and not model.norm.training
    model.train()
    assert model.training and model.module.training and model.norm.training


def test_evaluation_before_training_plans_nothing() -> None:
    model = OptimizedParallel(net())
    model.eval()
    with torch.no_grad():
        model(batch()[0])
    assert model.plan is None
    with pytest.raises(InputError, match="there is no plan yet"):
        model.estimate()


def test_to_moves_the_parameters_in_place() -> None:
    model = OptimizedParallel(net())
    assert model.to(torch.float64) is model
    assert model.module.fc1.weight.dtype == torch.float64
    assert next(iter(model.parameters())).dtype == torch.float64


def test_deepcopy_has_parameters_of_its_own_and_trains() -> None:
    model = OptimizedParallel(net(), **PLAIN)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    twin = copy.deepcopy(model)
    before = model.fc1.weight.detach().clone()
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
    assert isinstance(twin, OptimizedParallel)
    assert torch.equal(model.fc1.weight, before)
    assert not torch.equal(twin.fc1.weight, before)


def test_torch_save_and_load_give_a_working_wrapper() -> None:
    model = OptimizedParallel(net(), **PLAIN)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)
    assert isinstance(loaded, OptimizedParallel)
    assert torch.equal(loaded.fc1.weight, model.fc1.weight)
    model.eval(), loaded.eval()
    assert torch.equal(loaded(batch()[0]), model(batch()[0]))


def test_pickle_of_the_inner_module_is_plain_while_a_plan_is_in_force() -> None:
    model = OptimizedParallel(net(), **PLAIN)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert type(pickle.loads(pickle.dumps(model.module))) is Net


def test_state_dict_round_trip() -> None:
    model = OptimizedParallel(net())
    other = OptimizedParallel(net())
    other.fc1.weight.data.zero_()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.fc1.weight, model.fc1.weight)


def test_sequential_keeps_its_indexing() -> None:
    model = OptimizedParallel(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    assert isinstance(model[0], nn.Linear) and len(model) == 2 and len(list(model)) == 2


def test_plan_is_exported_and_read_back(tmp_path: Path) -> None:
    model = OptimizedParallel(net(), **PLAIN)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    path = tmp_path / "plan.json"
    model.export_plan(path)
    assert Plan.from_json(path.read_text(), str(path)) == model.plan
    again = OptimizedParallel(net(), plan=path)
    train(again, torch.optim.SGD(again.parameters(), lr=0.1))
    assert again.plan == model.plan


def test_sample_plans_at_once() -> None:
    model = OptimizedParallel(net(), sample=batch()[0], **PLAIN)
    assert model.plan is not None
    assert model.estimate().step_time_s.value > 0
    assert model.explain()


def test_report_is_written(tmp_path: Path) -> None:
    model = OptimizedParallel(net(), **PLAIN)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=8)
    report = model.visualize_performance(output_dir=tmp_path / "out")
    assert report.read_text().startswith("<!")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["schema"] == "parallel-opt/run/1"
    assert run["measured"]["steps"] > 0
    assert json.loads((tmp_path / "out" / "timeline.json").read_text())["traceEvents"]


def test_unwritable_report_directory_is_named(tmp_path: Path) -> None:
    model = OptimizedParallel(net(), sample=batch()[0], **PLAIN)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        model.visualize_performance(output_dir=tmp_path / "file" / "below")


def test_energy_aware_asks_for_energy() -> None:
    model = OptimizedParallel(net(), energy_aware=True, sample=batch()[0], **PLAIN)
    assert model.estimate().energy_j is not None
    assert model.estimate().energy_j.quality == "modelled"
