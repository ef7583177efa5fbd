"""channels_last as the engine applies it: what the model's convolutions see, and the way back."""

from __future__ import annotations

import torch
from local_models import Settings
from torch import nn

from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.memory_format import ChannelsLast, channels_last_forward


def gray_net() -> nn.Sequential:
    """One input channel and a 1x1 kernel: both orders fit such sizes, so strides must say which."""
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 1))


def test_one_channel_and_one_by_one_kernels_say_channels_last() -> None:
    model = gray_net()
    ChannelsLast(model).apply()
    assert model[0].weight.stride() == (9, 1, 3, 1)  # (8, 1, 3, 3): channel stride 1
    assert model[2].weight.stride() == (8, 1, 8, 8)  # (4, 8, 1, 1)
    seen: list[tuple[int, ...]] = []
    channels_last_forward(lambda x: seen.append(x.stride()))(torch.zeros(2, 1, 5, 7))
    assert seen == [(35, 1, 7, 1)]


def test_every_activation_of_a_gray_image_is_channels_last() -> None:
    model = gray_net()
    strides: list[tuple[int, ...]] = []
    for layer in model:
        layer.register_forward_hook(lambda _m, _i, out: strides.append(out.stride()))
    engine = LocalEngine(model, Settings(memory_format="channels_last"))
    engine.apply()
    model(torch.randn(2, 1, 6, 6))
    assert strides == [(288, 1, 48, 8), (288, 1, 48, 8), (144, 1, 24, 4)]


def test_training_in_channels_last_equals_plain() -> None:
    torch.manual_seed(0)
    plain, fast = gray_net().double(), gray_net().double()
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    engine = LocalEngine(fast, Settings(memory_format="channels_last"))
    engine.apply()
    for model in (plain, fast):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
    engine.unapply()
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        assert a.stride() == b.stride()
