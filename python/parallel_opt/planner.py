"""From a module and one batch to a plan: capture, machine, search, trials, decision.

The decisions are the C++ core's; this file only feeds it and carries its answer to all ranks.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import nn

from parallel_opt import _core
from parallel_opt._core import Cluster, Estimate, Graph, Job, Plan, SearchResult
from parallel_opt.capture import capture
from parallel_opt.device_time import device_of
from parallel_opt.engine import process_group
from parallel_opt.engine.local import LocalEngine
from parallel_opt.engine.optimizers import find_optimizers
from parallel_opt.engine.process_group import Group
from parallel_opt.engine.settings import Settings
from parallel_opt.engine.verify import fallback_settings
from parallel_opt.errors import CaptureError, InfeasibleError, InputError, _FaultError
from parallel_opt.job import job_of
from parallel_opt.launch import RANKS, RELAUNCH_EXIT_CODE, RELAUNCH_PLAN
from parallel_opt.machine import training_cluster
from parallel_opt.options import Options
from parallel_opt.outcome import (
    break_even,
    considered,
    core_trial,
    memory_curves,
    tried_engine,
    words,
)
from parallel_opt.trial import Trial, TrialsImpossible, run_trials

log = logging.getLogger("parallel_opt")


@dataclass
class Session:
    """One planned run: the plan in force and everything that is known about how it came to be."""

    plan: Plan
    group: Group
    cluster: Cluster | None = None
    modelled: Estimate | None = None
    """What the cost model alone, before any trial, predicts of ``plan``."""
    engine: LocalEngine | None = None
    """What a trial left behind for this plan: its compiled code is ready."""
    reasons: list[str] = field(default_factory=list)
    candidates: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cost_s: dict[str, float] = field(default_factory=dict)
    break_even_steps: float | None = None
    fallback: LocalEngine | None = None
    """Likewise for ``plain``."""
    plain: Plan | None = None
    """What the user's pins leave of plain PyTorch; None when the plan was given."""
    memory_curves: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    """By the line of a plan: seconds and bytes held over a step, as its trial saw them."""
    graph_view: str | None = None
    """The model as a picture shows it, as JSON."""
    started: float = field(default_factory=time.perf_counter)

    def plan_line(self) -> str:
        return _core.one_line(self.plan)

    def fallback_words(self) -> str:
        """The fallback for people."""
        if self.plain is None:
            return ""
        plain = Settings() == replace(Settings.of(self.plain), threads=0)
        return "plain PyTorch" if plain else _core.one_line(self.plain)

    def switch(self, plan: Plan, why: str) -> None:
        """``plan`` is in force from now on: everything that is told of the run follows."""
        for row in self.candidates:
            if row["chosen"]:
                row["chosen"], row["reason"] = False, why
            elif row["plan"] == _core.one_line(plan):
                row["chosen"], row["reason"] = True, why
        if self.reasons:
            self.reasons[0] = f"before: {self.reasons[0]}"
        self.reasons.insert(0, why)
        self.plan, self.break_even_steps, self.modelled = plan, None, None

    def explain(self) -> list[str]:
        return [*self.reasons, *self.notes]

    def note(self, text: str) -> None:
        """Tell the user once, in the log and in the report."""
        if text not in self.notes:
            self.notes.append(text)
            if self.group.rank == 0:
                log.warning("%s", text)

    def announce(self) -> None:
        """One line on rank 0: what runs and what it is predicted to bring."""
        if self.group.rank == 0:
            log.info("plan: %s", self.plan_line())
            for reason in self.reasons:
                log.info("  %s", reason)


def as_call(sample: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """A sample as positional and keyword arguments."""
    if isinstance(sample, dict):
        return (), sample
    return (tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)), {}


def world_size() -> int:
    """Ranks that were started together with this one, itself included."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def make_session(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], options: Options
) -> Session:
    """Plan on rank 0 and hand the answer to all ranks.

    Raises InputError, InfeasibleError, MachineError or what the model raises, alike on all ranks.
    """
    group = process_group.join(timeout_s=options.timeout_s)
    if group.size == 1:
        alone = _Planning(module, args, kwargs, options, group).run()
        _settle_ranks(group)
        return alone
    answer: list[Any] = [None, None]
    session = own = None
    if group.rank == 0:
        try:
            session = _Planning(module, args, kwargs, options, group).run()
            answer[0] = (session.plan.to_json(), session.reasons, session.notes)
        except _FaultError as error:
            answer[1] = (type(error), error.faults)
        except Exception as error:  # the other ranks would wait for an answer
            own, answer[1] = error, _as_sent(error)
    _settle_ranks(group)
    torch.distributed.broadcast_object_list(answer, group_src=0, group=group.handle)
    if own is not None or isinstance(answer[1], Exception):
        raise own or answer[1]
    if answer[1] is not None:
        kind, faults = answer[1]
        raise kind.from_faults(faults)
    if session is None:
        text, reasons, notes = answer[0]
        session = Session(Plan.from_json(text), group, reasons=reasons, notes=notes)
    return session


def _as_sent(error: Exception) -> Exception:
    """What other ranks raise where this one raises `error`."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an error of the user's own may not be made for it
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Planning:
    """The steps of planning on one rank, with what each cost."""

    def __init__(
        self,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
        group: Group,
    ) -> None:
        self.module, self.args, self.kwargs = module, args, kwargs
        self.options, self.group = options, group
        self.notes: list[str] = []
        self.kind: str | None = None  # of device, where there are several kinds
        self.cost_s: dict[str, float] = {}
        self.started = time.perf_counter()

    def run(self) -> Session:
        cluster: Cluster = self._timed("probe_s", self._cluster)
        graph: Graph = self._timed("capture_s", self._graph)
        optimizers = find_optimizers(self.module.parameters())
        job = self._job(optimizers, self.group.size)
        given = self._given_plan(graph, cluster, job)
        if given is not None:
            plan, why = given
            session = Session(plan, self.group, cluster, notes=self.notes, cost_s=self.cost_s)
            session.reasons = [why]
            session.graph_view = _core.graph_view(graph, cluster)
            return session
        if _launcher_chooses_ranks() and not self._probes_are_noisy(cluster):
            self._choose_ranks(graph, cluster, optimizers)
        result: SearchResult = self._timed("search_s", lambda: _core.search(graph, cluster, job))
        self._check_feasible(result)
        trials = self._timed(
            "trial_s", lambda: self._trials(graph, cluster, job, result, optimizers)
        )
        measured = [trial for trial in trials if trial.skipped is None]
        decision = _core.decide(graph, cluster, job, result, [core_trial(t) for t in measured])
        session = Session(decision.plan, self.group, cluster, notes=self.notes)
        session.plain, session.modelled = decision.plain, decision.modelled
        session.graph_view = _core.graph_view(graph, cluster)
        session.reasons = [decision.summary, *result.binding]
        session.candidates = considered(decision)
        session.engine = tried_engine(Settings.of(decision.plan), trials)
        other = fallback_settings(decision.plan, decision.plain, self.options)
        session.fallback = tried_engine(other, trials)
        session.memory_curves = memory_curves(trials, (decision.plan, decision.plain))
        session.cost_s, session.started = self.cost_s, self.started
        session.break_even_steps = break_even(decision, sum(self.cost_s.values()))
        for trial in trials:
            if trial.skipped is not None:
                self.notes.append(f"not tried: {self._words(trial)}: {trial.skipped}")
        return session

    def _words(self, trial: Trial) -> str:
        return words(trial.settings, on_cpu=device_of(self.module).type == "cpu")

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.cost_s[name] = time.perf_counter() - start

    def _check_feasible(self, result: SearchResult) -> None:
        if result.status == "infeasible":
            why = "; ".join(result.binding)
            own_hint = why.endswith(")")
            hint = "" if own_hint else "allow more memory, fewer ranks, or fewer pins"
            raise InfeasibleError("plan", f"nothing fits: {why}", hint)

    def _cluster(self) -> Cluster:
        kind = "gpu" if device_of(self.module).type == "cuda" else "cpu"
        cluster, notes = training_cluster(self.options.cluster or "local", kind)
        self.notes += notes
        if len({str(device.kind) for device in cluster.devices}) > 1:
            # The engine moves no model: a plan for other devices could not be run.
            self.kind = kind
        return cluster

    def _graph(self) -> Graph:
        try:
            graph = capture(self.module, self.args, self.kwargs)
        except InputError as error:
            raise CaptureError.from_faults(error.faults) from error
        self.notes += graph.notes
        return graph

    def _probes_are_noisy(self, cluster: Cluster) -> bool:
        return any("the machine was busy" in note for note in [*self.notes, *cluster.notes])

    def _choose_ranks(
        self, graph: Graph, cluster: Cluster, optimizers: Sequence[torch.optim.Optimizer]
    ) -> None:
        """Start again with another number of ranks when that is faster beyond doubt.

        Ranks cannot be tried in one process, so the intervals of both predictions must not overlap.
        """
        free = _core.search(graph, cluster, self._job(optimizers, None))
        here = _core.search(graph, cluster, self._job(optimizers, self.group.size))
        self._check_feasible(free)
        if free.plan is None or free.plan.mesh.ranks == self.group.size:
            return
        ranks, step = free.plan.mesh.ranks, free.plan.estimate.step_time_s
        if here.plan is None or step.high < here.plan.estimate.step_time_s.low:
            relaunch(free.plan)
        self.notes.append(
            f"{ranks} ranks are predicted to take {1e3 * step.value:.1f} ms against "
            f"{1e3 * here.plan.estimate.step_time_s.value:.1f} ms here: within the uncertainty, so "
            f"not worth another start (pin with --ranks {ranks})"
        )

    def _job(self, optimizers: Sequence[torch.optim.Optimizer], ranks: int | None) -> Job:
        return job_of(self.module, self.options, optimizers, ranks, self.kind)

    def _given_plan(self, graph: Graph, cluster: Cluster, job: Job) -> tuple[Plan, str] | None:
        """The user's plan, or the one that this start was made for, and which it is."""
        path = self.options.plan
        why = f"the plan was given: {path}"
        if path is None:
            path = os.environ.get(RELAUNCH_PLAN)
            if path is None:
                return None
        plan = Plan.from_json(_core.read_file(path), path)
        if self.options.plan is None:
            if plan.provenance.model_hash != graph.hash():
                return None  # the script wraps several models: this one plans for itself
            why = f"started again for this plan: ranks wanted: {plan.mesh.ranks}"
        found = _core.validate(graph, cluster, job, plan)
        faults = [(_in_file(path, where), what, hint) for where, what, hint in found]
        if plan.mesh.ranks != self.group.size:
            hint = f"parallel-opt run --ranks {plan.mesh.ranks}"
            what = f"the plan is for {plan.mesh.ranks} ranks, there are {self.group.size}"
            faults.append((f"{path}:mesh", what, hint))
        if faults:
            raise InputError.from_faults(faults)
        return plan, why

    def _trials(
        self,
        graph: Graph,
        cluster: Cluster,
        job: Job,
        result: SearchResult,
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> list[Trial]:
        budget_s = self.options.probe_budget_s
        budget = _core.TrialBudget.from_json(json.dumps({"seconds": budget_s}))
        chosen = _core.trial_candidates(graph, cluster, job, result, budget)
        self.notes += chosen.notes
        settings = [Settings.of(trial.plan, self.group.rank) for trial in chosen.trials]
        if len(settings) < 2:  # plain alone: nothing to compare
            return []
        # As many threads as the process has, unless they are pinned: what plain PyTorch would do.
        yardstick = replace(settings[0], threads=self.options.threads or 0)
        log.info("trying %d ways on the model, at most %.0f s", len(settings), budget_s)
        try:
            return run_trials(
                self.module,
                self.args,
                self.kwargs,
                settings[1:],
                budget_s=budget_s,
                yardstick=yardstick,
                optimizers=optimizers,
            )
        except TrialsImpossible as error:
            self.notes.append(f"no trials: {error}")
            return []


def _in_file(path: str, where: str) -> str:
    """ "plan.mesh" of the plan in a file: the file's own "mesh"."""
    return f"{path}:{where.removeprefix('plan.')}" if where.startswith("plan.") else where


def _launcher_chooses_ranks() -> bool:
    return os.environ.get(RANKS) == "auto"


def _settle_ranks(group: Group) -> None:
    """From the first plan on the number of ranks stands: a script with a second model has taken
    steps by then, and starting again would lose them."""
    if _launcher_chooses_ranks():
        os.environ[RANKS] = str(group.size)


def relaunch(plan: Plan) -> NoReturn:
    """Ask the launcher for the plan's number of ranks and end this attempt, before any step."""
    directory = os.environ["PARALLEL_OPT_RUN_DIR"]
    _core.write_file(f"{directory}/relaunch.json", plan.to_json())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(RELAUNCH_EXIT_CODE)  # no clean-up of the script's may run: it will start over
