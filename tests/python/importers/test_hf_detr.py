"""detr: counts and FLOPs against transformers, and against the sum that its authors' log states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hf_image_configs import Config, config
from hf_models import assert_same_parameters, read, reference
from torch import Tensor, nn

from parallel_opt import InputError, _core
from parallel_opt.capture import capture

RESNET = {"use_timm_backbone": False, "backbone": None}
SETTINGS: dict[str, Config] = {
    "detr": config("detr", "DetrForObjectDetection", num_labels=91, **RESNET),
    "alone, of other sizes": config(
        "detr",
        "DetrModel",
        **RESNET,
        backbone_config={
            "model_type": "resnet",
            "depths": [1, 1, 2, 1],
            "out_features": ["stage4"],
        },
        d_model=64,
        encoder_layers=2,
        decoder_layers=3,
        encoder_ffn_dim=96,
        decoder_ffn_dim=80,
        encoder_attention_heads=4,
        decoder_attention_heads=2,
        num_queries=7,
        position_embedding_type="learned",
    ),
}


class _First(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        found: Any = self.model(pixel_values=pixel_values)
        boxes = getattr(found, "pred_boxes", None)
        return (found[0],) if boxes is None else (found[0], boxes)


@pytest.mark.parametrize("name", SETTINGS)
def test_parameters_flops_and_blocks_are_transformers(name: str, tmp_path: Path) -> None:
    settings = {**SETTINGS[name], "image_size": 64}
    graph = read(settings, tmp_path)
    assert_same_parameters(graph, reference(SETTINGS[name]))
    keys = dict(SETTINGS[name])
    architecture = keys.pop("architectures")[0]
    made = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    model = getattr(transformers, architecture)(made).train()
    theirs = _core.summarize(capture(_First(model), (torch.randn(2, 3, 64, 64),), level="trace"))
    ours = _core.summarize(graph.bind({"batch": 2}))
    assert ours.opaque == []
    assert (ours.flops.forward, ours.flops.backward) == (
        theirs.flops.forward,
        theirs.flops.backward,
    )
    assert ours.trainable_parameters == theirs.trainable_parameters


def test_timms_resnet_trains_but_for_its_first_stage(tmp_path: Path) -> None:
    """41,302,368 weights train, as the authors' log of DETR with a ResNet-50 says."""
    published = config("detr", "DetrForObjectDetection", num_labels=91, backbone="resnet50")
    graph = read(published, tmp_path)
    assert graph.count_parameters().trainable == 41_302_368
    # the first filter and three blocks of 64 channels do not: 3*64*49 + (64*64 + 9*64*64 + 64*256)
    # + 64*256 + 2 * (256*64 + 9*64*64 + 64*256)
    assert graph.count_parameters().parameters == 41_302_368 + 9_408 + 212_992
    names = {t.fqn for t in graph.tensors if t.role == "parameter"}
    assert {
        "model.backbone.model.conv1.weight",
        "model.backbone.model.layer4.2.conv3.weight",
    } < names


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"backbone": "resnet51"}, "did you mean 'resnet50'"),
        ({"dilation": True}, "dilation: true is not built here"),
        ({"backbone_config": {"model_type": "swin"}}, "'swin' is not built below detr"),
        ({"architectures": ["DetrForSegmentation"]}, "is not built"),
    ],
)
def test_what_is_not_built_is_refused(changes: Config, fault: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=fault):
        read({"model_type": "detr", **changes}, tmp_path)
