"""What a run did: step phases, events, and the documents that a run leaves behind."""

from __future__ import annotations

import datetime
import json
import logging
import math
import os
import resource
import sys
import time
import traceback
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from parallel_opt import _core
from parallel_opt.device_time import StepClock
from parallel_opt.errors import Fault, MachineError, _FaultError
from parallel_opt.planner import Session, world_size

log = logging.getLogger("parallel_opt")


WARM_UP_STEPS = 3  # compilation, allocator and caches settle
KEPT_STEPS = 512
SHOWN_STEPS = 6


class Recorder:
    """Times the phases of each step with a handful of marks on the device's own clock.

    A step is: forward (the module's call), backward (from there to the optimizer, the loss
    included), optimizer, and host (from there to the next forward: data loading, logging).
    """

    def __init__(
        self,
        session: Session,
        parameters: Collection[int],
        samples: int,
        clock: StepClock | None = None,
    ) -> None:
        self.session = session
        self.samples = samples
        self.steps = 0
        self.paused = False  # steps are not kept while something other than the plan runs
        self.events: list[dict[str, Any]] = []
        self._parameters = parameters
        self._clock = clock or StepClock(torch.device("cpu"))
        self._marks: list[Any] = []
        self._last: tuple[Any, Any] | None = None
        self._kept: deque[tuple[Any, ...]] = deque(maxlen=KEPT_STEPS)
        self._cpu = self._wall = 0.0
        self._hooks = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]

    def close(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def event(self, kind: str, text: str) -> None:
        since = time.perf_counter() - self.session.started
        self.events.append({"time_s": since, "kind": kind, "text": text})

    def switched(self, text: str) -> None:
        """Another plan is in force from here on: what is known of the steps before is not its
        own."""
        self.event("switch", text)
        self._kept.clear()
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def forward_begins(self) -> None:
        now = self._clock.mark()
        if (
            len(self._marks) == 4
        ):  # begin, end of forward, begin and end of the optimizer: one whole step
            self.steps += 1
            self._last = (self._marks[0], self._marks[3])
            if self.steps > WARM_UP_STEPS and not self.paused:
                self._kept.append((*self._marks, now))
            elif self.steps == WARM_UP_STEPS:
                self._cpu, self._wall = time.process_time(), time.perf_counter()
        if (
            len(self._marks) != 2
        ):  # further forwards before an optimizer step belong to the same step
            self._marks = [now]
        else:
            del self._marks[1]

    def forward_ends(self) -> None:
        if len(self._marks) == 1:
            self._marks.append(self._clock.mark())

    def take_last_step_s(self) -> float | None:
        """Seconds of the step before, first forward to end of the optimizer, and waits for them;
        None when there is none that was not taken yet."""
        last, self._last = self._last, None
        return None if last is None else self._clock.seconds(*last)

    def _ours(self, optimizer: Optimizer) -> bool:
        return any(
            id(p) in self._parameters for g in optimizer.param_groups for p in g["params"][:1]
        )

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        if len(self._marks) == 2 and self._ours(optimizer):
            self._marks.append(self._clock.mark())

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        if self._ours(optimizer):
            if len(self._marks) == 3:
                self._marks.append(self._clock.mark())
            elif len(self._marks) == 4:  # a second optimizer of the same step
                self._marks[3] = self._clock.mark()

    def step_times(self) -> list[float]:
        """Seconds of the steps kept, warm-up left out."""
        return [self._clock.seconds(marks[0], marks[4]) for marks in self._kept]

    def cpu_share(self) -> float | None:
        """CPU time over wall time and usable cores since warm-up; None before."""
        wall = time.perf_counter() - self._wall
        if self.steps <= WARM_UP_STEPS or wall <= 0:
            return None
        return (time.process_time() - self._cpu) / wall / _cores()

    def timeline(self) -> dict[str, Any]:
        """The last few steps as spans of one track."""
        shown = list(self._kept)[-SHOWN_STEPS:]
        track = f"rank {self.session.group.rank}"
        spans = []
        for marks in shown:
            for (name, category), start, end in zip(_PHASES, marks[:-1], marks[1:], strict=True):
                spans.append(
                    {
                        "name": name,
                        "category": category,
                        "track": track,
                        "start_s": self._clock.seconds(shown[0][0], start),
                        "duration_s": self._clock.seconds(start, end),
                    }
                )
        return {
            "schema": _core.Timeline.SCHEMA,
            "source": "measured",
            "spans": spans,
            "counters": [
                {
                    "counter": "memory_bytes",
                    "track": f"{track}, forward and backward",
                    "time_s": time_s,
                    "value": float(held),
                }
                for time_s, held in self.session.memory_curves.get(self.session.plan_line(), [])
            ],
        }


_PHASES = (
    ("forward", "forward"),
    ("loss and backward", "backward"),
    ("optimizer", "optimizer"),
    ("data and host", "data"),
)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(values: list[float], quality: str = "measured") -> dict[str, Any]:
    """Median with the 10th and 90th percentile (nearest rank)."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {
        "value": median(ordered),
        "low": ordered[round(0.1 * last)],
        "high": ordered[round(0.9 * last)],
        "quality": quality,
    }


def measured(recorder: Recorder) -> dict[str, Any]:
    """What the steps did, as `measured` of a run document. Absent is absent."""
    times = recorder.step_times()
    document: dict[str, Any] = {"steps": len(times)}
    if times:
        step = spread(times)
        document["step_time_s"] = step
        document["samples_per_s"] = {
            "value": recorder.samples / step["value"],
            "low": recorder.samples / step["high"],
            "high": recorder.samples / step["low"],
            "quality": "measured",
        }
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    document["rss_bytes"] = float(rss if sys.platform == "darwin" else rss * 1024)
    if torch.cuda.is_available():
        document["peak_memory_bytes"] = float(torch.cuda.max_memory_allocated())
    share = recorder.cpu_share()
    if share is not None and math.isfinite(share):
        document["cpu_share"] = share
    return document


Trained = tuple[Session, Recorder]


def run_document(
    trained: Sequence[Trained], exit_code: int | None, error: BaseException | None = None
) -> dict[str, Any]:
    """The run so far, schema parallel-opt/run/1: of each model that was trained, the first leads.

    What ended it, if anything did, stands in ``errors``. Absent is absent.
    """
    document: dict[str, Any] = {
        "schema": "parallel-opt/run/1",
        "title": Path(sys.argv[0]).name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "ranks": world_size(),
    }
    if trained:
        session = trained[0][0]
        document["title"] = document["title"] or session.plan.model
        document["ranks"] = session.group.size
        if session.cluster is not None:
            document["machine"] = session.cluster.devices[0].name
        document |= _model_run(*trained[0])
    if len(trained) > 1:
        document["others"] = [_model_run(*other) for other in trained[1:]]
    if exit_code is not None:
        document["exit_code"] = exit_code
    if error is not None:
        faults = error.faults if isinstance(error, _FaultError) else [_as_fault(error)]
        document["errors"] = [{"where": a, "what": b, "hint": c} for a, b, c in faults]
    return document


def _as_fault(error: BaseException) -> Fault:
    """An error of the script's own: the line of the script that met it, and what the last line of
    its traceback says."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == sys.argv[0]] or frames
    where = f"{own[-1].filename}:{own[-1].lineno}" if own else sys.argv[0]
    return where, traceback.format_exception_only(error)[-1].strip(), ""


def _model_run(session: Session, recorder: Recorder) -> dict[str, Any]:
    plan = json.loads(session.plan.to_json())
    planning = {name: session.cost_s[name] for name in _COSTS if name in session.cost_s}
    if session.break_even_steps is not None:
        planning["break_even_steps"] = session.break_even_steps
    notes = [{"time_s": 0.0, "kind": "note", "text": text} for text in session.notes]
    document: dict[str, Any] = {
        "plan": plan,
        "plan_line": session.plan_line(),
        "estimate": plan["estimate"],
        **_modelled(session),
        "measured": measured(recorder),
        "reasons": session.reasons,
        "candidates": session.candidates,
        "planning": planning,
        "events": notes + recorder.events,
        "timeline": recorder.timeline(),
    }
    if session.graph_view is not None:
        document["graph"] = json.loads(session.graph_view)
    return document


def _modelled(session: Session) -> dict[str, Any]:
    """The cost model's own prediction of the plan in force. Absent for a plan that was given."""
    if session.modelled is None:
        return {}
    return {"modelled": json.loads(session.modelled.to_json())}


_COSTS = ("capture_s", "probe_s", "search_s", "trial_s")


def write(
    trained: Sequence[Trained],
    directory: Path,
    code: int | None = None,
    error: BaseException | None = None,
) -> Path:
    """Write ``report.html``, ``run.json`` and ``timeline.json``; returns the report's path.

    Pre: something was trained. Raises MachineError when the directory cannot be written.
    """
    text = json.dumps(run_document(trained, code, error), indent=2) + "\n"
    _core.write_file(str(directory / "run.json"), text)
    timeline = _core.Timeline.from_json(json.dumps(trained[0][1].timeline()))
    _core.write_file(str(directory / "timeline.json"), _core.chrome_trace(timeline))
    report = directory / "report.html"
    _core.write_file(str(report), _core.report_html(text))
    return report


def summary(session: Session) -> dict[str, Any]:
    """Plan, reasons, prediction and candidates as plain data."""
    estimate = session.plan.estimate
    return {
        "plan_line": session.plan_line(),
        "reasons": session.reasons,
        "notes": session.notes,
        "predicted": {
            "step_s": estimate.step_time_s.value,
            "peak_bytes": estimate.peak_memory_bytes.value,
        },
        "modelled": None
        if session.modelled is None
        else {
            "step_s": session.modelled.step_time_s.value,
            "peak_bytes": session.modelled.peak_memory_bytes.value,
        },
        "probing_s": sum(session.cost_s.values()),
        "break_even_steps": session.break_even_steps,
        "candidates": session.candidates,
        "estimate": json.loads(estimate.to_json()),
        "graph": json.loads(session.graph_view) if session.graph_view is not None else None,
    }


_current: list[Trained] = []


def register(session: Session, recorder: Recorder) -> None:
    """The run that ``close`` writes: every module planned in this process."""
    _current.append((session, recorder))


def close(code: int, error: BaseException | None = None) -> None:
    """End of a rank of ``parallel-opt run``: rank 0 leaves the documents in the run's directory."""
    directory = os.environ.get("PARALLEL_OPT_RUN_DIR")
    if directory is None or os.environ.get("RANK", "0") != "0":
        return
    try:
        if _current:
            write(_current, Path(directory), code, error)
        else:
            _core.write_file(f"{directory}/run.json", _without_plan(code, error))
    except (MachineError, _FaultError) as fault:
        print(f"error: {fault}", file=sys.stderr)


def _without_plan(code: int, error: BaseException | None) -> str:
    document = run_document((), code, error)
    if error is None:
        what = "the script trained no OptimizedParallel: nothing was planned or measured"
        document["events"] = [{"time_s": 0.0, "kind": "warning", "text": what}]
        if code == 0:
            log.warning("%s", what)
    return json.dumps(document, indent=2) + "\n"
