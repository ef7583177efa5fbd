"""``parallel-opt run -m package.module`` is ``python -m package.module`` on several ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from launching import launched

from forks import Done

MAIN = """
import pickle
import sys
from pathlib import Path
from . import parts
class Own:
    pass
print(__name__, __package__, __spec__.name, Path(__file__).name, sys.path[0] == str(Path.cwd()))
print(Path(sys.argv[0]).name, sys.argv[1:], parts.VALUE)
print(pickle.dumps(Own()) != b"", sys.modules["__main__"].Own is Own)
"""
PRINTED = """__main__ job job.train train.py True
train.py ['-m', 'x', '--lr', '1'] 3
True True
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    job = tmp_path / "job"
    job.mkdir()
    (job / "__init__.py").touch()
    (job / "parts.py").write_text("VALUE = 3\n")
    (job / "train.py").write_text(MAIN)
    (job / "__main__.py").write_text("print('main of', __package__)\n")
    (job / "broken.py").write_text("import job.parts\nimport nothing_of_this_name\n")
    return tmp_path


def run(where: Path, *words: str) -> Done:
    return launched([*words], where)


def test_a_module_runs_as_by_python_on_every_rank(package: Path) -> None:
    words = ["job.train", "-m", "x", "--lr", "1"]
    plain = subprocess.run(
        [sys.executable, "-m", *words], cwd=package, capture_output=True, text=True, check=False
    )
    assert plain.stdout == PRINTED
    done = run(package, "--ranks", "2", "-m", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTED


def test_a_package_runs_its_main(package: Path) -> None:
    done = run(package, "--ranks", "1", "--module", "job")
    assert (done.returncode, done.stdout) == (0, "main of job\n")


@pytest.mark.parametrize("name", ["job.none", "nothing.at.all", "..train"])
def test_a_module_that_is_not_there_is_told(package: Path, name: str) -> None:
    done = run(package, "--ranks", "1", "-m", name)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        f"error: {name}: no such module (is it below this directory, or installed?)"
    )


def test_what_a_module_fails_to_import_is_its_own_error(package: Path) -> None:
    done = run(package, "--ranks", "1", "-m", "job.broken")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )
