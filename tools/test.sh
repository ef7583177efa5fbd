#!/usr/bin/env bash
# Runs the C++ tests, then the Python tests, both to the end; fails when either does. Called by `make test`.
set -uo pipefail
cd "$(dirname "$0")/.."
cores=$(env -u OMP_NUM_THREADS nproc) # nproc heeds OMP_NUM_THREADS
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

status=0
echo "C++ tests (ctest)"
ctest --test-dir build/release --output-on-failure -j "$cores" |
  grep -Ev '^ +Start +[0-9]+:|^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed' || status=1
echo "Python tests (pytest)"
processes=$((cores < 4 ? cores : 4)) # each holds up to 1.5 GB: torch, transformers and TensorFlow at once
.venv/bin/python -m pytest -n "$processes" --dist worksteal || status=1
exit $status
