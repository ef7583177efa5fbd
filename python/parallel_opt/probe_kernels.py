"""The kernels that probe.py times: which, how large, and on which threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from parallel_opt import probe_points as points
from parallel_opt.probe_points import Point

ARITHMETIC = ("matmul", "attention", "convolution", "recurrent")  # kernels begin so; others: memory


@dataclass(frozen=True)
class Curve:
    kernel: str
    dtype: str | None
    threads: int  # 0: not a matter of threads (GPU)
    all_threads: int
    points: tuple[Point, ...]

    @property
    def label(self) -> str:
        return f"{self.kernel} {self.dtype}" if self.dtype else self.kernel


def plan_curves(device: torch.device, cores: int, *, quick: bool) -> list[Curve]:
    """Every curve for a device, the most telling first: a short budget cuts the tail."""
    gpu = device.type == "cuda"
    thread_counts = [0] if gpu else sorted({1, cores})
    return [
        Curve(kernel, dtype, threads, 0 if gpu else cores, tuple(sizes))
        for kernel, dtype, sizes in _kernels(gpu, quick)
        for threads in thread_counts
    ]


def _kernels(gpu: bool, quick: bool) -> Iterator[tuple[str, str | None, list[Point]]]:
    scale = 4 if gpu else 1
    matmul = [128, 512, 1024] if quick else [64, 128, 256, 512, 1024, 2048]
    images = [points.Image(16, 16, 32), points.Image(32, 64, 16)]
    heads = [(4, 4, 128, 64)] if quick else [(2, 4, 64, 32), (4, 4, 128, 64), (4, 8, 256, 64)]
    if not quick:
        images = [points.Image(4, 16, 16), *images, points.Image(64, 64, 32)]
    if gpu:  # what fills it
        images = [points.Image(64, 64, 32), points.Image(64, 256, 28)]
        heads = [(4, 8, 256, 64), (8, 16, 1024, 64)]
        if not quick:
            images = [points.Image(16, 32, 16), *images, points.Image(128, 256, 56)]
            heads.append((8, 16, 2048, 128))
    elements = [1 << 16, 1 << 22] if quick else [1 << k for k in (12, 16, 20, 22, 23)]
    for dtype in ("fp32", "bf16"):
        yield "matmul", dtype, [points.matmul(dtype, n * scale) for n in matmul]
    yield "elementwise", None, [points.elementwise(n * scale) for n in elements]
    yield "reduce", None, [points.reduce(n * scale) for n in elements]
    few = elements if quick else elements[1:3]
    for reverse, suffix in ((False, ""), (True, "_backward")):
        sizes = [points.activation(n * scale, reverse) for n in few]
        yield "activation" + suffix, None, sizes
    yield "pooling", None, [points.pooling(n * scale) for n in few]
    rows = [1 << 9, 1 << 12] if quick else [1 << 9, 1 << 11, 1 << 13]
    for reverse, suffix in ((False, ""), (True, "_backward")):
        yield "embedding" + suffix, None, [points.embedding(n * scale, reverse) for n in rows]
    yield "copy", None, [points.copy(n * scale, "device", "device") for n in elements]
    if gpu:
        transfers = [1 << 12, 1 << 18, 1 << 24]
        yield "host_to_device", None, [points.copy(n, "host", "device") for n in transfers]
        yield "device_to_host", None, [points.copy(n, "device", "host") for n in transfers]
    for dtype in ("fp32", "bf16"):
        sizes = [points.attention(dtype, b, h, t, w, False) for b, h, t, w in heads]
        yield "attention", dtype, sizes
        sizes = [points.attention(dtype, b, h, t, w, True) for b, h, t, w in heads[-2:]]
        yield "attention_backward", dtype, sizes
    if not gpu:
        yield from _cpu_kernels(quick)
    for dtype in ("fp32", "bf16"):
        for last, suffix in ((False, ""), (True, "_channels_last")):
            if not last and dtype == "bf16" and quick:
                continue
            sizes = [points.convolution(dtype, shape, last, False) for shape in images]
            yield "convolution" + suffix, dtype, sizes
            backward = images[-2:] if gpu else images[:1] if quick else images[1:3]
            sizes = [points.convolution(dtype, shape, last, True) for shape in backward]
            yield "convolution_backward" + suffix, dtype, sizes
    if not quick:
        yield "matmul", "fp16", [points.matmul("fp16", n * scale) for n in (256, 1024)]


def _cpu_kernels(quick: bool) -> Iterator[tuple[str, str | None, list[Point]]]:
    """What only processors are probed for: a GPU's LSTM is cuDNN's, its batch norms run as other
    norms do, its optimizer's loop runs over lists of tensors, whose curves the database has."""
    images = [1 << 16] if quick else [1 << 16, 1 << 20, 1 << 22]
    for reverse, suffix in ((False, ""), (True, "_backward")):
        yield "batch_norm" + suffix, None, [points.batch_norm(n, reverse) for n in images]
    layers = [(16, 32, 128)] if quick else [(16, 32, 128), (32, 64, 256)]
    for reverse, suffix in ((False, ""), (True, "_backward")):
        yield "recurrent" + suffix, "fp32", [points.recurrent("fp32", *s, reverse) for s in layers]
    tensors = [1 << 14] if quick else [1 << k for k in (8, 14, 17, 20)]
    for fused in (False, True):
        sizes = [points.optimizer(n, fused) for n in tensors]
        yield "optimizer_fused" if fused else "optimizer", None, sizes
