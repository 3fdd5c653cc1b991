# Needs Python 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
SERVE  ?= 1

.PHONY: help demo test check bench notebooks serve clean
.DEFAULT_GOAL := help

help: ## list targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' || \
	  { echo "Candor needs Python 3.11 or 3.12; set PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP) ## data to an explained decision, then serve on port 8000 (SERVE=0: stop after the decision)
	$(BIN)/candor demo $(if $(filter 0,$(SERVE)),--no-serve)

test: $(STAMP) ## the whole test suite; starts the servers it needs itself
	$(BIN)/pytest

check: $(STAMP) ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP) ## benchmarks, as a table and as JSON in .bench/
	$(BIN)/python -m tests.benchmarks

notebooks: $(STAMP) ## run training/notebooks on CANDOR_HOME (after `make demo`) and save them in place
	$(BIN)/python -m training.notebooks

serve: $(STAMP) ## the scoring service on port 8000
	$(BIN)/candor serve

clean: ## end what the default home started; remove .venv and caches, keep var/
	-@test ! -x $(BIN)/candor || $(BIN)/candor stop
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis .bench
