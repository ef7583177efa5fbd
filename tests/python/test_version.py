"""The version is written once, in parallel_opt/base/version.h."""

import re
from pathlib import Path

import parallel_opt


def test_python_version_is_the_one_in_version_h() -> None:
    header = Path(__file__).parents[2] / "parallel_opt/base/version.h"
    written = re.search(r'kVersion = "([0-9.]+)"', header.read_text())
    assert written and parallel_opt.__version__ == written[1]
