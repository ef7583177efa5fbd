"""Unusual settings of each family against the models that transformers builds from them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_configs import REAL, Config
from hf_models import assert_same_parameters, bound, captured, read, reference, shallow
from hf_variants import VARIANTS

from parallel_opt import InputError, _core


def _config(name: str) -> Config:
    base, changes = VARIANTS[name]
    return {**shallow(REAL[base], 4), **changes}


@pytest.mark.parametrize("name", VARIANTS)
def test_parameters_flops_and_blocks_are_transformers(name: str, tmp_path: Path) -> None:
    config = _config(name)
    graph, model = read(config, tmp_path), reference(config)
    assert_same_parameters(graph, model)
    ours, theirs = _core.summarize(bound(graph)), _core.summarize(captured(config, graph))
    assert (ours.flops.forward, ours.flops.backward) == (
        theirs.flops.forward,
        theirs.flops.backward,
    )
    repeats = [[b.repeats for b in side.blocks][:1] for side in (ours, theirs)]
    assert repeats[0] == repeats[1]
    assert ours.opaque == []


@pytest.mark.parametrize("name", REAL)
def test_a_whole_configuration_of_transformers_is_understood(name: str, tmp_path: Path) -> None:
    """Every key that transformers itself writes, defaults too, is read or known to be harmless."""
    whole = {**reference(REAL[name]).config.to_dict(), **REAL[name]}
    notes = [note for note in read(whole, tmp_path).notes if "not understood" in note]
    assert notes == []


@pytest.mark.parametrize(
    ("name", "changes", "fault"),
    [
        ("bert-large", {"add_cross_attention": True}, "add_cross_attention: true is not built"),
        ("bart-large", {"tie_word_embeddings": False}, "tie_word_embeddings: false is not built"),
        ("gpt2-xl", {"architectures": ["GPT2DoubleHeadsModel"]}, "is not built"),
    ],
)
def test_what_is_not_built_is_refused(
    name: str, changes: Config, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=fault):
        read({**REAL[name], **changes}, tmp_path)
