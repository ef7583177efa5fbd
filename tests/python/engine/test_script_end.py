"""What a script leaves open when it ends is written to its end."""

from __future__ import annotations

import gzip
from pathlib import Path

from forks import Done, forked
from parallel_opt.engine import process_group, script_end


def end(tmp_path: Path, body: str) -> Done:
    """A worker whose script is `body`, in `tmp_path`."""
    (tmp_path / "script.py").write_text(body)
    return forked(_run, cwd=tmp_path)


def _run() -> None:
    process_group.run_worker(lambda: script_end.run_script("script.py"))


def test_files_left_open_are_written_to_their_end(tmp_path: Path) -> None:
    body = (
        "import gzip, io\n"
        "text = open('text', 'w'); text.write('one\\n')\n"
        "raw = open('raw', 'wb'); raw.write(b'two')\n"
        "packed = gzip.open('packed.gz', 'wt'); packed.write('three')\n"
        "keep = lambda: (text, raw, packed)\n"  # functions hold the script's names in a cycle
    )
    done = end(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "text").read_text() == "one\n"
    assert (tmp_path / "raw").read_bytes() == b"two"
    assert gzip.decompress((tmp_path / "packed.gz").read_bytes()) == b"three"


def test_exit_handlers_run_and_see_the_script(tmp_path: Path) -> None:
    body = (
        "import atexit\n"
        "log = open('log', 'w'); log.write('step\\n')\n"
        "atexit.register(lambda: log.write('end\\n'))\n"
        "atexit.register(lambda: 1 / 0)\n"
        "raise SystemExit(7)\n"
    )
    done = end(tmp_path, body)
    assert done.returncode == 7
    assert (tmp_path / "log").read_text() == "step\nend\n"
    assert done.stderr.count("ZeroDivisionError") == 1


def test_threads_of_the_script_are_waited_for(tmp_path: Path) -> None:
    body = (
        "import threading\n"
        "go = threading.Event()\n"
        "def late():\n"
        "    go.wait(); open('late', 'w').write('done')\n"
        "threading.Thread(target=late).start()\n"
        "threading.Timer(0.2, go.set).start()\n"
    )
    assert end(tmp_path, body).returncode == 0
    assert (tmp_path / "late").read_text() == "done"


def test_objects_that_only_a_cycle_holds_are_finalised(tmp_path: Path) -> None:
    body = (
        "class Box:\n"
        "    def __del__(self, open=open): open('gone', 'w').write('yes')\n"
        "box = Box(); box.me = box\n"
    )
    assert end(tmp_path, body).returncode == 0
    assert (tmp_path / "gone").read_text() == "yes"


def test_an_object_may_write_to_its_file_when_it_goes(tmp_path: Path) -> None:
    body = (
        "class Log:\n"
        "    def __init__(self): self.file = open('log', 'w')\n"
        "    def __del__(self): self.file.write('last words')\n"
        "log = Log()\n"
    )
    assert end(tmp_path, body).returncode == 0
    assert (tmp_path / "log").read_text() == "last words"


def test_files_are_written_after_an_error_too(tmp_path: Path) -> None:
    body = "log = open('log', 'w'); log.write('before')\nraise ValueError('bad')\n"
    done = end(tmp_path, body)
    assert done.returncode == 1 and "ValueError: bad" in done.stderr
    assert (tmp_path / "log").read_text() == "before"


def test_an_error_goes_through_the_hook_that_the_script_has_set(tmp_path: Path) -> None:
    body = (
        "import sys\nsys.excepthook = lambda kind, e, tb: print('mine', e)\nraise ValueError('x')\n"
    )
    done = end(tmp_path, body)
    assert (done.returncode, done.stdout, done.stderr) == (1, "mine x\n", "")
