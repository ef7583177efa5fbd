"""Puts a plan into effect on the user's module, and takes it off again."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from parallel_opt.engine.data_parallel import DataParallel
from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.optimizers import find_optimizers, parameter_ids
from parallel_opt.engine.settings import Settings
from parallel_opt.engine.verify import Verification
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
        self.local = session.engine or LocalEngine(module, Settings.of(plan, group.rank))
        for optimizer in find_optimizers(module.parameters()):
            self.local.adopt_optimizer(optimizer)
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
        self.recorder = Recorder(session, self._ids, plan.global_batch)
        self._hook: Any = None
        self._noted = 0
        self._check_gradients = True
        self._verification = Verification() if _verifiable(session, options) else None

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
        self.local.unapply()
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
        if len(self.local.notes) + len(self.parallel.notes) > self._noted:
            self._take_notes()
        if self._check_gradients:
            self._watch(output)
        return output

    def _take_turns(self, verification: Verification) -> None:
        """Between two steps: hand in the time of the last one, choose how the next one runs."""
        if self.recorder.last_step_s is not None:
            verification.step_ended(self.recorder.last_step_s)
            self.recorder.last_step_s = None
        if verification.done:
            self._verification = None
            self.recorder.paused = False
            self._conclude(verification)
        elif verification.next_is_plain() == self.local.applied:
            if self.local.applied:
                self.local.unapply()
            else:
                self.local.apply()
            self.recorder.paused = not self.local.applied

    def _conclude(self, verification: Verification) -> None:
        """Keep the plan when it is faster than plain on the user's own steps, else run plain."""
        keep = verification.ratio() > 1.0
        self.session.verified_ratio = verification.ratio()
        text = verification.text() + ("" if keep else ": back to plain PyTorch")
        self.session.reasons.append(text)
        self.recorder.event("plan" if keep else "switch", text)
        log.info("%s", text)
        if keep:
            self.local.apply()
        else:
            self.local.unapply()

    def _adopt(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """An optimizer built after wrapping is met at its first step."""
        if any(id(p) in self._ids for group in optimizer.param_groups for p in group["params"]):
            self.local.adopt_optimizer(optimizer)
        if len(self.local.notes) + len(self.parallel.notes) > self._noted:
            self._take_notes()

    def _take_notes(self) -> None:
        """Engines log what they could not do as they find out; the session keeps it for the
        report."""
        self._noted = len(self.local.notes) + len(self.parallel.notes)
        for text in [*self.local.notes, *self.parallel.notes]:
            if text not in self.session.notes:
                self.session.notes.append(text)
                self.recorder.event("fallback", text)

    def _watch(self, output: Any) -> None:
        """Report the first gradient that is not finite: a NaN loss must not go by unseen.

        One sum per step over the gradient of one output: NaN and infinity survive summing.
        """
        tensor = _first_tensor(output)
        if tensor is not None and tensor.requires_grad:
            tensor.register_hook(self._check)

    def _check(self, gradient: torch.Tensor) -> None:
        if self._check_gradients and not torch.isfinite(gradient.sum()):
            self._check_gradients = False
            step = self.recorder.steps + 1
            text = (
                f"the gradient of the output is not finite at step {step}: "
                "the loss is NaN or infinite"
            )
            self.session.note(text)
            self.recorder.event("non_finite", text)


def _verifiable(session: Session, options: Options) -> bool:
    """Whether plain may stand in for a few steps: one rank, and memory allows it."""
    plan = session.plan
    saves_memory = plan.micro_batches > 1 or bool(plan.recompute) or options.memory_limit
    differs = Settings.of(plan) != Settings(threads=Settings.of(plan).threads)
    return options.verify and session.group.size == 1 and differs and not saves_memory


def _first_tensor(value: Any) -> torch.Tensor | None:
    if isinstance(value, torch.Tensor):
        return value
    items = value.values() if isinstance(value, dict) else value
    if isinstance(items, (str, bytes)) or not hasattr(items, "__iter__"):
        return None
    return next((found for item in items if (found := _first_tensor(item)) is not None), None)
