"""Checks that a file includes its own module and lower floors only (docs/design.md, 4)."""

import re
import sys
from pathlib import Path

FLOORS = {
    "base": 0, "graph": 1, "hardware": 1, "plan": 2, "importers": 2, "cost": 3, "simulate": 4,
    "search": 5, "runtime": 6, "report": 6, "exporters": 6, "cli": 7, "bindings": 7,
}  # fmt: skip
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def faults_of(file: Path, root: Path) -> list[str]:
    """One line per include in `file` that breaks a rule."""
    module = file.relative_to(root).parts[1]
    if module not in FLOORS:
        return [f"{file.relative_to(root)}: {module} has no floor (tools/check_layers.py)"]
    faults = []
    for included in INCLUDE.findall(file.read_text(encoding="utf-8")):
        parts = Path(included).parts
        if parts[0] not in ("parallel_opt", "python") or not (root / included).is_file():
            faults.append(f'"{included}": not a path from the root of the tree')
        elif parts[1] != module and FLOORS[parts[1]] >= FLOORS[module]:
            faults.append(f'"{included}": {parts[1]} is not below {module}')
    return [f"{file.relative_to(root)}: {fault}" for fault in faults]


def main(root: Path) -> int:
    found = [*root.glob("parallel_opt/*/**/*"), *root.glob("python/bindings/*")]
    files = sorted(f for f in found if f.suffix in (".h", ".cpp"))
    faults = [fault for f in files for fault in faults_of(f, root)]
    print("\n".join(faults) or f"{len(files)} files respect the floors")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1]))
