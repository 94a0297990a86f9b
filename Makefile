# `make help` prints the targets. Every target makes its environment ready first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test netns cgroups proof test-all lint types docs lock clean

BIN := .venv/bin
# For one part of the tests: make test PYTEST_ARGS="tests/unit -k retry"
PYTEST_ARGS ?=
# Two test processes, a file each at a time: most tests wait for processes, and leave a core idle.
# In their order, so that the many short ones come last.
HALVES := -n 2 --dist loadfile --no-loadscope-reorder

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the main job on real files (FOLDER=... for your own), nothing else needed
	@scripts/bootstrap demo
	@$(BIN)/penstock demo $(FOLDER)

test: lint ## everything a change can break: lint, types, layers, then pytest
	@scripts/servers
ifeq ($(strip $(PYTEST_ARGS)),)
	@$(BIN)/python -m pytest $(HALVES) -m "not alone"
	@$(BIN)/python -m pytest -m alone
else
	@$(BIN)/python -m pytest $(PYTEST_ARGS)
endif

lint: ## ruff, mypy, basedpyright on tests/typing, import contracts
	@scripts/bootstrap dev
	@scripts/check

netns: ## faults over network namespaces, which `make test` leaves out: needs root and ip
	@scripts/bootstrap dev
	@scripts/servers
	@scripts/netns $(PYTEST_ARGS)

cgroups: ## control groups of the kernel, which `make test` leaves out: needs a group to divide
	@scripts/bootstrap dev
	@scripts/cgroups $(PYTEST_ARGS)

proof: ## long faults, large counts, benchmarks (AREA=engine|speed|faults|..., default all)
	@scripts/bootstrap dev
	@scripts/servers
	@scripts/proof $(AREA)

test-all: ## the tests on every Python 3.11 to 3.14 found, each in its own environment
	@scripts/test-all

docs: ## write the generated pages of docs/reference again
	@scripts/bootstrap dev
	@$(BIN)/python -m scripts.docs

lock: ## write requirements/*.txt from pyproject.toml (ARGS=--upgrade for newer versions)
	@scripts/lock $(ARGS)

clean: ## remove environments and caches
	rm -rf .venv .venv-* .venv*.lock .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
