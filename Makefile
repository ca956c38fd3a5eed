# make demo and make test each make the environment that they need; everything else is in the README.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --dist=loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo check test test-cluster lint bench render

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(VENV)/.train: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,convert,analysis]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.train

demo: $(VENV)/.train  ## real text to a trained model on this machine, in minutes
	$(BIN)/python tools/run_demo.py

check: lint  ## in 90 seconds: lint, and every test that needs no cluster, container, browser, kill or training
	$(PYTEST) -m "not slow" --hypothesis-profile=quick --durations=10

test: $(VENV)/.dev  ## every check that this machine can run
	$(PYTEST)

test-cluster: $(VENV)/.dev  ## of these, as root on Debian, all that need a real Slurm: it is set up and taken away
	CI=true $(PYTEST) tests/containers tests/cluster

lint: $(VENV)/.dev  ## ruff, import-linter, mypy, shellcheck, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run sbatch/*/* $$(git ls-files '*.sh')
	$(BIN)/ansible-lint --offline -q --profile production playbooks

bench: $(VENV)/.dev  ## speed against the peers, each in one run
	for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench || exit; done

render: $(VENV)/.dev  ## refresh the reference scripts in sbatch/ and the output that the README shows
	$(BIN)/python tests/helpers/reference_scripts.py
	$(BIN)/python tests/helpers/readme.py
