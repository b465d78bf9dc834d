# Two commands matter: `make demo` and `make test`. Each installs what it needs (Debian's packages, as root or
# through sudo) and says what it does.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

CARGO ?= cargo
TOOLS := $(CURDIR)/target/tools
export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: demo demo-auto test deps-demo deps-test fmt lint structure unit doctest doc public-api public-api-accept examples
.PHONY: browser fuzz-api clean

## The main job on embedded defaults: sandbox cluster, SQLite, no account anywhere.
demo: deps-demo
	$(CARGO) run -p rounds-server --bin rounds-server -- demo

## The same without a browser: it approves over the HTTP API and ends with a JSON summary.
demo-auto: deps-demo
	$(CARGO) run -p rounds-server --bin rounds-server -- demo --auto

## Everything that CI runs.
test: deps-test fmt structure lint unit doctest doc public-api examples fuzz-api demo-auto

deps-demo:
	.ci/install cc kubectl

deps-test:
	.ci/install cc kubectl postgresql prometheus alertmanager chromium chromedriver nextest schemathesis

fmt:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path .ci/public-api/Cargo.toml --check

lint:
	$(CARGO) clippy --workspace --all-targets --all-features -- -D warnings

structure:
	.ci/check-structure

unit:
	$(CARGO) nextest run --workspace --all-features --no-fail-fast

# Among them the forged approvals that must not compile.
doctest:
	$(CARGO) test --doc --workspace --all-features

doc:
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --all-features

# After doc, whose builds of the dependencies it uses.
public-api:
	.ci/check-public-api

## Takes the public API as it is now: commit docs/public-api together with the change.
public-api-accept:
	.ci/check-public-api accept

examples:
	$(CARGO) run -p rounds-minimal
	$(CARGO) run -p rounds-embedded
	$(CARGO) run -p rounds-custom-connector

## Only the browser tests.
browser: deps-test
	$(CARGO) nextest run -p rounds-server --test browser

## Holds the API against its OpenAPI description, with made-up requests. Bounded, and the same each time.
fuzz-api:
	.ci/install cc schemathesis
	$(CARGO) build -p rounds-server --bin rounds-server
	.ci/fuzz-api

clean:
	$(CARGO) clean
