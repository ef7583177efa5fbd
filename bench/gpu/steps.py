"""Question: how long is a training step of a transformer on this GPU, and what memory does it take?

    python bench/gpu/steps.py DIRECTORY

Writes training.csv and memory.csv: AdamW, cross-entropy, the tied head included in the model.
"""

from __future__ import annotations

import csv
import datetime
import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from models import GPT, VOCABULARY, Shape, gpt_task, on_gpu

SOURCE = "own measurement, bench/gpu/steps.py"
TODAY = datetime.date.today().isoformat()
WARM_UP, STEPS = 4, 8


@dataclass(frozen=True)
class Case:
    shape: Shape
    samples: int
    dtype: str
    """fp32, tf32, bf16 (autocast over fp32 weights) or bf16-pure."""
    recompute: bool = False


GPT_SMALL, GPT_MEDIUM = Shape(12, 768, 12, 1024), Shape(24, 1024, 16, 1024)
GPT_LARGE, GPT_WIDE = Shape(24, 2048, 16, 2048), Shape(16, 4096, 32, 2048)
CASES = [
    Case(GPT_SMALL, 8, "bf16"),
    Case(GPT_SMALL, 8, "tf32"),
    Case(GPT_SMALL, 8, "fp32"),
    Case(GPT_SMALL, 1, "bf16"),
    Case(GPT_SMALL, 32, "bf16", recompute=True),
    Case(GPT_MEDIUM, 8, "bf16"),
    Case(GPT_MEDIUM, 8, "bf16", recompute=True),
    Case(GPT_LARGE, 2, "bf16"),
    Case(GPT_LARGE, 4, "bf16-pure", recompute=True),
    Case(GPT_WIDE, 2, "bf16-pure"),
]


def measure(case: Case) -> dict[str, Any]:
    """Median seconds of a step and peak bytes, allocated and reserved."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    torch.set_float32_matmul_precision("high" if case.dtype == "tf32" else "highest")
    torch.manual_seed(0)
    job = gpt_task(case.shape, case.samples)
    model = on_gpu(lambda: GPT(case.shape, case.recompute))
    if case.dtype == "bf16-pure":
        model.bfloat16()
    optimizer = job.optimizer(model)
    times = []
    for step in range(WARM_UP + STEPS):
        x, y = job.batch(step)
        torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast("cuda", torch.bfloat16, enabled=case.dtype == "bf16"):
            output = model(x)
        job.loss(output, y).backward()
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    torch.set_float32_matmul_precision("highest")
    return {
        "step_s": median(times[WARM_UP:]),
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def rows() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for number, case in enumerate(CASES):
        try:
            found = measure(case)
        except torch.OutOfMemoryError:
            print(f"{case}: out of memory")
            continue
        shape = case.shape
        tokens = case.samples * shape.sequence
        common = {
            "id": f"own-step-{number:03}",
            "gpu": torch.cuda.get_device_name(),
            "gpus": 1,
            "gpus_per_node": 1,
            "framework": f"torch {torch.__version__}, eager, AdamW foreach",
            "model_name": f"GPT {shape.layers}x{shape.hidden}",
            "params_b": f"{found['parameters'] / 1e9:.4f}",
            "layers": shape.layers,
            "hidden": shape.hidden,
            "heads": shape.heads,
            "kv_heads": shape.heads,
            "ffn_hidden": 4 * shape.hidden,
            "vocab": VOCABULARY,
            "seq_len": shape.sequence,
            "dtype": case.dtype,
            **dict.fromkeys(("tp", "pp", "dp"), 1),
            "recompute": "full" if case.recompute else "none",
            "micro_batch": case.samples,
            "grad_accum": 1,
            "global_batch": case.samples,
            **dict.fromkeys(("source", "source_repo_or_paper"), SOURCE),
            **dict.fromkeys(("source_path", "source_path_or_table"), TODAY),
        }
        flops = 6.0 * found["parameters"] * tokens
        flops += 6.0 * 2 * shape.layers * shape.hidden * shape.sequence * tokens / 2  # causal
        training = {
            **common,
            "workload": "pretrain",
            "metric_iter_time_s": f"{found['step_s']:.6f}",
            "metric_tokens_per_s_per_gpu": f"{tokens / found['step_s']:.1f}",
            "metric_tflops_per_gpu": f"{flops / found['step_s'] / 1e12:.2f}",
            "tflops_kind": "model",
            "peak_memory_gb": f"{found['allocated'] / 2**30:.4f}",
        }
        memory = {
            **common,
            "training_id": common["id"],
            "peak_memory_gb": training["peak_memory_gb"],
            "memory_unit": "GiB",
            "notes": f"allocated; reserved {found['reserved'] / 2**30:.4f} GiB",
        }
        told = f"{1e3 * found['step_s']:.2f} ms, {training['peak_memory_gb']} GiB"
        print(f"{case}: {told}, {training['metric_tflops_per_gpu']} TFLOP/s", flush=True)
        yield training, memory


TRAINING = """id source_repo_or_paper source_path_or_table source_commit gpu gpu_family gpus
gpus_per_node interconnect framework workload model_name params_b layers hidden heads kv_heads
ffn_hidden vocab seq_len experts topk dtype tp pp vp cp ep dp fsdp_zero sequence_parallel recompute
micro_batch grad_accum global_batch metric_iter_time_s metric_samples_per_s
metric_tokens_per_s_per_gpu metric_tflops_per_gpu tflops_kind metric_mfu_pct metric_hfu_pct
peak_memory_gb derived notes"""
MEMORY = """id training_id source source_path gpu gpus model_name params_b seq_len dtype tp pp vp cp
ep dp fsdp_zero sequence_parallel recompute micro_batch global_batch peak_memory_gb memory_unit
notes"""


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0])
    with (
        (directory / "training.csv").open("w", newline="") as training,
        (directory / "memory.csv").open("w", newline="") as memory,
    ):
        both = [
            csv.DictWriter(file, names, restval="", extrasaction="ignore", lineterminator="\n")
            for file, names in ((training, TRAINING.split()), (memory, MEMORY.split()))
        ]
        for writer in both:
            writer.writeheader()
        for pair in rows():
            for writer, row in zip(both, pair, strict=True):
                writer.writerow(row)
            training.flush()
            memory.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
