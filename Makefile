# From a bare Python >= 3.11 (python3, pip, gcc): `make demo` and `make test` make .venv, install, and do their job.
# Nothing is written outside this folder: caches, temporary files and AiiDA's own folder all lie in .cache/ or .demo/.
#   PYTHON=/path/to/python   the interpreter that .venv is made with

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo check-demo test test-slow services stop-services test-services lint types wheel check-wheel docs bench clean distclean

BIN := .venv/bin
COPY := .cache/installed
PARALLEL := --numprocesses auto --maxprocesses 4 --dist worksteal

# What a program may write goes below .cache; HOME and XDG_CONFIG_HOME stay, for pip's own settings live there.
export AIIDA_PATH := $(CURDIR)/.cache/aiida
export TMPDIR := $(CURDIR)/.cache/tmp
export XDG_CACHE_HOME := $(CURDIR)/.cache/xdg
export XDG_DATA_HOME := $(CURDIR)/.cache/xdg
export XDG_STATE_HOME := $(CURDIR)/.cache/xdg
export MPLCONFIGDIR := $(CURDIR)/.cache/matplotlib
export PIP_NO_CACHE_DIR := 1
# Jobs and tests are small: one thread each is faster than two, and repeats to the last bit.
export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
unexport PYTHONPATH PYTHONHOME

folders := $(shell mkdir -p .cache/tmp .cache/xdg .cache/aiida/.aiida .cache/matplotlib)

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

# --- installation: a stamp is written only after everything before it succeeded -----------------------------------------

USABLE = -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null

.venv/.python:
	@if .venv/bin/python $(USABLE) && .venv/bin/python -m pip --version >/dev/null 2>&1; then touch $@; exit; fi; \
	for python in $(or $(PYTHON),python3 python3.12 python3.11 python3.13); do \
	  if "$$python" $(USABLE); then \
	    echo "making .venv with $$("$$python" --version)"; \
	    "$$python" -m venv --clear .venv && touch $@; exit $$?; \
	  fi; \
	done; \
	echo "make: Python 3.11 or newer was expected (got $$($(or $(PYTHON),python3) --version 2>&1 | tail -n 1)): name one with PYTHON=/path/to/python" >&2; \
	exit 1

.venv/.tests: pyproject.toml | .venv/.python
	@echo "installing into .venv (several GB, mostly PyTorch: this takes minutes, once)"
	$(BIN)/python -m pip install --editable '.[tests]'
	@touch $@

.venv/.dev: pyproject.toml | .venv/.tests
	$(BIN)/python -m pip install --editable '.[dev]'
	@touch $@

# --- the two commands -------------------------------------------------------------------------------------------------

demo: .venv/.tests  ## a whole active-learning campaign on methanol in water, in the profile .demo
	$(BIN)/aiida-hqe demo

test: .venv/.tests  ## the quick tests
	$(BIN)/python -m pytest $(PARALLEL)

# --- the rest of the house --------------------------------------------------------------------------------------------

test-slow: .venv/.tests  ## the tests that take minutes
	$(BIN)/python -m pytest $(PARALLEL) -m slow

check-demo: .venv/.tests  ## queries on the provenance that the demo left in .demo
	$(BIN)/python -m pytest -m demo

services:  ## PostgreSQL, RabbitMQ and a one-node SLURM behind SSH, from Debian's packages, on loopback (needs root)
	services/start

stop-services:  ## ends them
	services/stop

test-services: .venv/.tests  ## campaigns on those services
	$(BIN)/python -m pytest -m services

lint: .venv/.dev $(COPY)/.made  ## ruff, and import-linter on an installed copy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(COPY) && ../../$(BIN)/lint-imports --config ../../.importlinter --no-cache

types: .venv/.dev $(COPY)/.made  ## mypy --strict (as pyproject.toml says) on an installed copy
	cd $(COPY) && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../mypy -p aiida_hqe

wheel: .venv/.dev  ## the wheel, in dist/
	@rm -rf build dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@rm -rf build

check-wheel: wheel  ## the wheel alone, elsewhere: it holds every template, and its commands work
	@rm -rf .cache/wheel .cache/tmp/wheel
	$(BIN)/python -m pip install --quiet --no-deps --target .cache/wheel dist/*.whl
	cd .cache && export PYTHONPATH="$(CURDIR)/.cache/wheel" && \
	  ../$(BIN)/python -c 'import aiida_hqe.workchains as w; assert "/.cache/wheel/" in w.__file__, w.__file__' && \
	  for template in $(notdir $(wildcard aiida_hqe/campaign/templates/*)); do \
	    ../$(BIN)/aiida-hqe init tmp/wheel/$$template --template $$template && \
	    ../$(BIN)/aiida-hqe check tmp/wheel/$$template/campaign.yaml || exit 1; \
	  done

# mypy and import-linter do not see the mapped folders of an editable install, so both read this copy.
SOURCES := $(shell find aiida_hqe calculations parsers workchains -type f -not -name '*.pyc')
$(COPY)/.made: pyproject.toml README.md LICENSE $(SOURCES) | .venv/.dev
	@rm -rf build $(COPY)
	$(BIN)/python -m pip install --quiet --no-deps --target $(COPY) .
	@rm -rf build && touch $@

docs: .venv/.tests  ## rewrites the tables of docs/ that are taken from the code
	$(BIN)/python docs/generate.py

bench: .venv/.tests  ## the benchmarks: they measure, and judge nothing
	$(BIN)/python -m pytest benchmarks -m 'slow or not slow' -s

clean:  ## removes what the targets above made, except .venv; stops the demo's daemon first
	@if [ -d .demo ] && [ -x $(BIN)/aiida-hqe ]; then AIIDA_PATH="$(CURDIR)/.demo" $(BIN)/verdi daemon stop >/dev/null 2>&1 || true; fi
	services/stop
	rm -rf .cache .demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

distclean: clean  ## the same, and .venv
	rm -rf .venv
