"""The scripts behind docs/accuracy.md."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "validation"))

import accuracy_page  # noqa: E402
import compact_tables  # noqa: E402
from accuracy_plots import Point, histogram_svg, scatter_svg  # noqa: E402

TABLES = ROOT / "validation/tables"


def rows_of(name: str) -> list[dict[str, str]]:
    with (TABLES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_are_whole_small_and_every_source_is_cited() -> None:
    training, failed = rows_of("training.csv"), rows_of("infeasible.csv")
    assert len({row["id"] for row in training}) == len(training) == 3046
    assert len({row["id"] for row in failed}) == len(failed) == 544
    assert (TABLES / "training.csv").stat().st_size <= 600_000
    sources = (TABLES / "SOURCES.md").read_text(encoding="utf-8")
    counts: dict[str, int] = {}
    for row in training + failed:
        prefix = row["id"].split("-")[0]
        counts[prefix] = counts.get(prefix, 0) + 1
    for prefix, count in counts.items():
        assert f"| `{prefix}` | {count} |" in sources


def test_compact_rows_keep_what_is_measured() -> None:
    row = {"id": "a-1", "notes": "n", "metric_iter_time_s": "2", "metric_samples_per_s": "8"}
    row |= {"metric_tokens_per_s_per_gpu": "9", "peak_memory_gb": ""}
    rate = {**row, "id": "b-1", "metric_iter_time_s": ""}
    peak = {"training_id": "a-1", "peak_memory_gb": "3.5", "memory_unit": "GB as printed"}
    first, second = compact_tables.compact_training([row, rate], [peak])
    assert (first["metric_iter_time_s"], first["metric_tokens_per_s_per_gpu"]) == ("2", "")
    assert (first["peak_memory_gb"], first["memory_unit"]) == ("3.5", "GB")
    assert (second["metric_tokens_per_s_per_gpu"], second["metric_samples_per_s"]) == ("9", "8")
    assert first["notes"] == "n"


def test_a_note_that_all_rows_of_a_source_share_is_left_to_the_list_of_sources() -> None:
    base = {"metric_iter_time_s": "1", "peak_memory_gb": ""}
    rows = [{**base, "id": f"big-{i}", "notes": "same"} for i in range(101)]
    rows += [{**base, "id": f"two-{i}", "notes": str(i)} for i in range(101)]
    kept = compact_tables.compact_training(rows, [])
    assert {row["notes"] for row in kept[:101]} == {""}
    assert kept[102]["notes"] == "1"


def test_the_histogram_counts_every_row_once() -> None:
    # errors 0, +50 %, +900 %, -90 %: two inside, one beyond on either side
    picture = histogram_svg(
        [Point("a", 1, 1), Point("a", 2, 3), Point("a", 1, 10), Point("a", 1, 0.1)]
    )
    assert "beyond: 1 below, 1 above" in picture
    assert "predicted / measured - 1, 4 rows" in picture


def test_a_panel_per_source_with_a_dot_per_row() -> None:
    points = [Point("few", 0.5, 0.6), Point("many", 1, 1), Point("many", 10, 9)]
    picture = scatter_svg(points)
    assert picture.index("many, 2 rows") < picture.index("few, 1 rows")
    assert picture.count("h0") == 3
    assert picture == scatter_svg(points)


def test_only_what_stands_between_the_markers_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "accuracy.md"
    page.write_text(f"head\n{accuracy_page.BEGIN}\nold\n{accuracy_page.END}\ntail\n")
    monkeypatch.setattr(accuracy_page, "PAGE", page)
    accuracy_page.replace("new\n")
    assert page.read_text() == f"head\n{accuracy_page.BEGIN}\nnew\n{accuracy_page.END}\ntail\n"


def test_skipped_rows_are_counted_by_reason() -> None:
    skipped = [{"id": f"a-{i}", "reason": "no shape"} for i in range(4)]
    skipped.append({"id": "b-1", "reason": "lora"})
    lines = accuracy_page.skipped_lines({"skipped": skipped, "notes": ["1 row: filled"]})
    assert "- 4: no shape (`a-0`, `a-1`, `a-2`, ...)" in lines
    assert "- 1: lora (`b-1`)" in lines
    assert "- 1 row: filled" in lines
