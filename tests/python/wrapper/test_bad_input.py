"""Wrong input gives one clear error that names the place and the way out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn

from parallel_opt import InfeasibleError, InputError, OptimizedParallel
from parallel_opt.options import resolve

PLAIN = {"compile": False, "precision": "fp32", "probe_budget_s": 5.0}


def test_model_without_parameters() -> None:
    with pytest.raises(InputError) as error:
        OptimizedParallel(nn.ReLU())
    text = "OptimizedParallel(model): the model has no parameters (there is nothing to train)"
    assert str(error.value) == text


def test_no_module_at_all() -> None:
    with pytest.raises(InputError, match=r"of type list, which is no torch\.nn\.Module"):
        OptimizedParallel([nn.Linear(1, 1)])  # type: ignore[arg-type]


def test_wrapped_twice() -> None:
    with pytest.raises(InputError, match="the model is wrapped already"):
        OptimizedParallel(OptimizedParallel(nn.Linear(1, 1)))


def test_unknown_option_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        OptimizedParallel(nn.Linear(1, 1), precison="bf16")
    text = "OptimizedParallel: unknown option 'precison' (did you mean 'precision'?)"
    assert str(error.value) == text


def test_every_wrong_option_is_named() -> None:
    with pytest.raises(InputError) as error:
        OptimizedParallel(nn.Linear(1, 1), precision="fp12", micro_batch=0, objective="fun")
    assert [fault[0] for fault in error.value.faults] == [
        "OptimizedParallel(precision=)",
        "OptimizedParallel(objective=)",
        "OptimizedParallel(micro_batch=)",
    ]


def test_environment_sets_options_and_the_call_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_OPT_PRECISION", "bf16")
    monkeypatch.setenv("PARALLEL_OPT_COMPILE", "0")
    options = OptimizedParallel(nn.Linear(1, 1), precision="fp32").__dict__["_po_options"]
    assert (options.precision, options.compile) == ("fp32", False)


def test_wrong_environment_value_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_OPT_COMPILE", "maybe")
    with pytest.raises(InputError, match="PARALLEL_OPT_COMPILE: 'maybe' is neither true nor false"):
        OptimizedParallel(nn.Linear(1, 1))


def test_switches_take_the_words_of_the_command_line() -> None:
    assert resolve({"compile": "on", "fused_optimizer": "off"})[0].compile is True
    assert resolve({"compile": "on", "fused_optimizer": "off"})[0].fused_optimizer is False
    with pytest.raises(InputError) as raised:
        resolve({"compile": "maybe"})
    text = "OptimizedParallel(compile=): 'maybe' is neither on nor off (use True or False)"
    assert str(raised.value) == text


def test_missing_plan_file() -> None:
    model = OptimizedParallel(nn.Linear(2, 2), plan="/nowhere/plan.json")
    with pytest.raises(OSError, match=r"/nowhere/plan\.json: No such file or directory"):
        model(torch.randn(4, 2))


def test_plan_for_another_model(tmp_path: Path) -> None:
    first = OptimizedParallel(nn.Linear(2, 2), sample=torch.randn(4, 2), **PLAIN)
    first.export_plan(tmp_path / "plan.json")
    other = OptimizedParallel(nn.Linear(3, 3), plan=tmp_path / "plan.json")
    with pytest.raises(InputError, match="model"):
        other(torch.randn(4, 3))


def test_nothing_fits_the_memory_limit() -> None:
    model = OptimizedParallel(nn.Linear(64, 64), memory_limit="1KiB", **PLAIN)
    with pytest.raises(InfeasibleError, match="nothing fits"):
        model(torch.randn(4, 64))


def test_memory_limit_that_is_no_size() -> None:
    model = OptimizedParallel(nn.Linear(2, 2), memory_limit="lots", **PLAIN)
    with pytest.raises(InputError, match="'lots' is no size"):
        model(torch.randn(4, 2))


def test_allowed_slowdown_is_a_share_or_per_cent() -> None:
    for given in (0.05, "0.05", "5%", " 5 %"):
        options = OptimizedParallel(nn.Linear(1, 1), max_slowdown=given).__dict__["_po_options"]
        assert options.max_slowdown == pytest.approx(0.05)


@pytest.mark.parametrize("value", ["much", "-5%", -0.1, True, float("nan"), None])
def test_slowdown_that_is_no_share_is_refused_at_the_call(value: object) -> None:
    with pytest.raises(InputError) as error:
        OptimizedParallel(nn.Linear(1, 1), max_slowdown=value)
    text = f"OptimizedParallel(max_slowdown=): {value!r} is no share (write 0.05 or 5%)"
    assert str(error.value) == text


def test_slowdown_of_the_environment_may_be_per_cent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARALLEL_OPT_MAX_SLOWDOWN", "7%")
    options = OptimizedParallel(nn.Linear(1, 1)).__dict__["_po_options"]
    assert options.max_slowdown == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("probe_budget_s", -1, "0 or more"), ("probe_budget_s", "5", "0 or more"),
     ("timeout_s", 0, "above 0")],
)  # fmt: skip
def test_seconds_that_cannot_be_are_refused_at_the_call(
    name: str, value: object, wanted: str
) -> None:
    with pytest.raises(InputError) as error:
        OptimizedParallel(nn.Linear(1, 1), **{name: value})
    text = f"OptimizedParallel({name}=): {value!r} is no number of seconds ({wanted})"
    assert str(error.value) == text


def test_everything_that_needs_a_plan_says_that_there_is_none(tmp_path: Path) -> None:
    model = OptimizedParallel(nn.Linear(1, 1))
    text = "OptimizedParallel: there is no plan yet (train one step, or pass sample=)"
    for ask in (
        model.estimate,
        model.explain,
        model.summary,
        lambda: model.export_plan(tmp_path / "plan.json"),
        lambda: model.visualize_performance(tmp_path / "out"),
    ):
        with pytest.raises(InputError) as error:
            ask()
        assert str(error.value) == text
    assert list(tmp_path.iterdir()) == []


def test_plan_goes_into_a_directory_that_is_there(tmp_path: Path) -> None:
    model = OptimizedParallel(nn.Linear(2, 2), sample=torch.randn(4, 2), **PLAIN)
    with pytest.raises(OSError, match=f"there is no directory {tmp_path}/none"):
        model.export_plan(tmp_path / "none" / "plan.json")


def test_nan_loss_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    model = OptimizedParallel(nn.Linear(2, 2), **PLAIN)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with caplog.at_level(logging.WARNING, logger="parallel_opt"):
        for factor in (1.0, float("nan"), float("nan")):
            optimizer.zero_grad()
            (model(torch.randn(4, 2)).sum() * factor).backward()
            optimizer.step()
    told = [r.message for r in caplog.records if "not finite" in r.message]
    assert told == [
        "the gradient of the output is not finite at step 2: the loss is NaN or infinite"
    ]
    assert told[0] in model.explain()


class TwoOutputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.first(x), self.second(x)


def test_a_loss_may_leave_out_the_first_output() -> None:
    """Two ways of one node: autograd hands None to the hook on the one without gradient."""
    model = OptimizedParallel(TwoOutputs(), **{**PLAIN, "micro_batch": 2})
    _, second = model(torch.randn(4, 2))
    second.sum().backward()
    assert model.first.weight.grad is None or not model.first.weight.grad.any()
    assert model.second.weight.grad.any()


def test_error_of_the_users_forward_comes_out_unchanged() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise KeyError("my own mistake")

    with pytest.raises(KeyError, match="my own mistake"):
        OptimizedParallel(Broken(), **PLAIN)(torch.randn(4, 2))


def test_a_misspelt_variable_is_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PARALLEL_OPT_PRECISON", "bf16")
    monkeypatch.setenv("PARALLEL_OPT_MY_OWN", "1")
    for _ in range(2):
        resolve({})
    assert [record.message for record in caplog.records] == [
        "the variable PARALLEL_OPT_PRECISON is unknown (did you mean PARALLEL_OPT_PRECISION?)"
    ]
