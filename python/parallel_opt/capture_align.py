"""What runs of one model have in common, and where they take other ways.

Pure sequences: an element is known by its key; nothing here knows tensors or graphs.
"""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

_DEAREST_TABLE = 4_000_000
"""Cells of the table of a longest common subsequence; beyond, a heuristic aligns."""


class Element(Protocol):
    """What is aligned: ``key`` is equal for what is the same step of two runs, ``kind`` also when
    only sizes differ."""

    @property
    def key(self) -> Hashable: ...

    @property
    def kind(self) -> Hashable: ...

    @property
    def content(self) -> Hashable: ...


@dataclass
class Same:
    """One step that all runs take: the element of each run."""

    elements: Mapping[int, Element]


@dataclass
class Differs:
    """A stretch where runs differ: the elements of each run, none for some."""

    elements: Mapping[int, Sequence[Element]]


@dataclass
class Repeats:
    """A loop whose trip count differs: for each run its iterations."""

    iterations: Mapping[int, Sequence[Sequence[Element]]]


Segment = Same | Differs | Repeats


def common_subsequence(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Positions of a longest common subsequence; equal beginnings are matched first."""
    start = 0
    while start < len(a) and start < len(b) and a[start] == b[start]:
        start += 1
    end = 0
    while end < min(len(a), len(b)) - start and a[-1 - end] == b[-1 - end]:
        end += 1
    middle = _middle(a[start : len(a) - end], b[start : len(b) - end])
    return [
        *((i, i) for i in range(start)),
        *((i + start, j + start) for i, j in middle),
        *((len(a) - end + i, len(b) - end + i) for i in range(end)),
    ]


def _middle(a: Sequence[Hashable], b: Sequence[Hashable]) -> list[tuple[int, int]]:
    if not a or not b:
        return []
    if len(a) * len(b) > _DEAREST_TABLE:
        blocks = difflib.SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
        return [(m.a + i, m.b + i) for m in blocks for i in range(m.size)]
    # length[i][j]: of the longest common subsequence of a[i:] and b[j:]
    length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) - 1, -1, -1):
        row, below = length[i], length[i + 1]
        for j in range(len(b) - 1, -1, -1):
            row[j] = below[j + 1] + 1 if a[i] == b[j] else max(below[j], row[j + 1])
    pairs = []
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i] == b[j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif length[i + 1][j] >= length[i][j + 1]:
            i += 1
        else:
            j += 1
    return pairs


def align(runs: Mapping[int, Sequence[Element]]) -> list[Segment]:
    """The runs side by side, in order."""
    ids = list(runs)
    first = runs[ids[0]]
    anchors: list[tuple[int, ...]] = [(i,) for i in range(len(first))]
    for run in ids[1:]:
        pairs = dict(
            common_subsequence(
                [first[anchor[0]].key for anchor in anchors], [e.key for e in runs[run]]
            )
        )
        anchors = [(*anchor, pairs[i]) for i, anchor in enumerate(anchors) if i in pairs]
    segments: list[Segment] = []
    position = dict.fromkeys(ids, 0)
    for anchor in [*anchors, tuple(len(runs[run]) for run in ids)]:
        gap = {run: runs[run][position[run] : at] for run, at in zip(ids, anchor, strict=True)}
        if any(gap.values()):
            _append(segments, gap)
        if anchor is not None and all(
            at < len(runs[run]) for run, at in zip(ids, anchor, strict=True)
        ):
            segments.append(Same({run: runs[run][at] for run, at in zip(ids, anchor, strict=True)}))
        position = {run: at + 1 for run, at in zip(ids, anchor, strict=True)}
    return segments


def _append(segments: list[Segment], gap: Mapping[int, Sequence[Element]]) -> None:
    """A gap as a loop, with the iterations that all runs share and that stand before it; else as
    what it is."""
    longest = max(gap.values(), key=len)
    period = _period([e.kind for e in longest])
    unit = [e.kind for e in longest[:period]]
    counts = {}
    for run, elements in gap.items():
        counts[run], rest = divmod(len(elements), period)
        if rest or [e.kind for e in elements] != unit * counts[run]:
            segments.append(Differs(gap))
            return
    shared: list[dict[int, Sequence[Element]]] = []
    while _ends_with(segments, unit, gap):
        steps = segments[-period:]
        del segments[-period:]
        shared.insert(
            0, {run: [s.elements[run] for s in steps if isinstance(s, Same)] for run in gap}
        )
    if len(shared) + max(counts.values()) < 2:  # once or not at all: a branch
        segments.append(Differs(gap))
        return
    segments.append(
        Repeats(
            {
                run: [
                    *(iteration[run] for iteration in shared),
                    *(elements[i : i + period] for i in range(0, len(elements), period)),
                ]
                for run, elements in gap.items()
            }
        )
    )


def _ends_with(
    segments: Sequence[Segment], unit: Sequence[Hashable], runs: Mapping[int, object]
) -> bool:
    tail = segments[-len(unit) :]
    return len(tail) == len(unit) and all(
        isinstance(segment, Same) and all(segment.elements[run].kind == kind for run in runs)
        for segment, kind in zip(tail, unit, strict=True)
    )


def _period(kinds: Sequence[Hashable]) -> int:
    """Length of the shortest unit that the sequence repeats; its own length if it repeats none."""
    for length in range(1, len(kinds) // 2 + 1):
        if len(kinds) % length == 0 and list(kinds) == list(kinds[:length]) * (
            len(kinds) // length
        ):
            return length
    return len(kinds)


def alternatives(runs: Mapping[int, Sequence[Element]]) -> list[list[int]]:
    """Runs that took the same way, the most frequent way first, the earliest run first among
    equals."""
    groups: dict[Hashable, list[int]] = {}
    for run, elements in runs.items():
        groups.setdefault(tuple(e.content for e in elements), []).append(run)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]))
