"""Finds out which dimension of each input and output runs over samples, by trying.

The module runs on the whole batch and on two parts of it (without gradients, with random draws
and batch statistics fixed). A dimension carries samples when the parts' outputs, put together,
equal the whole's. So whatever couples samples inside the model is noticed, and such a model is
not sliced.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from parallel_opt.engine.averages import (
    Case,
    OutputRule,
    altered,
    average_rules,
    choose,
    close,
    fits,
)
from parallel_opt.engine.draws import DrawRule, match_draws
from parallel_opt.engine.layout_proof import proof_fault
from parallel_opt.engine.layout_trial import Run, Trial, narrow, run_trial, undisturbed
from parallel_opt.engine.layout_variants import variants

MAX_CANDIDATES = 12
MAX_ALTERED = 8
"""Runs on altered labels, until what an average is over is known."""
UNEVEN_NORM = "a batch norm sees parts of the batch by themselves"
BRANCHES = "it branches on values of the whole batch"
NO_BATCH = "no input tensor has a dimension of two or more samples"
VARIANT_SLACK = 10.0
"""Inputs made up for the search may round worse than real ones."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a module's inputs, outputs and random draws relate to the batch.

    `whole_because` says why the module must see the whole batch; empty when it may be sliced.
    """

    input_dims: tuple[int | None, ...]
    outputs: tuple[OutputRule, ...] = ()
    draws: tuple[DrawRule, ...] = ()
    batch_norm: bool = False
    random: bool = False
    branches: bool = False  # it branches on values of the whole batch, always to the same result
    whole_because: str = ""

    def samples(self, inputs: Sequence[torch.Tensor]) -> int:
        """Batch size of `inputs`; 1 when no input carries the batch."""
        for tensor, dim in zip(inputs, self.input_dims, strict=True):
            if dim is not None:
                return tensor.shape[dim]
        return 1


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """One batch, run whole and in two parts."""

    samples: int
    cut: int
    parts_inputs: list[list[torch.Tensor]]
    whole: Trial
    parts: list[Trial]

    def nested_otherwise(self) -> bool:
        return any(part.signature != self.whole.signature for part in self.parts)

    def written_from_the_batch(self) -> str:
        """What the parts leave with another value than the whole, in words; "" for none."""
        if self.whole.overwritten:
            return f"its input {self.whole.overwritten[0]}"
        runs = [self.whole.written, *(part.written for part in self.parts)]
        for name in sorted(set().union(*runs)):
            values = [run.get(name) for run in runs]
            whole = values[0]
            if whole is None or not all(v is not None and close(v, whole) for v in values[1:]):
                return name
        return ""

    def counted(self) -> str:
        """What it returns that is no tensor and is another value for a part; "" for nothing."""
        for index, value in enumerate(self.whole.constants):
            if any(not _same_value(part.constants[index], value) for part in self.parts):
                return f"it returns {_shown(value)}, which part of the batch does not"
        return ""

    def apart(self) -> str:
        """What of the whole batch the parts would do by themselves, in words; "" for nothing."""
        if self.whole.coupled:
            return self.whole.coupled
        first, second = (part.moments for part in self.parts)
        if not len(first) == len(second) == len(self.whole.moments):
            return UNEVEN_NORM
        pieces = zip(self.whole.moments, first, second, strict=True)
        even = all(close(a + b, whole, VARIANT_SLACK) for whole, a, b in pieces)
        return "" if even else UNEVEN_NORM

    def branches(self, dims: Sequence[int | None]) -> bool:
        """Whether Python read values of the batch other than row by row."""
        whole, first, second = (_decisions(trial, dims) for trial in (self.whole, *self.parts))
        return whole != first + second

    def takes_another_way(self, dims: Sequence[int | None]) -> bool:
        """Whether a part went another way than the whole: Python read truths only, and others."""
        whole, *parts = (_decisions(trial, dims) for trial in (self.whole, *self.parts))
        truths = all(isinstance(value, bool) for value in itertools.chain(whole, *parts))
        return truths and any(part != whole for part in parts)

    def case(self, index: int) -> Case:
        rows = (self.cut, self.samples - self.cut)
        pieces = [part.outputs[index] for part in self.parts]
        return Case(self.whole.outputs[index], pieces, self.parts_inputs, rows)


class _Search:
    """Tries one module on one batch."""

    def __init__(self, module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]) -> None:
        self._module, self._run, self._inputs = module, run, inputs
        self._whole: Trial | None = None

    def find(self) -> Layout:
        reason = NO_BATCH
        for dims in itertools.islice(_candidates(self._inputs), MAX_CANDIDATES):
            layout = self._judge(dims)
            if isinstance(layout, Layout):
                return layout
            reason = layout if reason == NO_BATCH else reason  # the likeliest guess explains best
        return Layout((None,) * len(self._inputs), whole_because=reason)

    def compare(
        self, inputs: Sequence[torch.Tensor], dims: Sequence[int | None], whole: Trial | None = None
    ) -> _Comparison:
        """Raises what the user's code raises."""
        samples = Layout(tuple(dims)).samples(inputs)
        cut = samples - max(1, samples // 3)  # unequal parts: a coincidence of sizes shows
        parts = [narrow(inputs, dims, 0, cut), narrow(inputs, dims, cut, samples - cut)]
        whole = whole or run_trial(self._module, self._run, inputs)
        trials = [run_trial(self._module, self._run, part) for part in parts]
        return _Comparison(samples, cut, parts, whole, trials)

    def _judge(self, dims: tuple[int | None, ...]) -> Layout | str:
        """The layout when `dims` carry samples, else why they do not."""
        self._whole = self._whole or run_trial(self._module, self._run, self._inputs)
        try:
            found = self.compare(self._inputs, dims, self._whole)
        except Exception as error:  # the user's code may refuse a part in any way
            return f"it does not run on part of the batch ({type(error).__name__}: {error})"
        if found.nested_otherwise():
            return "its outputs are nested differently for part of the batch"
        whole = found.whole
        if whole.opaque:
            return f"it returns a {whole.opaque}, whose tensors cannot be told apart"
        written = found.written_from_the_batch()
        if written:
            return f"it writes {written} from the batch"
        if reason := found.counted() or found.apart():
            return reason
        if whole.unsettled:
            return f"it draws random numbers by {', '.join(sorted(set(whole.unsettled)))}"
        first = next(i for i, dim in enumerate(dims) if dim is not None)
        steps = self._inputs[first].shape[0] if dims[first] else None
        draws = match_draws(whole.draws, found.parts[0].draws, found.samples, found.cut, steps)
        if draws is None:
            return "it draws random numbers in another pattern for part of the batch"
        branches = found.branches(dims)
        rules = self._rules(found, dims)
        if isinstance(rules, str):
            return BRANCHES if branches else rules
        layout = Layout(dims, rules, tuple(draws), whole.batch_norm, whole.random, branches)
        judged = self._stress(layout)
        if isinstance(judged, Layout):
            judged = proof_fault(judged, self._module, self._run, self._inputs) or judged
        return judged

    def _rules(
        self, found: _Comparison, dims: Sequence[int | None]
    ) -> tuple[OutputRule, ...] | str:
        rules: list[OutputRule] = []
        more: list[_Comparison] | None = None
        for index in range(len(found.whole.outputs)):
            case = found.case(index)
            rule = _plain_rule(case)
            if rule is None:
                if more is None:
                    more = list(self._altered(found, dims))
                rule = _average_rule(index, [found, *more], self._inputs, dims)
            if rule is None and fits(OutputRule("sum"), case):
                rule = OutputRule("sum")
            if rule is None:
                return f"output {index} is not made of per-sample rows, sums or means"
            rules.append(rule)
        return tuple(rules)

    def _altered(self, found: _Comparison, dims: Sequence[int | None]) -> Iterator[_Comparison]:
        """Runs on labels that tell what an average is over; those that the model takes."""
        tried: set[tuple[int | None, int, bool]] = set()
        for rule in average_rules(self._inputs, dims):
            key = (rule.labels, rule.ignored, rule.summed)
            if key in tried or len(tried) >= MAX_ALTERED or not self._may_alter(rule):
                continue
            inputs = altered(self._inputs, dims, found.cut, rule)
            if inputs is None:
                continue
            tried.add(key)
            with contextlib.suppress(Exception):  # no label for this model: it says nothing
                comparison = self.compare(inputs, dims)
                if not comparison.nested_otherwise():
                    yield comparison

    def _may_alter(self, rule: OutputRule) -> bool:
        """An index out of range kills a CUDA process: there only what the batch holds already."""
        if rule.labels is None:
            return False
        tensor = self._inputs[rule.labels]
        return tensor.device.type == "cpu" or bool((tensor == rule.ignored).any())

    def _stress(self, layout: Layout) -> Layout | str:
        """The layout when it holds for other inputs of the same form, else why it does not.

        A branch on values of the whole batch is harmless when the parts, sent the other way, still
        give their share of the whole: a mask looked at only to leave it out, for example.
        """
        harmless = not layout.branches
        for inputs in variants(self._inputs, layout.input_dims):
            try:
                found = self.compare(inputs, layout.input_dims)
            except Exception:  # made-up inputs that the model refuses say nothing
                continue
            reason = _fault(layout, found, VARIANT_SLACK)
            if reason and layout.branches:
                return BRANCHES
            if reason:
                return f"for other values than this batch's {reason}"
            harmless = harmless or found.takes_another_way(layout.input_dims)
        return layout if harmless else BRANCHES


def find_layout(module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]) -> Layout:
    """The layout of ``run(inputs)``, which calls `module`. The module is left as it was.

    Costs one forward pass on the whole batch and, when the first guess holds, one on each part,
    then the same for a few made-up batches.
    """
    with undisturbed(module):
        return _Search(module, run, inputs).find()


def layout_fault(
    layout: Layout, module: torch.nn.Module, run: Run, inputs: Sequence[torch.Tensor]
) -> str:
    """Why a layout that was found on another batch does not hold for this one; "" when it does."""
    if layout.whole_because or layout.samples(inputs) < 2:
        return ""
    with undisturbed(module):
        try:
            found = _Search(module, run, inputs).compare(inputs, layout.input_dims)
        except Exception as error:  # the user's code may refuse a part in any way
            return f"it does not run on part of the batch ({type(error).__name__}: {error})"
        return _fault(layout, found)


def _fault(layout: Layout, found: _Comparison, slack: float = 1.0) -> str:
    if found.nested_otherwise() or len(layout.outputs) != len(found.whole.outputs):
        return "its outputs are nested differently for part of the batch"
    if found.whole.opaque:
        return f"it returns a {found.whole.opaque}, whose tensors cannot be told apart"
    written = found.written_from_the_batch()
    if written:
        return f"it writes {written} from the batch"
    if reason := found.counted() or found.apart():
        return reason
    if not layout.branches and found.branches(layout.input_dims):
        return BRANCHES
    for index, rule in enumerate(layout.outputs):
        if not fits(rule, found.case(index), slack):
            return f"output {index} is not made of per-sample {_PLURAL[rule.kind]}"
    return ""


_PLURAL = {"rows": "rows", "mean": "means", "sum": "sums", "same": "constants"}


def _same_value(a: Any, b: Any) -> bool:
    return bool(a == b) or (a != a and b != b)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"a {type(value).__name__}"


def _decisions(trial: Trial, dims: Sequence[int | None]) -> list[Any]:
    """The values read that depend on inputs which carry samples."""
    return [d.value for d in trial.decisions if any(dims[i] is not None for i in d.origins)]


def _plain_rule(case: Case) -> OutputRule | None:
    """Rows, or the same for every batch; None: something else."""
    for dim in range(case.whole.dim()):
        rule = OutputRule("rows", dim)
        if fits(rule, case):
            return rule
    if any(part.shape != case.whole.shape for part in case.parts):
        return None
    same = OutputRule("same")
    return same if fits(same, case) else None


def _average_rule(
    index: int,
    found: Sequence[_Comparison],
    inputs: Sequence[torch.Tensor],
    dims: Sequence[int | None],
) -> OutputRule | None:
    first = found[0].case(index)
    shapes = {part.shape for part in first.parts}
    if shapes != {first.whole.shape} or not first.whole.is_floating_point():
        return None
    cases = [comparison.case(index) for comparison in found]
    return choose(list(average_rules(inputs, dims)), cases)


def _candidates(inputs: Sequence[torch.Tensor]) -> Iterator[tuple[int | None, ...]]:
    """Guesses which dimension of each input carries samples, the usual ones first."""
    first = next((i for i, t in enumerate(inputs) if t.dim() > 0), None)
    if first is None or inputs[first].shape[0] < 2:
        return
    for lead in range(min(2, inputs[first].dim())):
        samples = inputs[first].shape[lead]
        if samples < 2:
            continue
        choices: list[list[int | None]] = []
        for index, tensor in enumerate(inputs):
            if index == first:
                choices.append([lead])
                continue
            order = sorted(range(tensor.dim()), key=lambda d: (d != lead, d))
            fitting: list[int | None] = [d for d in order if tensor.shape[d] == samples]
            choices.append([*fitting[:2], None])
        yield from itertools.islice(itertools.product(*choices), MAX_CANDIDATES)
