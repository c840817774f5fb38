# One verb per habit. Every verb makes .venv first when it is missing or out of date.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
WORKERS ?= 2
POSTGRES_BINDIR ?= $(shell pg_config --bindir)
SEED ?= 1
SEEDS ?= 3000
PAYMENTS ?= 2000
KILLS ?= 40
DECIDES := */paymux_core/transitions.py,*/paymux_core/idempotency.py,*/paymux_flows/record_outcome.py

# Verbs that measure or load the machine wait for each other; the lock dies with the process.
HEAVY := $(if $(shell command -v flock),flock --wait 7200 .venv/heavy.lock,)

.PHONY: help setup localstripe run check test test-postgres test-fast coverage lint types imports tidy bench simulate torture soak lock reference

help: ## Print the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv from requirements.lock
	@scripts/setup.sh

localstripe: setup ## Install localstripe for the tests of Stripe, in an environment of its own
	@scripts/localstripe.sh

run: setup ## Start everything on this machine: Postgres, API, worker, sandbox gateway, a demo merchant
	@exec $(BIN)/paymux run

check: lint types imports tidy test-fast ## Before a commit: style, types, layers, shape, fast tests

test: lint types imports localstripe ## What must pass: the checks and every test
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not simulation and not soak and not sandbox" $(ARGS)

coverage: setup localstripe ## Every test, measured: each branch of what decides about money, 90 % overall
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not simulation and not soak and not sandbox" --timeout 0 --cov --cov-report= $(ARGS)
	@$(BIN)/coverage report --fail-under 100 --include '$(DECIDES)'
	@$(BIN)/coverage report --fail-under 90

test-postgres: setup localstripe ## Every test on the server in POSTGRES_BINDIR, e.g. a PostgreSQL 15 (default: pg_config's)
	@$(BIN)/python -m tests.support.private_server "$(POSTGRES_BINDIR)" $(BIN)/pytest -n $(WORKERS) --dist loadgroup \
		-m "not simulation and not soak and not sandbox" $(ARGS)

test-fast: setup ## Tests that take less than two seconds each
	@$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not slow and not simulation and not soak and not sandbox" $(ARGS)

lint: setup ## Format and lint: ruff (with bandit's rules), codespell
	@$(BIN)/ruff format --check --quiet . || { echo "run: .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/codespell

types: setup ## mypy --strict on code and tests
	@$(BIN)/mypy .

imports: setup ## Layers: imports go downwards only; each member names what it imports
	@$(BIN)/lint-imports
	@scripts/deptry.sh

tidy: setup ## Shape of the code: lengths, names, SQL in its place
	@$(BIN)/pytest -q tests/test_tidy.py

bench: setup ## Measure, print a table, write bench/out.json (QUICK=1 leaves the growth table out)
	@$(HEAVY) $(BIN)/python -m bench $(if $(QUICK),--quick) $(ARGS)

simulate: setup ## The model, the product, pairs of crashes, the state machine and every mutant (SEED=, SEEDS=)
	@PAYMUX_SEED=$(SEED) PAYMUX_SEEDS=$(SEEDS) $(HEAVY) $(BIN)/pytest -n $(WORKERS) --dist loadgroup -m simulation --timeout 0 $(ARGS)

torture: setup ## Kill processes under load and count every charge (PAYMENTS=, KILLS=, SEED=); MUTANTS=1: the mutants
	@$(HEAVY) $(if $(MUTANTS),$(BIN)/python -m tests.mutants.torture $(ARGS),$(BIN)/paymux torture --payments $(PAYMENTS) --kills $(KILLS) --seed $(SEED) $(ARGS))

soak: setup ## The long runs of the tests
	@$(HEAVY) $(BIN)/pytest -m soak --timeout 0 $(ARGS)

lock: setup ## Write requirements.lock anew (LOCK_ARGS="--upgrade")
	@scripts/lock.sh

reference: setup ## Render the reference pages from the code
	@$(BIN)/python scripts/reference.py
