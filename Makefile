# One verb, one thing. Everything happens in .venv; nothing needs to be installed by hand but Python and a C compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS := $(shell nproc)
CLIENTS := tests/clients/node_modules/.package-lock.json

.PHONY: build run test check bench guide torture sanitize valgrind clean

build: $(STAMP)
	$(BIN)/python setup.py -q build_ext --inplace --parallel $(JOBS)

$(STAMP): pyproject.toml requirements-dev.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.lock
	$(BIN)/python setup.py -q build_ext --inplace --parallel $(JOBS)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $(STAMP)

# A client of HarperDB's world that the tests speak through; without npm they say that they skip it.
$(CLIENTS): tests/clients/package-lock.json
	-npm ci --prefix tests/clients --silent --no-audit --no-fund

run: build
	$(BIN)/kennel run

test: build $(CLIENTS)
	$(BIN)/python -m pytest -n auto tests

check: build
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: build
	$(BIN)/python -m pytest --benchmark-only bench

guide: build
	$(BIN)/python -m pytest tests/guide

torture: build
	KENNEL_TORTURE=long $(BIN)/python -m pytest -m torture --timeout 0 tests

sanitize: build
	.ci/sanitize

valgrind: build
	.ci/valgrind

clean:
	rm -rf $(VENV) tests/clients/node_modules build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	rm -f engine/*.so grammar/*.so frontend/*.so grammar/*.tables
	find engine grammar frontend tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
	$(foreach pyx,$(wildcard engine/*.pyx grammar/*.pyx frontend/*.pyx),rm -f $(pyx:.pyx=.c);)
