# Every habit of the project, one line each. `make help` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SCENE ?=
MODEL ?=
OUT ?= demo-out
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
IMAGE ?= swath-api
.PHONY: help setup setup-dev demo test e2e check bench image measure-image

help: ## list what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.run ## make .venv with what a run needs; quick when nothing changed
setup-dev: $(VENV)/.dev

demo: setup ## run the main job: SCENE= any scene, MODEL=, OUT=
	@$(BIN)/swath demo $(if $(SCENE),"$(SCENE)") $(if $(MODEL),--model "$(MODEL)") --out "$(OUT)"

test: setup-dev ## all tests; what needs PostgreSQL or real data skips with a reason where absent
	@$(BIN)/python -m pytest --ignore=tests/e2e $(ARGS)

e2e: setup-dev ## build the images and ask their containers; needs Docker
	@$(BIN)/python -m pytest tests/e2e $(ARGS)

image: ## the API's container image: IMAGE= its tag
	@DOCKER_BUILDKIT=1 docker build -q -f images/api.Dockerfile -t "$(IMAGE)" \
	    --build-arg VERSION="$$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)" \
	    --build-arg REVISION="$$(git describe --always --dirty=.dirty '--exclude=*' --abbrev=40 2>/dev/null || echo unknown)" $(ARGS) .

measure-image: setup-dev ## its size, start-up and memory, against the limits: IMAGE= a tag that is there
	@$(BIN)/python -m tests.e2e.measure_image "$(IMAGE)"

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
	@$(BIN)/pip install -qq -c constraints.txt -e '.[inference,api]'
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
