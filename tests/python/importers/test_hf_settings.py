"""Every switch of every family's configuration, turned: followed or refused, never left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hf_configs import REAL, Config
from hf_further_configs import FURTHER
from hf_kin_configs import KIN, STAGES
from hf_models import assert_same_parameters, read, reference, shallow
from hf_more_configs import MORE
from torch import nn

from parallel_opt import InputError, _core

ALL = {**REAL, **MORE, **FURTHER, **KIN, **STAGES}
# What is no part of a model, or part of every one.
PLAIN = {"use_cache", "return_dict", "output_attentions", "output_hidden_states"}
USUAL = ("tie_word_embeddings", "is_decoder", "add_cross_attention")


def _first_of_each_type() -> dict[str, str]:
    types: dict[str, str] = {}
    for name, config in ALL.items():
        types.setdefault(config["model_type"], name)
    return types


FIRST = _first_of_each_type()


def _built(config: Config) -> nn.Module | None:
    """What transformers builds; nothing where it refuses the settings, in whatever words."""
    try:
        return reference(config)
    except Exception:
        return None


def _read(config: Config, directory: Path) -> _core.Graph | None:
    try:
        return read(config, directory)
    except InputError:
        return None


def _compare(config: Config, directory: Path) -> None:
    graph = _read(config, directory)
    model = _built(config) if graph is not None else None
    if graph is not None and model is not None:
        assert_same_parameters(graph, model)


@pytest.mark.parametrize("model_type", sorted(FIRST))
def test_switches_are_followed_or_refused(model_type: str, tmp_path: Path) -> None:
    config = shallow(ALL[FIRST[model_type]], 2)
    model: Any = reference(config)
    written = json.loads(model.config.to_json_string(use_diff=False))
    switches = {key: on for key, on in written.items() if isinstance(on, bool)}
    for key in sorted((set(switches) | set(USUAL)) - PLAIN):
        _compare({**config, key: not switches.get(key, False)}, tmp_path)


# Settings whose counts were wrong once.
SETTINGS: dict[str, tuple[str, Config]] = {
    "words untied from outside": ("gemma-3-4b", {"tie_word_embeddings": False}),
    "distances that are stored alone": ("deberta-v3-base", {"relative_attention": False}),
    "an inner width that no factor gives": ("falcon-mamba-7b", {"intermediate_size": 4096}),
    "a head with a bias": ("ernie-4.5-21b-a3b", {"use_bias": True}),
    "a masked head with a bias": ("eurobert-210m", {"mlp_bias": True}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_parameters_are_exactly_transformers(name: str, tmp_path: Path) -> None:
    base, changes = SETTINGS[name]
    config = {**shallow(ALL[base], 2), **changes}
    assert_same_parameters(read(config, tmp_path), reference(config))
