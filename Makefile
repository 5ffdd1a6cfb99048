# `make demo` and `make test` need nothing but Python 3.11+, make and a C compiler.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# The benchmarks' other libraries; the two generations of devinterp exclude each other.
PEERS := .venv-peers
DEVINTERP_1 := .venv-devinterp-1

.PHONY: demo test check format slow benchmarks peers clean
.DELETE_ON_ERROR:

# torch goes in first, alone: the pinned build is then kept by everything that follows.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $(INSTALLED)

demo: $(INSTALLED)
	$(BIN)/python examples/digits/train.py --output runs/digits
	$(BIN)/slt track examples/digits/task.py runs/digits -o runs/digits-llc --workers 2 --progress
	$(BIN)/slt report runs/digits-llc

test: $(INSTALLED)
	$(BIN)/python -m pytest -q -n auto --dist worksteal

slow: $(INSTALLED)
	$(BIN)/python -m pytest -q -m slow -n auto --dist worksteal

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Hours. One that fails does not stop the others; run again, it goes on where it was.
benchmarks: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks all

# What the benchmarks compare with, in environments of their own.
peers: $(PEERS)/.installed $(DEVINTERP_1)/.installed

$(PEERS)/.installed: benchmarks/peers/requirements.txt benchmarks/peers/no-deps.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers/no-deps.txt
	touch $(PEERS)/.installed

$(DEVINTERP_1)/.installed: benchmarks/peers/devinterp-1.txt
	$(PYTHON) -m venv $(DEVINTERP_1)
	$(DEVINTERP_1)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(DEVINTERP_1)/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers/devinterp-1.txt
	touch $(DEVINTERP_1)/.installed

clean:
	rm -rf $(VENV) $(PEERS) $(DEVINTERP_1) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache runs
