"""What an averaged output averages over: samples, labels that count, or weights.

A rule is guessed from the inputs and must predict how the parts of a batch weigh in the whole.
Where one batch does not tell rules apart (no label is ignored in it), runs on altered labels do.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch

IGNORED_LABEL = -100  # torch's default ignore_index

# Largest difference between a part and the whole, relative to the largest entry.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
_LOW_PRECISION_TOLERANCE = 5e-2
_CLEARER = 5.0
"""A rule whose prediction is so many times worse than the best one's is out."""


@dataclasses.dataclass(frozen=True)
class OutputRule:
    """What one output tensor is to the batch.

    kind:
        rows: `dim` runs over samples; mean: an average over the unit `weigh` counts; sum: a sum
        over samples; same: does not depend on the batch.
    """

    kind: str
    dim: int = 0
    labels: int | None = None  # mean over entries of this input that count; None: over samples
    shifted: bool = False  # the first label of each row does not count
    ignored: int = IGNORED_LABEL  # the entry that does not count
    summed: bool = False  # the input holds weights, which are added up

    def weigh(self, inputs: Sequence[torch.Tensor], rows: int) -> float:
        """How many units of the average `inputs` hold."""
        if self.labels is None:
            return float(rows)
        labels = inputs[self.labels]
        labels = labels[..., 1:] if self.shifted else labels
        if self.summed:
            return float(labels.sum().item())
        return float((labels != self.ignored).sum().item())


@dataclasses.dataclass(frozen=True)
class Case:
    """One output of a run on a whole batch and of runs on its two parts.

    Attributes:
        rows: Samples of each part.
        inputs: Inputs of each part.
    """

    whole: torch.Tensor
    parts: Sequence[torch.Tensor]
    inputs: Sequence[Sequence[torch.Tensor]]
    rows: Sequence[int]

    def weight(self, rule: OutputRule) -> float | None:
        """The share of the first part in the whole, by the rule; None: nothing counts."""
        sizes = [rule.weigh(part, n) for part, n in zip(self.inputs, self.rows, strict=True)]
        return sizes[0] / sum(sizes) if sum(sizes) > 0 else None

    def residual(self, rule: OutputRule) -> float | None:
        """How far the parts, weighed by the rule, miss the whole; None: the rule says nothing."""
        weight = self.weight(rule)
        if weight is None:
            return None
        first, second = (part if w else torch.zeros_like(part) for part, w in self._weighed(weight))
        return difference(first * weight + second * (1 - weight), self.whole)

    def _weighed(self, weight: float) -> Iterator[tuple[torch.Tensor, float]]:
        # the mean of nothing is NaN, which a weight of 0 would spread
        return zip(self.parts, (weight, 1 - weight), strict=True)


def average_rules(
    inputs: Sequence[torch.Tensor], dims: Sequence[int | None]
) -> Iterator[OutputRule]:
    """Every average that an output may be, the usual ones first."""
    yield OutputRule("mean")
    for index, tensor in enumerate(inputs):
        if dims[index] is None:
            continue
        shifts = (False, True) if tensor.dim() >= 2 else (False,)
        for ignored, shifted in itertools.product(_entries(tensor), shifts):
            yield OutputRule("mean", labels=index, shifted=shifted, ignored=ignored)
        if tensor.is_floating_point() and tensor.dim() <= 2 and bool((tensor >= 0).all()):
            for shifted in shifts:
                yield OutputRule("mean", labels=index, shifted=shifted, summed=True)


def _entries(tensor: torch.Tensor) -> list[int]:
    """Entries that may stand for "does not count"."""
    if tensor.dtype == torch.bool:
        return [0]
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dim() < 1:
        return []
    last = int(tensor.flatten()[-1].item())  # padding stands at the end
    return [IGNORED_LABEL, *({0, last} - {IGNORED_LABEL})]


def altered(
    inputs: Sequence[torch.Tensor], dims: Sequence[int | None], cut: int, rule: OutputRule
) -> list[torch.Tensor] | None:
    """The inputs with entries that count and do not count spread unevenly over the two parts.

    Rows of the first part keep two entries and those of the second three, so that also the rule
    without each row's first entry predicts another share. None: the rule has nothing to alter.
    """
    dim = None if rule.labels is None else dims[rule.labels]
    if rule.labels is None or dim is None:
        return None
    changed = inputs[rule.labels].clone()
    first = changed.narrow(dim, 0, cut)
    second = changed.narrow(dim, cut, changed.shape[dim] - cut)
    if rule.summed:
        first.mul_(3)
    elif changed.dim() == 1 or changed.shape[-1] < 4 or dim == changed.dim() - 1:
        if cut < 2:
            return None
        first.narrow(dim, 1, cut - 1).fill_(rule.ignored)
    else:
        first[..., 2:] = rule.ignored
        second[..., 3:] = rule.ignored
    return [changed if i == rule.labels else tensor for i, tensor in enumerate(inputs)]


def choose(rules: Sequence[OutputRule], cases: Sequence[Case]) -> OutputRule | None:
    """The one rule that all cases bear out; None when there is none or two remain."""
    scores = {rule: _score(rule, cases) for rule in rules}
    fitting = [rule for rule in rules if scores[rule] <= 1]
    if not fitting:
        return None
    best = min(fitting, key=lambda rule: scores[rule])
    floor = max(scores[best], 1e-3)  # rounding differs from run to run
    rivals = [rule for rule in fitting if scores[rule] <= _CLEARER * floor]
    shares = [[case.weight(rule) for case in cases] for rule in rivals]
    if any(_differ(share, shares[0]) for share in shares[1:]):
        return None
    return rivals[0]


def fits(rule: OutputRule, case: Case, slack: float = 1.0) -> bool:
    """Whether the parts, put together by the rule, make the whole; ``slack`` widens rounding."""
    whole, parts = case.whole, case.parts
    if rule.kind == "rows":
        return _are_rows(case, rule.dim, slack)
    if any(part.shape != whole.shape for part in parts):
        return False
    if rule.kind == "same":
        return all(torch.equal(part.nan_to_num(), whole.nan_to_num()) for part in parts)
    if rule.kind == "sum":
        return close(parts[0] + parts[1], whole, slack)
    weight = case.weight(rule)
    if weight is None:  # nothing counts in this batch: it says nothing
        return True
    terms = [p * w for p, w in zip(parts, (weight, 1 - weight), strict=True) if w]
    return close(torch.stack(terms).sum(0), whole, slack)


def _are_rows(case: Case, dim: int, slack: float) -> bool:
    samples = sum(case.rows)
    factor, rest = divmod(case.whole.shape[dim], samples) if case.whole.dim() > dim else (0, 0)
    sizes = [part.shape[dim] if part.dim() == case.whole.dim() else -1 for part in case.parts]
    if rest or factor == 0 or sizes != [factor * rows for rows in case.rows]:
        return False
    try:
        together = torch.cat(list(case.parts), dim)
    except RuntimeError:  # another dimension differs as well
        return False
    return close(together, case.whole, slack)


def _score(rule: OutputRule, cases: Sequence[Case]) -> float:
    """Largest residual over the tolerance; infinite when no case says anything."""
    residuals = [(case, case.residual(rule)) for case in cases]
    said = [r / tolerance(case.whole.dtype) for case, r in residuals if r is not None]
    return max(said, default=float("inf"))


def _differ(a: Sequence[float | None], b: Sequence[float | None]) -> bool:
    pairs = zip(a, b, strict=True)
    return any(x is not None and y is not None and abs(x - y) > 1e-6 for x, y in pairs)


def tolerance(dtype: torch.dtype) -> float:
    """Largest relative difference that rounding explains."""
    return _TOLERANCE.get(dtype, _LOW_PRECISION_TOLERANCE)


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest |a - b| over the largest |b|; infinite when shapes differ. NaN counts as 0."""
    if a.shape != b.shape:
        return float("inf")
    if b.numel() == 0:
        return 0.0
    wide = torch.promote_types(b.dtype, torch.float32)
    a, b = a.to(wide).nan_to_num(), b.to(wide).nan_to_num()
    gap = float((a - b).abs().max())
    return gap / max(float(b.abs().max()), 1e-30) if gap else 0.0


def close(a: torch.Tensor, b: torch.Tensor, slack: float = 1.0) -> bool:
    """Equal but for rounding; ``slack`` widens what counts as rounding."""
    if not b.is_floating_point() and not b.is_complex():
        return a.shape == b.shape and torch.equal(a, b)
    return difference(a, b) <= slack * tolerance(b.dtype)
