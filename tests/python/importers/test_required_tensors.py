"""The table of tensors that operators need against PyTorch's own schemas."""

from __future__ import annotations

import json
from pathlib import Path

import torch

TABLE = Path(__file__).parents[3] / "data" / "operators" / "required_tensors.json"


def _needed(operator: str) -> list[str]:
    """Tensors without a default that every overload but the out= ones takes, in order."""
    packet = getattr(torch.ops.aten, operator)
    lists = [
        [
            a.name
            for a in getattr(packet, name)._schema.arguments
            if str(a.type) == "Tensor" and not a.has_default_value()
        ]
        for name in packet.overloads()
        if not name.endswith("out")
    ]
    return [name for name in lists[0] if all(name in other for other in lists)]


def test_every_operator_needs_what_its_schemas_ask_for() -> None:
    table = json.loads(TABLE.read_text())
    stated = {op: tensors.split() for tensors, ops in table.items() for op in ops.split()}
    known = {op: tensors for op, tensors in stated.items() if hasattr(torch.ops.aten, op)}
    assert len(known) > 800
    assert {op: _needed(op) for op in known} == known
