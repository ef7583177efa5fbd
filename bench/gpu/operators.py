"""Question: how long do the operators of a transformer take on this GPU, by shape and type?

    python bench/gpu/operators.py DIRECTORY

Writes gemm.csv and op_profiles.csv. Median of rounds that begin with a cold L2 cache.
"""

from __future__ import annotations

import csv
import datetime
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from triton.testing import do_bench  # type: ignore[import-not-found]

DTYPES = {
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp32": torch.float32,
    "tf32": torch.float32,
}
PEAK = {"bf16": 989.4, "fp16": 989.4, "tf32": 494.7, "fp32": 66.9}  # H100 and H200 SXM, dense
TRANSFORMER = [(768, 4096), (768, 8192), (1024, 8192), (2048, 4096), (2048, 16384), (4096, 8192)]
TRANSFORMER += [(5120, 4096), (8192, 4096)]  # hidden size, tokens
SOURCE = "own measurement, bench/gpu/operators.py"
MOST_SLOW_FLOPS = 1.2e12  # of one fp32 product: more would eat the session
MIB = float(2**20)


def software() -> str:
    return f"torch {torch.__version__}, triton do_bench median, cold L2"


def seconds(call: Callable[[], object], milliseconds: int = 25) -> float:
    found = do_bench(call, warmup=5, rep=milliseconds, return_mode="median")
    return float(found) * 1e-3


def gemm_shapes() -> Iterator[tuple[int, int, int, int]]:
    for n in (128, 256, 512, 1024, 2048, 4096, 8192):
        yield 1, n, n, n
    for hidden, tokens in TRANSFORMER:
        yield 1, tokens, 3 * hidden, hidden
        yield 1, tokens, hidden, hidden
        yield 1, tokens, 4 * hidden, hidden
        yield 1, tokens, hidden, 4 * hidden
    yield 1, 8192, 50304, 768
    yield 1, 8192, 50304, 2048
    for batch, m, n, k in ((96, 1024, 1024, 64), (96, 1024, 64, 1024), (16, 2048, 2048, 128)):
        yield batch, m, n, k
    for m in (1, 16, 64, 256):  # few rows
        yield 1, m, 4096, 4096


def gemm_rows(device: str) -> Iterator[dict[str, Any]]:
    for dtype, torch_dtype in DTYPES.items():
        torch.set_float32_matmul_precision("high" if dtype == "tf32" else "highest")
        for batch, m, n, k in gemm_shapes():
            flops = 2.0 * batch * m * n * k
            if dtype == "fp32" and flops > MOST_SLOW_FLOPS:
                continue
            left = (batch, m, k) if batch > 1 else (m, k)
            right = (batch, k, n) if batch > 1 else (k, n)
            a = torch.randn(left, device="cuda").to(torch_dtype)
            b = torch.randn(right, device="cuda").to(torch_dtype)
            took = seconds(lambda a=a, b=b: a @ b)  # type: ignore[misc]
            rate = flops / took / 1e12
            yield {
                "gpu": device,
                "op": "bmm" if batch > 1 else "mm",
                "batch": batch if batch > 1 else "",
                "m": m,
                "n": n,
                "k": k,
                "dtype": dtype,
                "tflops": f"{rate:.2f}",
                "peak_tflops": PEAK[dtype],
                "efficiency_pct": f"{100 * rate / PEAK[dtype]:.1f}",
                "notes": f"{1e6 * took:.2f} us",
            }
    torch.set_float32_matmul_precision("highest")


Made = tuple[Callable[[], Any], list[Tensor], float]  # forward, what has gradients, weight bytes


def _needs(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, device="cuda").to(dtype).requires_grad_()


def profile_calls(
    hidden: int, heads: int, sequence: int, samples: int, dtype: torch.dtype
) -> Iterator[tuple[str, Made]]:
    """The operators of a GPT block and its surroundings, one by one."""
    x = _needs(samples, sequence, hidden, dtype=dtype)
    wide = _needs(samples, sequence, 4 * hidden, dtype=dtype)
    size = float(x.element_size())
    weight, bias = _needs(hidden, dtype=dtype), _needs(hidden, dtype=dtype)
    norm = lambda: F.layer_norm(x, (hidden,), weight, bias)  # noqa: E731
    yield "layernorm", (norm, [x, weight, bias], 2 * hidden * size)
    yield "rmsnorm", (lambda: F.rms_norm(x, (hidden,), weight), [x, weight], hidden * size)
    for name, given, out in (
        ("attention-qkv", x, 3 * hidden),
        ("attention-dense", x, hidden),
        ("mlp-up", x, 4 * hidden),
        ("mlp-down", wide, hidden),
    ):
        w = _needs(out, given.shape[-1], dtype=dtype)
        b = _needs(out, dtype=dtype)
        call = lambda g=given, w=w, b=b: F.linear(g, w, b)  # type: ignore[misc]  # noqa: E731
        yield name, (call, [given, w, b], (w.numel() + out) * size)
    shape = (samples, heads, sequence, hidden // heads)
    q, k, v = (_needs(*shape, dtype=dtype) for _ in range(3))
    for causal in (True, False):
        attention = lambda c=causal: F.scaled_dot_product_attention(q, k, v, is_causal=c)  # type: ignore[misc]  # noqa: E731
        yield "attention-sdpa" + ("-causal" if causal else ""), (attention, [q, k, v], 0.0)
    yield "gelu", (lambda: F.gelu(wide), [wide], 0.0)
    yield "residual-add", (lambda: x + x.detach(), [x], 0.0)
    yield "dropout", (lambda: F.dropout(x, 0.1), [x], 0.0)
    yield "softmax", (lambda: F.softmax(wide, -1), [wide], 0.0)
    yield "cast-to-fp32", (lambda: wide.float(), [wide], 0.0)
    vocabulary = 50304
    tokens = torch.randint(vocabulary, (samples, sequence), device="cuda")
    table = _needs(vocabulary, hidden, dtype=dtype)
    yield "embedding", (lambda: F.embedding(tokens, table), [table], table.numel() * size)
    logits = _needs(samples * sequence, vocabulary, dtype=torch.float32)
    target = tokens.flatten()
    yield "cross-entropy-fp32", (lambda: F.cross_entropy(logits, target), [logits], 0.0)


def profile_rows(device: str) -> Iterator[dict[str, Any]]:
    shapes = [(768, 12, 1024, 8), (1024, 16, 1024, 8), (2048, 16, 2048, 2), (4096, 32, 2048, 2)]
    for hidden, heads, sequence, samples in shapes:
        for name in ("bf16", "fp32", "tf32", "fp16"):
            torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
            for op, made in profile_calls(hidden, heads, sequence, samples, DTYPES[name]):
                yield {
                    "gpu": device,
                    "model": f"hidden {hidden} heads {heads} sequence {sequence}",
                    "dtype": name,
                    "micro_batch": samples,
                    "tp": 1,
                    "op_name": op,
                    **_profile(*made),
                }
            torch.cuda.empty_cache()
    torch.set_float32_matmul_precision("highest")
    yield from _optimizer_rows(device)


def _profile(call: Callable[[], Any], inputs: list[Tensor], weights: float) -> dict[str, Any]:
    out = call()
    gradient = torch.ones_like(out)
    backward = lambda: torch.autograd.grad(out, inputs, gradient, retain_graph=True)  # noqa: E731
    forward_s, backward_s = seconds(call, 15), seconds(backward, 15)
    given = inputs[0].numel() * inputs[0].element_size()
    return {
        "fwd_us": f"{1e6 * forward_s:.3f}",
        "bwd_us": f"{1e6 * backward_s:.3f}",
        "input_MB": f"{given / MIB:.3f}",
        "output_MB": f"{out.numel() * out.element_size() / MIB:.3f}",
        "weights_MB": f"{weights / MIB:.3f}",
    }


def _optimizer_rows(device: str) -> Iterator[dict[str, Any]]:
    for millions in (1, 10, 100, 350):
        for fused in (False, True):
            parameters = [_needs(250_000, 4, dtype=torch.float32) for _ in range(millions)]
            for parameter in parameters:
                parameter.grad = torch.full_like(parameter, 1e-3)
            optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=fused, foreach=not fused)
            optimizer.step()
            took = seconds(optimizer.step, 30)
            yield {
                "gpu": device,
                "model": f"{millions}e6 parameters in {millions} tensors",
                "dtype": "fp32",
                "op_name": "adamw-fused" if fused else "adamw-foreach",
                "fwd_us": f"{1e6 * took:.3f}",
                "weights_MB": f"{4e6 * millions / MIB:.3f}",
            }


GEMM = "id,source,source_path,source_commit,gpu,op,batch,m,n,k,dtype,tflops,peak_tflops,"
GEMM += "efficiency_pct,software,derived,notes"
PROFILE = "id,source,source_path,source_commit,gpu,model,dtype,micro_batch,tp,algo,op_name,fwd_us,"
PROFILE += "bwd_us,input_MB,output_MB,weights_MB,activations_MB,fwd_reserved_MB,bwd_reserved_MB,"
PROFILE += "repeats_in_model"


def write(path: Path, header: str, prefix: str, rows: Iterator[dict[str, Any]]) -> None:
    names = header.split(",")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="", extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for number, row in enumerate(rows):
            fixed = {"id": f"{prefix}-{number:03}", "source": SOURCE, "software": software()}
            fixed["source_path"] = datetime.date.today().isoformat()
            writer.writerow(fixed | row)
            file.flush()


def main(arguments: list[str]) -> int:
    directory = Path(arguments[0])
    device = torch.cuda.get_device_name()
    write(directory / "gemm.csv", GEMM, "own-gemm", gemm_rows(device))
    write(directory / "op_profiles.csv", PROFILE, "own-op", profile_rows(device))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
