"""What tests of several importers share."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def keras_exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("TensorFlow has no package for this machine (tools/requirements-test.txt)")
    folder = tmp_path_factory.mktemp("keras")
    program = Path(__file__).with_name("export_keras.py")
    done = subprocess.run(
        [sys.executable, str(program), str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder
