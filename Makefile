# `make run` starts a node, `make test` checks everything. `make` alone lists the rest.
#
# While editing, the checks of one crate take seconds:
#   cargo clippy -p actors --all-targets -- -D warnings
#   cargo nextest run -p actors cache        (tests with `cache` in their name)

.DEFAULT_GOAL := help
.PHONY: help run demo test bench torture simulate fuzz doc deb

# Where tests/setup puts what is missing.
export PATH := $(CURDIR)/target/tools/bin:$(PATH)
# Given to what is run: make run ARGS="--data-dir /tmp/node"
ARGS ?=
# How long each target is fuzzed, in seconds.
FUZZ_SECONDS ?= 30

help: ## this list
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

run: ## build the node and start it in the foreground, without any configuration
	cargo build --release --locked -p node
	exec target/release/node run $(ARGS)

demo: ## eight nodes on this machine keep a family's photos, some burn, and nothing is lost (ARGS=FOLDER for your own)
	cargo build --release --locked -p node
	node/demo/run $(ARGS)

test: ## format, lints, all tests, documentation
	tests/setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	TESSERAS_TEST_NODE_IS_BUILT=1 cargo nextest run --locked --workspace
	TESSERAS_TEST_NODE_IS_BUILT=1 cargo test --locked --quiet --workspace --test power_cut --test small_machine --test lossy
# As `make run` builds it: tests add features of their own.
	cargo check --locked --quiet -p node
	cargo test --locked --workspace --doc --quiet
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

bench: ## one table of figures, ours beside their baselines (ARGS="--json --quick put")
	cargo build --release --locked -p node
	cargo bench --locked -p actors --features faults --bench table -- $(ARGS)

torture: ## damages, crash tests and hostile callers with large counts (TESSERAS_TEST_SEED=… replays)
	tests/setup
	TESSERAS_TEST_TORTURE=1 cargo nextest run --locked --release -p actors --features faults --no-capture damages:: hostile::
	TESSERAS_TEST_TORTURE=1 cargo nextest run --locked --release -p tests --no-capture
	TESSERAS_TEST_TORTURE=1 cargo test --locked --release --quiet -p tests --test power_cut

simulate: ## what layouts lose in ten years, ours beside an earlier system's (TESSERAS_TEST_SEED=… for others)
	TESSERAS_TEST_TORTURE=1 cargo test --locked --release --quiet -p tests --test simulation -- --nocapture table_is

fuzz: ## every fuzz target for FUZZ_SECONDS
	proto/fuzz/run $(FUZZ_SECONDS)

doc: ## the documentation of the code, in target/doc
	cargo doc --locked --workspace --no-deps

deb: ## a Debian package that installs the node as tesseras, and its service; in target/debian
	tests/setup deb
	node/packaging/build-deb
