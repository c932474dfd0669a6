# Two commands: `make demo` and `make test`. Both make .venv on first use and need only Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint tests reference pages coverage fuzz soak bench bench-quick wheel clean

demo: .venv/installed
	$(BIN)/diffeo demo --out demo

test: lint tests reference pages

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# One thread a process: two processes of several would wait for each other.
tests: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# What compiled kernels compute, by the reference implementations.
reference: .venv/installed-dev
	DIFFEO_KERNELS=eager OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m kernels tests

# The commands and Python blocks of README and docs.
pages: .venv/installed-dev
	$(BIN)/python tests/run_readme.py

# By hand and in CI beside the tests: which lines of the package no test runs.
coverage: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal --cov
	$(BIN)/coverage html -d build/coverage

# The fuzzers of tests/fuzz at length; `make test` runs the first cases of each.
fuzz: .venv/installed-dev
	DIFFEO_FUZZ=1 $(BIN)/python -m pytest -v -n 2 tests/fuzz

# By hand, about ten minutes of one core: does a process that fits, saves and loads for hours grow? Does who loads while others save
# get one model?
soak: .venv/installed-dev
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/loads.py

bench: .venv/installed-dev
	$(BIN)/python benchmarks/bench.py

bench-quick: .venv/installed-dev
	$(BIN)/python benchmarks/bench.py --quick

# A wheel with the compiled kernels for all instruction sets of this platform, in dist/.
wheel: .venv/installed-dev
	$(BIN)/python -m diffeo.kernels.build
	$(BIN)/python -m pip wheel -q --no-deps -w dist .
	rm -rf src/diffeo/kernels/native/lib

clean:
	rm -rf .venv demo build dist

.venv/bin/python:
	$(PYTHON) -m venv .venv

# Files are compiled when they are imported, most of them never.
PIP := $(BIN)/python -m pip install -q --no-compile -c constraints.txt

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e ".[dev]"
	touch .venv/installed $@
