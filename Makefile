# One front door. Needs only Python >= 3.11, make and git; everything else goes into .venv.
# ARGS reaches the tool behind a target: make test ARGS="-k money", make demo ARGS="--http 127.0.0.1:8081".

PYTHON ?= python3
ARGS ?=
CONFIG ?= campaigns/demo.yaml
AGAINST ?= HEAD
SEED ?= 0:200

BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
GENERATED := generated
CODE = $(wildcard lexchange gateway tests bench)
DEBIAN_LIST ?= deploy/debian-packages.txt
DEBIAN_PACKAGES = $(shell sed 's/#.*//' $(DEBIAN_LIST))
POLICY := /usr/sbin/policy-rc.d

.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.PHONY: help setup debian debian-failover generate generate-check format lint proto-breaking test test-failover sim h2spec soak check demo run bench wheel lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## Put everything into .venv; instant when nothing changed

# The lock is hash-checked; the project itself is then linked with what the lock installed and no network.
$(READY): requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python >= 3.11 is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "setup: making .venv"; $(PYTHON) -m venv .venv; }
	@echo "setup: installing requirements-dev.lock"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

# Never an error: what needs a package that is not there says so itself.
debian: ## Install the Debian packages that tests and benchmarks use, where they are missing
	@missing=$$(for name in $(DEBIAN_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || printf '%s ' $$name; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if ! command -v apt-get >/dev/null; then echo "debian: skipped, no apt-get here; missing: $$missing"; exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "debian: skipped, not root; run: sudo apt-get install $$missing"; exit 0; fi; \
	export DEBIAN_FRONTEND=noninteractive; \
	echo "debian: installing $$missing"; \
	{ apt-get update -qq && apt-get install -qq --no-install-recommends $$missing >/dev/null; } || \
	echo "debian: could not install $$missing"

# Debian starts what it installs, unless a policy forbids it: the suite starts its own.
debian-failover:
	@if [ "$$(id -u)" = 0 ] && [ -d $(dir $(POLICY)) ] && [ ! -e $(POLICY) ]; then \
		trap 'rm -f $(POLICY)' EXIT; printf '#!/bin/sh\nexit 101\n' >$(POLICY); chmod +x $(POLICY); \
	fi; \
	$(MAKE) debian DEBIAN_LIST=deploy/debian-packages-failover.txt

generate: setup ## Generate Python from protos/ into generated/
	@rm -rf $(GENERATED)/leadexchange && mkdir -p $(GENERATED)
	@$(BIN)/python -m grpc_tools.protoc -I protos \
		--plugin=protoc-gen-mypy_grpc=$(BIN)/protoc-gen-mypy_grpc \
		--python_out=$(GENERATED) --pyi_out=$(GENERATED) \
		--grpc_python_out=$(GENERATED) --mypy_grpc_out=quiet,only_async:$(GENERATED) \
		$$(find protos -name '*.proto' | LC_ALL=C sort)

generate-check: setup ## Fail when generated/ is not what protos/ generate
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && $(MAKE) generate GENERATED="$$fresh" && \
	diff -r -x __pycache__ generated "$$fresh" || { echo "generated/ is stale: make generate"; exit 1; }

format: setup ## Format Python and protos, apply the safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format -w protos

lint: setup ## Check style, types, imports and protos; changes nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code protos

proto-breaking: setup ## Fail when protos/ breaks a caller of AGAINST (default: the last commit)
	@if git cat-file -e $(AGAINST):protos 2>/dev/null; \
	then $(BIN)/buf breaking protos --against '.git#ref=$(AGAINST),subdir=protos'; \
	else echo "proto-breaking: $(AGAINST) has no protos to break"; fi

# By two processes: a test that waits for a time-out leaves its core to another. ARGS="-n 0 …" runs them in one.
test: setup debian ## Set up and run the tests
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-failover: setup debian debian-failover ## Kill PostgreSQL under load: Patroni's primary and standby, and a single server again and again; ten minutes
	$(BIN)/python -m pytest -s tests/failover $(ARGS)

sim: setup ## Play SEED (default: 0:200, a range) in the simulator: who did what, and whether a promise was broken
	@$(BIN)/python -m tests.simulation $(SEED) $(ARGS)

h2spec: setup ## Ask h2spec what it thinks of our HTTP/2; needs Go once, to build it
	@$(BIN)/python -m bench.h2spec $(ARGS)

soak: setup debian ## The long runs: 560 kills, failovers, 5,000 runs against the model, 10,000 simulated worlds, an hour of purging; two hours and more
	CRASH_SEEDS=20 $(BIN)/python -m pytest tests/commands/test_crashes.py $(ARGS)
	@$(MAKE) test-failover
	MODEL_EXAMPLES=5000 $(BIN)/python -m pytest tests/model $(ARGS)
	$(BIN)/python -m tests.simulation 0:10000
	PURGE_SOAK_S=3600 PURGE_SOAK_PER_S=100 $(BIN)/python -m pytest -s tests/commands/test_purge_load.py $(ARGS)

check: lint generate-check proto-breaking ## The one gate: everything CI runs, ending with the tests
	@$(MAKE) test

demo: setup ## Serve the demo: campaign, buyers, console, ready-to-paste calls
	@$(BIN)/lexchange demo $(ARGS)

run: setup ## Serve CONFIG, a campaign file or a folder of them (default: campaigns/demo.yaml), in development mode
	@$(BIN)/lexchange serve --dev --config $(CONFIG) $(ARGS)

bench: setup debian ## Run the benchmarks
	$(BIN)/python -m bench $(ARGS)

# The proof runs outside the clone, so that nothing is found by being here.
wheel: setup ## Build the wheel into dist/ and prove it in a fresh environment
	@rm -rf dist && $(BIN)/python -m hatchling build --target wheel
	@wheel="$$PWD/$$(ls dist/*.whl)" lock="$$PWD/requirements.lock" && \
	proof=$$(mktemp -d) && trap 'rm -rf "$$proof"' EXIT && \
	$(PYTHON) -m venv "$$proof" && cd "$$proof" && \
	bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r "$$lock" && \
	bin/python -m pip --disable-pip-version-check --quiet install --no-index --no-deps "$$wheel" && \
	bin/python -c 'import gateway, leadexchange.v1.lead_exchange_pb2_grpc' && \
	bin/python -c 'import importlib.resources as r; r.files("lexchange.demo").joinpath("demo.yaml").read_bytes()' && \
	bin/lexchange --version

COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command "make lock" $(ARGS)

lock: setup ## Pin the dependencies again; ARGS=--upgrade takes the newest
	$(COMPILE) --output-file requirements.lock
	$(COMPILE) --extra dev --constraint requirements.lock --output-file requirements-dev.lock

clean: ## Remove builds and caches; .venv stays
	rm -rf dist .demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(CODE) generated -name __pycache__ -prune -exec rm -rf {} +
