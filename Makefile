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

.PHONY: help test lint test-rust models shuttle loom mutations sanitize doc build test-clients test-node test-python test-browser test-metrics conformance test-docs test-package test-examples test-library semver test-faults test-peers soak slow-readers deny test-fuzz fuzz fuzz-build fuzz-merge deb bench bench-quick matrix peers bench-peers run

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: ## everything: lint, Rust tests, fuzz targets in short, models, documentation, release build, client suites, conformance, pages, package, examples, library, faults, and the comparison
	@mkdir -p $(TARGET) && rm -f $(SLABCAST_SKIPPED)
	@$(MAKE) lint test-rust test-fuzz models doc build test-clients conformance test-docs test-package test-examples test-library test-faults test-peers
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

shuttle: ## the models of whole rooms, in 20,000 orders each
	$(CARGO) fmt --check --manifest-path tests/models/Cargo.toml
	@# What only `make sanitize` runs, which takes too long for every time: that it compiles.
	RUSTFLAGS='--cfg sanitized' CARGO_TARGET_DIR=$(TARGET)/sanitized $(CARGO) check $(MODELS) --test threads
	$(if $(SCHEDULES),SCHEDULES=$(SCHEDULES)) $(if $(REPLAY),REPLAY=$(REPLAY)) RUSTFLAGS='--cfg shuttle' CARGO_TARGET_DIR=$(TARGET)/shuttle \
	$(CARGO) test $(MODELS) --test shuttle $(MODEL)

loom: ## the models of the flags, in every order
	RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$(TARGET)/loom $(CARGO) test $(MODELS) --test loom $(MODEL)

mutations: ## breaks the concurrent core in each known way, one after the other: a model has to notice
	@CARGO_TARGET_DIR=$(TARGET)/mutations $(PYTHON) -B tests/models/mutations.py $(ONLY)

sanitize: ## the contract of a room under ThreadSanitizer and AddressSanitizer, the unit tests under the latter; ALL=1 for more
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

# What judges the suite needs no Python 2.7, and is tested wherever it will be used.
conformance: $(BUILD) ## Autobahn|Testsuite; FULL=1 on both engines
	@$(PYTHON) -B -m unittest discover --quiet --start-directory tests/conformance
	@CARGO_TARGET_DIR=$(TARGET) tests/conformance/run.sh $(if $(FULL),--engines lock hub)

# The pages speak of the program and not of an engine: one is enough.
test-docs: $(BUILD) ## every command and example of the pages
	@tests/clients/run.sh docs

test-package: $(BUILD) ## units, container file, completions and manual page
	@tests/clients/run.sh package

# Those of the fan-out by itself are built without the rest, and last: whatever was built with it would
# stand in their place. An example that needs more says so in Cargo.toml, by its `required-features`.
test-examples: ## the examples as programs, by PyPI `websockets`, and their pages in Chromium
	$(CARGO) build $(LOCKED) --examples
	$(CARGO) build $(LOCKED) --no-default-features --examples
	@export SLABCAST_EXAMPLES=$(TARGET)/debug/examples; tests/clients/run.sh examples; tests/clients/run.sh example-pages

# What a program gets that uses the library: with every set of features, and from outside.
test-library: ## the library with each set of features, and its crates; a program outside that uses it
	@CARGO_TARGET_DIR=$(TARGET) tests/library/run.sh

semver: ## the public API against the last release, or against BASE=revision; RELEASE=major, minor or patch
	@CARGO_TARGET_DIR=$(TARGET) tests/library/semver.sh $(BASE)

test-faults: $(BUILD) ## networks, disks, clocks and peers that fail, and a short soak
	@$(call ON_EVERY_ENGINE,faults)
	@for engine in lock hub; do $(PYTHON) -B tests/faults/soak.py --seconds 12 --connections 1000 --engine $$engine; done

# In ten minutes a hundred thousand come and go rudely.
MINUTES ?= 3
CONNECTIONS ?= 18000

soak: $(BUILD) ## CONNECTIONS=18000 for MINUTES=3 on each engine, while others come and go; a thousand slow requests at once; twenty terminations
	@for engine in lock hub; do $(PYTHON) -B tests/faults/soak.py --seconds $$(($(MINUTES) * 60)) --connections $(CONNECTIONS) --engine $$engine; done
	@SLABCAST_SOAK=1 tests/clients/run.sh faults --pattern test_slow_http.py
	$(CARGO) test $(LOCKED) --release --test sigterm -- --ignored

RATE ?= 100

slow-readers: $(BUILD) ## a thousand that read nothing beside a thousand that hear 1 MB/s, for SECONDS=60 on each engine; RATE=10 for a tenth
	@for engine in lock hub; do $(PYTHON) -B tests/faults/slow_readers.py --seconds $(SECONDS) --rate $(RATE) --engine $$engine; done

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

# Where cargo-deny keeps what it has fetched, or anything that was put there in its place.
ADVISORIES := $(or $(CARGO_HOME),$(HOME)/.cargo)/advisory-dbs
# Every package with a lock file of its own; tests/security/dependencies.rs knows if one is missing.
LOCKED_PACKAGES := . bench/peers/rust fuzz tests/models
DENY = for package in $(LOCKED_PACKAGES); do echo "deny: $$package: $(1)"; $(CARGO) deny --manifest-path $$package/Cargo.toml --locked --config $(CURDIR)/deny.toml check $(1); done

deny: ## licences, sources, duplicates and known holes of the dependencies
	@mkdir -p $(TARGET)
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
	echo 'SKIPPED: deny: cargo-deny is not installed (cargo install cargo-deny)' | tee -a $(SLABCAST_SKIPPED); exit 0; fi; \
	$(call DENY,licenses bans sources); \
	if compgen -G '$(ADVISORIES)/*/crates' >/dev/null || timeout 60 $(CARGO) deny fetch db >/dev/null 2>&1; then $(call DENY,--disable-fetch advisories); \
	else echo 'SKIPPED: deny: the advisory database can not be fetched; tests/security/dependencies.rs knows some of it' | tee -a $(SLABCAST_SKIPPED); fi

# SECONDS is for each fuzz target, two of them at a time; INPUT= runs what one has failed on again. A quick
# run begins with the corpus and forgets what it has found, others go on where the last one ended.
SECONDS := 60
FUZZ_TARGETS := $(notdir $(wildcard fuzz/corpus/*))
FUZZ = $(PYTHON) -B fuzz/run.py --goal $@ --failed $(TARGET)/fuzz-failed $(if $(INPUT),--input $(INPUT))

test-fuzz: ## every fuzz target for ten seconds
	@$(PYTHON) -B -m unittest discover --quiet --start-directory fuzz
	@rm -f $(TARGET)/debug/slabcast-fuzz
	CARGO_TARGET_DIR=$(TARGET) fuzz/build.sh quick
	@rm -rf $(TARGET)/fuzz-quick
	@if [[ -x $(TARGET)/debug/slabcast-fuzz ]]; then \
	$(FUZZ) --program $(TARGET)/debug/slabcast-fuzz --seconds 10 --found $(TARGET)/fuzz-quick $(FUZZ_TARGETS); \
	elif ! grep -qs '^SKIPPED: fuzz' $(SLABCAST_SKIPPED); then echo 'FAILED: fuzz: the build left no program in $(TARGET)/debug'; exit 1; fi

fuzz-build: ## what `make fuzz` runs
	CARGO_TARGET_DIR=$(TARGET) fuzz/build.sh whole

fuzz: fuzz-build ## every fuzz target for a minute and under AddressSanitizer, SECONDS=600 for longer, FUZZ_TARGETS=plain for one
	@$(FUZZ) --program $(TARGET)/fuzz/slabcast-fuzz --seconds $(SECONDS) --found $(TARGET)/fuzz-corpus $(FUZZ_TARGETS)

fuzz-merge: fuzz-build ## what the last runs have found into fuzz/corpus, as little of it as covers the same
	@for target in $(FUZZ_TARGETS); do FUZZ_TARGET=$$target \
	$(TARGET)/fuzz/slabcast-fuzz -set_cover_merge=1 -max_len=1024 -detect_leaks=0 fuzz/corpus/$$target $(TARGET)/fuzz-corpus/$$target; done

# The conffile is the default configuration as it is; completions and pages are the program's own.
deb: $(BUILD) ## the Debian package, unpacked and run
	@tests/packaging/deb.sh

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
