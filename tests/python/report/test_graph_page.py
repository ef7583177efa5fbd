"""Opens the picture of a model in a real browser: boxes open by a click, lines meet their boxes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch
from test_report_page import Page, program
from torch import nn


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(16, 16) for _ in range(3))
        self.norm = nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        return x + torch.softmax(self.q(h) @ self.k(h).mT, -1) @ self.v(h)


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Block() for _ in range(6)))
        self.head = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(x))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("model") / "model.pt2"
    torch.export.save(torch.export.export(Model(), (torch.zeros(2, 8, 16),)), file)
    return file


# What the page looks like to a reader: which boxes overlap, and whether each line begins and ends
# at boxes. Closes and opens the first box with something inside, then looks again.
PROBE = """
<script>
const look = () => {
  const seen = [...document.querySelectorAll(".node, .dot")].filter((n) => n.offsetParent);
  const leaf = seen.filter((n) => !n.classList.contains("open"));
  const box = (n) => n.getBoundingClientRect();
  const beside = (a, b) => a.right <= b.left || b.right <= a.left;
  const apart = (a, b) => beside(a, b) || a.bottom <= b.top || b.bottom <= a.top;
  let overlaps = 0, loose = 0;
  leaf.forEach((a, i) => leaf.slice(0, i).forEach((b) => {
    if (!apart(box(a), box(b))) overlaps++;
  }));
  const shown = (p) => p.closest(".grid").offsetParent;
  const paths = [...document.querySelectorAll(".wires path")].filter(shown);
  const near = (x, y) => seen.some((n) => { const r = box(n);
    return x >= r.left - 2 && x <= r.right + 2 && y >= r.top - 2 && y <= r.bottom + 2; });
  for (const p of paths) {
    const own = p.closest(".grid").getBoundingClientRect(), length = p.getTotalLength();
    for (const at of [p.getPointAtLength(0), p.getPointAtLength(length)]) {
      if (!near(at.x + own.left, at.y + own.top)) loose++;
    }
  }
  return {boxes: seen.length, paths: paths.length, overlaps, loose};
};
const opened = look();
const button = document.querySelector(".node.open > button");
button.click();
const closed = look(), expanded = button.getAttribute("aria-expanded");
button.click();
const again = look();
document.querySelector("input[value=memory]").click();
document.body.dataset.found = JSON.stringify(
  {opened, closed, again, expanded, by: document.body.className});
</script>
"""


def test_boxes_open_and_close_and_lines_meet_them(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "model.html"
    subprocess.run([program(), "graph", str(model), "--html", str(page)], check=True)
    text = page.read_text()
    page.write_text(text.replace("</body>", PROBE + "</body>"))
    shown = Page(page, tmp_path)
    assert shown.console == []
    assert shown.requests == []
    quoted = shown.document.split('data-found="', 1)[1].split('"', 1)[0]
    found = json.loads(quoted.replace("&quot;", '"'))
    for state in ("opened", "closed", "again"):
        assert found[state]["overlaps"] == 0, found
        assert found[state]["loose"] == 0, found
    assert found["again"] == found["opened"]
    assert found["closed"]["boxes"] < found["opened"]["boxes"]
    assert found["closed"]["paths"] < found["opened"]["paths"]
    assert found["expanded"] == "false"
    assert found["by"] == "by-memory"
    assert "<b>blocks.* <i>\u00d7 6</i></b>" in shown.document


def test_the_svg_is_a_picture_of_its_own(model: Path, tmp_path: Path) -> None:
    svg = tmp_path / "model.svg"
    subprocess.run([program(), "graph", str(model), "--svg", str(svg)], check=True)
    shown = Page(svg, tmp_path)
    assert shown.console == []
    assert shown.requests == []
    assert "blocks.* \u00d7 6" in shown.document


def test_analysis_of_the_command_line_is_the_documents(model: Path) -> None:
    command = [program(), "graph", str(model), "--analysis", "--per-operator", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert document["schema"] == "parallel-opt/graph-analysis/1"
    projections = next(group for group in document["branches"] if len(group["branches"]) == 3)
    assert [branch["modules"] for branch in projections["branches"]] == [
        "blocks.*.q",
        "blocks.*.k",
        "blocks.*.v",
    ]
    assert projections["repeats"] == 6
    assert len(document["operator_list"]) == document["operators"]
