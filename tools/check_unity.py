"""Sources that are compiled together (cmake/targets.cmake) must not name two functions alike in
their anonymous namespaces: an overload from a neighbour could silently be the better match."""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
INCLUDE = re.compile(rb'^#include "(.+)"', re.MULTILINE)
FUNCTION = re.compile(
    r"^(?!using|namespace|return|struct|class|enum|template|TEST)"
    r"[A-Za-z_][\w:<>,&*\s\[\]]*?[\s&*](\w+)\("
)


def private_functions(file: Path) -> set[str]:
    """Names of the functions that a source defines in its anonymous namespace."""
    names = set()
    inside = False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("namespace {"):
            inside = True
        elif line == "}  // namespace":
            inside = False
        elif inside and (found := FUNCTION.match(line)):
            names.add(found.group(1))
    return names


def faults(build: Path) -> list[str]:
    found = []
    for unity in sorted(build.rglob("Unity/*.cxx")):
        owners = defaultdict(list)
        for name in INCLUDE.findall(unity.read_bytes()):
            file = Path(name.decode())
            for function in private_functions(file):
                owners[function].append(str(file.relative_to(ROOT)))
        found += [
            f"{function}: private to {' and '.join(files)}, which are compiled together: rename it"
            for function, files in sorted(owners.items())
            if len(files) > 1
        ]
    return found


if __name__ == "__main__":
    text = "\n".join(faults(ROOT / "build/release"))
    if text:
        sys.exit(text)
