# The front door. Programs that scripts/install.sh could not install in the system are in .tools/bin.
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.PHONY: help demo test drill bench lint ci

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Install what is missing, build, and play purchases through the whole system
	@scripts/install.sh demo
	cargo build --locked --workspace --bins
	cargo run --locked --quiet --bin surepass -- up --demo --exit-when-done

test: ## Install what is missing and run every test
	@scripts/install.sh test
	@# More at once than there are cores: most of what a test does is to wait for other processes.
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} cargo test --locked --workspace --no-fail-fast

drill: ## Play every fault for minutes, and count what was lost or doubled
	@scripts/install.sh test
	SUREPASS_DRILL=long cargo test --locked --test drill

bench: ## Measure speed against the limits of this machine
	@scripts/install.sh demo
	cargo bench --locked --bench surepass

lint: ## Check format, lints, and licences, sources and use of dependencies
	@scripts/install.sh ci
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo deny check licenses bans sources
	cargo machete
	scripts/lint-js.sh

ci: ## Run what CI runs
	.ci/run
