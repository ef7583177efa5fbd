"""The tables of docs/hardware.md between its markers, from the errors of the fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from efficiency_data import Group
from efficiency_model import Array

BEGIN, END = "<!-- efficiency: generated -->", "<!-- efficiency: end -->"


def table_of(group: Group) -> str:
    if group.source.startswith("own"):
        return "own, H200"
    if group.ranks > 0:
        return "collectives.csv"
    return "gemm.csv" if group.kernel == "matmul" else "op_profiles.csv"


def numbers(parts: Iterable[Array]) -> tuple[int, float, float, float]:
    """Rows, median and 90th percentile of the absolute error, median of the signed one."""
    error = np.concatenate([np.zeros(0), *parts])
    if len(error) == 0:
        return 0, 0.0, 0.0, 0.0
    size = np.abs(error)
    return (
        len(error),
        float(np.median(size)),
        float(np.quantile(size, 0.9)),
        float(np.median(error)),
    )


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def table(title: str, rows: list[tuple[str, tuple[int, float, float, float]]]) -> list[str]:
    lines = [
        f"| {title} | rows held out | median error | 90th percentile | bias |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, (count, median, p90, bias) in rows:
        if count:
            lines.append(
                f"| {name} | {count} | {percent(median)} | {percent(p90)} | {percent(bias)} |"
            )
    return [*lines, ""]


def by(
    groups: list[Group], errors: dict[int, Array], key: Callable[[Group], str]
) -> list[tuple[str, tuple[int, float, float, float]]]:
    names = sorted({key(group) for group in groups})
    return [(name, numbers(errors[id(g)] for g in groups if key(g) == name)) for name in names]


def replace_tables(
    path: Path,
    groups: list[Group],
    unseen: list[Group],
    held: dict[int, Array],
    transfer: dict[int, Array],
    whole: list[tuple[Group, bool, Array]],
    aside: dict[str, int],
) -> None:
    everything = ("all", numbers(held[id(g)] for g in groups))
    operators = [g for g in groups if table_of(g) in ("op_profiles.csv", "own, H200")]
    lines = table("by table", [*by(groups, held, table_of), everything])
    lines += [
        "Left aside, with the reasons above: "
        + ", ".join(f"{n} rows of {t}" for t, n in aside.items())
        + ".",
        "",
    ]
    lines += table("operator class", by(operators, held, lambda g: g.kernel))
    lines += table("collective", by([g for g in groups if g.ranks], held, lambda g: g.kernel))
    lines += table("device", by(groups, held, lambda g: g.device))
    lines += [
        "Whole devices held out: each row predicted from the median curve of the other devices,",
        "with the peak, bandwidth and units of its own",
        "data sheet.",
        "",
    ]
    compute = [g for g in [*groups, *unseen] if not g.ranks and len(transfer[id(g)])]
    lines += table(
        "operator class, unseen device",
        [
            *by(compute, transfer, lambda g: g.kernel),
            ("all", numbers(transfer[id(g)] for g in compute)),
        ],
    )
    lines += [
        "A whole source held out: best shapes of a search (an upper envelope, so a positive error",
        "of time is expected).",
        "",
    ]
    lines += ["| device | type | curve | time error |", "|---|---|---|---:|"]
    for group, own, error in whole:
        lines.append(
            f"| {group.device} | {group.dtype} | {'own' if own else 'median'} "
            f"| {percent(float(error[0]))} |"
        )
    text = path.read_text() if path.exists() else f"{BEGIN}\n{END}\n"
    head, _, rest = text.partition(BEGIN)
    path.write_text(head + BEGIN + "\n" + "\n".join(lines) + "\n" + END + rest.partition(END)[2])
