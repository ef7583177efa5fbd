#!/usr/bin/env bash
# Prepares this checkout: system packages, .venv, torch, Python packages. Does nothing when nothing has changed.
#
#   tools/setup.sh --build  what compiling needs, and no more
#   tools/setup.sh          what running needs
#   tools/setup.sh --test   also the libraries whose models the tests read and count
#   tools/setup.sh --lint   also the linters
#
# PYTHON           the interpreter .venv is made with (default: the first python3 that is 3.10 or newer)
# TORCH_INDEX_URL  where pip finds torch; set it to PyTorch's CPU index to avoid the larger CUDA build
set -euo pipefail
cd "$(dirname "$0")/.."

readonly torch_version=2.13.0 oldest_torch=2.9
readonly venv=.venv log=build/setup.log
mkdir -p build
PATH=${PATH//"$PWD/$venv/bin:"/}  # the interpreter that makes .venv is never the one inside it

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a command into the log; shows how long it took, or the end of the log when it fails.
step() {
  local what=$1 begin=$SECONDS
  shift
  say "$what ..."
  if ! "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" | cut -c 1-300 >&2
    die "failed: $what (the whole log: $log)"
  fi
  say "$what: $((SECONDS - begin)) s"
}

find_python() {
  local name
  for name in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
    if [ -n "$name" ] && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      "$name" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  die "Python 3.10 or newer is needed (set PYTHON=/path/to/python3)"
}

# Prints the Debian/Ubuntu packages whose files are not here.
missing_packages() {
  if command -v g++ >/dev/null; then
    local pair
    for pair in nlohmann/json.hpp=nlohmann-json3-dev CLI/CLI.hpp=libcli11-dev fmt/format.h=libfmt-dev \
      zip.h=libzip-dev hwloc.h=libhwloc-dev yaml-cpp/yaml.h=libyaml-cpp-dev gtest/gtest.h=libgtest-dev gmock/gmock.h=libgmock-dev \
      benchmark/benchmark.h=libbenchmark-dev protozero/version.hpp=libprotozero-dev; do
      echo "#if !__has_include(<${pair%=*}>)
${pair#*=}
#endif"
    done | g++ -std=c++20 -E -P -x c++ - | grep -v '^$' || true
  else
    echo build-essential nlohmann-json3-dev libcli11-dev libfmt-dev libzip-dev libhwloc-dev libyaml-cpp-dev libgtest-dev \
      libgmock-dev libbenchmark-dev libprotozero-dev
  fi
  command -v pkg-config >/dev/null || echo pkg-config
  # A test opens reports in a browser. Ubuntu's package of it is a snap, which containers cannot run.
  if ! command -v chromium chromium-browser google-chrome >/dev/null && grep -qx 'ID=debian' /etc/os-release; then
    echo chromium fonts-dejavu-core
  fi
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "$(basename "$python")-venv"
  "$python" -c 'import os, sysconfig as s; assert os.path.exists(s.get_paths()["include"] + "/Python.h")' \
    2>/dev/null || echo "$(basename "$python")-dev"
}

install_packages() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then as_root=(sudo -n); fi
  if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
    die "these packages are missing and cannot be installed from here: $*
setup: please run:  sudo apt-get install $*"
  fi
  step "apt-get update" "${as_root[@]}" apt-get update -q
  step "apt-get install $*" "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -q -y --no-install-recommends "$@"
}

# Prints the directory that holds a torch which is new enough, as the given interpreter sees it.
torch_directory() {
  "$1" - "$oldest_torch" <<'PY'
import importlib.metadata, pathlib, re, sys
try:
    found = importlib.metadata.distribution("torch")
except importlib.metadata.PackageNotFoundError:
    sys.exit(1)
numbers = lambda text: [int(n) for n in re.findall(r"\d+", text)[:2]]
if numbers(found.version) < numbers(sys.argv[1]):
    sys.exit(1)
print(pathlib.Path(found.locate_file("torch")).parent)
PY
}

install_torch() {
  local here site
  if torch_directory "$venv/bin/python" >/dev/null; then return; fi
  if here=$(torch_directory "$python"); then
    say "using the torch in $here"
    site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    echo "$here" >"$site/parallel_opt_torch.pth"
    return
  fi
  step "installing torch $torch_version (once)" "$venv/bin/python" -m pip install \
    ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "torch==$torch_version"
}

python=$(find_python)
readonly part=${1:+-${1#--}}  # empty, -build, -test or -lint
requirements=(-r "tools/requirements$part.txt")
case $part in -test | -lint) requirements+=(-r tools/requirements.txt) ;; esac

# The stamps hold everything the result depends on; the Python version also guards against a replaced interpreter.
key_of() { (echo "$python"; "$python" -V; cat tools/setup.sh tools/requirements-build.txt "$@") | sha256sum; }
base_key=$(key_of tools/requirements.txt)
key=$([ -z "$part" ] || key_of tools/requirements.txt "tools/requirements$part.txt")
is_done() { [ -x "$venv/bin/python" ] && [ "$(cat "$venv/setup$1.stamp" 2>/dev/null)" = "$2" ]; }
if is_done "$part" "${key:-$base_key}"; then exit 0; fi

: >"$log"
mapfile -t packages < <(missing_packages | tr ' ' '\n')
if [ ${#packages[@]} -gt 0 ]; then install_packages "${packages[@]}"; fi
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$venv" build/release/CMakeCache.txt
  step "making $venv with $("$python" -V)" "$python" -m venv "$venv"
fi
if [ "$part" != -build ]; then install_torch; fi
step "installing Python packages${part:+ (${part#-})}" "$venv/bin/python" -m pip install --disable-pip-version-check "${requirements[@]}"
"$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' |
  while read -r site; do echo "$PWD/python" >"$site/parallel_opt_source.pth"; done
if [ "$part" != -build ]; then echo "$base_key" >"$venv/setup.stamp"; fi
if [ -n "$part" ]; then echo "$key" >"$venv/setup$part.stamp"; fi
