"""Short measured trials of candidate settings on the user's real model and first batch.

Candidates take turns with plain PyTorch, so that a busy machine slows all of them alike. Nothing
that the user can see changes: gradients are taken without touching ``.grad``, buffers, attributes
and random state are put back, hooks of the user's are not called, optimizer steps run on copies.
This file measures; it does not choose.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from parallel_opt.agreement import exact_products, relative_difference, rounds_to_tf32
from parallel_opt.compat import cpu_allocations
from parallel_opt.compile_guess import CompileGuess
from parallel_opt.device_time import device_of, waiting_clock
from parallel_opt.engine import allocator
from parallel_opt.engine.fused_optimizer import FUSED_TYPES
from parallel_opt.engine.local import LocalEngine, Settings
from parallel_opt.measure import (
    OptimizerSteps,
    Ratio,
    Timing,
    fits_in_memory,
    resident_bytes,
    state_bytes,
    thinned,
    time_optimizer_steps,
    transient_memory,
)
from parallel_opt.snapshot import Snapshot, user_hooks_silenced
from parallel_opt.trial_batch import ForwardBackward

Progress = Callable[[float, str], None]
Clock = Callable[[], float]

MIN_ROUNDS = 5
MAX_ROUNDS = 25
GRACE_ROUNDS = 2
GRACE_SHARE = 0.1
"""What compiled for longer than thought still gets: rounds, and the most of the budget on top."""
CLEARLY_WORSE = {2: 1.25, 4: 1.12, 7: 1.06}
"""Rounds done -> a candidate whose fastest run takes so many times the best median is not measured
further: what is left of the budget goes to those that may still win.
"""
SHORT_S = 0.2
"""Runs shorter than this are preceded by an untimed one, since the candidate before left its data
in the caches.
"""


class TrialsImpossible(RuntimeError):
    """The model cannot be run for trial without changing what the user can see."""


@dataclass(frozen=True)
class Plain:
    """The settings of plain PyTorch."""

    precision: str = "fp32"
    compile: bool = False
    memory_format: str = "contiguous"
    fused_optimizer: bool = False
    threads: int = 0
    recompute: tuple[Any, ...] = ()
    micro_batches: int = 1


@dataclass(frozen=True)
class Trial:
    """What one candidate did. Times are absent when it was skipped or failed.

    Attributes:
        settings: The candidate; the first trial's are the yardstick's.
        forward_backward_s: Without the user's loss.
        speedup: Plain over this, forward and backward, of the runs of the same round: steadier than
            two medians when the machine is busy.
        optimizer_s: One step of all optimizers; absent without optimizers or memory for copies.
        transient_bytes: Allocator peak of forward and backward, gradients included.
        resident_bytes: Parameters, buffers, gradients and optimizer state outside of it, the state
            that the first step will make included; absent when that is not known.
        memory_curve: Seconds and bytes held, resident ones included, over forward and backward on a
            CPU; thinned for a picture.
        compile_s: Seconds until compiled code ran.
        max_relative_difference: Largest difference of an output over the largest value of plain's.
        rounding: Of plain PyTorch with TF32 on: the same, against its outputs with TF32 off.
        skipped: Why it was not tried: the budget.
        error: What it raised.
        notes: What the engine had to leave out.
        engine: Keeps the compiled code: ``engine.apply()`` has it at once.
    """

    settings: Any
    forward_backward_s: Timing | None = None
    speedup: Ratio | None = None
    optimizer_s: Timing | None = None
    transient_bytes: int | None = None
    resident_bytes: int | None = None
    memory_curve: tuple[tuple[float, int], ...] = ()
    compile_s: float = 0.0
    max_relative_difference: float | None = None
    rounding: float | None = None
    skipped: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    engine: LocalEngine | None = field(default=None, repr=False, compare=False)

    @property
    def peak_bytes(self) -> int | None:
        """Resident and transient bytes together."""
        if self.transient_bytes is None or self.resident_bytes is None:
            return None
        return self.transient_bytes + self.resident_bytes


def run_trials(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    candidates: Iterable[Settings],
    *,
    budget_s: float,
    yardstick: Any = None,
    optimizers: Iterable[torch.optim.Optimizer] = (),
    progress: Progress | None = None,
    backend: Any = "inductor",
    clock: Clock = time.perf_counter,
) -> list[Trial]:
    """Measures the yardstick and every candidate.

    Args:
        module: The user's model, in the mode it is in.
        args, kwargs: Its first batch. Tensors are copied for every run.
        candidates: Objects with the attributes of ``Settings``, and optionally
        ``predicted_compile_s``. budget_s: Wall-clock seconds for everything. A candidate whose
        compilation would probably
            not fit in what is left is skipped and says so.
        yardstick: What the candidates are compared with, outputs and times: what the user's pins
            leave of plain PyTorch. None: ``Plain()``.
        optimizers: To time their steps, on copies.
        progress: Called with the share of the work done and what is being done.
        backend: What torch.compile compiles with.
        clock: Seconds, monotonic.

    Returns:
        One trial per setting, the yardstick first, then the candidates in their order.
    """
    bench = _Bench(module, args, kwargs, list(optimizers), budget_s, progress, backend, clock)
    with user_hooks_silenced(module), torch.enable_grad():
        try:
            return bench.run([Plain() if yardstick is None else yardstick, *candidates])
        finally:
            bench.snapshot.restore()


@dataclass
class _Entry:
    """A candidate under measurement."""

    trial: Trial
    engine: LocalEngine
    samples: list[float] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)  # of the samples
    live: bool = True  # it runs
    may_win: bool = True  # not clearly worse than another

    def in_round(self, number: int) -> float:
        """Pre: it was measured then."""
        return self.samples[self.rounds.index(number)]

    @property
    def median(self) -> float:
        return Timing.of(self.samples).median_s

    @property
    def turn_s(self) -> float:
        """What its next turn will take."""
        return self.median * (2 if min(self.samples) < SHORT_S else 1)


class _Bench:
    def __init__(
        self,
        module: nn.Module,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        optimizers: list[torch.optim.Optimizer],
        budget_s: float,
        progress: Progress | None,
        backend: Any,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._deadline = clock() + budget_s
        self._budget_s = budget_s
        self._module = module
        self._optimizers = optimizers
        self._progress = progress or (lambda share, text: None)
        self._backend = backend
        self._device = device_of(module)
        self._done = waiting_clock(self._device, clock)
        self._resident = resident_bytes(module, optimizers)
        self._plain_output: list[torch.Tensor] = []
        self._round = 0
        self._compile_guess = CompileGuess(module)
        self.snapshot = Snapshot(module, parameters=fits_in_memory(self._resident, self._device))
        self._run_once = ForwardBackward(module, args, kwargs, self.snapshot.restore)

    def run(self, candidates: list[Settings]) -> list[Trial]:
        """The first candidate is the yardstick. What needs no compiling is measured before anything
        compiles: a compilation that takes longer than thought must not cost the others' turn."""
        entries = [self._entry(settings) for settings in candidates]
        plain = entries[0]
        compiling = [e for e in entries[1:] if e.trial.settings.compile]
        quick = [plain, *(e for e in entries[1:] if not e.trial.settings.compile)]
        for index, entry in enumerate(quick):
            self._progress(0.2 * index / len(quick), "preparing candidates")
            self._start(entry)
        if compiling:
            quick = [e for e in quick if e.live]
            self._rounds(quick, MIN_ROUNDS, 0.5 * self._budget_s)
            measuring_s = GRACE_ROUNDS * sum(e.turn_s for e in quick if e.samples)
            for index, entry in enumerate(compiling):
                self._progress(0.2 + 0.4 * index / len(compiling), "compiling candidates")
                self._start(entry, measuring_s)
            compiling = [e for e in compiling if e.live]
            self._grant(GRACE_ROUNDS * 2 * plain.turn_s * (1 + len(compiling)))
        others = [e for e in quick[1:] if e.live and e.may_win]
        self._rounds([plain, *compiling, *others], MAX_ROUNDS)
        steps = self._optimizer_steps()
        self._progress(1.0, "done")
        return [self._finish(entry, plain, steps) for entry in entries]

    def _entry(self, settings: Any) -> _Entry:
        engine = LocalEngine(self._module, settings, backend=self._backend)
        return _Entry(Trial(settings, engine=engine), engine)

    def _left_s(self) -> float:
        return self._deadline - self._clock()

    def _grant(self, needed_s: float) -> None:
        """Time to measure what compiled for longer than thought: it is paid for."""
        self._deadline = max(
            self._deadline, self._clock() + min(needed_s, GRACE_SHARE * self._budget_s)
        )

    def _start(self, entry: _Entry, measuring_s: float = 0.0) -> None:
        """First run: compiles, where `measuring_s` are left afterwards, compares the outputs with
        plain's, takes the memory peak."""
        settings, engine = entry.trial.settings, entry.engine
        is_plain = not self._plain_output
        guess = self._compile_guess.seconds(settings)
        if not is_plain and guess + measuring_s >= self._left_s():
            left = max(0.0, self._left_s() - measuring_s)
            reason = f"compiling would take about {guess:.0f} s, {left:.0f} s are left"
            entry.trial = replace(
                entry.trial, skipped=reason if guess > 0 else "no time was left to try it"
            )
            entry.live = False
            return
        try:
            self.snapshot.restore()
            engine.apply()
            start = self._done()
            output = self._run_once()
            first_s = self._done() - start
            difference = self._difference(output)
            rounding = self._rounding() if is_plain else None
            transient, curve = transient_memory(self._run_once, self._device)
            if is_plain and self._device.type == "cpu":
                changes = cpu_allocations(self._run_once)
                allocator.expect_blocks(max((c.bytes for c in changes), default=0))
        except Exception as error:
            if is_plain:
                raise  # the user's own forward fails: the user's error
            entry.trial = replace(entry.trial, error=f"{type(error).__name__}: {error}")
            entry.live = False
            return
        finally:
            engine.unapply()
        self._check_parameters()
        compile_s = engine.compiled.compile_s if engine.compiled is not None else 0.0
        if compile_s > 0:
            self._compile_guess.learn(settings, compile_s)
        entry.trial = replace(
            entry.trial,
            compile_s=first_s if compile_s > 0 else 0.0,
            max_relative_difference=difference,
            rounding=rounding,
            transient_bytes=transient,
            memory_curve=tuple(thinned(curve, above=self._resident)),
        )

    def _check_parameters(self) -> None:
        changed = self.snapshot.changed_parameters()
        if changed:
            raise TrialsImpossible(f"the forward writes to parameters ({', '.join(changed[:3])})")

    def _difference(self, outputs: list[torch.Tensor]) -> float:
        if not self._plain_output:
            self._plain_output = [x.detach().clone() for x in outputs]
        pairs = zip(self._plain_output, outputs, strict=True)
        return max((relative_difference(a, b) for a, b in pairs), default=0.0)

    def _rounding(self) -> float | None:
        """What TF32 does to plain's outputs: another order of its products may do as much."""
        if not rounds_to_tf32(self._device):
            return None
        self.snapshot.restore()
        with exact_products():
            return self._difference(self._run_once())

    def _rounds(self, live: list[_Entry], most: int, spare_s: float = 0.0) -> None:
        """Every live entry once per round, in an order that turns; the first is the yardstick.
        `spare_s` of the budget stay."""
        plain = live[0]
        for number in range(most):
            if number > 0:
                round_s = sum(entry.turn_s for entry in live)
                if round_s > self._left_s() - spare_s or (number >= MIN_ROUNDS and _calm(live)):
                    break
            if most == MAX_ROUNDS:
                self._progress(0.6 + 0.35 * number / MAX_ROUNDS, "measuring")
            turn = number % len(live)
            for entry in live[turn:] + live[:turn]:
                if entry is plain or self._left_s() > spare_s:
                    self._measure(entry)
            self._round += 1
            live = [entry for entry in live if entry.samples]
            if number + 1 in CLEARLY_WORSE:
                limit = CLEARLY_WORSE[number + 1] * min(entry.median for entry in live)
                for entry in live:
                    entry.may_win = entry is plain or min(entry.samples) <= limit
                live = [entry for entry in live if entry.may_win]

    def _measure(self, entry: _Entry) -> None:
        entry.engine.apply()
        try:
            if not entry.samples or entry.turn_s < 2 * SHORT_S or allocator.is_kept():
                self._run_once()
            start = self._done()
            self._run_once()
            entry.samples.append(self._done() - start)
            entry.rounds.append(self._round)
        finally:
            entry.engine.unapply()

    def _optimizer_steps(self) -> OptimizerSteps | None:
        known = [o for o in self._optimizers if type(o) in FUSED_TYPES]
        if not known or len(known) < len(self._optimizers):
            return None
        if not fits_in_memory(5 * self._resident, self._device):
            return None
        self._progress(0.95, "timing optimizer steps")
        return time_optimizer_steps(known, self._done)

    def _finish(self, entry: _Entry, plain: _Entry, steps: OptimizerSteps | None) -> Trial:
        if not entry.samples:
            if entry.live:
                return replace(entry.trial, skipped="no time was left to measure it")
            return entry.trial
        step = resident = None
        if steps is not None:
            step = steps.fused if entry.trial.settings.fused_optimizer else steps.plain
            resident = self._resident - state_bytes(self._optimizers) + steps.state_bytes
        return replace(
            entry.trial,
            resident_bytes=resident,
            forward_backward_s=Timing.of(entry.samples),
            speedup=Ratio.of([plain.in_round(r) for r in entry.rounds], entry.samples),
            optimizer_s=step,
            notes=tuple(entry.engine.notes),
        )


def _calm(entries: list[_Entry]) -> bool:
    """Whether every median is known well enough: the middle 60 % of samples lie within 4 %."""
    timings = [Timing.of(entry.samples) for entry in entries]
    return all(t.high_s - t.low_s <= 0.04 * t.median_s for t in timings)
