# One line a target; `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST ?= $(BIN)/python -m pytest
DEMO_ARGS ?=

export SYNSPECT_HOME ?= $(CURDIR)/.synspect
export BENTOML_DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help demo test test-all check format clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /  make \1\t/' | expand -t 20

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the service and the registry need (no torch) ..."
	$(PIP_INSTALL) --editable '.[serve,registry]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing everything, torch included ..."
	$(PIP_INSTALL) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev]'
	@touch $@ $(VENV)/.installed-demo

demo: $(VENV)/.installed-demo  ## set everything up, serve the reference model, fetch and judge a batch of each condition
	$(BIN)/synspect demo $(DEMO_ARGS)

test: $(VENV)/.installed-dev  ## run the test suite
	$(PYTEST) -m "not slow and not browser and not postgres"

test-all: $(VENV)/.installed-dev  ## run the test suite with the slow parts
	$(PYTEST)

check: $(VENV)/.installed-dev  ## lint, types, import contracts, Dockerfile, security
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml spect cohort registry training serving synspect
	$(BIN)/hadolint Dockerfile

format: $(VENV)/.installed-dev  ## put the code into its standard form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the targets made, the local registry included
	rm -rf $(VENV) .synspect demo build dist *.egg-info
