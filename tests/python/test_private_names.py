"""Private names of torch have one door."""

from __future__ import annotations

import ast
from pathlib import Path

import parallel_opt

DOOR = {"compat.py", "compat_capture.py", "compat_functions.py"}


def private_imports(source: str) -> list[str]:
    """Modules and names of torch with a part that starts with an underscore."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found += [
            name
            for name in names
            if name.split(".")[0] == "torch"
            and any(part.startswith("_") for part in name.split("."))
        ]
    return found


def test_only_compat_imports_private_names():
    package = Path(parallel_opt.__file__).parent
    offenders = {
        str(path.relative_to(package)): names
        for path in package.rglob("*.py")
        if path.name not in DOOR and (names := private_imports(path.read_text("utf-8")))
    }
    assert offenders == {}


def test_private_imports_are_found_in_any_form():
    source = "import torch._ops\nfrom torch._C import x\nfrom torch.nn import _reduction, Linear\n"
    assert private_imports(source) == ["torch._ops", "torch._C.x", "torch.nn._reduction"]
