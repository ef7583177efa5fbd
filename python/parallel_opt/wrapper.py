"""``OptimizedParallel``: a module that plans itself at its first training step and runs that
plan."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from parallel_opt import planner, record
from parallel_opt._core import Estimate, Plan
from parallel_opt.engine.apply import Engine
from parallel_opt.engine.methods import UnplannedGuard, routed
from parallel_opt.engine.optimizers import watch_optimizers
from parallel_opt.engine.structure import has_borrowed_parameters
from parallel_opt.engine.sync_batch_norm import normalise_by_engine
from parallel_opt.errors import CaptureError, InputError
from parallel_opt.options import Options, resolve

log = logging.getLogger("parallel_opt")

watch_optimizers()

_SHARED = ("_parameters", "_buffers", "_non_persistent_buffers_set", "_modules")
_OWN = ("training", "_compiled_call_impl")
_SHADOWS = ("module", "plan", "estimate", "explain", "summary", "export_plan", "no_sync")
"""Names of the wrapper's own that a model may have as well."""


def _check_module(module: object) -> nn.Module:
    where = "OptimizedParallel(model)"
    if not isinstance(module, nn.Module):
        raise InputError(where, f"of type {type(module).__name__}, which is no torch.nn.Module", "")
    if isinstance(module, OptimizedParallel):
        raise InputError(where, "the model is wrapped already", "wrap it once")
    if isinstance(module, torch.jit.ScriptModule):
        hint = "pass the module that it was made of"
        raise InputError(where, "the model is a ScriptModule, which cannot be planned", hint)
    name = type(module).__name__
    if name in ("DistributedDataParallel", "DataParallel", "FullyShardedDataParallel"):
        raise InputError(where, f"the model is in a {name} already", "pass the plain module")
    if not any(True for _ in module.parameters()):
        raise InputError(where, "the model has no parameters", "there is nothing to train")
    return module


class OptimizedParallel(nn.Module):
    """Runs ``model`` by the plan that suits model, machine and wishes; the training loop stays as
    it was.

    The plan is made at the first forward in training mode with gradients (or at once when
    ``sample`` is given): the model is captured, the machine's numbers looked up or probed, the
    space searched in the C++ core, and the few best candidates tried on the real model for at most
    ``probe_budget_s`` seconds, which changes nothing that can be observed. Where no plan beats
    plain PyTorch, plain it is.

    Parameter names, ``state_dict``, ``parameters()`` and attributes are those of ``model``;
    optimizers may be built before or after.

    Args:
        model: A ``torch.nn.Module``. It stays usable on its own and is ``.module`` of the result.
        energy_aware: Least energy within ``max_slowdown`` of the fastest plan, instead of least
            time.
        sample: One batch (a tensor, or a tuple or dict of arguments) to plan at once instead of
            lazily.
        **options: See ``parallel_opt.options.Options``: ``objective``, ``precision``, ``cluster``,
            ``plan``, ``memory_limit``, ``expected_steps``, ``probe_budget_s``, pins such as
            ``compile``, and more. Each may also be set as ``PARALLEL_OPT_<NAME>`` in the
            environment; the call wins.

    Raises:
        InputError: The model has no parameters or is wrapped already, or an option is wrong.
        InfeasibleError: At planning: nothing fits the memory limit.

    >>> model = OptimizedParallel(model, energy_aware=True)
    """

    def __init__(
        self, model: nn.Module, *, energy_aware: bool = False, sample: Any = None, **options: Any
    ) -> None:
        module = _check_module(model)
        if energy_aware:
            options["energy_aware"] = True
        resolved, origin = resolve(options)
        for name in _SHADOWS:
            if hasattr(module, name):
                log.warning("the model has %r too: reach it as model.module.%s", name, name)
        super().__init__()
        normalise_by_engine(module)
        state = self.__dict__
        # One set of parameters, buffers and children under two roots: names stay the module's own.
        for name in _SHARED:
            state[name] = module.__dict__[name]
        state["_po_module"] = module
        state["_po_given"] = options
        state["_po_options"] = resolved
        state["_po_origin"] = origin
        state["_po_session"] = None
        state["_po_engine"] = None
        state["_po_unplanned"] = None  # why there will be no plan
        ranks = planner.world_size()
        state["_po_guard"] = UnplannedGuard(self, module, ranks) if ranks > 1 else None
        if sample is not None:
            args, kwargs = planner.as_call(sample)
            self._po_prepare(args, kwargs)

    # -- planning ----------------------------------------------------------------------------------

    def _po_prepare(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        options: Options = self.__dict__["_po_options"]
        session = planner.make_session(self.module, args, kwargs, options)
        engine = Engine(self.module, session, options)
        engine.apply()
        if self.__dict__["_po_guard"] is not None:
            self.__dict__["_po_guard"].close()
        self.__dict__["_po_session"], self.__dict__["_po_engine"] = session, engine
        # Hooks of an engine reach every optimizer: a model that is gone must not live on in them.
        weakref.finalize(self, engine.unapply).atexit = False
        record.register(session, engine.recorder)
        session.announce()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_dynamo_compiling():
            # The user compiles around the wrapper: planning and collectives are no graph.
            return torch.compiler.disable(self._po_forward)(*args, **kwargs)
        return self._po_forward(*args, **kwargs)

    def _po_forward(self, *args: Any, **kwargs: Any) -> Any:
        engine: Engine | None = self.__dict__["_po_engine"]
        if engine is None:
            if not (self.training and torch.is_grad_enabled() and _is_ready(self.module)):
                return self.module(*args, **kwargs)
            engine = self._po_first_step(args, kwargs)
            if engine is None:
                return self.module(*args, **kwargs)
        return engine(args, kwargs)

    def _po_first_step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Engine | None:
        """Plan; None when the model cannot be captured and runs plain, which is said once."""
        try:
            if self.__dict__["_po_unplanned"] is None:
                self._po_prepare(args, kwargs)
        except CaptureError as error:
            self.module(*args, **kwargs)  # when the model itself is wrong, its own error comes out
            if planner.world_size() > 1:  # ranks that run plain would not train one model
                raise
            self.__dict__["_po_unplanned"] = str(error)
            log.warning("plain PyTorch runs, nothing is planned: %s", error)
        engine: Engine | None = self.__dict__["_po_engine"]
        return engine

    @property
    def module(self) -> nn.Module:
        """The user's own module."""
        module: nn.Module = self.__dict__["_po_module"]
        return module

    @property
    def plan(self) -> Plan | None:
        """The plan in force; None before the first training step."""
        session = self.__dict__["_po_session"]
        return None if session is None else session.plan

    def _po_planned(self) -> planner.Session:
        session: planner.Session | None = self.__dict__["_po_session"]
        if session is None:
            why = self.__dict__["_po_unplanned"] or "train one step, or pass sample="
            raise InputError("OptimizedParallel", "there is no plan yet", why)
        return session

    def estimate(self) -> Estimate:
        """Predicted cost of one step of the plan in force."""
        return self._po_planned().plan.estimate

    def explain(self) -> list[str]:
        """Why this plan, one reason per line, and what ran differently from what was asked."""
        return self._po_planned().explain()

    def summary(self) -> dict[str, Any]:
        """Plan, reasons, candidates, measurements and notes as plain data (what the report
        shows)."""
        return record.summary(self._po_planned())

    def export_plan(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        from parallel_opt._core import write_output

        write_output(str(path), self._po_planned().plan.to_json())

    def visualize_performance(self, output_dir: str | Path) -> Path:
        """Write ``report.html``, ``run.json`` and ``timeline.json`` and return the path of the
        report."""
        session = self._po_planned()
        return record.write([(session, self.__dict__["_po_engine"].recorder)], Path(output_dir))

    def no_sync(self) -> Any:
        """Context in which gradients are summed up locally only, as DistributedDataParallel's."""
        return self.__dict__["_po_engine"].no_sync() if self.plan else _nothing()

    # -- looking like the module -------------------------------------------------------------------

    @property
    def training(self) -> bool:
        module = self.__dict__.get("_po_module")
        return True if module is None else module.training

    @training.setter
    def training(self, mode: bool) -> None:
        module = self.__dict__.get("_po_module")
        if module is not None:
            module.training = mode

    def __getattr__(self, name: str) -> Any:
        if "_po_module" not in self.__dict__:
            raise AttributeError(name)
        return routed(self.module, getattr(self.__dict__["_po_module"], name), self)

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if name in _OWN or name in own or name.startswith("_po_") or "_po_module" not in own:
            super().__setattr__(name, value)  # also what nn.Module keeps of hooks
        else:
            setattr(self.module, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self.module, name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self.__dict__, *dir(self.module)})

    def train(self, mode: bool = True) -> OptimizedParallel:
        self.module.train(mode)
        return self

    def eval(self) -> OptimizedParallel:
        self.module.eval()
        return self

    def apply(self, fn: Callable[[nn.Module], None]) -> OptimizedParallel:
        self.module.apply(fn)
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> OptimizedParallel:
        self.module._apply(fn, recurse)
        for name in _SHARED:
            self.__dict__[name] = self.module.__dict__[name]
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return self.module.load_state_dict(*args, **kwargs)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.module.zero_grad(set_to_none)

    def requires_grad_(self, requires_grad: bool = True) -> OptimizedParallel:
        self.module.requires_grad_(requires_grad)
        return self

    def extra_repr(self) -> str:
        return f"# {type(self.module).__name__}, " + (
            self.__dict__["_po_session"].plan_line() if self.plan else "not planned yet"
        )

    def __getitem__(self, key: Any) -> Any:
        return self.module[key]  # type: ignore[index]

    def __len__(self) -> int:
        return len(self.module)  # type: ignore[arg-type]

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter(self.module)  # type: ignore[call-overload, no-any-return]

    # A copy or a loaded checkpoint has its own parameters and maybe another machine: it plans anew.

    def __deepcopy__(self, memo: dict[int, Any]) -> OptimizedParallel:
        from copy import deepcopy

        copy = _rebuild(deepcopy(self.module, memo), dict(self.__dict__["_po_given"]))
        memo[id(self)] = copy
        copy.__dict__.update(deepcopy(_hooks_of(self), memo))
        return copy

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _rebuild, (self.module, dict(self.__dict__["_po_given"])), _hooks_of(self) or None

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def _rebuild(module: nn.Module, given: dict[str, Any]) -> OptimizedParallel:
    return OptimizedParallel(module, **given)


def _hooks_of(wrapper: OptimizedParallel) -> dict[str, Any]:
    """What was registered on the wrapper itself, as a copy of a plain module has it."""
    tables = wrapper.__dict__.items()
    return {name: table for name, table in tables if "_hook" in name and table}


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _is_ready(module: nn.Module) -> bool:
    """Whether there is something to train. Before that, as in evaluation, the module runs plain:
    the call that materialises lazy parameters, a discriminator frozen for its generator."""
    parameters = list(module.parameters())
    lazy = any(nn.parameter.is_lazy(parameter) for parameter in parameters)
    trained = any(parameter.requires_grad for parameter in parameters)
    return trained and not lazy and not has_borrowed_parameters(parameters)
