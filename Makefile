# One name for each thing a person does here. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo test check fmt e2e e2e-scale compat bench bench-instructions fuzz deny crd

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

demo: ## build the command line for trying out and run three releases from start to end in under a minute
	@scripts/setup build
	cargo build --profile quick --locked -p halftone
	target/quick/halftone demo

test: ## everything CI runs: format, lints, all tests with their real peers and on a real cluster (as root)
	@scripts/setup test
	@scripts/setup e2e
	scripts/test

check: ## before each commit: format, lints, the fast tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --lib --bins

fmt: ## format everything
	cargo fmt --all

e2e: ## on a real cluster: brings one up, installs the chart, runs e2e/tests/cluster (TEST=NAME for one)
	@scripts/setup e2e
	e2e/run $(TEST)

e2e-scale: ## what thousands of releases cost on a real cluster; prints the figures of docs/performance.md
	@scripts/setup e2e
	e2e/run scale:: --ignored

compat: ## 0.1, this version, 0.1 and this version again under traffic, with real programs of both (COMPAT_BASE=REV)
	@scripts/setup build
	scripts/compat

bench: ## compare with nginx+Lua, HAProxy, Envoy and a bare TCP relay on loopback
	@scripts/setup bench
	scripts/bench

fuzz: ## every fuzz target for longer than `make test` does (FUZZ_SECONDS each, default 60)
	@scripts/setup fuzz
	scripts/fuzz

bench-instructions: ## user-space instructions a request of each of them, counted by callgrind
	@scripts/setup bench
	scripts/bench --only instructions

crd: ## write crds/ and the chart's copy again after a change of the GrayRelease types
	cargo run --locked -q -p halftone -- crd > crds/grayreleases.halftone.dev.yaml
	cp crds/grayreleases.halftone.dev.yaml charts/halftone/files/

deny: ## licences, advisories and sources of every dependency
	cargo deny check
