"""What autograd keeps of one operator, the table against saved_tensors_hooks: exactly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_counts import torch_flops, torch_saved_bytes

from parallel_opt import _core
from parallel_opt.capture import capture

Function = Callable[[Tensor, Tensor, Tensor], Tensor]


class Call(nn.Module):
    """One operator between others that keep nothing more of its operands."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.randn(4, 6))
        self.function = function

    def forward(self, index: Tensor) -> Tensor:
        return self.function(self.a.exp().mul(1.5).neg(), self.b.exp().mul(1.5).neg(), index)


class Summed(Call):
    def forward(self, index: Tensor) -> Tensor:
        return super().forward(index).sum()


def square(a: Tensor) -> Tensor:
    """A matrix that is far from singular."""
    return 0.1 * a[:6] + 8 * torch.eye(6)


def factor(a: Tensor) -> Tensor:
    return torch.linalg.cholesky(square(a) + square(a).t())


CALLS: dict[str, Function] = {
    "pad_reflect": lambda a, b, i: F.pad(a, (1, 1), "reflect") + b.sum(),
    "pad_replicate": lambda a, b, i: F.pad(a[None], (2, 1), "replicate") + b.sum(),
    "pad_circular": lambda a, b, i: F.pad(a, (1, 1), "circular") + b.sum(),
    "instance_norm": lambda a, b, i: F.instance_norm(a.view(2, 4, 6), weight=b[:, 0]),
    "instance_norm_plain": lambda a, b, i: F.instance_norm(a.view(2, 4, 6)) + b.sum(),
    "instance_norm_running": lambda a, b, i: F.instance_norm(
        a.view(2, 4, 6), torch.zeros(4), torch.ones(4), weight=b[:, 0]
    ),
    "pairwise_distance": lambda a, b, i: F.pairwise_distance(a[:4], b),
    "triplet": lambda a, b, i: F.triplet_margin_loss(a[:4], a[4:], b),
    "triplet_swap": lambda a, b, i: F.triplet_margin_loss(a[:4], a[4:], b, swap=True),
    "quantile": lambda a, b, i: torch.quantile(a, 0.3, dim=1).sum() + b.sum(),
    "take_along_dim": lambda a, b, i: torch.take_along_dim(a, i[None] % 6, 1).sum() + b.sum(),
    "smoothed_shares": lambda a, b, i: (
        F.cross_entropy(a[:4], torch.full((4, 6), 0.2), label_smoothing=0.1) + b.sum()
    ),
    "special_i0e": lambda a, b, i: torch.special.i0e(a) + b.sum(),
    "special_i1": lambda a, b, i: torch.special.i1(a) + b.sum(),
    "special_i1e": lambda a, b, i: torch.special.i1e(a) + b.sum(),
    "special_erfcx": lambda a, b, i: torch.special.erfcx(a) + b.sum(),
    "special_log_ndtr": lambda a, b, i: torch.special.log_ndtr(a) + b.sum(),
    "special_ndtri": lambda a, b, i: torch.special.ndtri(a.sigmoid()) + b.sum(),
    "index_put": lambda a, b, i: a.index_put((i,), b),
    "index_put_acc": lambda a, b, i: a.index_put((i,), b, accumulate=True),
    "index_copy": lambda a, b, i: a.index_copy(0, i, b),
    "index_add": lambda a, b, i: a.index_add(0, i, b),
    "index_fill": lambda a, b, i: a.index_fill(0, i, 1.0).sum() + b.sum(),
    "index_reduce": lambda a, b, i: a.index_reduce(0, i, b, "amax"),
    "index_reduce_mean": lambda a, b, i: a.index_reduce(0, i, b, "mean"),
    "scatter": lambda a, b, i: a.scatter(0, i[:, None].expand(4, 6), b),
    "scatter_add": lambda a, b, i: a.scatter_add(0, i[:, None].expand(4, 6), b),
    "scatter_reduce": lambda a, b, i: a.scatter_reduce(0, i[:, None].expand(4, 6), b, "sum"),
    "scatter_reduce_amax": lambda a, b, i: a.scatter_reduce(0, i[:, None].expand(4, 6), b, "amax"),
    "gather": lambda a, b, i: a.gather(0, i[:, None].expand(4, 6)) + b,
    "take": lambda a, b, i: a.take(i).sum() + b.sum(),
    "put": lambda a, b, i: a.put(i, b[:, 0].contiguous()),
    "masked_scatter": lambda a, b, i: a.masked_scatter(
        torch.ones(8, 6, dtype=torch.bool).tril(), torch.cat([b, b, b])
    ),
    "masked_select": lambda a, b, i: a.index_select(0, i) * b,
    "where": lambda a, b, i: torch.where(a[:4] > 0, a[:4], b),
    "setitem": lambda a, b, i: a.clone().index_put_((i,), b),
    "select_scatter": lambda a, b, i: a.select_scatter(b[0], 0, 1),
    "slice_scatter": lambda a, b, i: a.slice_scatter(b, 0, 0, 4),
    "diagonal_scatter": lambda a, b, i: a.diagonal_scatter(b[0][:6]),
    "cummax": lambda a, b, i: a.cummax(0)[0].sum() + b.sum(),
    "logcumsumexp": lambda a, b, i: a.logcumsumexp(0).sum() + b.sum(),
    "cumprod": lambda a, b, i: a.cumprod(0).sum() + b.sum(),
    "renorm": lambda a, b, i: a.renorm(2, 0, 1.0).sum() + b.sum(),
    "cdist": lambda a, b, i: torch.cdist(a, b),
    "unfold": lambda a, b, i: a.unfold(0, 4, 2).sum() + b.sum(),
    "kthvalue": lambda a, b, i: a.kthvalue(2, 0)[0].sum() + b.sum(),
    "median": lambda a, b, i: a.median(0)[0].sum() + b.sum(),
    "amax": lambda a, b, i: a.amax(0).sum() + b.sum(),
    "std": lambda a, b, i: a.std(0).sum() + b.sum(),
    "var_mean": lambda a, b, i: torch.var_mean(a, 0)[0].sum() + b.sum(),
    "prod": lambda a, b, i: a.prod(0).sum() + b.sum(),
    "lerp": lambda a, b, i: torch.lerp(a[:4], b, 0.3),
    "addcmul": lambda a, b, i: torch.addcmul(a[:4], b, a[4:]),
    "addcdiv": lambda a, b, i: torch.addcdiv(a[:4], b, a[4:]),
    "atan2": lambda a, b, i: torch.atan2(a[:4], b),
    "hypot": lambda a, b, i: torch.hypot(a[:4], b),
    "fmod": lambda a, b, i: torch.fmod(a[:4], b),
    "xlogy": lambda a, b, i: torch.xlogy(a[:4].abs(), b.abs()),
    "outer": lambda a, b, i: torch.outer(a[:, 0], b[:, 0]),
    "inner": lambda a, b, i: torch.inner(a, b),
    "dist": lambda a, b, i: torch.dist(a[:4], b),
    "logaddexp": lambda a, b, i: torch.logaddexp(a[:4], b),
    "nan_to_num": lambda a, b, i: torch.nan_to_num(a).sum() + b.sum(),
    "clamp_t": lambda a, b, i: torch.clamp(a[:4], b, b + 1),
    "conv_tbc": lambda a, b, i: torch.conv_tbc(
        a.view(8, 1, 6), b.view(2, 2, 6)[:1].transpose(1, 2).contiguous(), b[0][:2].contiguous()
    ),
    "solve": lambda a, b, i: torch.linalg.solve(square(a), b.t()),
    "solve_vector": lambda a, b, i: torch.linalg.solve(square(a), b[0]),
    "inv": lambda a, b, i: torch.linalg.inv(square(a)).sum() + b.sum(),
    "det": lambda a, b, i: torch.linalg.det(square(a)) + b.sum(),
    "slogdet": lambda a, b, i: torch.linalg.slogdet(square(a))[1] + b.sum(),
    "cholesky": lambda a, b, i: factor(a).sum() + b.sum(),
    "cholesky_solve": lambda a, b, i: torch.cholesky_solve(b.t(), factor(a)),
    "lu": lambda a, b, i: torch.linalg.lu(square(a))[1].sum() + b.sum(),
    "lu_solve": lambda a, b, i: torch.linalg.lu_solve(
        *torch.linalg.lu_factor(square(a)), b.t().contiguous()
    ),
    "triangular": lambda a, b, i: torch.linalg.solve_triangular(
        square(a), b.t().contiguous(), upper=True
    ),
    "svd": lambda a, b, i: torch.linalg.svd(a, full_matrices=False)[1].sum() + b.sum(),
    "svdvals": lambda a, b, i: torch.linalg.svdvals(a).sum() + b.sum(),
    "pinv": lambda a, b, i: torch.linalg.pinv(a).sum() + b.sum(),
    "qr": lambda a, b, i: torch.linalg.qr(a)[1].sum() + b.sum(),
    "eigh": lambda a, b, i: torch.linalg.eigh(square(a))[0].sum() + b.sum(),
    "eigvalsh": lambda a, b, i: torch.linalg.eigvalsh(square(a)).sum() + b.sum(),
    "eig": lambda a, b, i: torch.linalg.eig(square(a))[0].real.sum() + b.sum(),
    "matrix_power": lambda a, b, i: torch.linalg.matrix_power(square(a), 5).sum() + b.sum(),
    "multi_dot": lambda a, b, i: torch.linalg.multi_dot([a, b.t(), b]),
    "repeat_rows": lambda a, b, i: (
        a.repeat_interleave(i + 1, dim=0, output_size=18)
        if a.shape[0] == 4
        else a[:4].repeat_interleave(i + 1, dim=0, output_size=18).sum() + b.sum()
    ),
    "weight_norm": lambda a, b, i: torch._weight_norm(b, b[:, :1].exp(), 0).sum() + a.sum(),
    "cosine_similarity": lambda a, b, i: torch.cosine_similarity(a[:4], b),
    "cosine_of_all_pairs": lambda a, b, i: torch.cosine_similarity(a[:, None], b[None], dim=-1),
    "cosine_to_fixed": lambda a, b, i: torch.cosine_similarity(a[:4], b.detach()).sum() + b.sum(),
    "rfft": lambda a, b, i: torch.fft.rfft(a).abs().sum() + b.sum(),
    "rfft_padded": lambda a, b, i: torch.fft.rfft(a, n=16).real.sum() + b.sum(),
    "rfft2": lambda a, b, i: torch.fft.rfft2(a).real.sum() + b.sum(),
    "fft_of_reals": lambda a, b, i: torch.fft.fft(a).real.sum() + b.sum(),
    "irfft": lambda a, b, i: torch.fft.irfft(torch.complex(a, a)).sum() + b.sum(),
    "stft": lambda a, b, i: (
        torch.stft(
            a.flatten(), 16, window=torch.ones(16), center=False, return_complex=True
        ).real.sum()
        + b.sum()
    ),
    "bag_mean": lambda a, b, i: (
        nn.functional.embedding_bag(i, a, i[:2] // 2, mode="mean").sum() + b.sum()
    ),
    "bag_max": lambda a, b, i: (
        nn.functional.embedding_bag(i, a, i[:2] // 2, mode="max").sum() + b.sum()
    ),
    "bag_sum_of_rows": lambda a, b, i: (
        nn.functional.embedding_bag(i.view(2, 2), a, mode="sum").sum() + b.sum()
    ),
    "fold": lambda a, b, i: nn.functional.fold(a.reshape(1, 8, 6), (3, 4), (2, 2)).sum() + b.sum(),
    "affine_grid": lambda a, b, i: (
        nn.functional.affine_grid(a[:2].reshape(2, 2, 3), [2, 1, 5, 7]).exp().sum() + b.sum()
    ),
    "grid_sample": lambda a, b, i: nn.functional.grid_sample(
        a.reshape(1, 2, 4, 6), nn.functional.affine_grid(b[:1].reshape(1, 2, 3), [1, 2, 5, 7])
    ).sum(),
    "bilinear": lambda a, b, i: nn.functional.bilinear(
        a[:4], b, torch.cat([a] * 6).reshape(8, 6, 6), a[:, 0].contiguous()
    ),
    "mv": lambda a, b, i: torch.mv(a, b[0]),
    "lstsq": lambda a, b, i: torch.linalg.lstsq(a, torch.cat([b, b]))[0],
    "householder": lambda a, b, i: torch.linalg.householder_product(a, b[0]),
    "made_filters": lambda a, b, i: (
        nn.functional.conv1d(torch.ones(1, 6, 9), torch.stack([a, a], 2)).sum() + b.sum()
    ),
    "frozen_filters": lambda a, b, i: (
        nn.functional.conv1d(a.t()[None], torch.ones(2, 6, 3).exp()).sum() + b.sum()
    ),
    "einsum_of_three": lambda a, b, i: torch.einsum("ij,kj,i->ik", a, b, a[:, 0]),
    "addmm_gelu": lambda a, b, i: torch._addmm_activation(b[0].repeat(1)[:4], a, b.t()),
}


@pytest.mark.parametrize("name", CALLS)
def test_saved_bytes_are_exact(name: str) -> None:
    torch.manual_seed(0)
    model, index = Call(CALLS[name]), torch.tensor([0, 2, 5, 7])
    graph = capture(model, (index,), dynamic_batch=False, name=name)
    summary = _core.summarize(graph)
    assert summary.opaque == []
    assert summary.saved_bytes == torch_saved_bytes(model, (index,))


FACTORISATIONS: dict[str, Function] = {
    "cholesky": lambda a, b, i: factor(a).sum() + b.sum(),
    "cholesky_solve": lambda a, b, i: torch.cholesky_solve(b.t(), factor(a)),
    "cholesky_solve_fixed": lambda a, b, i: torch.cholesky_solve(b.t(), factor(a).detach()),
    "cholesky_inverse": lambda a, b, i: torch.cholesky_inverse(factor(a)).sum() + b.sum(),
    "solve": lambda a, b, i: torch.linalg.solve(square(a), b.t()),
    "solve_vector": lambda a, b, i: torch.linalg.solve(square(a), b[0]),
    "triangular": lambda a, b, i: torch.linalg.solve_triangular(square(a), b.t(), upper=True),
    "inv": lambda a, b, i: torch.linalg.inv(square(a)).sum() + b.sum(),
    "det": lambda a, b, i: torch.linalg.det(square(a)) + b.sum(),
    "lu": lambda a, b, i: torch.linalg.lu(square(a))[1].sum() + b.sum(),
    "lu_factor": lambda a, b, i: torch.linalg.lu_factor(square(a))[0].sum() + b.sum(),
    "qr": lambda a, b, i: sum(x.sum() for x in torch.linalg.qr(a)) + b.sum(),
    "qr_r": lambda a, b, i: torch.linalg.qr(a)[1].sum() + b.sum(),
    "qr_wide": lambda a, b, i: sum(x.sum() for x in torch.linalg.qr(b)) + a.sum(),
    "svd": lambda a, b, i: (
        sum(x.abs().sum() for x in torch.linalg.svd(a, full_matrices=False)) + b.sum()
    ),
    "svd_values": lambda a, b, i: torch.linalg.svd(a, full_matrices=False)[1].sum() + b.sum(),
    "svd_right": lambda a, b, i: torch.linalg.svd(b, full_matrices=False)[2].abs().sum() + a.sum(),
    "svd_left": lambda a, b, i: torch.linalg.svd(b, full_matrices=False)[0].abs().sum() + a.sum(),
    "eigh": lambda a, b, i: sum(x.abs().sum() for x in torch.linalg.eigh(square(a))) + b.sum(),
    "eigh_values": lambda a, b, i: torch.linalg.eigh(square(a))[0].sum() + b.sum(),
    "eigvalsh": lambda a, b, i: torch.linalg.eigvalsh(square(a)).sum() + b.sum(),
    "multi_dot": lambda a, b, i: torch.linalg.multi_dot([a.detach(), b.t(), b]),
    "svdvals": lambda a, b, i: torch.linalg.svdvals(a).sum() + b.sum(),
    "pinv": lambda a, b, i: torch.linalg.pinv(a).sum() + b.sum(),
    "pinv_wide": lambda a, b, i: torch.linalg.pinv(b).sum() + a.sum(),
    "lstsq": lambda a, b, i: torch.linalg.lstsq(a, torch.cat([b, b])[:, :2])[0].sum(),
    "lstsq_fixed": lambda a, b, i: torch.linalg.lstsq(a.detach(), torch.cat([b, b]))[0].sum(),
}


@pytest.mark.parametrize("name", FACTORISATIONS)
def test_the_backward_of_dense_algebra_counts_its_products(name: str) -> None:
    torch.manual_seed(0)
    model, index = Summed(FACTORISATIONS[name]), torch.tensor([0, 2, 5, 7])
    flops = _core.summarize(capture(model, (index,), dynamic_batch=False, name=name)).flops
    assert (flops.forward, flops.backward) == torch_flops(model, (index,))


# What FlopCounterMode counts of a sparse product is its backward alone.
SPARSE: dict[str, tuple[Function, float]] = {
    "mm": (lambda a, b, i: torch.sparse.mm(a.to_sparse(), b.t().contiguous()), 2 * 8 * 6 * 4),
    "addmm": (
        lambda a, b, i: torch.sparse.addmm(
            a[:4], torch.sparse_coo_tensor(torch.stack([i % 4, i % 4]), b[:, 0], (4, 4)), b
        ),
        2 * 4 * 4 * 6,
    ),
    "sum": (
        lambda a, b, i: torch.sparse.sum(
            torch.sparse_coo_tensor(torch.stack([i, i]), b[:, 0], (8, 8))
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_products_count_as_dense_ones(name: str) -> None:
    function, forward = SPARSE[name]
    model, index = Summed(function), torch.tensor([0, 2, 5, 7])
    summary = _core.summarize(capture(model, (index,), dynamic_batch=False, name=name))
    assert summary.opaque == []
    assert (summary.flops.forward, summary.flops.backward) == (forward, 2 * forward)
    assert summary.flops.backward == torch_flops(model, (index,))[1]
