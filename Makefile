# Needs make, Python >= 3.11 and pip: everything else is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
# Twice quiet: errors only. Warnings, such as dozens about places in a machine's own settings of pip, are not about accord.
PIP_INSTALL := -m pip install --quiet --quiet --disable-pip-version-check

.PHONY: setup demo test test-gpu fuzz test-oldest lint bench docs mutants clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "accord needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/accord run studies/demo.toml

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# What a GPU computes beside the CPU's numbers, under three minutes; the tests are skipped where there is none (docs/gpu.md).
test-gpu: setup
	$(BIN)/python -m pytest -m gpu tests/gpu

# What the tests of tests/fuzz try, with a hundred times as many examples, others each time: about half an hour. A failure
# prints the example; it stays in its test as @example(...).
LONGER ?= 100
fuzz: setup
	LONGER=$(LONGER) $(BIN)/python -m pytest --hypothesis-profile=fuzz tests/fuzz

# With the oldest versions that pyproject.toml allows, in an environment of its own: torch alone is a large download.
test-oldest: .venv-oldest/.ready
	.venv-oldest/bin/python -m pytest

.venv-oldest/.ready: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python $(PIP_INSTALL) --constraint constraints-oldest.txt --editable '.[hub,sentiment,ray]' pytest hypothesis playwright scikit-learn nbclient ipykernel ipywidgets
	touch $@

bench: setup
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python benchmarks/gap.py

# The manual, into site/index.html: no network but for the installation; a warning or a broken link is an error.
docs: setup
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev,docs]'
	$(BIN)/python scripts/make_docs.py

# Which small changes of the code no test notices; ONLY=gap, ONLY=gap/metrics. See docs/mutants.md.
mutants: setup
	$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[dev,mutants]'
	$(BIN)/python scripts/mutants.py $(ONLY)

# What make can make again. Results stay: remove runs/ yourself when you no longer need them.
clean:
	rm -rf .venv .venv-oldest build dist site .cache .hypothesis .pytest_cache .mypy_cache .ruff_cache
