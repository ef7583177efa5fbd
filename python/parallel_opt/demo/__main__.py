"""``parallel-opt demo``: train two real models three ways, compare, draw."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from parallel_opt._core import load_cluster, report_html, write_file
from parallel_opt.demo import document as documents
from parallel_opt.demo.rounds import Shape, collect
from parallel_opt.demo.tasks import TASKS
from parallel_opt.errors import InputError, _FaultError
from parallel_opt.launch import report_error
from parallel_opt.output import check_writable


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parallel-opt demo",
        description="Train two real models three ways and compare.",
    )
    parser.add_argument("--json", action="store_true", help="print the document on stdout")
    parser.add_argument(
        "-o", "--output", default="demo", metavar="DIR", help="report.html, demo.json"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--verbose", action="store_true", help="what each way plans and logs")
    parser.add_argument("--rounds", type=int, default=Shape.rounds, help="interleaved rounds")
    parser.add_argument("--steps", type=int, default=Shape.steps, help="steps per round and way")
    models = ", ".join(sorted(TASKS))
    parser.add_argument("--model", action="append", help=f"only this model: {models}")
    return parser


def _train(
    names: Sequence[str], shape: Shape, console: Console, verbose: bool
) -> list[dict[str, Any]]:
    # Compilation is paid once, and the planner weighs it against the run. A demo stands for a
    # training run of this many steps, not for the few that it takes itself; the report says so.
    options = {"expected_steps": 10_000, "probe_budget_s": 45.0}
    models = []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as progress:
        bar = progress.add_task("demo", total=shape.units * len(names))
        for position, name in enumerate(names):

            def show(text: str, done: int, base: int = position * shape.units) -> None:
                progress.update(bar, description=text, completed=base + done)
                if not console.is_terminal:
                    console.print(text)

            task = TASKS[name]()
            ways = collect(name, shape, options, show, sys.stderr if verbose else None)
            batch = len(task.batch(0)[0])
            models.append(documents.model_document(name, task.title, batch, ways))
    return models


def _print(document: dict[str, Any], report: Path, console: Console) -> None:
    for model in document["models"]:
        table = Table(title=f"{model['name']}: {model['title']}", title_justify="left")
        table.add_column("")
        for way in documents.WAYS:
            table.add_column(way, justify="right")
        for row in documents.rows(model):
            table.add_row(*row)
        console.print(table)
        for way in ("fp32", "auto"):
            console.print(f"  {way}: {model[way]['plan']}", highlight=False)
            for reason in model[way]["reasons"] + model[way]["notes"]:
                console.print(f"    {reason}", highlight=False)
    console.print(f"report: {report}", highlight=False)


def _usage_fault(options: argparse.Namespace) -> InputError | None:
    """What is wrong with the flags' values."""
    for name in ("rounds", "steps"):
        if getattr(options, name) < 1:
            return InputError(f"--{name}", f"{getattr(options, name)} is less than 1", "")
    for model in options.model or []:
        if model not in TASKS:
            near = difflib.get_close_matches(model, TASKS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else "one of " + ", ".join(sorted(TASKS))
            return InputError("--model", f"'{model}' is no model of the demo", hint)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = _parser().parse_args(argv)
    fault = _usage_fault(options)
    if fault is not None:
        report_error(fault, options.json, sys.stdout.write)
        return 2
    try:
        cluster = load_cluster("local")
        output = Path(options.output)
        check_writable(output)  # fails now, not after minutes; the last result stays until then
        shape = Shape(rounds=options.rounds, steps=options.steps)
        log = Console(stderr=True, quiet=options.quiet)
        models = _train(options.model or list(TASKS), shape, log, options.verbose)
        machine = documents.machine(cluster)
        document = {"schema": "parallel-opt/demo/1", "machine": machine, "models": models}
        text = documents.to_json(document)
        write_file(str(output / "demo.json"), text)
        report = (output / "report.html").resolve()
        write_file(str(report), report_html(text))
        if options.json:
            sys.stdout.write(text)
        else:
            _print(document, report, Console())
    except KeyboardInterrupt:
        return 130
    except _FaultError as error:
        return report_error(error, options.json, sys.stdout.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
