.DEFAULT_GOAL := help
.PHONY: help bootstrap demo test matrix sanitize lint bench dist clean

help: ## Show these targets
	@sed -nE 's/^([a-z]+): ##/\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

bootstrap: ## Make .venv with the package, the tests' and the linters' needs
	script/bootstrap --dev

demo: ## Stream the 2013 New York flights with Django and with this package
	script/demo

test: ## C++ tests, Python tests on SQLite and PostgreSQL
	script/test

matrix: ## Python tests on every Django and Python here (FAST=1: SQLite only; CELLS="3.9-4.2 3.13-6.1")
	script/bootstrap --test
	.venv/bin/python -m tests.matrix $(CELLS)

sanitize: ## C++ tests under ASan+UBSan and TSan, Python tests under ASan+UBSan
	script/sanitize

lint: ## ruff, mypy --strict, clang-format, clang-tidy, shellcheck
	script/lint

bench: ## Compare with Django and with version 0.1.2 (ARGS="--scale 0.1")
	script/bootstrap
	.venv/bin/python -m benchmarks $(ARGS)

dist: ## Build wheel and sdist into dist/, and try both
	script/dist

clean: ## Remove everything that is made here, the demo's data excepted
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
