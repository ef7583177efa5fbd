"""Models whose stages halve their planes: counts and FLOPs against transformers, at full depth."""

from __future__ import annotations

from pathlib import Path

import pytest
from hf_configs import Config
from hf_kin_configs import STAGES
from hf_models import assert_same_parameters, bound, captured, read, reference

from parallel_opt import _core

SETTINGS: dict[str, Config] = {
    **STAGES,
    "resnet-18": {
        **STAGES["resnet-50"],
        "layer_type": "basic",
        "hidden_sizes": [64, 128, 256, 512],
        "depths": [2, 2, 2, 2],
        "downsample_in_first_stage": True,
    },
    "resnet that halves at once": {**STAGES["resnet-50"], "downsample_in_bottleneck": True},
    "resnet alone": {**STAGES["resnet-50"], "architectures": ["ResNetModel"]},
    "regnet-x": {**STAGES["regnet-y"], "layer_type": "x", "downsample_in_first_stage": False},
    "segformer that classifies": {
        **STAGES["segformer-b0"],
        "architectures": ["SegformerForImageClassification"],
        "reshape_last_stage": False,
    },
    "mobilenet-v2 0.35": {
        **STAGES["mobilenet-v2"],
        "depth_multiplier": 0.35,
        "tf_padding": False,
        "first_layer_is_expansion": False,
        "image_size": 97,
    },
    "deeplab": {
        **STAGES["mobilenet-v2"],
        "architectures": ["MobileNetV2ForSemanticSegmentation"],
        "output_stride": 8,
        "image_size": 129,
        "num_labels": 21,
    },
    "mobilenet alone": {**STAGES["mobilenet-v2"], "architectures": ["MobileNetV2Model"]},
    "efficientnet-b0": {
        **STAGES["efficientnet-b7"],
        "width_coefficient": 1.0,
        "depth_coefficient": 1.0,
        "hidden_dim": 1280,
        "image_size": 225,
        "pooling_type": "max",
        "depthwise_padding": [5],
    },
    "efficientnet alone": {**STAGES["efficientnet-b7"], "architectures": ["EfficientNetModel"]},
    "swinv2 of odd planes": {
        **STAGES["swinv2-tiny"],
        "image_size": 120,
        "window_size": 7,
        "qkv_bias": False,
    },
    "swinv2 alone": {**STAGES["swinv2-tiny"], "architectures": ["Swinv2Model"]},
    "segformer alone": {**STAGES["segformer-b0"], "architectures": ["SegformerModel"]},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_parameters_flops_and_blocks_are_transformers(name: str, tmp_path: Path) -> None:
    graph = read(SETTINGS[name], tmp_path)
    assert_same_parameters(graph, reference(SETTINGS[name]))
    one, other = _core.summarize(bound(graph)), _core.summarize(captured(SETTINGS[name], graph))
    assert one.opaque == []
    assert (one.flops.forward, one.flops.backward) == (other.flops.forward, other.flops.backward)
    assert one.blocks[0].repeats == other.blocks[0].repeats
