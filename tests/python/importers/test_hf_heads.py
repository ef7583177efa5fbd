"""Every head that transformers has for a family that the importer knows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_configs import REAL, Config
from hf_kin_configs import KIN
from hf_models import assert_same_parameters, bound, captured, read, reference, shallow
from transformers.models.auto import modeling_auto

from parallel_opt import InputError, _core

KINDS = (
    "MODEL_FOR_CAUSAL_LM",
    "MODEL_FOR_MASKED_LM",
    "MODEL_FOR_PRETRAINING",
    "MODEL_FOR_NEXT_SENTENCE_PREDICTION",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION",
    "MODEL_FOR_TOKEN_CLASSIFICATION",
    "MODEL_FOR_QUESTION_ANSWERING",
    "MODEL_FOR_MULTIPLE_CHOICE",
    "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM",
    "MODEL_FOR_IMAGE_CLASSIFICATION",
    "MODEL_FOR_MASKED_IMAGE_MODELING",
    "MODEL_FOR_AUDIO_CLASSIFICATION",
    "MODEL",
)

# The decoder of an encoder-decoder model alone, with attention to an encoder that is not there.
# EuroBert reads sentences by one of three ways to pool them.
REFUSED = {
    *("BartForCausalLM", "MBartForCausalLM", "WhisperForCausalLM"),
    *("EuroBertForSequenceClassification", "VideoMAEForPreTraining"),
    *("UniSpeechForPreTraining", "UniSpeechSatForPreTraining"),
}


def _first_of_each_type() -> dict[str, Config]:
    types: dict[str, Config] = {}
    for config in (*REAL.values(), *KIN.values()):
        types.setdefault(config["model_type"], config)
    return types


def _architectures() -> dict[str, Config]:
    """Class name -> a configuration of its family that names it."""
    found: dict[str, Config] = {}
    for model_type, config in _first_of_each_type().items():
        for kind in KINDS:
            classes = getattr(modeling_auto, f"{kind}_MAPPING_NAMES").get(model_type, ())
            for name in (classes,) if isinstance(classes, str) else classes:
                found[name] = {**shallow(config, 1), "architectures": [name]}
                if name.endswith("ForSequenceClassification") and "Bert" not in name:
                    found[name].setdefault("pad_token_id", 1)
    return found


ARCHITECTURES = _architectures()
BUILT = sorted(set(ARCHITECTURES) - REFUSED)


@pytest.mark.parametrize("name", BUILT)
def test_parameters_and_flops_are_transformers(name: str, tmp_path: Path) -> None:
    config = ARCHITECTURES[name]
    graph, model = read(config, tmp_path), reference(config)
    assert_same_parameters(graph, model)
    ours, theirs = _core.summarize(bound(graph)), _core.summarize(captured(config, graph))
    assert ours.flops.forward == theirs.flops.forward
    assert ours.flops.backward == theirs.flops.backward
    assert ours.opaque == []


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_head_that_is_not_built_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"the head of '{name}' is not built"):
        read(ARCHITECTURES[name], tmp_path)
