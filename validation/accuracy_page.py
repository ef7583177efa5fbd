"""Writes docs/accuracy.md between its markers, and the pictures beside it.

``python validation/accuracy_page.py`` runs `parallel-opt accuracy` on validation/tables/, and on
each of validation/held_out/ by itself, and shows what it printed; ``--program`` names another
program, ``--data`` and ``--held-out`` other tables.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from accuracy_plots import Point, histogram_svg, scatter_svg

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/accuracy.md"
BEGIN, END = "<!-- accuracy: generated -->", "<!-- accuracy: end -->"
SOURCE_HEAD = [
    *("source", "rows", "median", "90th percentile", "bias", "noise floor"),
    *("groups", "Spearman", "regret", "worst"),
]
Document = dict[str, Any]


def percent(share: float | None, sign: bool = False) -> str:
    return "-" if share is None else f"{100 * share:{'+' if sign else ''}.1f} %"


def plain(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    rule = "|---|" + "---:|" * (len(head) - 1)
    return ["| " + " | ".join(row) + " |" for row in [head]] + [
        rule,
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def source_rows(document: Document) -> list[list[str]]:
    rows = []
    for source, time in [*document["by"]["source"].items(), ("**all**", document["time"])]:
        noise = document["noise"].get(source, {})
        groups = document["groups_by_source"].get(source, {})
        if source == "**all**":
            groups = document["groups"]
        rows.append(
            [
                source,
                str(time["count"]),
                percent(time.get("median_error")),
                percent(time.get("p90_error")),
                percent(time.get("bias"), sign=True),
                percent(noise.get("least_median_error")),
                str(groups.get("count", 0)),
                plain(groups.get("spearman_median")),
                percent(groups.get("regret_mean")),
                percent(groups.get("regret_worst")),
            ]
        )
    return rows


def summary(document: Document) -> list[str]:
    memory, fit, interval = document["memory"], document["infeasible"], document["interval"]
    lines = [
        f"{document['rows']} rows, {document['used']} used, {len(document['skipped'])} skipped.",
        "",
        *table(
            SOURCE_HEAD,
            source_rows(document),
        ),
        "![Predicted against measured iteration time, by source](accuracy-time.svg)",
        "",
        "![Relative errors of iteration time](accuracy-error.svg)",
        "",
    ]
    if memory["count"]:
        lines += [
            f"*Peak memory*, {memory['count']} rows: median error {percent(memory['median_error'])}"
            f", 90th percentile {percent(memory['p90_error'])}, bias "
            f"{percent(memory['bias'], sign=True)}; {percent(memory['under_by_3pct_share'])} are "
            "predicted at more than 3 % below what was measured.",
            "",
        ]
    lines += [
        f"*What does not fit*: {percent(fit.get('recall'))} of {fit['count']} rows known not to "
        f"fit are refused, and {percent(fit.get('false_alarm_rate'))} of {fit['ran']} rows that "
        f"ran. Of {fit['unclear']['count']} runs that failed for reasons nobody states, "
        f"{percent(fit['unclear'].get('predicted_not_to_fit'))} are predicted not to fit.",
        "",
        f"*Intervals*: {percent(interval.get('coverage'))} of the measured times lie inside the "
        f"{100 * interval['level']:.0f} % interval, {percent(interval.get('memory_coverage'))} of "
        "the peak memories.",
        "",
    ]
    return lines


def held_out_row(name: str, document: Document) -> list[str]:
    time, memory, fit = document["time"], document["memory"], document["infeasible"]
    interval, groups = document["interval"], document["groups"]
    return [
        name,
        str(time["count"]),
        percent(time.get("median_error")),
        percent(time.get("p90_error")),
        percent(time.get("bias"), sign=True),
        percent(interval.get("coverage")),
        str(memory["count"]),
        percent(memory.get("median_error")),
        percent(memory.get("under_by_3pct_share")),
        percent(interval.get("memory_coverage")),
        f"{fit['count']}: {percent(fit.get('recall'))}" if fit["count"] else "-",
        percent(fit.get("false_alarm_rate")),
        plain(groups.get("spearman_median")),
        percent(groups.get("regret_mean")),
        percent(groups.get("regret_worst")),
    ]


def held_out_lines(documents: dict[str, Document]) -> list[str]:
    head = [
        *("table", "times", "median", "90th percentile", "bias", "in interval"),
        *("memories", "median", "too low by 3 %", "in interval"),
        *("did not fit: refused", "ran: refused", "Spearman", "regret", "worst"),
    ]
    rows = [held_out_row(name, document) for name, document in documents.items()]
    return ["### Held-out tables", "", *table(head, rows)] if rows else []


def noise_lines(document: Document) -> list[str]:
    rows = [
        [
            source,
            str(noise["groups"]),
            str(noise["rows"]),
            percent(noise.get("median_spread")),
            percent(noise.get("least_median_error")),
        ]
        for source, noise in document["noise"].items()
    ]
    if not rows:
        return []
    head = ["source", "configurations", "rows", "longest / shortest - 1", "noise floor"]
    return ["### Repeated configurations", "", *table(head, rows)]


def column_lines(document: Document, column: str, title: str) -> list[str]:
    def key(value: str) -> tuple[bool, float, str]:
        number = value.replace(".", "", 1).isdigit()
        return (not number, float(value) if number else 0.0, value)

    scores = document["by"][column]
    rows = [
        [
            value,
            str(scores[value]["count"]),
            percent(scores[value].get("median_error")),
            percent(scores[value].get("p90_error")),
            percent(scores[value].get("bias"), sign=True),
        ]
        for value in sorted(scores, key=key)
    ]
    head = [title, "rows", "median", "90th percentile", "bias"]
    return [f"### By {title}", "", *table(head, rows)]


def skipped_lines(document: Document) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for row in document["skipped"]:
        reasons.setdefault(row["reason"], []).append(row["id"])
    lines = ["### Skipped", ""]
    for reason, ids in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        shown = ", ".join(f"`{name}`" for name in ids[:3]) + (", ..." if len(ids) > 3 else "")
        lines.append(f"- {len(ids)}: {reason} ({shown})")
    if not reasons:
        lines.append("None.")
    return [*lines, "", "### Notes of the command", "", *(f"- {n}" for n in document["notes"]), ""]


def points(document: Document) -> list[Point]:
    return [
        Point(row["id"].split("-")[0], row["measured_s"], row["predicted_s"])
        for row in document["predictions"]
        if "measured_s" in row
    ]


def run(program: str, tables: list[Path]) -> Document:
    command = [program, "accuracy", *map(str, tables), "--rows", "--json", "--by", "recompute"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"{program} ended with {done.returncode}")
    document: Document = json.loads(done.stdout)
    return document


def page_text(document: Document, held_out: dict[str, Document]) -> str:
    lines = summary(document) + held_out_lines(held_out) + noise_lines(document)
    for column, title in [
        ("gpu_family", "device"),
        ("framework", "software"),
        ("gpus", "devices"),
        ("tp", "tensor-parallel degree"),
        ("pp", "pipeline degree"),
        ("recompute", "recomputation"),
    ]:
        lines += column_lines(document, column, title)
    return "\n".join(lines + skipped_lines(document))


def replace(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    head, rest = page.split(BEGIN)
    tail = rest.split(END)[1]
    PAGE.write_text(f"{head}{BEGIN}\n{text}{END}{tail}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description="Write docs/accuracy.md.")
    parser.add_argument("--program", default=str(ROOT / ".venv/bin/parallel-opt"))
    parser.add_argument("--data", type=Path, default=ROOT / "validation/tables")
    parser.add_argument("--held-out", type=Path, default=ROOT / "validation/held_out")
    args = parser.parse_args()
    tables = sorted(args.data.glob("*.csv"))
    known = {"id", "status", "training_id"}
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            if not known & set(next(csv.reader(file))):
                raise SystemExit(f"{path}: no table of measurements")
    document = run(args.program, tables)
    held_out = {
        path.stem: run(args.program, [path]) for path in sorted(args.held_out.glob("*.csv"))
    }
    replace(page_text(document, held_out))
    found = points(document)
    (PAGE.parent / "accuracy-time.svg").write_text(scatter_svg(found), encoding="utf-8")
    (PAGE.parent / "accuracy-error.svg").write_text(histogram_svg(found), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)}: {document['used']} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
