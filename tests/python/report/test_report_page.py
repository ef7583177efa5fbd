"""Opens reports in a real browser: no console message, no request, and the whole page is there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sample

LIMIT_BYTES = 3_000_000
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def program() -> str:
    """The native parallel-opt beside this Python, else in PATH."""
    beside = Path(sysconfig.get_path("scripts")) / "parallel-opt"
    found = str(beside) if beside.is_file() else shutil.which("parallel-opt")
    assert found, "parallel-opt is not built: run make build"
    return found


class Page:
    """What Chromium made of a file: the document after loading, its console, its requests."""

    def __init__(self, file: Path, directory: Path) -> None:
        browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
        assert browser, "Chromium is not installed, which opens the reports: apt install chromium"
        log = directory / "net.json"
        done = subprocess.run(
            [
                browser,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--no-first-run",
                "--host-resolver-rules=MAP * ~NOTFOUND",  # what is asked for is logged, and fails
                "--enable-logging=stderr",
                f"--log-net-log={log}",
                f"--user-data-dir={directory / 'profile'}",
                "--dump-dom",
                file.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        self.document = done.stdout
        self.console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        self.requests = _requests(log, file.as_uri())


def _requests(log: Path, page: str) -> list[str]:
    """URLs that the page asked for: its origin is null, Chromium's own requests have none."""
    text = log.read_text()
    if not text.rstrip().endswith("}"):  # Chromium may be gone before it has closed the list
        text = text.rstrip().rstrip(",") + "]}"
    urls: set[str] = set()
    for event in json.loads(text)["events"]:
        parameters: dict[str, Any] = event.get("params", {})
        if parameters.get("initiator", "not an origin") != "not an origin" and "url" in parameters:
            urls.add(parameters["url"])
    return sorted(url for url in urls if url != page and not url.startswith(("data:", "chrome")))


@pytest.fixture
def draw(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Write a document and have parallel-opt draw it."""

    def drawn(document: dict[str, Any]) -> Path:
        source, output = tmp_path / "document.json", tmp_path / "report.html"
        source.write_text(json.dumps(document))
        command = [program(), "report", str(source), "-o", str(output)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{output}\n"
        return output

    return drawn


@pytest.mark.parametrize("make", [sample.demo, sample.run], ids=["demo", "run"])
def test_a_report_loads_without_a_message_or_a_request(
    make: Callable[[], dict[str, Any]], draw: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    file = draw(make())
    assert file.stat().st_size < LIMIT_BYTES
    page = Page(file, tmp_path)
    assert page.console == []
    assert page.requests == []
    for title in ("Step time", "Step timeline", "Memory over time", "Where the time goes"):
        assert f"<b>{title}</b>" in page.document
    assert page.document.rstrip().endswith("</html>")


def test_the_browser_would_tell_of_messages_and_requests(tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(
        "<!DOCTYPE html><img src='http://elsewhere.test/x.png'><script>console.error('told')</script>"
    )
    page = Page(file, tmp_path)
    assert any("told" in line for line in page.console)
    assert "http://elsewhere.test/x.png" in page.requests


def test_hostile_names_do_not_become_elements(
    draw: Callable[[dict[str, Any]], Path], tmp_path: Path
) -> None:
    document = sample.run()
    document["title"] = "<img src=http://elsewhere.test/t.png>"
    document["events"][0]["text"] = "</script><script>console.error('told')</script>"
    page = Page(draw(document), tmp_path)
    assert page.console == []
    assert page.requests == []
