"""Fixtures of the local engine's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from local_models import ConvNet, Mlp, Settings


@pytest.fixture
def settings() -> type[Settings]:
    return Settings


@pytest.fixture
def mlp() -> Mlp:
    torch.manual_seed(0)
    return Mlp()


@pytest.fixture
def dropout_mlp() -> Mlp:
    torch.manual_seed(0)
    return Mlp(dropout=0.5)


@pytest.fixture
def conv_net() -> ConvNet:
    torch.manual_seed(0)
    return ConvNet()


@pytest.fixture(autouse=True)
def _same_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
