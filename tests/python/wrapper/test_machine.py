"""``cluster=`` may describe this machine, not one that is elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from parallel_opt import InputError, OptimizedParallel, _core
from parallel_opt.machine import training_cluster, what_is_missing


def test_a_machine_that_is_not_here_is_refused_with_the_way_out() -> None:
    here = _core.load_cluster("local")
    if any(str(d.kind) == "gpu" for d in here.devices):
        pytest.skip("needs a host without a GPU")
    model = OptimizedParallel(nn.Linear(4, 4), cluster="8xH100-SXM-80GB")
    with pytest.raises(InputError) as error:
        model(torch.randn(2, 4))
    assert str(error.value) == (
        "OptimizedParallel(cluster='8xH100-SXM-80GB'): it has 8 GPU devices per node, and this "
        f"machine is 1 x {here.devices[0].name} (plan for it with "
        "`parallel-opt plan --cluster 8xH100-SXM-80GB`, train without cluster=)"
    )


def test_a_part_of_what_is_there_is_enough() -> None:
    one, eight = (_core.load_cluster(f"{n}xH100-SXM-80GB") for n in (1, 8))
    assert what_is_missing(one, eight) is None
    assert what_is_missing(_core.load_cluster("2n8xH100-SXM-80GB"), eight) is None  # this is a node
    assert what_is_missing(eight, one) == (
        "it has 8 GPU devices per node, and this machine is 1 x H100-SXM-80GB"
    )


def test_a_description_of_this_machine_is_taken(tmp_path: object) -> None:
    here = _core.load_cluster("local")
    path = f"{tmp_path}/here.json"
    _core.write_file(path, here.to_json())
    cluster, notes = training_cluster(path)
    assert [d.name for d in cluster.devices] == [d.name for d in here.devices]
    assert notes == []
