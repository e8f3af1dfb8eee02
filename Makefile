# `make run` shows crewd at work; `make test` checks everything. Each sets up its own .venv; nothing else is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP = $(BIN)/python -m pip install -q --disable-pip-version-check --no-compile --no-deps
# The lock names everything, so that nothing is looked for.
LOCKED := -r requirements.lock -e .
UV := uv==0.13.9
MINUTES ?= 1
SEED ?= 0
REAL ?=
WORKERS ?= 6
CRASHES ?= 5000
# Tests and benchmarks start hundreds of processes: each would compile crewd anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test pytest check format bench stress mutants agents clean

# uv takes a fifth of pip's time. Where it cannot be had, or reaches no index, pip does all.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("crewd needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) $(UV) && $(BIN)/uv pip install -q --system-certs --no-cache --no-deps --python $(BIN)/python $(LOCKED) || $(PIP) $(LOCKED)
	touch $(READY)

run: $(READY)
	$(BIN)/python examples/audit.py $(ARGS)

test: $(READY)
	$(MAKE) --no-print-directory -j2 check pytest

# The first command compiles the tests once, before each of the workers would do it.
pytest: $(READY)
	$(BIN)/python -m pytest --collect-only -qq >/dev/null
	$(BIN)/python -m pytest -m "not long" -n $(WORKERS) --dist worksteal $(ARGS)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)
	$(BIN)/python -m bench $(ARGS)

stress: $(READY)
	CREWD_STRESS_MINUTES=$(MINUTES) CREWD_STRESS_SEED=$(SEED) CREWD_STRESS_REAL=$(REAL) \
	$(BIN)/python -m pytest --timeout=0 -s $(if $(REAL),tests/stress,tests/testing/world/test_machine.py) $(ARGS)
	$(BIN)/python -m pytest -m long -n $(WORKERS)
	CREWD_CRASH_POINTS=$(CRASHES) $(BIN)/python -m pytest --timeout=0 tests/store/test_crash.py

mutants: $(READY)
	$(BIN)/python -m tests.mutants

# The coding agents that are installed here, against a scripted model on loopback.
agents: $(READY)
	$(BIN)/python -m tests.agents.real $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
