#!/usr/bin/env python3
"""Writes docs/coverage.md: what the core counts of every architecture of the tests, beside torch.

Run by hand, with transformers installed: ``python tools/coverage.py`` (about two minutes). A test
compares the table with the architectures that there are.
"""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/python/graph"))

HEAD = """# Coverage

Written by `tools/coverage.py`; do not edit. Every model is one of
`tests/python/graph/architectures/`, small, in training mode (`wav2vec2` in eval mode), with
one batch; it returns its loss.
`tests/python/graph/test_architectures.py` checks all of it: parameters exactly, FLOPs exactly,
saved bytes within 2 %. `bloom` has an autograd.Function of its own,
which an export looks into: what it keeps is observed in a run on fake tensors.

- *level*: how `parallel_opt.capture` got the graph.
- *operators, targets*: in the graph, views included; distinct ones.
- *forward, backward*: FLOPs of contractions, convolutions, attention and recurrent layers, 2 per
  multiply-add; ours, and torch's `FlopCounterMode` run with `sdpa_kernel(MATH)` and without oneDNN,
  less its known faults (marked: *g* counts the backward of grouped convolutions (1 + groups) times
  the forward; *e* does not look into the operator that runs the experts of transformers).
- *saved*: bytes kept for the backward; ours, and distinct storages that `saved_tensors_hooks` sees,
  parameters, buffers and inputs left out.
- *opaque*: share of all FLOPs in operators without a row in the table.
"""


def main() -> int:
    warnings.simplefilter("ignore")
    import torch
    from architectures import ARCHITECTURES
    from test_architectures import EXPERTS, KNOWN_FAULTS
    from torch_counts import torch_flops, torch_saved_bytes, watch_faults

    from parallel_opt import _core
    from parallel_opt.capture import capture

    torch.set_num_threads(1)
    seen: Counter[str] = Counter()
    rows = []
    for name, architecture in ARCHITECTURES.items():
        torch.manual_seed(0)
        model, inputs = architecture.make()
        graph = capture(model, (), inputs, dynamic_batch=False, name=name)
        summary = _core.summarize(graph)
        with watch_faults(model) as faults:
            forward, backward = torch_flops(model, (), inputs)
        targets = {op.target for op in graph.ops}
        seen.update(targets)
        fault = KNOWN_FAULTS.get(name)
        mark = "" if fault is None else (" *e*" if fault == EXPERTS else " *g*")
        opaque = sum(o.flops_share for o in summary.opaque)
        columns = [
            f"`{name}`{mark}",
            architecture.family,
            graph.source.removeprefix("torch."),
            summary.operators,
            len(targets),
            summary.parameters,
            f"{summary.flops.forward:.0f}",
            forward + faults.forward,
            f"{summary.flops.backward:.0f}",
            backward + faults.backward,
            summary.saved_bytes,
            torch_saved_bytes(model, (), inputs),
            f"{opaque:.0%}",
        ]
        rows.append("| " + " | ".join(str(column) for column in columns) + " |")
        print(rows[-1], flush=True)
    head = (
        "| architecture | family | level | operators | targets | parameters | forward | torch's "
        "| backward | torch's | saved | seen | opaque |"
    )
    table = [head, "|---|---|---|" + "--:|" * 10, *rows]
    families = len({a.family for a in ARCHITECTURES.values()})
    used = ", ".join(f"`{target}`" for target in sorted({t.rsplit(".", 1)[0] for t in seen}))
    text = (
        f"{HEAD}\n{len(rows)} architectures of {families} families:\n\n"
        + "\n".join(table)
        + f"\n\n## Operators seen\n\n{used}\n"
    )
    (ROOT / "docs/coverage.md").write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
