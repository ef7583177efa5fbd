# The commands of the README. `make help` lists them; CONTRIBUTING.md says what else there is.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup configure program build test demo bench sanitize lint format clean

RELEASE := build/release
JOBS ?= $(shell nproc)
OPTIONS := -DPARALLEL_OPT_PYTHON=ON -DPARALLEL_OPT_BENCH=ON -DPython_EXECUTABLE=$(CURDIR)/.venv/bin/python
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export NINJA_STATUS := [%f/%t %es]$(subst ,, )
export CCACHE_BASEDIR := $(CURDIR)

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

setup:
	@tools/setup.sh --build

# Compiling needs neither torch nor what tests and linters need ($(PART)): that is fetched meanwhile.
build_and_fetch = tools/setup.sh $(PART) & fetching=$$!; \
  cmake --build $(RELEASE) -j $(JOBS) $(1); built=$$?; wait $$fetching && exit $$built

build: configure  ## install what is missing, build everything; the program and the Python module go into .venv
	@$(call build_and_fetch)
	@cmake -E copy_if_different $(RELEASE)/parallel-opt .venv/bin/parallel-opt

program: configure  ## the same without the tests
	@$(call build_and_fetch,--target parallel-opt python_package)
	@cmake -E copy_if_different $(RELEASE)/parallel-opt .venv/bin/parallel-opt

configure: setup
	@mkdir -p build
	@cmake --preset release -G Ninja $(OPTIONS) >build/configure.log 2>&1 || { tail -n 20 build/configure.log; exit 1; }

test:  ## build, then run the C++ tests (ctest) and the Python tests (pytest)
	@$(MAKE) --no-print-directory build PART=--test
	@tools/test.sh

demo: program  ## build, then train two real models plain and optimized, and compare
	@.venv/bin/parallel-opt demo

bench: build  ## build and run the benchmarks
	@cmake --build $(RELEASE) -j $(JOBS) --target benches
	@for program in $(RELEASE)/bench/*; do [ ! -x $$program ] || $$program || exit 1; done
	@for script in bench/*.py; do [ ! -f $$script ] || python $$script || exit 1; done

sanitize: setup  ## run the C++ tests under the address and undefined-behaviour sanitizers
	@cmake --preset dev -G Ninja >build/configure-dev.log 2>&1 || { tail -n 20 build/configure-dev.log; exit 1; }
	@cmake --build build/dev -j $(JOBS)
	@ctest --test-dir build/dev --output-on-failure -j $(JOBS)

lint:  ## check format, names, types and layers
	@$(MAKE) --no-print-directory build PART=--lint
	@cmake --preset release -B build/lint -G Ninja -DPARALLEL_OPT_UNITY=OFF $(OPTIONS) >build/configure-lint.log 2>&1 || \
	  { tail -n 20 build/configure-lint.log; exit 1; }
	@python tools/lint.py

format:  ## rewrite the sources in the house format
	@tools/setup.sh --lint
	@git ls-files -co --exclude-standard '*.h' '*.cpp' | xargs -r clang-format -i
	@ruff check --fix --quiet . && ruff format --quiet .

clean:  ## remove everything that was built (.venv stays)
	@rm -rf build dist python/parallel_opt/_core.pyi python/parallel_opt/_core*.so
