"""The demo's results: the last ones stay until there are new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from parallel_opt.demo import __main__ as demo


def interrupted(*_: Any) -> list[dict[str, Any]]:
    raise KeyboardInterrupt


def test_interrupted_demo_leaves_the_last_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo.json").write_text('{"last": "result"}')
    monkeypatch.setattr(demo, "_train", interrupted)
    assert demo.main(["--quiet", "-o", str(tmp_path)]) == 130
    assert json.loads((tmp_path / "demo.json").read_text()) == {"last": "result"}
    assert [path.name for path in tmp_path.iterdir()] == ["demo.json"]


def test_unwritable_directory_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(demo, "_train", interrupted)
    assert demo.main(["--quiet", "-o", str(tmp_path / "file" / "below")]) == 4
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/file/below: Not a directory (choose a directory you may write)\n"
    )


def test_unknown_values_are_errors_with_the_nearest_known_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demo.main(["--model", "gtp", "--json"]) == 2
    out = capsys.readouterr()
    assert out.err == "error: --model: 'gtp' is no model of the demo (did you mean 'gpt'?)\n"
    assert json.loads(out.out)["errors"][0]["hint"] == "did you mean 'gpt'?"
    assert demo.main(["--rounds", "0"]) == 2
    assert capsys.readouterr().err == "error: --rounds: 0 is less than 1\n"
