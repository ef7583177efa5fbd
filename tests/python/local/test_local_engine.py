"""The local engine: symmetric, invisible, exact."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from local_models import ConvNet, Mlp, Settings
from torch import nn

from parallel_opt.engine.local import LocalEngine

EVERYTHING = Settings(
    precision="bf16",
    compile=True,
    memory_format="channels_last",
    fused_optimizer=True,
    threads=1,
    recompute=["conv"],
)


def surface(module: nn.Module) -> list[object]:
    """What a user can see of a module, bytes aside."""
    return [
        [(name, id(p), p.stride()) for name, p in module.named_parameters()],
        [(name, id(b)) for name, b in module.named_buffers()],
        list(module.state_dict()),
        type(module),
        [sorted(child.__dict__) for child in module.modules()],
        torch.get_num_threads(),
    ]


def test_unapply_leaves_no_trace(conv_net: ConvNet) -> None:
    optimizer = torch.optim.AdamW(conv_net.parameters())
    flags = [dict(g, params=None) for g in optimizer.param_groups]
    torch.set_num_threads(2)
    before = surface(conv_net)
    engine = LocalEngine(conv_net, EVERYTHING, optimizers=[optimizer], backend="eager")
    engine.apply()
    conv_net(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    engine.unapply()
    assert surface(conv_net) == before
    assert [dict(g, params=None) for g in optimizer.param_groups] == flags
    assert engine.notes == []


def test_apply_keeps_names_identities_and_state_dict_keys(conv_net: ConvNet) -> None:
    before = [(name, id(p)) for name, p in conv_net.named_parameters()]
    keys = list(conv_net.state_dict())
    LocalEngine(conv_net, EVERYTHING, backend="eager").apply()
    assert [(name, id(p)) for name, p in conv_net.named_parameters()] == before
    assert list(conv_net.state_dict()) == keys


def test_applying_twice_and_unapplying_twice_is_harmless(mlp: Mlp) -> None:
    engine = LocalEngine(mlp, Settings(precision="bf16"))
    engine.unapply()
    engine.apply()
    engine.apply()
    engine.unapply()
    engine.unapply()
    assert "forward" not in mlp.__dict__


def test_a_forward_patched_by_the_user_still_runs_and_comes_back(mlp: Mlp) -> None:
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * Mlp.forward(mlp, x)

    mlp.forward = doubled  # type: ignore[method-assign]
    x = torch.randn(3, 8)
    expected = mlp(x)
    engine = LocalEngine(mlp, Settings(threads=1))
    engine.apply()
    assert torch.equal(mlp(x), expected)
    engine.unapply()
    assert mlp.forward is doubled


def test_a_patch_put_on_top_survives_unapply(mlp: Mlp) -> None:
    engine = LocalEngine(mlp, Settings(precision="bf16"))
    x = torch.randn(3, 8)
    expected = mlp(x)
    engine.apply()
    below = mlp.forward
    mlp.forward = lambda x: below(x) + 1  # type: ignore[method-assign]
    engine.unapply()
    assert torch.equal(mlp(x), expected + 1)


def test_hooks_of_the_user_run_once_per_call(mlp: Mlp) -> None:
    calls: list[str] = []
    mlp.register_forward_hook(lambda *_: calls.append("root"))
    mlp.first.register_forward_hook(lambda *_: calls.append("first"))
    LocalEngine(mlp, Settings(precision="bf16")).apply()
    mlp(torch.randn(2, 8))
    assert calls == ["first", "root"]


def test_a_deep_copy_is_plain_and_independent(mlp: Mlp) -> None:
    x = torch.randn(3, 8)
    expected = mlp(x)
    LocalEngine(mlp, Settings(precision="bf16", recompute=["first"])).apply()
    twin = copy.deepcopy(mlp)
    again = copy.deepcopy(twin)
    with torch.no_grad():
        for p in mlp.parameters():
            p.zero_()
    assert torch.equal(twin(x), expected)
    assert torch.equal(again(x), expected)


@pytest.mark.parametrize("how", ["pickle", "torch.save"])
def test_a_saved_module_loads_as_a_plain_one(mlp: Mlp, how: str) -> None:
    x = torch.randn(3, 8)
    expected = mlp(x)
    LocalEngine(mlp, Settings(precision="bf16", recompute=["first"])).apply()
    if how == "pickle":
        data = pickle.dumps(mlp)
        assert b"parallel_opt" not in data.replace(b"parallel_opt.compat", b"")
        loaded = pickle.loads(data)
    else:
        file = io.BytesIO()
        torch.save(mlp, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(x), expected)


def test_exceptions_of_the_forward_come_out_unchanged(settings: type[Settings]) -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[0] > 1:
                raise ValueError("only one sample, please")
            return self.layer(x)

    module = Fails()
    LocalEngine(module, settings(precision="bf16", compile=True), backend="eager").apply()
    with pytest.raises(ValueError, match=r"^only one sample, please$"):
        module(torch.randn(2, 2))
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
        module(torch.randn(1, 3))
    assert module(torch.randn(1, 2)).shape == (1, 2)


def test_unknown_recompute_module_is_noted_not_fatal(mlp: Mlp) -> None:
    engine = LocalEngine(mlp, Settings(recompute=[{"module": "nowhere"}]))
    engine.apply()
    assert engine.notes == ["recompute: the model has no module 'nowhere'"]


def test_channels_last_without_convolutions_is_noted(mlp: Mlp) -> None:
    engine = LocalEngine(mlp, Settings(memory_format="channels_last"))
    engine.apply()
    assert engine.notes == ["channels_last has no effect: the model has no 2-D convolution"]


def test_notes_are_said_once(mlp: Mlp, caplog: pytest.LogCaptureFixture) -> None:
    engine = LocalEngine(mlp, Settings(memory_format="channels_last"))
    for _ in range(3):
        engine.apply()
        engine.unapply()
    assert len(engine.notes) == len(caplog.records) == 1
