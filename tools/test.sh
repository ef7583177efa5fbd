#!/usr/bin/env bash
# Runs the C++ tests, then the Python tests, both to the end; fails when either does. Called by `make test`.
set -uo pipefail
cd "$(dirname "$0")/.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

status=0
echo "C++ tests (ctest)"
ctest --test-dir build/release --output-on-failure -j "$(nproc)" |
  grep -Ev '^ +Start +[0-9]+:|^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed' || status=1
echo "Python tests (pytest)"
.venv/bin/python -m pytest || status=1
exit $status
