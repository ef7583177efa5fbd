"""`make lint`: format, types, layers, names, sizes and clang-tidy; a line per check. `--quick`: all
but clang-tidy, in half a minute."""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build/lint"
CACHE = ROOT / "build/lint-cache"
TOGETHER = ROOT / "build/lint-together"
LINES_ALLOWED = {".h": 250, ".cpp": 600, ".py": 400}
FUNCTION_LINES_ALLOWED = 60  # Python; clang-tidy counts those of C++
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def run(command: list[str]) -> str:
    """Empty when the command succeeds, else what it printed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stdout + done.stderr).strip() or "failed silently"


def source_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    files = (ROOT / name for name in listed.stdout.decode().splitlines())
    return sorted(f for f in files if f.suffix in LINES_ALLOWED and f.is_file())


def included_files(file: Path, seen: set[Path]) -> set[Path]:
    """`file` and the files of this tree that it includes, directly or not."""
    if file not in seen and file.is_file():
        seen.add(file)
        for name in INCLUDE.findall(file.read_text(encoding="utf-8")):
            included_files(ROOT / name, seen)
    return seen


Entry = dict[str, str]  # of compile_commands.json


def passed(entry: Entry, salt: bytes) -> Path:
    """The file that tells that a source has passed; its name hashes all that this depends on."""
    digest = hashlib.sha256(salt + entry["command"].encode())
    for part in sorted(included_files(Path(entry["file"]), set())):
        digest.update(part.read_bytes())
    return CACHE / digest.hexdigest()


def pass_together(group: list[Entry]) -> bool:
    """Whether clang-tidy finds nothing in sources written one after another: their headers, most
    of its work, are read once. The file lies where the `.clang-tidy` of theirs is heeded."""
    sources = [Path(entry["file"]) for entry in group]
    first = sources[0].relative_to(ROOT)
    folder = TOGETHER / first.parts[0]
    database = folder / "+".join(first.with_suffix("").parts)
    database.mkdir(parents=True, exist_ok=True)
    for settings in ROOT.glob(f"{folder.name}/.clang-tidy"):
        shutil.copyfile(settings, folder / settings.name)
    file = database / "together.cpp"
    text = "".join(source.read_text(encoding="utf-8") + "\n" for source in sources)
    file.write_text(text, encoding="utf-8")
    command = group[0]["command"].replace(group[0]["file"], str(file))
    entry = {"directory": str(BUILD), "file": str(file), "command": command}
    (database / "compile_commands.json").write_text(json.dumps([entry]), encoding="utf-8")
    return not run(["clang-tidy", "--quiet", "-p", str(database), str(file)])


def tidy(group: list[Entry], salt: bytes) -> int:
    """clang-tidy on sources, at once or, where that finds anything, one by one; how many have
    faults. A pass is remembered."""
    if len(group) > 1 and not pass_together(group):
        return sum(tidy([entry], salt) for entry in group)
    if len(group) == 1:
        text = run(["clang-tidy", "--quiet", "-p", str(BUILD), group[0]["file"]])
        if text:
            faults = [line for line in text.splitlines() if " error: " in line]  # not long traces
            print("\n".join(faults).replace(f"{ROOT}/", "") or text, flush=True)
            return 1
    for entry in group:
        passed(entry, salt).touch()
    return 0


def groups(entries: list[Entry]) -> list[list[Entry]]:
    """Those together that build/release compiles together, the most text first."""
    unity = {
        source: file
        for file in (ROOT / "build/release").rglob("Unity/*.cxx")
        for source in INCLUDE.findall(file.read_text(encoding="utf-8"))
    }
    found: dict[object, list[Entry]] = {}
    for entry in entries:
        found.setdefault(unity.get(entry["file"], entry["file"]), []).append(entry)
    return sorted(
        found.values(), key=lambda group: -sum(Path(e["file"]).stat().st_size for e in group)
    )


def check_clang_tidy(files: list[Path]) -> str:
    CACHE.mkdir(parents=True, exist_ok=True)
    version = subprocess.run(["clang-tidy", "--version"], capture_output=True, check=True).stdout
    settings = [ROOT / ".clang-tidy", *sorted(ROOT.glob("*/.clang-tidy"))]
    salt = version + b"".join(file.read_bytes() for file in settings)
    compiled = json.loads((BUILD / "compile_commands.json").read_text())
    ours = {entry["file"]: entry for entry in compiled if Path(entry["file"]) in files}
    left = groups([entry for entry in ours.values() if not passed(entry, salt).exists()])
    with ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count() or 1))) as pool:
        failed = sum(pool.map(lambda group: tidy(group, salt), left))
    hint = "clang-tidy -p build/lint FILE shows how it got there"
    return f"{failed} of {len(ours)} sources have faults; {hint}" if failed else ""


def long_functions(file: Path) -> Iterable[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if lines > FUNCTION_LINES_ALLOWED:
                yield f"{file.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines"


def check_sizes(files: list[Path]) -> str:
    faults = []
    for file in files:
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if lines > LINES_ALLOWED[file.suffix]:
            faults.append(f"{file.relative_to(ROOT)}: {lines} lines: split it by idea")
        if file.suffix == ".py":
            faults.extend(long_functions(file))
    if faults:
        faults.append(f"allowed lines: {LINES_ALLOWED}, Python function {FUNCTION_LINES_ALLOWED}")
    return "\n".join(faults)


def main(quick: bool) -> int:
    files = source_files()
    cpp = [str(f) for f in files if f.suffix != ".py"]
    checks: dict[str, Callable[[], str]] = {
        "clang-format": lambda: run(["clang-format", "--dry-run", "-Werror", *cpp]),
        "ruff": lambda: run(["ruff", "check", "--quiet", "."]),
        "ruff format": lambda: run(["ruff", "format", "--check", "--quiet", "."]),
        "mypy": lambda: run(["mypy", "--no-error-summary"]),
        "layers": lambda: run([sys.executable, "tools/check_layers.py"]),
        "unity": lambda: run([sys.executable, "tools/check_unity.py"]),
        "sizes": lambda: check_sizes(files),
    }
    if not quick:
        checks["clang-tidy"] = lambda: check_clang_tidy(files)
    failed = 0
    for name, check in checks.items():
        begin = time.monotonic()
        text = check()
        failed += bool(text)
        state = "FAILED" if text else "ok"
        print(f"lint: {name}: {state} ({time.monotonic() - begin:.1f} s)")
        print(text, end="\n" if text else "", flush=True)
    passed = f"all {len(checks)} checks passed"
    print("lint: " + (f"{failed} of {len(checks)} checks failed" if failed else passed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(quick="--quick" in sys.argv[1:]))
