SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
RUNTIME := $(VENV)/.runtime-installed
DEVELOPMENT := $(VENV)/.development-installed

DURATION ?= 60s
BENCH ?=
DEMO ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: $(RUNTIME) ## Start issuer, gate and a demo service; print curl commands to paste (DEMO="--port 8081")
	@$(BIN)/sidegate demo $(DEMO)

# What needs containers, other servers, root or other registries; everything else is `make test`.
SYSTEM := tests/system tests/third_parties/test_openid_client.py

.PHONY: test
# One worker more than there are processors: some tests wait.
test: PYTEST ?= -n $(shell expr $$(nproc) + 1) --dist worksteal
test: $(DEVELOPMENT) ## Run the tests with reduced counts
	@tools/require-commands curl=curl openssl=openssl redis-server=redis-server
	@$(BIN)/python -m pytest $(PYTEST) $(addprefix --ignore=,$(SYSTEM))

.PHONY: test-system
test-system: $(DEVELOPMENT) ## Run what takes containers, HAProxy, Node and root
	@tools/require-commands curl=curl redis-server=redis-server haproxy=haproxy runc=runc promtool=prometheus \
		mmdebstrap=mmdebstrap ip=iproute2 node=nodejs npm=npm
	@$(BIN)/python -m pytest $(SYSTEM)

.PHONY: check
check: lint test ## Check format, lint, types and the Dockerfile, then test

.PHONY: lint
lint: $(DEVELOPMENT)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile

.PHONY: soak
soak: PYTEST ?= -n 2
soak: $(DEVELOPMENT) ## Run the tests with full counts (long)
	@tools/require-commands curl=curl redis-server=redis-server
	@SIDEGATE_SOAK=1 $(BIN)/python -m pytest $(PYTEST) $(addprefix --ignore=,$(SYSTEM))

.PHONY: bench
bench: $(DEVELOPMENT) ## Measure the gate beside nginx and HAProxy (BENCH=--quick for a smoke run)
	@tools/require-commands nginx=nginx haproxy=haproxy wrk=wrk taskset=util-linux
	@$(BIN)/python -m benchmarks.gate $(BENCH)

.PHONY: bench-tokens
bench-tokens: $(DEVELOPMENT) ## Measure the token endpoint beside node oidc-provider (from npm)
	@tools/require-commands wrk=wrk taskset=util-linux node=nodejs npm=npm
	@$(BIN)/python -m benchmarks.tokens_per_second $(BENCH)

.PHONY: load
load: $(DEVELOPMENT) ## Run the load tests for DURATION (default 60s)
	@$(BIN)/python -m loadtests --duration $(DURATION)

.PHONY: .venv
.venv: $(DEVELOPMENT) ## Make the environment alone

# The lock files name every distribution with its hashes; the project itself is installed in place,
# built by the locked setuptools, so that nothing comes in unpinned.
$(BIN)/python:
	@python=$$(tools/find-python) && echo "Making $(VENV) with $$python" && "$$python" -m venv $(VENV)

$(RUNTIME): requirements.lock requirements-build.lock pyproject.toml | $(BIN)/python
	@echo "Installing what sidegate needs"
	@$(PIP) install --require-hashes -r requirements-build.lock -r requirements.lock
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(RUNTIME)
	@echo "Installing what tests and load tests need"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: lock
lock: | $(BIN)/python ## Resolve pyproject.toml anew into the lock files
	@tools/lock
