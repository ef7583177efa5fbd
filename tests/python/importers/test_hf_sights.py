"""Models of words and images with a tower and a projector: counts and FLOPs as in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hf_models import assert_same_parameters, read, reference
from hf_sight_configs import REAL, SMALL, TOKEN, Config
from torch import Tensor, nn

from parallel_opt import InputError, _core
from parallel_opt.capture import capture


@pytest.mark.parametrize("name", REAL)
def test_parameters_are_exactly_transformers(name: str, tmp_path: Path) -> None:
    graph, model = read(REAL[name], tmp_path), reference(REAL[name])
    assert_same_parameters(graph, model)
    assert _core.summarize(graph).opaque == []
    settings = model.config.to_dict()  # type: ignore[union-attr, operator]
    whole = read({**settings, "architectures": REAL[name]["architectures"]}, tmp_path)
    assert [note for note in whole.notes if "not understood" in note] == []


class _Logits(nn.Module):
    """A model as a function of words and pixels."""

    def __init__(self, model: nn.Module, sizes: Tensor | None) -> None:
        super().__init__()
        self.model, self.sizes = model, sizes

    def forward(self, input_ids: Tensor, pixel_values: Tensor) -> Tensor:
        options = {} if self.sizes is None else {"image_sizes": self.sizes}
        logits: Tensor = self.model(
            input_ids=input_ids, pixel_values=pixel_values, use_cache=False, **options
        ).logits
        return logits


def _run(settings: Config, tokens: int, tiles: int) -> Any:
    """The graph of a run on one sample with an image."""
    import transformers

    keys = dict(settings)
    architecture = keys.pop("architectures")[0]
    made = transformers.AutoConfig.for_model(keys.pop("model_type"), **keys)
    model = getattr(transformers, architecture)(made).train()
    ids = torch.full((1, tokens + 6), 20)
    ids[:, 3 : 3 + tokens] = TOKEN
    shape = (1, tiles, 3, 32, 32) if tiles > 0 else (1, 3, 32, 32)
    if settings["model_type"] == "internvl":
        shape = (tiles, 3, 32, 32)
    pinned = "image_grid_pinpoints" in settings
    sizes = torch.tensor([[64, 64]]) if pinned else torch.tensor([[32, 32]])
    cut = pinned or settings["vision_config"].get("model_type") == "pixtral"
    return capture(_Logits(model, sizes if cut else None), (ids, torch.randn(shape)), level="trace")


@pytest.mark.parametrize("name", SMALL)
def test_flops_and_blocks_equal_a_run(name: str, tmp_path: Path) -> None:
    settings, tokens, tiles = SMALL[name]
    graph = read(settings, tmp_path)
    sizes = {"batch": 1, "sequence": tokens + 6}
    ours = _core.summarize(graph.bind({**sizes, "image_tiles": tiles} if tiles > 0 else sizes))
    theirs = _core.summarize(_run(settings, tokens, tiles))
    assert ours.parameters == theirs.parameters
    assert ours.flops.forward == theirs.flops.forward
    assert ours.flops.backward == theirs.flops.backward
    assert ours.opaque == []
    assert max(b.repeats for b in ours.blocks) == max(b.repeats for b in theirs.blocks)


FAULTS: dict[str, tuple[str, Config, str]] = {
    "squares": ("mistral3", {"spatial_merge_size": 3}, "4 by 4 patches are no whole squares of 3"),
    "several": ("mistral3", {"vision_feature_layer": [1, 2]}, "wider than what is merged"),
    "layers": ("llava_next", {"vision_feature_layer": [1, 9]}, "is no layer of the image tower"),
    "none": ("llava_next", {"vision_feature_layer": []}, "names no layer"),
    "class": (
        "llava_onevision",
        {"vision_feature_select_strategy": "default"},
        "leaves out a class token that is not there",
    ),
    "full": ("internvl", {"vision_feature_select_strategy": "full"}, "has no place in a square"),
    "ratio": ("internvl", {"downsample_ratio": 0}, "must be 1 / n"),
    "tower": ("idefics3", {"vision_config": {"model_type": "vit"}}, "'vit' is not built here"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_does_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    base, changes, fault = FAULTS[name]
    with pytest.raises(InputError, match=fault):
        read({**SMALL[base][0], **changes}, tmp_path)
