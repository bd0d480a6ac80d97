# Every habit of the project, one line each. `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SCENE ?=
MODEL ?=
OUT ?= demo-out
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test check bench

help: ## list what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.run ## make .venv with what a run needs; quick when nothing changed
setup-dev: $(VENV)/.dev

demo: setup ## run the main job: SCENE= any scene, MODEL=, OUT=
	@$(BIN)/swath demo $(if $(SCENE),"$(SCENE)") $(if $(MODEL),--model "$(MODEL)") --out "$(OUT)"

test: setup-dev ## all tests; what needs Docker, PostgreSQL or real data skips with a reason where absent
	@$(BIN)/python -m pytest $(ARGS)

check: setup-dev ## format, lint, types, import arrows
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/architecture

bench: setup-dev $(VENV)-peer/.bench ## measure against the peers, print the table, write docs/benchmarks.md
	@$(BIN)/python -m tests.bench $(ARGS)

# A stamp per extra: pip runs only when pyproject or the pins changed.
$(VENV)/.run: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV) ..."
	@$(BIN)/pip install -qq -c constraints.txt -e '.[inference]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "adding what tests and training need ..."
	@$(BIN)/pip install -qq -c constraints.txt -e '.[inference,flows,train,api,dev]'
	@touch $@

# TorchGeo, the peer of the benchmarks, has an environment of its own: its antlr4 and that of moto exclude each other.
$(VENV)-peer/.bench: pyproject.toml constraints.txt
	@test -x $(VENV)-peer/bin/python || $(PYTHON) -m venv $(VENV)-peer
	@grep -v '^antlr4' constraints.txt > $(VENV)-peer/constraints.txt
	@$(VENV)-peer/bin/pip install -qq -c $(VENV)-peer/constraints.txt -e '.[inference,bench]'
	@touch $@
