"""Graphs from config.json against the models that transformers builds from the same file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_configs import REAL
from hf_models import assert_same_parameters, bound, captured, read, reference, shallow

from parallel_opt import _core


@pytest.mark.parametrize("name", REAL)
def test_parameters_are_exactly_transformers(name: str, tmp_path: Path) -> None:
    graph, model = read(REAL[name], tmp_path), reference(REAL[name])
    assert_same_parameters(graph, model)


# Totals that the models' publishers state.
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("mistral-7b", 7_241_732_096),
        ("mixtral-8x7b", 46_702_792_704),
        ("deepseek-v3", 671_026_404_352),
        ("bloom-176b", 176_247_271_424),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_published_totals(name: str, parameters: int, tmp_path: Path) -> None:
    assert read(REAL[name], tmp_path).count_parameters().parameters == parameters


@pytest.mark.parametrize("name", REAL)
def test_no_operator_is_unknown(name: str, tmp_path: Path) -> None:
    assert _core.summarize(read(REAL[name], tmp_path)).opaque == []


@pytest.mark.parametrize("name", REAL)
def test_flops_and_blocks_equal_the_exported_models(name: str, tmp_path: Path) -> None:
    config = shallow(REAL[name], 2)
    graph = read(config, tmp_path)
    ours = _core.summarize(bound(graph))
    theirs = _core.summarize(captured(config, graph, level="export"))
    assert ours.flops.forward == theirs.flops.forward
    assert ours.flops.backward == theirs.flops.backward
    assert ours.blocks[0].repeats == theirs.blocks[0].repeats
