# The only commands anyone needs; `make` alone lists them. .ci/run calls `make ci`.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE := $(if $(TRESOR_CACHE),$(TRESOR_CACHE),$(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/tresor)
export TRESOR_CACHE := $(CACHE)
export CARGO_TARGET_DIR ?= $(CACHE)/target
export ROCKSDB_STATIC := 1
export ROCKSDB_LIB_DIR ?= $(CACHE)/rocksdb/0.19.0+11.8.1/lib
VENV := $(CACHE)/venv
PYTHON := $(VENV)/bin/python

.PHONY: help
help: ## Lists the commands.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

.PHONY: system
system: ## Installs the Debian packages that the build needs.
	@tools/packages.sh

.PHONY: rocksdb
rocksdb: system ## Builds RocksDB's C++ once for this machine.
	@tools/rocksdb.sh >/dev/null

.PHONY: venv
venv: system ## Makes the Python environment with the clients that tests and the demo use.
	@tools/venv.sh "$(VENV)"

.PHONY: node
node: system ## Installs the JavaScript clients that tests use.
	@tools/node.sh "$(CACHE)/node"

.PHONY: build
build: rocksdb ## Builds the debug binary.
	cargo build --locked -p tresor-server

.PHONY: release
release: rocksdb ## Builds the release binary.
	cargo build --locked --release -p tresor-server

.PHONY: demo
demo: release venv ## Shows the main job with the real aws CLI.
	@TRESOR_BIN="$(CARGO_TARGET_DIR)/release/tresor" VENV="$(VENV)" tools/demo.sh

.PHONY: run
run: release venv ## Leaves a development server running, with commands to paste.
	@TRESOR_BIN="$(CARGO_TARGET_DIR)/release/tresor" VENV="$(VENV)" tools/run.sh

.PHONY: test
test: unit e2e ## Runs every test.

.PHONY: unit
unit: rocksdb ## Runs the Rust tests.
	cargo test --locked --workspace

.PHONY: e2e
e2e: build venv node ## Runs the tests that use the built server with real clients.
	TRESOR_NODE_MODULES="$(CACHE)/node/node_modules" TRESOR_BIN="$(CARGO_TARGET_DIR)/debug/tresor" $(PYTHON) -m pytest -q -p no:cacheprovider tests

.PHONY: lint
lint: rocksdb ## Checks format, clippy and that generated documents are current.
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## Checks licenses, sources, bans and the owners of libraries.
	@tools/deny.sh

.PHONY: docs
docs: build ## Writes the generated documents.
	"$(CARGO_TARGET_DIR)/debug/tresor" operations --markdown > docs/operations.md

.PHONY: bench
bench: release venv ## Measures, as ratios side by side in one run; QUICK=1 takes 90 seconds and leaves the criterion benches out.
	$(if $(QUICK),,cargo bench --locked -p tresor-benches)
	$(if $(QUICK),,TRESOR_BIN="$(CARGO_TARGET_DIR)/release/tresor" $(PYTHON) benches/kms_and_memory.py)
	TRESOR_BIN="$(CARGO_TARGET_DIR)/release/tresor" $(PYTHON) benches/end_to_end.py $(if $(QUICK),--quick)

# All packages are selected so that what they depend on is built with the features that the tests have built it with.
INSTRUCTIONS := cargo build --locked --config benches/instructions/profile.toml --workspace --bin instructions

.PHONY: instructions
instructions: rocksdb ## Holds hot operations to their budget of instructions (valgrind).
	$(INSTRUCTIONS)
	"$(CARGO_TARGET_DIR)/debug/instructions"

.PHONY: instructions-budget
instructions-budget: rocksdb ## Records a new budget of instructions.
	$(INSTRUCTIONS)
	"$(CARGO_TARGET_DIR)/debug/instructions" --write

.PHONY: policy-differential
policy-differential: build venv ## Compares policy decisions with a third party's simulator (npm, AGPL; not in ci).
	TRESOR_BIN="$(CARGO_TARGET_DIR)/debug/tresor" $(PYTHON) tools/policy-differential/run.py --write

.PHONY: ci
ci: lint deny test instructions ## What .ci/run runs.
