# make demo and make test each set up the environment that they need; the README has the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST = $(BIN)/python -m pytest --numprocesses=auto --dist=loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo check quick-test test test-cluster lint bench bench-kills figures render

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

# lint and tests side by side: mypy and ansible-lint keep a core busy for a while when they start cold
check: $(VENV)/.dev  ## lint, and the quick tests: no cluster, container, browser, kill, training, Hub server
	$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint quick-test

quick-test: $(VENV)/.dev
	$(PYTEST) -m "not slow" --hypothesis-profile=quick --durations=10

test: $(VENV)/.dev  ## every check that this machine can run
	$(PYTEST)

test-cluster: $(VENV)/.dev  ## of these, as root on Debian, all that need a real Slurm: it is set up and taken away
	CI=true $(PYTEST) tests/containers tests/cluster

lint: $(VENV)/.dev $(VENV)/.playbooks  ## ruff, import-linter, mypy, shellcheck, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=tools $(BIN)/lint-imports --no-logo
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run sbatch/*/* $$(git ls-files '*.sh')

# ansible-lint takes half a minute: only when a playbook has changed since it last passed
$(VENV)/.playbooks: $(VENV)/.dev $(shell git ls-files playbooks ansible.cfg)
	$(BIN)/ansible-lint --offline -q --profile production playbooks
	touch $@

bench: $(VENV)/.dev  ## speed against the peers, each in one run
	for bench in tests/bench/bench_*.py; do $(BIN)/python $$bench || exit; done

bench-kills: $(VENV)/.dev  ## kill every command that writes 42 times: each ends in the same bytes
	ENCORE_KILLS=42 $(PYTEST) tests/hostile/test_kills.py

figures: $(VENV)/.dev  ## the paper's figures and tables, into figures/
	$(BIN)/python tools/draw_figures.py draw --all --out figures

render: $(VENV)/.dev  ## refresh the reference scripts in sbatch/ and the output that the README shows
	$(BIN)/python tests/helpers/reference_scripts.py
	$(BIN)/python tests/helpers/readme.py
