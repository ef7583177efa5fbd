"""Lets every test folder import what the tests share, also in worker processes."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
for folder in (_HERE, _HERE / "engine"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
