"""Puts a plan into effect on the user's module, and takes it off again."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from parallel_opt.device_time import FiniteWatch, StepClock, device_of
from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.optimizers import find_optimizers, parameter_ids
from parallel_opt.engine.settings import Settings
from parallel_opt.engine.verify import Verification, fallback_settings, is_better
from parallel_opt.options import Options
from parallel_opt.planner import Session
from parallel_opt.record import Recorder

log = logging.getLogger("parallel_opt")


class Engine:
    """Runs one module by one plan: its own speed-ups on each rank, and the ranks together.

    ``apply()`` and ``unapply()`` are symmetric; parameters and their names never change.
    """

    def __init__(self, module: nn.Module, session: Session, options: Options) -> None:
        self.module, self.session = module, session
        plan, group = session.plan, session.group
        self._options = options
        self.local = session.engine or LocalEngine(module, Settings.of(plan, group.rank))
        self._fallback: LocalEngine | None = None  # takes turns with `local` in the verification
        if _verifiable(session, options):
            other = fallback_settings(plan, session.plain, options)
            self._fallback = session.fallback or LocalEngine(module, other)
        session.engine = session.fallback = None  # what is told of the run outlives the module
        for optimizer in find_optimizers(module.parameters()):
            self._adopt_everywhere(optimizer)
        self.parallel = DataParallel(
            module,
            group,
            shares=plan.shares if group.size > 1 else (),
            engine=options.engine,
            view=options.view,
            sync_batch_norm=options.sync_batch_norm,
            # Compiled code cannot draw one process's masks; it would fall back to eager.
            draws="independent" if plan.execution.compile else "exact",
        )
        self._ids = parameter_ids(list(module.parameters()))
        clock = StepClock(device_of(module))
        self.recorder = Recorder(session, self._ids, plan.global_batch, clock)
        self._hook: Any = None
        self._noted = 0
        self._gradients: FiniteWatch | None = FiniteWatch(self._not_finite)
        self._verification = Verification() if self._fallback is not None else None

    def apply(self) -> None:
        """Collective when there are several ranks."""
        self.local.apply()
        self.parallel.apply()
        self._hook = register_optimizer_step_pre_hook(self._adopt)
        self._take_notes()

    def unapply(self) -> None:
        """Leave the module as it was, with its present parameters."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        self.parallel.unapply()
        for engine in self._engines():
            engine.unapply()
        self.recorder.close()

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Gradients of backwards within it stay on their rank."""
        return self.parallel.no_sync()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not (self.module.training and torch.is_grad_enabled()):
            return self.parallel(*args, **kwargs)
        self.recorder.forward_begins()
        if self._verification is not None:
            self._take_turns(self._verification)
        output = self.parallel(*args, **kwargs)
        self.recorder.forward_ends()
        self._take_notes()
        if self._gradients is not None:
            self._gradients.poll()
            self._watch(output)
        return output

    def _engines(self) -> list[LocalEngine]:
        return [self.local] if self._fallback is None else [self.local, self._fallback]

    def _run_with(self, engine: LocalEngine) -> None:
        for other in self._engines():
            if other is not engine:
                other.unapply()
        engine.apply()

    def _take_turns(self, verification: Verification) -> None:
        """Between two steps: hand in the time of the last one, choose how the next one runs."""
        assert self._fallback is not None
        step_s = self.recorder.take_last_step_s()
        if step_s is not None:
            verification.step_ended(step_s)
        if verification.done:
            self._verification = None
            self.recorder.paused = False
            self._conclude(verification)
        else:
            self._run_with(self._fallback if verification.next_is_plain() else self.local)
            self.recorder.paused = not verification.next_counts()

    def _conclude(self, verification: Verification) -> None:
        """Keep the plan when it proves better than its fallback on the user's own steps.

        A plan that was given is kept in any case: whoever gives it wants it.
        """
        fallback, plain = self._fallback, self.session.plain
        assert fallback is not None
        if plain is None:
            text = verification.text("the same without compilation and fused optimizer")
            self.recorder.event("plan", text)
            if verification.ratio() < 1.0:
                self.session.note(f"the given plan is slower than need be: {text}")
            self._run_with(self.local)
        elif is_better(
            verification.ratio() * (1 + verification.doubt()),
            self.session.plan.estimate,
            plain.estimate,
            self._options.objective,
            self._options.max_slowdown,
        ):
            text = verification.text(self.session.fallback_words())
            if verification.ratio() < 1.0 and self._options.objective == "time":
                text += ": within what these steps vary, so it stays"
            self.session.reasons.append(text)
            self.recorder.event("plan", text)
            log.info("%s", text)
            self._run_with(self.local)
        else:
            words = self.session.fallback_words()
            text = f"{verification.text(words)}: back to {words}"
            self.session.switch(plain, text)
            self.recorder.switched(text)
            log.info("%s", text)
            self._run_with(fallback)
            self.local, self._fallback = fallback, None
            return
        self._fallback = None

    def _adopt_everywhere(self, optimizer: torch.optim.Optimizer) -> None:
        for engine in self._engines():
            engine.adopt_optimizer(optimizer)

    def _adopt(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """An optimizer built after wrapping is met at its first step."""
        if any(id(p) in self._ids for group in optimizer.param_groups for p in group["params"]):
            self._adopt_everywhere(optimizer)
        self._take_notes()

    def _take_notes(self) -> None:
        """Engines log what they could not do as they find out; the session keeps it for the
        report."""
        lists = [engine.notes for engine in self._engines()] + [self.parallel.notes]
        count = sum(map(len, lists))
        if count == self._noted:
            return
        self._noted = count
        for text in [text for notes in lists for text in notes]:
            if text not in self.session.notes:
                self.session.notes.append(text)
                self.recorder.event("fallback", text)

    def _watch(self, output: Any) -> None:
        """Report the first gradient of an output that is not finite: a NaN loss must not go by
        unseen."""
        tensor = _first_tensor(output)
        if tensor is not None and tensor.requires_grad:
            tensor.register_hook(self._check)

    def _check(self, gradient: torch.Tensor | None) -> None:
        # None: the loss is made of other outputs of the same forward.
        if self._gradients is not None and gradient is not None:
            self._gradients.see(gradient, self.recorder.steps + 1)

    def _not_finite(self, step: int) -> None:
        self._gradients = None
        text = (
            f"the gradient of the output is not finite at step {step}: the loss is NaN or infinite"
        )
        self.session.note(text)
        self.recorder.event("non_finite", text)


def _verifiable(session: Session, options: Options) -> bool:
    """Whether the fallback may stand in for a few steps: one rank, memory allows it, and time says
    something about the objective."""
    if not options.verify or session.group.size > 1 or options.objective == "memory":
        return False
    plan = session.plan
    other = fallback_settings(plan, session.plain, options)
    differs = replace(other, threads=0) != replace(Settings.of(plan), threads=0)
    saves_memory = plan.micro_batches > 1 or bool(plan.recompute) or options.memory_limit
    return differs and not saves_memory


def _first_tensor(value: Any) -> torch.Tensor | None:
    if isinstance(value, torch.Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value
    if isinstance(items, (str, bytes)) or not hasattr(items, "__iter__"):
        return None
    return next((found for item in items if (found := _first_tensor(item)) is not None), None)
