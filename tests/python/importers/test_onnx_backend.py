"""Inferred shapes against those the ONNX package's own node tests state."""

from __future__ import annotations

import collections
import functools
import os
from pathlib import Path

from onnx_cases import Case, cases, stripped, with_constants

from parallel_opt import _core

COVERAGE = Path(__file__).parents[3] / "docs" / "onnx-coverage.md"

#: Their results' sizes depend on what is in a tensor: any size is right.
BY_DATA = {
    "ImageDecoder", "Loop", "NonMaxSuppression", "NonZero", "StringNormalizer", "StringSplit",
    "Unique",
}  # fmt: skip
#: They make, or take, lists of tensors whose length the file does not say.
LISTS = {"If", "Loop", "OptionalGetElement", "SequenceInsert", "SequenceMap", "Identity"}


def _outcome(case: Case, model: bytes) -> str:
    """ "equal", "open" (some size is a symbol that data decides), or what differs."""
    graph = _core.read_onnx(model, case.name)
    if len(graph.outputs) != len(case.expected):
        return f"{len(graph.outputs)} results, not {len(case.expected)}"
    result = "equal"
    for index, expected in zip(graph.outputs, case.expected, strict=False):
        tensor = graph.tensors[index]
        if tensor.dtype != expected.dtype:
            return f"{tensor.name} is {tensor.dtype}, not {expected.dtype}"
        if len(tensor.shape) != len(expected.shape):
            return f"{tensor.name} has axes {tensor.expressions}, not {expected.shape}"
        for size, expression, right in zip(
            tensor.shape, tensor.expressions, expected.shape, strict=False
        ):
            if expression:
                result = "open"
            elif size != right:
                return f"{tensor.name} is {tensor.shape}, not {expected.shape}"
    return result


@functools.cache
def _outcomes() -> dict[str, tuple[str, str]]:
    """Per case: where it belongs ("inferred", ...), and what differs."""
    result = {}
    for case in cases():
        if not case.claimed:
            result[case.name] = ("not claimed", "")
            continue
        outcome = _outcome(case, stripped(case))
        if outcome == "equal":
            result[case.name] = ("inferred", "")
            continue
        second = _outcome(case, with_constants(case))
        types = {operator for _, operator in case.operators}
        if second == "equal":
            result[case.name] = ("inferred from given shapes", outcome)
        elif second == "open" and types & BY_DATA:
            result[case.name] = ("data decides", "")
        elif ("results, not" in second or "axes []" in second) and types & LISTS:
            result[case.name] = ("lists of unknown length", "")
        else:
            result[case.name] = ("wrong", second)
    return result


def _groups() -> dict[str, list[str]]:
    groups: dict[str, list[str]] = collections.defaultdict(list)
    for name, (group, _) in _outcomes().items():
        groups[group].append(name)
    return groups


def _coverage() -> str:
    """The page docs/onnx-coverage.md."""
    groups = _groups()
    total = sum(len(names) for names in groups.values())
    rows = [
        ("inferred", "every size and element type as the case states"),
        (
            "inferred from given shapes",
            "the same once shapes that are inputs are given",
        ),
        ("data decides", "sizes that only data tells are symbols, the rest is as stated"),
        ("lists of unknown length", "a list of tensors is an input: its length is not in the file"),
        ("not claimed", "an operator whose shapes the importer does not know"),
    ]
    lines = [
        "# ONNX operators",
        "",
        f"The {total:,} node tests of the `onnx` package, read without their inner shapes "
        "(`tests/python/importers/test_onnx_backend.py`; `UPDATE_GOLDEN=1` rewrites this page).",
        "",
        "| cases | outcome |",
        "|---:|---|",
        *(f"| {len(groups[group]):,} | {group}: {meaning} |" for group, meaning in rows),
        "",
        "Not claimed: "
        + (", ".join(f"`{n}`" for n in sorted(groups["not claimed"])) or "none")
        + ".",
        "",
        "| domain | operators in these tests |",
        "|---|---|",
    ]
    by_domain: dict[str, set[str]] = collections.defaultdict(set)
    for case in cases():
        for domain, operator in case.operators:
            known = _core.knows_onnx_operator(domain, operator)
            by_domain[domain or "ai.onnx"].add(operator if known else f"~~{operator}~~")
    lines += [f"| `{d}` | {', '.join(sorted(o))} |" for d, o in sorted(by_domain.items())]
    return "\n".join(lines) + "\n"


def test_every_claimed_case_has_the_shapes_it_states() -> None:
    wrong = {n: what for n, (group, what) in _outcomes().items() if group == "wrong"}
    assert wrong == {}


def test_nine_of_ten_cases_are_claimed_and_inferred() -> None:
    groups = _groups()
    inferred = len(groups["inferred"]) + len(groups["inferred from given shapes"])
    assert inferred >= 0.9 * len(cases())


def test_the_docs_say_what_is_covered() -> None:
    if os.environ.get("UPDATE_GOLDEN") == "1":
        COVERAGE.write_text(_coverage(), encoding="utf-8")
    assert COVERAGE.read_text(encoding="utf-8") == _coverage()
