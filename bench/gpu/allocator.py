"""Question: what does torch's caching allocator do in a training step?

    python bench/gpu/allocator.py OUTPUT.json.gz

Two training steps of a GPT and what the allocator was asked and did: the requests in order, its
segments before and after, peaks allocated and reserved. To check an allocator model against.
"""

from __future__ import annotations

import gc
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch
from models import GPT, Shape, gpt_task, on_gpu

NAMES = "alloc free_requested free_completed segment_alloc segment_free segment_map segment_unmap"
ACTIONS = NAMES.split()


def segments() -> list[dict[str, Any]]:
    """The allocator's segments now, with the sizes and states of their blocks."""
    return [
        {
            "address": segment["address"],
            "size": segment["total_size"],
            "kind": segment["segment_type"],
            "blocks": [[block["size"], block["state"]] for block in segment["blocks"]],
        }
        for segment in torch.cuda.memory_snapshot()
    ]


def record(shape: Shape, samples: int, dtype: str, recompute: bool) -> dict[str, Any]:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.manual_seed(0)
    job = gpt_task(shape, samples)
    model = on_gpu(lambda: GPT(shape, recompute))
    optimizer = job.optimizer(model)
    torch.cuda.memory._record_memory_history(max_entries=200_000, context=None)
    before = segments()
    marks = []
    for step in range(3):
        x, y = job.batch(step)
        marks.append(torch.cuda.memory_stats()["allocation.all.allocated"])
        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == "bf16"):
            output = model(x)
        job.loss(output, y).backward()
        optimizer.step()
        optimizer.zero_grad()
        del output
    torch.cuda.synchronize()
    after = segments()
    stats = torch.cuda.memory_stats()
    trace = torch.cuda.memory._snapshot()["device_traces"][torch.cuda.current_device()]
    torch.cuda.memory._record_memory_history(enabled=None)
    first = trace[0]["time_us"] if trace else 0
    return {
        "model": {"layers": shape.layers, "hidden": shape.hidden, "heads": shape.heads},
        "sequence": shape.sequence,
        "samples": samples,
        "dtype": dtype,
        "recompute": recompute,
        "columns": ["action", "address", "size", "time_us"],
        "actions": ACTIONS,
        "allocations_before_step": marks,
        "trace": [
            [ACTIONS.index(e["action"]), e["addr"], e["size"], e["time_us"] - first]
            for e in trace
            if e["action"] in ACTIONS
        ],
        "before": before,
        "after": after,
        "stats": {
            name: value
            for name, value in stats.items()
            if name.endswith(".all.peak") or name in ("num_alloc_retries", "num_ooms")
        },
    }


def main(arguments: list[str]) -> int:
    small = Shape(12, 768, 12, 1024)
    cases = [(small, 8, "bf16", False), (small, 8, "fp32", False), (small, 8, "bf16", True)]
    document = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "settings": "default (no PYTORCH_ALLOC_CONF)",
        "cases": [record(*case) for case in cases],
    }
    with gzip.open(arguments[0], "wt") as file:
        json.dump(document, file, separators=(",", ":"))
    size = Path(arguments[0]).stat().st_size
    for case in document["cases"]:
        stats = case["stats"]
        told = [
            f"{stats[f'{kind}_bytes.all.peak'] / 2**30:.3f}" for kind in ("allocated", "reserved")
        ]
        print(case["dtype"], len(case["trace"]), "events, GiB allocated, reserved:", *told)
    print(size, "bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
