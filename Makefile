# The few verbs of this project; `make help` lists them.
# They make the environment they need in $(VENV), from pins with hashes, and reuse it.

VENV ?= .venv
# A Python 3.14 where there is one, else the newest from 3.11 that really starts (a shim may not).
PYTHON ?= $(shell for python in python3.14 python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$python" && exit; \
	done; echo python3)
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest
# Test files go to workers whole, so that a module's fixtures are made once. Many tests wait for processes, so that
# there may be more workers than cores.
WORKERS ?= 4
ENVIRONMENT = $(PYTHON) scripts/environment.py --venv "$(VENV)"

# Byte code makes the second start fast, and no recipe waits for an answer.
unexport PYTHONDONTWRITEBYTECODE
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help setup demo test acceptance check format bench chaos docs requirements clean

help: ## List the verbs
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-20s %s\n", $$1, $$2 }'

setup: ## Make the environment with every tool (the others do it by themselves)
	@$(ENVIRONMENT) dev

demo: ## Run a real pipeline from an embedded Postgres and show its trace
	@$(ENVIRONMENT) demo
	@$(BIN)/python -m examples.flights.demo

test: setup ## Run the unit, contract and integration tests
	@$(PYTEST) -n $(WORKERS) --dist loadscope -m "not chaos"

acceptance: setup ## Run the image, the processes and the demo as a user would
	@$(PYTEST) tests/acceptance --timeout 600

check: setup ## Lint, types, import contracts, house rules, generated docs
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check --diff .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m scripts.check_house
	@$(BIN)/python -m scripts.build_docs --check

format: setup ## Let ruff put the code in its form
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

bench: setup ## Run every benchmark; each prints one line of JSON
	@$(BIN)/python -m scripts.run_benchmarks

chaos: setup ## Run the long fault tests, with their full figures
	@$(PYTEST) tests -m chaos --timeout 3600

docs: setup ## Write the generated documents anew
	@$(BIN)/python -m scripts.build_docs

requirements: setup ## Compile requirements/*.in to pins; UPGRADE=--upgrade looks for newer ones
	@$(BIN)/python scripts/compile_requirements.py $(UPGRADE)

clean: ## Remove what make made: environments, caches, local data
	rm -rf .venv* .cableway dist build site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
