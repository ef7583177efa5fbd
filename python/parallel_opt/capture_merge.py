"""Several observed runs of a model as one graph, with branches and loops where they differ."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parallel_opt._core import Graph, GraphBuilder
from parallel_opt.capture_align import (
    Differs,
    Element,
    Repeats,
    Same,
    align,
    alternatives,
)
from parallel_opt.trace import Recording

JOIN = "parallel_opt.join"


@dataclass
class Step:
    """An operator, or the call of a module with what it ran."""

    key: Hashable
    op: int | None = None
    steps: list[Step] = field(default_factory=list)
    kind: Hashable = None
    content: Hashable = None

    def operators(self) -> list[int]:
        """Indices of the operators inside, in order."""
        if self.op is not None:
            return [self.op]
        return [op for step in self.steps for op in step.operators()]


def merge(recordings: Sequence[Recording], name: str, notes: Sequence[str] = ()) -> Graph | None:
    """One graph of all runs; None when they do not differ.

    Alternatives of a branch have the share of runs that took them, loops the mean of their trip
    counts; both are observed. The body of a loop is its middle iteration in the run that made most.
    """
    with_sizes = len({_input_shapes(r.graph) for r in recordings}) == 1
    runs = {i: _steps(recording, with_sizes) for i, recording in enumerate(recordings)}
    if len({tuple(step.content for step in steps) for steps in runs.values()}) == 1:
        return None
    merged = _Merge(recordings, name)
    for note in notes:
        merged.builder.note(note)
    merged.sequence(runs, None)
    return merged.finish()


def _input_shapes(graph: Graph) -> Hashable:
    return tuple(tuple(graph.tensors[i].shape) for i in graph.inputs)


def _steps(recording: Recording, with_sizes: bool) -> list[Step]:
    """Operators of the forward, grouped by module calls."""
    graph = recording.graph
    root = Step(key="root")
    stack: list[tuple[Any, Step]] = [(None, root)]
    for index, (op, path) in enumerate(zip(graph.ops, recording.paths, strict=True)):
        if op.phase != "forward":
            continue
        depth = 0
        while depth < len(path) and depth + 1 < len(stack) and stack[depth + 1][0] == path[depth]:
            depth += 1
        del stack[depth + 1 :]
        for call in path[depth:]:
            step = Step(key=("call", call[0]))
            stack[-1][1].steps.append(step)
            stack.append((call, step))
        results = [graph.tensors[i] for i in op.outputs]
        dtypes = tuple(t.dtype for t in results)
        shapes = tuple(tuple(t.shape) for t in results) if with_sizes else ()
        kind = (op.target, dtypes)
        step = Step(key=(*kind, shapes), op=index, kind=kind, content=(*kind, shapes))
        stack[-1][1].steps.append(step)
    _summarize(root)
    return root.steps


def _summarize(step: Step) -> None:
    for child in step.steps:
        if child.op is None:
            _summarize(child)
    step.kind = (step.key, tuple(child.kind for child in step.steps))
    step.content = (step.key, tuple(child.content for child in step.steps))


class _Merge:
    """Emits operators of several graphs into one; knows for each run which tensor of the result its
    own tensors are."""

    def __init__(self, recordings: Sequence[Recording], name: str) -> None:
        self.graphs = graphs = [recording.graph for recording in recordings]
        self.reads = [recording.reads for recording in recordings]
        self.builder = GraphBuilder(name, "trace")
        self.names: dict[str, int] = {}
        self.maps: list[dict[int, int]] = [{} for _ in graphs]
        self.region_of: dict[int, int | None] = {}
        self.parents: dict[int, int | None] = {}
        self.joins: dict[tuple[int | None, tuple[int, ...]], int] = {}
        self.counts = {"branch": 0, "loop": 0}
        self._state()

    def _state(self) -> None:
        """Parameters, buffers and inputs, which all runs have alike."""
        first = self.graphs[0]
        roles = ("parameter", "buffer", "input")
        by_name: dict[str, int] = {}
        for index, tensor in enumerate(first.tensors):
            if tensor.role in roles:
                by_name[tensor.name] = self._tensor(0, index)
        for run, graph in enumerate(self.graphs):
            for index, tensor in enumerate(graph.tensors):
                if tensor.role in roles and tensor.name in by_name:
                    self.maps[run][index] = by_name[tensor.name]
        self.builder.set_inputs([self.maps[0][i] for i in first.inputs])

    def _tensor(self, run: int, index: int, region: int | None = None, name: str = "") -> int:
        """A copy of a run's tensor in the result."""
        tensor = self.graphs[run].tensors[index]
        known = self.maps[run]
        alias = known.get(tensor.alias_of) if tensor.alias_of is not None else None
        new = self.builder.add_tensor(
            name or self.unique(tensor.name),
            tensor.role,
            tensor.dtype,
            tensor.shape,
            tensor.strides,
            tensor.fqn,
            tensor.requires_grad,
            alias,
            known.get(tensor.tied_to) if tensor.tied_to is not None else None,
        )
        self.maps[run][index] = new
        self.region_of[new] = region
        return new

    def unique(self, name: str) -> str:
        count = self.names.get(name, 0)
        self.names[name] = count + 1
        return name if count == 0 else self.unique(f"{name}_{count}")

    def sequence(self, runs: Mapping[int, Sequence[Element]], region: int | None) -> None:
        """What these runs did, in `region`."""
        for segment in align(runs):
            if isinstance(segment, Same):
                self._same(segment, region)
            elif isinstance(segment, Repeats):
                self._loop(segment, region)
            else:
                self._branch(segment, region)

    def _same(self, segment: Same, region: int | None) -> None:
        steps: dict[int, Any] = dict(segment.elements)
        if next(iter(steps.values())).op is None:
            self.sequence({run: step.steps for run, step in steps.items()}, region)
        else:
            self._operator({run: step.op for run, step in steps.items()}, region)

    def _branch(self, segment: Differs, region: int | None) -> None:
        group = self.unique(f"branch_{self.counts['branch'] + 1}")
        self.counts["branch"] += 1
        total = len(segment.elements)
        by = self._decided_by(segment.elements, region)
        for number, runs in enumerate(alternatives(segment.elements)):
            way = self._region(f"{group}.{number}", "branch", group, len(runs) / total, region)
            if by is not None:
                self.builder.decide(way, by)
            self.sequence({run: segment.elements[run] for run in runs}, way)

    def _decided_by(self, ways: Mapping[int, Sequence[Any]], region: int | None) -> int | None:
        """What Python last looked at before these runs parted; None: at nothing."""
        for run, steps in ways.items():
            starts = [op for step in steps for op in step.operators()[:1]]
            known = self.maps[run]
            found = [t for at, t in self.reads[run] if starts and at <= starts[0] and t in known]
            if found and self._visible(known[found[-1]], region):
                return known[found[-1]]
        return None

    def _region(self, name: str, kind: str, group: str, runs: float, parent: int | None) -> int:
        new = self.builder.add_region(name, kind, group, runs, True, parent)
        self.parents[new] = parent
        return new

    def _operator(self, ops: Mapping[int, int], region: int | None) -> None:
        """One operator that all of these runs executed."""
        run, index = next(iter(ops.items()))
        op = self.graphs[run].ops[index]
        inputs: list[tuple[str, int | None]] = []
        for position, (argument, operand) in enumerate(op.inputs):
            if operand is None:
                inputs.append((argument, None))
                continue
            found = {}
            for other, at in ops.items():
                others = self.graphs[other].ops[at].inputs
                theirs = others[position][1] if position < len(others) else None
                if theirs is not None:
                    found[other] = theirs
            inputs.append((argument, self._read(found, region)))
        outputs = [self._tensor(run, i, region) for i in op.outputs]
        for other, at in ops.items():
            results = self.graphs[other].ops[at].outputs
            self.maps[other].update(zip(results, outputs, strict=False))
        self._emit(op, inputs, outputs, region)

    def _emit(
        self,
        op: Any,
        inputs: Sequence[tuple[str, int | None]],
        outputs: Sequence[int],
        region: int | None,
    ) -> None:
        self.builder.add_op(
            op.target,
            self.unique(op.name),
            inputs,
            outputs,
            op.attributes,
            op.module,
            op.module_type,
            op.call,
            "forward",
            region,
        )

    def _read(self, tensors: Mapping[int, int], region: int | None) -> int:
        """The one tensor that these runs read here, each under its own index: a join when they are
        several, or made in a region that this one is not inside of."""
        self._share_constants(tensors)
        found = [self._known(run, index) for run, index in tensors.items()]
        distinct = tuple(dict.fromkeys(found))
        if len(distinct) == 1 and self._visible(distinct[0], region):
            return distinct[0]
        key = (region, distinct)
        if key not in self.joins:
            run, index = next(iter(tensors.items()))
            self.joins[key] = self._join(run, index, distinct, region)
        return self.joins[key]

    def _share_constants(self, tensors: Mapping[int, int]) -> None:
        """A constant that every run read at the same place is one."""
        fresh = all(index not in self.maps[run] for run, index in tensors.items())
        if fresh:
            run, index = next(iter(tensors.items()))
            new = self._tensor(run, index)
            for other, theirs in tensors.items():
                self.maps[other][theirs] = new

    def _known(self, run: int, index: int) -> int:
        """A tensor that no operator made is a constant."""
        known = self.maps[run].get(index)
        return self._tensor(run, index) if known is None else known

    def _visible(self, tensor: int, region: int | None) -> bool:
        made = self.region_of.get(tensor)
        while region is not None and region != made:
            region = self.parents[region]
        return made is None or region == made

    def _join(
        self,
        run: int,
        index: int,
        values: Sequence[int],
        region: int | None,
        carried: str = "",
    ) -> int:
        like = self.graphs[run].tensors[index]
        name = self.unique("join")
        joined = self.builder.add_tensor(
            name,
            "activation",
            like.dtype,
            like.shape,
            like.strides,
            "",
            like.requires_grad,
            values[0] if values and not carried else None,
        )
        self.region_of[joined] = region
        self.builder.add_op(
            JOIN,
            name,
            [("inputs", value) for value in values],
            [joined],
            {"carried": carried} if carried else {},
            region=region,
        )
        return joined

    def _loop(self, segment: Repeats, region: int | None) -> None:
        """The body once; what an iteration takes from the one before it enters by a join."""
        group = self.unique(f"loop_{self.counts['loop'] + 1}")
        self.counts["loop"] += 1
        trips = {run: len(iterations) for run, iterations in segment.iterations.items()}
        mean = sum(trips.values()) / len(trips)
        body = self._region(f"{group}.body", "loop", group, mean, region)
        run = max(trips, key=lambda r: trips[r])
        iterations = [_operators(i) for i in segment.iterations[run]]
        self._body(run, iterations, body)
        # After the loop every iteration's results are what the body leaves.
        chosen = iterations[len(iterations) // 2]
        for other, theirs in segment.iterations.items():
            for iteration in theirs:
                for mine, at in zip(chosen, _operators(iteration), strict=True):
                    left = self.graphs[run].ops[mine].outputs
                    results = self.graphs[other].ops[at].outputs
                    for a, b in zip(left, results, strict=False):
                        self.maps[other][b] = self.maps[run][a]

    def _body(self, run: int, iterations: Sequence[Sequence[int]], body: int) -> None:
        graph = self.graphs[run]
        middle = len(iterations) // 2
        chosen = iterations[middle]
        made = {
            tensor: (at, slot)
            for iteration in iterations
            for at, index in enumerate(iteration)
            for slot, tensor in enumerate(graph.ops[index].outputs)
        }
        inside = {tensor for index in chosen for tensor in graph.ops[index].outputs}
        names = {  # known before they are made: joins at the start name them
            tensor: self.unique(graph.tensors[tensor].name)
            for index in chosen
            for tensor in graph.ops[index].outputs
        }
        entries: dict[tuple[int, int], int] = {}
        for at, index in enumerate(chosen):
            op = graph.ops[index]
            inputs: list[tuple[str, int | None]] = []
            for position, (argument, operand) in enumerate(op.inputs):
                if operand is None or operand in inside or operand not in made:
                    inputs.append(
                        (argument, None if operand is None else self._read({run: operand}, body))
                    )
                    continue
                source = made[operand]
                if source not in entries:
                    initial = graph.ops[iterations[0][at]].inputs
                    first = initial[position][1] if position < len(initial) else None
                    values = [] if first is None or first in made else [self._known(run, first)]
                    left = graph.ops[chosen[source[0]]].outputs[source[1]]
                    entries[source] = self._join(run, operand, values, body, names[left])
                inputs.append((argument, entries[source]))
            outputs = [self._tensor(run, i, body, names[i]) for i in op.outputs]
            self._emit(op, inputs, outputs, body)
        for at, tensor in self.reads[run]:
            if chosen[0] < at <= chosen[-1] + 1 and tensor in inside:
                self.builder.decide(body, self.maps[run][tensor])

    def finish(self) -> Graph:
        """Outputs joined where runs return other tensors; the most that any run kept."""
        outputs = []
        for position in range(len(self.graphs[0].outputs)):
            found = {
                run: graph.outputs[position]
                for run, graph in enumerate(self.graphs)
                if position < len(graph.outputs)
            }
            outputs.append(self._read(found, None))
        self.builder.set_outputs(outputs)
        saved = [g.observed_saved_bytes for g in self.graphs if g.observed_saved_bytes is not None]
        if saved:
            self.builder.set_saved_bytes(max(saved))
        branches, loops = self.counts["branch"], self.counts["loop"]
        self.builder.note(
            f"{len(self.graphs)} batches took different ways: {branches} "
            f"branch{'' if branches == 1 else 'es'} and {loops} loop{'' if loops == 1 else 's'} "
            "with the frequencies seen"
        )
        return self.builder.build()


def _operators(steps: Sequence[Any]) -> list[int]:
    return [op for step in steps for op in step.operators()]
