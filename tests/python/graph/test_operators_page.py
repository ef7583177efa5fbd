"""docs/operators.md counts the rows of the operator table."""

from __future__ import annotations

import re
from pathlib import Path

from parallel_opt import _core

PAGE = Path(__file__).parents[3] / "docs" / "operators.md"


def test_the_page_has_as_many_rows_as_the_table() -> None:
    counted = re.findall(
        r"([\d,]+) rows \(`parallel_opt\._core\.known_operators\(\)`\)", PAGE.read_text()
    )
    assert counted == [f"{len(_core.known_operators()):,}"]
