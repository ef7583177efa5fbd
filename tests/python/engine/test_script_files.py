"""Checkpoints that several ranks write to one path."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from parallel_opt.engine import script_files


@pytest.fixture(autouse=True)
def whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch, "save", torch.save)
    monkeypatch.setattr(torch.serialization, "save", torch.save)
    script_files.save_whole()
    yield


def test_a_reader_sees_whole_checkpoints_only(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    state = {"weight": torch.ones(20_000)}
    torch.save(state, path)

    def rewrite() -> None:
        for _ in range(50):
            torch.save(state, path)

    writer = threading.Thread(target=rewrite)
    writer.start()
    while writer.is_alive():
        assert torch.load(path)["weight"].sum() == 20_000
    writer.join()
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]


def test_the_archive_is_named_as_by_torch(tmp_path: Path) -> None:
    torch.save({}, str(tmp_path / "epoch3.pt"))
    assert zipfile.ZipFile(tmp_path / "epoch3.pt").namelist()[0] == "epoch3/data.pkl"


def test_links_and_permissions_stay(tmp_path: Path) -> None:
    target, link = tmp_path / "step9.pt", tmp_path / "last.pt"
    torch.save(1, target)
    target.chmod(0o600)
    link.symlink_to(target)
    torch.save(2, link)
    assert link.is_symlink() and torch.load(target) == 2
    assert target.stat().st_mode & 0o777 == 0o600


def test_a_new_file_has_the_permissions_of_any_other(tmp_path: Path) -> None:
    torch.save(1, tmp_path / "a.pt")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a.pt").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_what_is_no_file_is_written_as_by_torch(tmp_path: Path) -> None:
    with open(tmp_path / "open.pt", "wb") as file:
        torch.save(1, file)
    assert torch.load(tmp_path / "open.pt") == 1
    torch.save(1, os.devnull)
    assert not Path(os.devnull).is_file()
    with pytest.raises(RuntimeError, match="Parent directory"):
        torch.save(1, tmp_path / "none" / "a.pt")
