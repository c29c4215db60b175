# What there is to do here, each by one word. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-builtin-rules --no-print-directory

CARGO ?= cargo
# Elsewhere than on a developer's machine nothing may change Cargo.lock behind our backs.
LOCKED := $(if $(CI),--locked)
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
PYTHON ?= python3
COMPARE = CARGO_TARGET_DIR=$(TARGET) $(PYTHON) -B bench/peers/compare --slabcast $(SLABCAST_BIN)
# What the client suites start. Whoever names a binary does not want another one built.
BUILD := $(if $(filter undefined,$(origin SLABCAST_BIN)),build)
export SLABCAST_BIN ?= $(TARGET)/release/slabcast
# One line for each part that was left out, for the end of `make test`.
export SLABCAST_SKIPPED := $(TARGET)/skipped

.PHONY: help test lint test-rust models shuttle loom mutations sanitize doc build test-clients test-node test-python test-browser test-metrics test-peers deny bench bench-quick matrix peers bench-peers run

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## everything: lint, Rust tests, models, documentation, release build, client suites, and the comparison
	@mkdir -p $(TARGET) && rm -f $(SLABCAST_SKIPPED)
	@$(MAKE) lint test-rust models doc build test-clients test-peers
	@if [[ -s $(SLABCAST_SKIPPED) ]]; then echo 'Passed, but not everything was run:'; sort -u $(SLABCAST_SKIPPED); else echo 'Everything was run, and passed.'; fi

lint: ## formatting and clippy, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy $(LOCKED) --all-targets -- -D warnings

test-rust: ## the tests in Rust
	$(CARGO) test $(LOCKED)

# The checkers' locks are chosen by `--cfg`, so that everything is built anew for them: each has a
# target directory of its own. MODEL=name runs one, SCHEDULES=n in so many orders of its steps, and
# REPLAY=schedule in the one that a failure has printed.
MODELS := --locked --manifest-path tests/models/Cargo.toml

models: shuttle loom ## the concurrent core in many thousand orders of its steps; MODEL=, SCHEDULES=, REPLAY=

shuttle:
	$(CARGO) fmt --check --manifest-path tests/models/Cargo.toml
	$(if $(SCHEDULES),SCHEDULES=$(SCHEDULES)) $(if $(REPLAY),REPLAY=$(REPLAY)) RUSTFLAGS='--cfg shuttle' CARGO_TARGET_DIR=$(TARGET)/shuttle \
	$(CARGO) test $(MODELS) --test shuttle $(MODEL)

loom:
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$(TARGET)/loom $(CARGO) test $(MODELS) --test loom $(MODEL)

mutations: ## breaks the concurrent core in each known way, one after the other: a model has to notice
	@CARGO_TARGET_DIR=$(TARGET)/mutations $(PYTHON) -B tests/models/mutations.py $(ONLY)

sanitize: ## the contract of a room under ThreadSanitizer and AddressSanitizer; ALL=1 for much more
	@CARGO_TARGET_DIR=$(TARGET) tests/sanitize/run.sh

doc: ## the API documentation, a broken link is an error
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(LOCKED) --no-deps

build: ## the release binary
	$(CARGO) build $(LOCKED) --release

test-clients: test-node test-python test-browser test-metrics ## other people's clients against the release binary

# A client sees no difference between the engines, so each suite runs on both.
ON_EVERY_ENGINE = for engine in lock hub; do echo "$(1) on $$engine"; SLABCAST_TEST_ENGINE=$$engine tests/clients/run.sh $(1); done

test-node: $(BUILD) ## npm `centrifuge` and `ws`, and curl
	@$(call ON_EVERY_ENGINE,node)

test-python: $(BUILD) ## PyPI `centrifuge-python` and `websockets`
	@$(call ON_EVERY_ENGINE,python)

test-browser: $(BUILD) ## the page in Chromium
	@$(call ON_EVERY_ENGINE,browser)

test-metrics: $(BUILD) ## `/metrics` by `promtool`
	@$(call ON_EVERY_ENGINE,metrics)

PEERS_RUST := --manifest-path bench/peers/rust/Cargo.toml

# Two of the servers that take no time to install, once: that they start, and that nothing is lost.
test-peers: $(BUILD) ## the comparison with other servers, in short
	@$(PYTHON) -B -m unittest discover --start-directory bench/peers/compare
	$(CARGO) fmt --check --all $(PEERS_RUST)
	$(CARGO) test --locked --release $(PEERS_RUST) --target-dir $(TARGET)/peers --package rawfan
	@bench/peers/install.sh rawfan ws
	@if [[ $$(nproc) -ge 2 ]]; then \
	$(COMPARE) --quick --strict --peers slabcast,ws,rawfan --only 'all16,f100-p1-*,idle*,churn*' --out $(TARGET)/test-peers; \
	else mkdir -p $(TARGET); echo 'SKIPPED: test-peers: two cores are needed' | tee -a $(SLABCAST_SKIPPED); fi

deny: ## licences, sources and duplicates of the dependencies
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check licenses bans sources; \
	else echo 'SKIPPED: deny: cargo-deny is not installed (cargo install cargo-deny)'; fi

bench: ## all benches; an hour or more
	$(CARGO) bench $(LOCKED)

bench-quick: ## all benches with fewer sizes, in three minutes once they are built
	$(CARGO) bench $(LOCKED) -- --quick

matrix: ## the study's matrix: every coordination with every delivery, as a table
	@$(CARGO) bench $(LOCKED) --quiet --bench matrix

peers: ## the servers to be measured against, as far as they can be had here
	@bench/peers/install.sh

bench-peers: $(BUILD) peers ## slabcast and other servers in turns, in hours; QUICK=1 in a minute; ARGS='--only all32'
	@$(COMPARE) $(if $(QUICK),--quick) $(ARGS)

run: ## the server, as `cargo run -- serve`
	$(CARGO) run --release -- serve
