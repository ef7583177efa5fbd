"""What a training loop switches on a model between forwards: parts in ``eval()``, the probability
of a dropout, a number or a word in an attribute. What was found of the model in one mode need not
hold in another one.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Sequence
from typing import Any

import torch

Key = tuple[Any, ...]

MOST_VALUES = 2
"""Other values of one attribute that count as modes of their own; a schedule goes through more."""
MOST_WORDS = 8
_PLAIN = (bool, int, float, str, type(None))
_OWN = frozenset(vars(torch.nn.Module())) - {"training"}


class Modes:
    """Follows the plain attributes of a module and its parts.

    Only what changes between forwards makes a mode: what a forward itself writes may differ from
    rank to rank, and a look at the model would have to be taken at every step.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._names: dict[int, tuple[torch.nn.Module, int, list[str]]] = {}
        self._parts: list[int] = []
        self._seen: list[Any] | None = None  # as the last forward left them
        self._first: list[Any] = []
        self._values: dict[int, list[Any]] = {}  # of attributes that the loop changes
        self._set: dict[int, Any] = {}
        self._rebuilt = 0

    @property
    def key(self) -> Key:
        """The mode; ``()`` for the one at the first forward."""
        return ((self._rebuilt,) if self._rebuilt else ()) + tuple(sorted(self._set.items()))

    @contextlib.contextmanager
    def forward(self, *, notice: bool) -> Iterator[None]:
        """Around each forward. ``notice``: it is one whose mode matters."""
        before, parts = self._read()
        if notice:
            self._notice(before, parts)
        try:
            yield
        finally:
            after, parts = self._read()
            if self._seen is None or parts != self._parts or len(after) != len(self._seen):
                if notice:
                    self._seen, self._parts = after, parts
            elif len(before) == len(after) and before != after:
                for index, (old, new) in enumerate(zip(before, after, strict=True)):
                    if old != new:
                        self._seen[index] = new

    def _notice(self, now: list[Any], parts: list[int]) -> None:
        if self._seen is None:
            self._first = list(now)
        elif parts != self._parts or len(now) != len(self._seen):
            self._rebuilt += 1
            self._first, self._set, self._values = list(now), {}, {}
        elif now != self._seen:
            for index, (old, new) in enumerate(zip(self._seen, now, strict=True)):
                if old != new:
                    self._change(index, new)
        self._seen, self._parts = list(now), parts

    def _change(self, index: int, value: Any) -> None:
        others = self._values.setdefault(index, [])
        if value not in others and value != self._first[index] and len(others) <= MOST_VALUES:
            others.append(value)
        many = len(others) > MOST_VALUES
        shown, first = (_kind(v) if many else repr(v) for v in (value, self._first[index]))
        if shown == first:
            self._set.pop(index, None)
        else:
            self._set[index] = shown

    def _read(self) -> tuple[list[Any], list[int]]:
        """Every plain attribute, and the parts they are of. Read at every step: the names are kept
        as long as a part has as many attributes."""
        values: list[Any] = []
        parts = {id(self._module): self._module}
        waiting = [self._module]
        for part in waiting:  # grows as it goes
            state = part.__dict__
            _, count, names = self._names.get(id(part), (part, -1, []))
            if count != len(state):
                names = [n for n, v in state.items() if n not in _OWN and type(v) in _PLAIN]
                self._names[id(part)] = part, len(state), names
            values += [v if type(v := state.get(n)) in _PLAIN else type(v) for n in names]
            for child in state["_modules"].values():
                if child is not None and id(child) not in parts:
                    parts[id(child)] = child
                    waiting.append(child)
        return values, list(parts)


class Words:
    """Tells apart calls of one form by the switches and words among their arguments."""

    def __init__(self) -> None:
        self._known: dict[str, set[Key]] = {}

    def key(self, signature: str, constants: Sequence[Any]) -> Key:
        """Words count as they are, numbers by whether they are 0; beyond a few kinds of call, as
        with a name per sample, none counts."""
        key = tuple(_kind(value) for value in constants)
        known = self._known.setdefault(signature, set())
        if key not in known and len(known) >= MOST_WORDS:
            return ()
        known.add(key)
        return key


def _kind(value: Any) -> str:
    if isinstance(value, (bool, str, enum.Enum, torch.dtype)) or value is None:
        return repr(value)
    if isinstance(value, (int, float, complex)):
        return "0" if value == 0 else "number"
    return type(value).__name__
