"""Families that are known ones with other settings: counts against transformers, one test each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_further_configs import FURTHER
from hf_kin_configs import KIN
from hf_models import assert_same_parameters, bound, captured, read, reference, shallow
from hf_more_configs import MORE

from parallel_opt import _core

ALL = {**MORE, **FURTHER, **KIN}


@pytest.mark.parametrize("name", ALL)
def test_parameters_flops_and_blocks_are_transformers(name: str, tmp_path: Path) -> None:
    graph, model = read(ALL[name], tmp_path), reference(ALL[name])
    assert_same_parameters(graph, model)
    whole = read({**model.config.to_dict(), **ALL[name]}, tmp_path)
    assert [note for note in whole.notes if "not understood" in note] == []
    small = shallow(ALL[name], 2)
    graph = read(small, tmp_path)
    one, other = _core.summarize(bound(graph)), _core.summarize(captured(small, graph))
    assert one.opaque == []
    assert (one.flops.forward, one.flops.backward) == (other.flops.forward, other.flops.backward)
    assert one.blocks[0].repeats == other.blocks[0].repeats == 2
