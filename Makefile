# What a user types. `make` alone lists it.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
# more than there are cores: most tests wait for a server of theirs much of the time
TEST_PROCESSES ?= 3
SOURCES := requirements/run.txt requirements/dev.txt pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help install run test check test-crash bench requirements clean

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

install: $(STAMP) ## .venv with everything, from hash-pinned requirement files

$(STAMP): $(SOURCES)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) not found: install python3 and python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=..."; exit 1; }
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }
	@echo "Installing into $(VENV) ..."
	@$(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements/dev.txt
	@$(VENV)/bin/python -m pip --disable-pip-version-check install --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: $(STAMP) ## serve on ./data and import the sample history
	@$(VENV)/bin/punchcard demo

check: $(STAMP) ## format, lint, types, house rules
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/python -m pytest -q tests/house

test: check ## set-up, then all checks and tests
	@$(VENV)/bin/python -m pytest -q --ignore tests/house --durations 15 -n $(TEST_PROCESSES) --dist worksteal

test-crash: $(STAMP) ## the crash tests at length
	@PUNCHCARD_CRASH_ROUNDS=$${PUNCHCARD_CRASH_ROUNDS:-40} $(VENV)/bin/python -m pytest -q -m crash --timeout 7200

bench: $(STAMP) ## the benchmark table
	@$(VENV)/bin/python -m benchmarks

requirements: ## compile the requirement files (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q pyproject.toml -o requirements/run.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate -q --extra dev pyproject.toml -c requirements/run.txt -o requirements/dev.txt

clean: ## remove .venv and caches; data stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
