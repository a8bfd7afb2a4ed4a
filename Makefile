# Everything a newcomer types: `make demo`, `make test`. The environment lies in .venv.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# PyTorch's threads fight over a busy machine's cores; a test asserts nothing about time.
export OMP_NUM_THREADS ?= 2

.PHONY: setup demo test lint bundles constraints clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml setup.py constraints.txt $(wildcard medkit/ops/csrc/*)
	$(PYTHON) -c 'import sys; sys.exit("medkit needs Python 3.11 or later, this is " + sys.version.split()[0] + "; set PYTHON=") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/python examples/mni152_hippocampi.py --output out/demo

test: setup
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bundles: setup
	$(BIN)/medkit bundle build

# Take the newest releases that pyproject.toml allows (torch stays where the file pins it), then run the tests.
constraints:
	$(PYTHON) tools/refresh_constraints.py

clean:
	rm -rf $(VENV) build dist *.egg-info out
