# Everything starts here. `make quickstart` and `make test` install what they need first; a second call installs nothing.
.DELETE_ON_ERROR:
.PHONY: setup quickstart test tests lint style types format bench clean

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/recbayes-setup
EXTRAS := dev,notebooks

quickstart: setup  ## the whole job on the embedded headline tests, into runs/quickstart
	$(BIN)/recbayes run quickstart --out runs/quickstart

setup: $(STAMP)  ## .venv with everything in it, and .venv/bin/recbayes

$(STAMP): pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "recbayes needs Python 3.11 or newer; $(PYTHON) is older. Say which to use: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@if uv --version >/dev/null 2>&1; then \
	  { test -x $(BIN)/python || uv venv --quiet --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv; } && \
	  uv pip install --quiet --compile-bytecode --python $(BIN)/python --editable '.[$(EXTRAS)]'; \
	else \
	  { test -x $(BIN)/python || $(PYTHON) -m venv .venv; } && \
	  { $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; } && \
	  $(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'; \
	fi
	@touch $@

test: style  ## every check: format, lint, then types beside tests and doctests
	@$(MAKE) --no-print-directory -j 2 types tests

tests: setup  ## three at once on two cores: some wait for processes that they have started
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: style types

style: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: setup  ## each benchmark prints one line of JSON with ratios against a peer of the same run
	@for file in benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
