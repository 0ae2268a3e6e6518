.DEFAULT_GOAL := help
.PHONY: help bootstrap demo demo-cpp test test-cpp test-cpp-all properties every faults test-mariadb matrix django-suites third-party third-party-suites scale-out sanitize fuzz lint bench bench-check bench-cpp bench-cpp-sql bench-scaling memory-graph docs dist dist-roots workflows clean

help: ## Show these targets
	@sed -nE 's/^([a-z-]+): ##/\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r name text; do \
		printf '  make %-18s %s\n' "$$name" "$$text"; done

bootstrap: ## Make .venv with the package, the tests' and the linters' needs
	script/bootstrap --dev

demo: ## Stream the 2013 New York flights with Django and with this package
	script/demo

demo-cpp: ## The same flights in a C++ program of 80 lines, its numbers compared with Python's
	script/demo-cpp

test: ## C++ tests, Python tests on SQLite and PostgreSQL
	script/test

test-cpp: ## C++ tests alone, on a machine without Python
	script/test-cpp

test-cpp-all: ## The same with g++ and clang, in C++20 and C++23, debug and release, and under sanitizers of both
	script/test-cpp debug cpp23 release asan tsan clang-debug clang-cpp23 clang-release clang-libcxx clang-asan clang-tsan

properties: ## Any lookups, chunks, streams, changes and histories against Django: 10,000 each, 1,000 histories (PROPERTY_EXAMPLES=500)
	PROPERTY_EXAMPLES=$${PROPERTY_EXAMPLES:-10000} script/test tests/python/test_properties.py \
		tests/python/test_any_chunks.py tests/python/test_any_streams.py tests/python/test_any_changes.py tests/python/test_state_machine.py

every: ## Python tests with all cases, faults and repetitions that `make test` takes by turns (ARGS="-k name")
	EVERY=1 script/test tests/python $(ARGS)

faults: ## Failures of every allocation, line, query and key of a chunk, ten minutes (make test injects a part of them)
	EVERY=1 script/test tests/python/failures

test-mariadb: ## Python tests on a MariaDB of their own, with two drivers (ARGS="tests/python -k name")
	script/test --mariadb $(ARGS)

matrix: ## Python tests on every Django and Python here (FAST=1: SQLite only; CELLS="3.9-4.2 3.13-6.1"; DATABASES="sqlite mariadb")
	script/bootstrap --test
	.venv/bin/python -m tests.matrix $(CELLS)

django-suites: ## Django's own tests through this package, every Django (ARGS="6.1 fresh prefetch_related")
	script/bootstrap --test
	.venv/bin/python -m tests.django_suites $(ARGS)

third-party: ## Beside packages that change querysets, managers and rows, and Jupyter, all compared with Django (ARGS="4.2 django-taggit")
	script/bootstrap --test
	.venv/bin/python -m tests.third_party $(ARGS)

scale-out: ## The recipes of docs/scale-out.md on the real task queues, a worker of each killed (ARGS="celery dask")
	script/bootstrap --scale-out
	.venv/bin/python -m tests.scale_out $(ARGS)

third-party-suites: ## Other projects' tests through this package, half an hour (ARGS="django-taggit fresh", ARGS=--self-check)
	script/bootstrap --test
	.venv/bin/python -m tests.third_party_suites $(ARGS)

sanitize: ## C++ tests under ASan+UBSan and TSan, Python tests under ASan+UBSan
	script/sanitize

fuzz: ## Fuzz the tables and the C++ library against naive models, with ASan and UBSan, an hour (SECONDS=60)
	script/fuzz $(SECONDS)

lint: ## ruff, mypy --strict, clang-format, clang-tidy, shellcheck, zizmor, check-jsonschema
	script/lint

bench: ## Compare with Django, 0.1.2 and others on SQLite and PostgreSQL: about an hour (ARGS="--scale 0.1")
	script/bootstrap --bench
	.venv/bin/python -m benchmarks $(ARGS)

bench-scaling: ## Draw the time per row by rows, memo and chunk size: docs/scaling-*.svg (ARGS="--rows 1000000")
	script/bootstrap
	.venv/bin/python -m benchmarks.scaling $(ARGS)

bench-check: ## Instructions of the hot paths by callgrind: none more than 5 % above the baseline (UPDATE=1 rewrites it)
	script/bootstrap --bench
	.venv/bin/python -m benchmarks.instructions $(if $(UPDATE),--update)

bench-cpp: ## The C++ core against other caches, half an hour (ARGS="--keys int64 --entries 1000 1000000")
	script/bootstrap --bench
	cmake --preset bench-cpp -DCMAKE_CXX_COMPILER=$${CXX:-c++}
	cmake --build --preset bench-cpp
	.venv/bin/python -m benchmarks.cpp build/bench-cpp/benchmarks/cpp/resolve $(ARGS)

bench-cpp-sql: ## The same with SQLite and PostgreSQL: memo against joins, IN and maps by hand, ten minutes (ARGS="--database sqlite")
	script/bootstrap --bench
	cmake --preset bench-cpp -DCMAKE_CXX_COMPILER=$${CXX:-c++}
	cmake --build --preset bench-cpp --target end_to_end
	.venv/bin/python -m benchmarks.cpp.end_to_end build/bench-cpp/benchmarks/cpp/end_to_end $(ARGS)

memory-graph: ## Stream ten million rows and draw the memory: docs/memory.svg (ARGS="--rows 1000000")
	script/bootstrap
	.venv/bin/python -m benchmarks.memory_graph $(ARGS)

docs: ## Build the documentation in build/docs, with every warning an error, and check its links
	script/bootstrap --docs
	.venv/bin/python -m sphinx -W -n --keep-going -b html -d build/doctrees docs build/docs
	.venv/bin/python docs/check_links.py build/docs

dist: ## Build sdist and manylinux wheels into dist/, and try them without a compiler (PYTHONS="3.12 3.13")
	script/dist $(PYTHONS)

dist-roots: ## Try the wheels of dist/ in bare Debians from bullseye to sid, as root (ROOTS="bullseye sid")
	script/dist-roots $(ROOTS)

workflows: ## Check .github/workflows with actionlint, which needs Go (make lint checks how safe they are)
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

clean: ## Remove everything that is made here, the demo's data excepted
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
