"""What the interpreter does when a script has ended, for workers that leave without its tear-down.

A worker ends by ``os._exit`` (see ``process_group.finish``). What a script has left open is its own
data all the same: threads are waited for, exit handlers run, files are written to their end.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import ctypes
import gc
import importlib.util
import io
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from typing import Any

from parallel_opt.errors import MachineError

_STANDARD = (0, 1, 2)


def wait_for_threads() -> None:
    """Until the threads of the script that are no daemons have ended."""
    _tolerant(threading._shutdown)  # type: ignore[attr-defined]


def run_exit_handlers() -> None:
    """What was registered with ``atexit``, last first; a handler that raises is told."""
    _tolerant(atexit._run_exitfuncs)


def run_script(path: str) -> None:
    """Runs a file as ``__main__``, which stays there until ``drop_script()``."""
    with io.open_code(path) as file:
        code = compile(file.read(), path, "exec")
    _run_as_main(code, __file__=path)


def run_module(name: str) -> None:
    """The same for a module by its name, or the ``__main__`` of a package, as ``python -m``.

    Raises:
        MachineError: There is no such module.
    """
    spec = _spec_of(name)
    if spec is not None and spec.submodule_search_locations is not None:
        name = f"{name}.__main__"
        spec = _spec_of(name)
    code = spec.loader.get_code(spec.name) if spec is not None else None  # type: ignore[union-attr]
    if spec is None or code is None:
        raise MachineError(name, "no such module", "is it below this directory, or installed?")
    sys.argv[0] = spec.origin or name
    own = {"__file__": spec.origin, "__package__": spec.parent, "__loader__": spec.loader}
    _run_as_main(code, __spec__=spec, **own)


def _spec_of(name: str) -> ModuleSpec | None:
    """Imports the packages around it."""
    try:
        return None if name.startswith(".") else importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if name == missing or name.startswith(f"{missing}."):
            return None
        raise
    except ValueError:  # of modules that hide what they are
        return None


def _run_as_main(code: types.CodeType, **names: Any) -> None:
    module = types.ModuleType("__main__")
    module.__dict__.update(names, __builtins__=builtins)
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def drop_script() -> None:
    """Lets go of what the script's names hold, as the interpreter does: private names first, then
    the others. Files are flushed before, for the collector closes those of a cycle in any order."""
    for file in _open_files():
        with contextlib.suppress(Exception):
            file.flush()
    names = sys.modules["__main__"].__dict__
    for private in (True, False):
        for name in list(names):
            if name != "__builtins__" and (name[:1] == "_" and name[1:2] != "_") == private:
                names[name] = None
    gc.collect()


def close_files() -> None:
    """Closes every file that is still open.

    The outer ones first: a text file hands on to its buffer, a compressed one writes its end.
    Standard streams are flushed only.
    """
    files = list(_open_files())
    for inner in (False, True):
        for file in files:
            if isinstance(file, (io.BufferedWriter, io.BufferedRandom)) == inner:
                with contextlib.suppress(Exception):  # a reader's end, a full disk: as in __del__
                    file.close()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    with contextlib.suppress(Exception):
        ctypes.CDLL(None).fflush(None)  # what C code printed


def _open_files() -> Iterator[io.IOBase]:
    """Text files first: they may sit on any of the others."""
    found = [o for o in gc.get_objects() if issubclass(type(o), io.IOBase)]  # no lazy proxy wakes
    found.sort(key=lambda file: not isinstance(file, io.TextIOWrapper))
    for file in found:
        try:
            standard = file.closed or file.fileno() in _STANDARD
        except Exception:  # it has no number, so it is none of them
            standard = False
        if not standard:
            yield file


def _tolerant(step: object) -> None:
    try:
        step()  # type: ignore[operator]
    except BaseException:  # as at the interpreter's end: told, and the next step follows
        traceback.print_exc()
